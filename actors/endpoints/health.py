"""What an endpoint knows of its device: health, metrics, register diagnostics (spec 03 section 1)."""

from array import array
from collections import Counter, deque
from collections.abc import Sequence
from math import ceil
from typing import Any

import msgspec

from actors.endpoints.messages import HealthReported, PollsCounted
from actors.endpoints.protocol import PollResult
from actors.readings.batch import Source, quality
from storage.timestamps import iso

HISTORY = 100
DURATIONS = 1000
ERRORS = 100
TOP_ERRORS = 10
NEVER = "NO_DATA"  # of a point that tells by itself, and has not told anything yet


class PollError(msgspec.Struct, frozen=True):
    """`timestamp` is Unix ms, `type` a quality code."""

    timestamp: int
    type: str
    message: str


class PollRecord:
    """Counts polls and remembers the latest; times come in as Unix ms, durations are ms."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.connected = False
        self.last_poll: int | None = None
        self.last_seen: int | None = None
        self.first_poll: int | None = None
        self.error_count = 0
        self.last_error: str | None = None
        self.response_time: float | None = None
        self.registers_updated = 0
        self.polls = 0
        self.succeeded = 0
        self.fruitless = 0
        """polls that were answered, without a single value"""
        self.updated = 0
        self.skipped = 0
        self.reading: PollResult | None = None
        self._history = array("f")
        """of each of the latest polls the share of data points that had a value"""
        self._durations = array("f")
        self._errors: deque[PollError] | None = None  # an empty one would take 0.8 KB
        self._told = False
        """Whether `reading` is of values that came by themselves, and nothing has made them void since."""
        self._register_errors: Counter[int] = Counter()
        self._register_seen: dict[int, int] = {}

    # Recording

    def success(self, now: int, duration: float, reading: PollResult) -> None:
        """A poll that the device answered. It is as good as its data points: one of which none has a value
        counts as failed, though the device is connected."""
        total = updated = len(reading.values)
        previous_seen, self.last_seen = self.last_seen, now
        if reading.qualities is not None:
            updated -= self._note_bad(reading, previous_seen)
        self.connected = True
        self.response_time = duration
        self.registers_updated = updated
        self.reading = reading
        self._polled(now, duration, updated / total if total else 1.0)
        if updated or not total:
            self.succeeded += 1
            self.updated += updated
            self.error_count = 0
            self.last_error = None
        else:
            self.fruitless += 1
            code = next(filter(None, reading.qualities or ()), "")
            self.error_count += 1
            self.last_error = f"no data point can be read: {code}"
            self._note_error(PollError(now, code, self.last_error))

    def took(
        self,
        now: int,
        points: int,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None,
    ) -> None:
        """Some of its `points` have new values; the device tells by itself, and is there."""
        self.connected = True
        self.last_seen = now
        self._told = True
        known = self._image(points)
        shown, quality_codes = known.values, known.qualities
        assert quality_codes is not None
        seen = self._register_seen
        for index, value in zip(indices, values, strict=True):
            shown[index] = value
            quality_codes[index] = None
            if value is None:
                self._register_errors[index] += 1
            else:
                seen[index] = now
        if codes is not None:
            for index, code in zip(indices, codes, strict=True):
                quality_codes[index] = code

    def _image(self, points: int) -> PollResult:
        known = self.reading
        if known is None or known.qualities is None:
            known = self.reading = PollResult([], [])
        assert known.qualities is not None
        room = points - len(known.values)
        known.values.extend([None] * room)
        known.qualities.extend([NEVER] * room)
        return known

    def void(self, indices: Sequence[int]) -> None:
        """What these points have told is nothing that they say: they are others now."""
        known = self.reading
        if known is not None and known.qualities is not None:
            for index in indices:
                if index < len(known.values):
                    known.values[index], known.qualities[index] = None, NEVER

    def _forget(self, code: str) -> None:
        """What the device has told may not be so any more: nobody would have heard. It says it anew."""
        known = self.reading
        if self._told and known is not None and known.qualities is not None:
            self._told = False
            known.values[:] = [None] * len(known.values)
            known.qualities[:] = [code] * len(known.values)

    def interval(self, now: int, arrived: int) -> None:
        """An interval has passed in which the device was there, and `arrived` values came of themselves."""
        self.connected = True
        self.registers_updated = arrived
        self.updated += arrived
        self.polls += 1
        self.succeeded += 1
        self.error_count = 0
        self.last_error = None
        values = self.reading.values if self.reading is not None else []
        self._polled(now, None, 1 - values.count(None) / len(values) if values else 1.0)

    def failure(self, now: int, duration: float | None, code: str, message: str) -> None:
        """A poll without an answer; `duration` None when none was sent because the device is offline."""
        self._polled(now, duration, 0.0)
        self.lost(message)
        self._forget(code)
        self.error_count += 1
        self.registers_updated = 0
        if duration is not None:
            self._note_error(PollError(now, code, message))

    def attempt_failed(self, now: int, duration: float, code: str, message: str) -> None:
        """The device was asked between polls: an error, and time that it took, but no poll of its history."""
        self._timed(now, duration)
        self._note_error(PollError(now, code, message))
        self.lost(message)

    def lost(self, message: str) -> None:
        """The device is not connected any more."""
        self.connected = False
        self.last_error = message

    def _note_error(self, error: PollError) -> None:
        if self._errors is None:
            self._errors = deque(maxlen=ERRORS)
        self._errors.append(error)

    def _polled(self, now: int, duration: float | None, share: float) -> None:
        self._history.append(share)
        if len(self._history) > HISTORY:
            del self._history[0]
        self._timed(now, duration)

    def _timed(self, now: int, duration: float | None) -> None:
        self.last_poll = now
        if self.first_poll is None:
            self.first_poll = now
        if duration is not None:
            if len(self._durations) < DURATIONS:
                self._durations.append(duration)
            else:
                self._durations[self.polls % DURATIONS] = duration
            self.polls += 1

    def _note_bad(self, reading: PollResult, previous_seen: int | None) -> int:
        """Count the bad points, and keep what their last success was: per point only for those."""
        bad = 0
        before = self.reading
        for index, value in enumerate(reading.values):
            if value is None:
                bad += 1
                self._register_errors[index] += 1
                was_good = before is not None and before.values[index] is not None
                if was_good and previous_seen is not None:
                    self._register_seen[index] = previous_seen
        return bad

    # Reporting

    @property
    def success_rate(self) -> float:
        """The share of the latest polls in which any data point had a value."""
        return sum(map(bool, self._history)) / len(self._history) if self._history else 1.0

    @property
    def quality(self) -> float:
        """The share of values that arrived in the latest polls, but not better than in the very latest."""
        if not self.connected:
            return 0.0
        return min(sum(self._history) / len(self._history), self._history[-1]) if self._history else 1.0

    def report(self) -> HealthReported:
        rate = self.success_rate
        return HealthReported(
            device=self.device,
            status="connected" if self.connected else "disconnected",
            connected=self.connected,
            last_poll=self.last_poll,
            last_seen=self.last_seen,
            error_count=self.error_count,
            last_error=self.last_error,
            response_time_ms=None if self.response_time is None else round(self.response_time, 2),
            poll_success_rate=round(rate, 4),
            registers_updated=self.registers_updated,
            communication_quality=round(100 * self.quality, 1),
            quality_word=_word(self.connected, self.quality),
            polls_skipped=self.skipped,
        )

    def counts(self) -> PollsCounted:
        failed = self.polls - self.succeeded
        return PollsCounted(
            self.connected, self.polls, failed, self.skipped, self.updated, self.response_time
        )

    def summary(self) -> dict[str, Any]:
        """The metrics summary of spec 03 section 1.2."""
        durations = sorted(self._durations)
        total = len(durations)
        failed = self.polls - self.succeeded
        return {
            "avgPollMs": round(sum(durations) / total, 3) if total else None,
            "minPollMs": round(durations[0], 3) if total else None,
            "maxPollMs": round(durations[-1], 3) if total else None,
            "p50PollMs": _percentile(durations, 0.50),
            "p95PollMs": _percentile(durations, 0.95),
            "p99PollMs": _percentile(durations, 0.99),
            "successRate": round(self.succeeded / self.polls, 4) if self.polls else None,
            "totalPolls": self.polls,
            "successfulPolls": self.succeeded,
            "failedPolls": failed,
            "skippedPolls": self.skipped,
            "avgDataPointsUpdated": round(self.updated / self.succeeded, 2) if self.succeeded else 0,
            "totalDataPointsUpdated": self.updated,
            "errorRate": round(failed / self.polls, 4) if self.polls else 0,
            "topErrors": self._top_errors(),
            "firstPoll": iso(self.first_poll),
            "lastPoll": iso(self.last_poll),
        }

    def metrics(self) -> dict[str, Any]:
        """The raw metrics of spec 03 section 1.2."""
        return {
            "pollDurations": [round(d, 3) for d in self._durations],
            "pollSuccessCount": self.succeeded,
            "pollTotalCount": self.polls,
            "dataPointsUpdated": self.updated,
            "lastErrors": [
                {"timestamp": iso(error.timestamp), "type": error.type, "message": error.message}
                for error in self._errors or ()
            ],
        }

    def registers(self, source: Source, addresses: list[str]) -> list[dict[str, Any]]:
        """Diagnostics of every data point, in their order; `addresses` as the protocol spells them."""
        reading = self.reading
        return [
            {
                "name": point.name,
                "address": address,
                "lastValue": reading.values[index] if reading else None,
                "unit": point.unit,
                "quality": self._quality(index)[0],
                "qualityCode": self._quality(index)[1],
                "lastSuccess": iso(self._last_success(index)),
                "errorCount": self._register_errors[index] + self.polls - self.succeeded - self.fruitless,
            }
            for index, (point, address) in enumerate(zip(source.points, addresses, strict=True))
        ]

    def _quality(self, index: int) -> tuple[str, str | None]:
        if not self.connected:
            return "BAD", "DEVICE_OFFLINE"
        if self.reading is None:
            return "BAD", NEVER
        code = self.reading.qualities[index] if self.reading.qualities else None
        return quality(self.reading.values[index], code), code

    def _last_success(self, index: int) -> int | None:
        if self.reading is not None and self.reading.values[index] is not None:
            return self.last_seen
        return self._register_seen.get(index)

    def _top_errors(self) -> list[dict[str, Any]]:
        latest = {error.type: error.timestamp for error in self._errors or ()}
        counts = Counter(error.type for error in self._errors or ()).most_common(TOP_ERRORS)
        return [{"type": kind, "count": count, "lastSeen": iso(latest[kind])} for kind, count in counts]


def _percentile(ordered: list[float], share: float) -> float | None:
    """The nearest-rank percentile of sorted durations: no more than `share` of them are below it."""
    if not ordered:
        return None
    return round(ordered[ceil(share * len(ordered)) - 1], 3)


def _word(connected: bool, rate: float) -> str:
    if not connected:
        return "offline"
    return "good" if rate >= 0.95 else "degraded" if rate >= 0.75 else "poor"
