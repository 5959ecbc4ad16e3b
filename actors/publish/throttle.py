"""At most one reading of a point per interval. Plain; times are ms by a clock that nobody sets."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from actors.readings.batch import Batch, Insight, Point, Source, changed_points
from actors.readings.interest import Choice, Positions, places

JITTER = 250
"""How many ms a reading may be early or late, at intervals long enough for that."""


class Throttle:
    """At most one poll of a device per `interval`, in ms, by the polls' own time (see `Clock.steady`).

    Two polls may be nearer than the interval by `slack`, so that all pass that come as often as the
    interval is long, a little late or early; in the long run there is still at most one per interval.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.slack = max(1, min(interval // 10, JITTER))
        self.due: int | None = None

    def admits(self, timestamp: int) -> bool:
        """Whether the poll of that time, in ms, is to be published."""
        due = self.due
        # So far in the past no poll can follow those that have passed: whoever stamps them has set a clock.
        if due is None or timestamp < due - self.interval - self.slack:
            due = timestamp - self.slack
        if timestamp < due:
            return False
        self.due = max(due, timestamp - self.slack) + self.interval
        return True


class Held(NamedTuple):
    """A reading that waits until its interval is over. `time` is its own, Unix ms."""

    value: Any
    code: str | None
    time: int
    insight: Insight | None


class DeviceThrottle:
    """At most one reading of each point of a device per `interval`, in ms.

    Polls pass as a whole or not at all: the next one is as good. Of a device that tells what has changed each
    point has its own interval, and the last reading that was held back goes when that is over: nobody is left
    with an outdated value.
    """

    def __init__(self, interval: int) -> None:
        self._whole = Throttle(interval)
        self._interval, self._slack = interval, self._whole.slack
        self._each = False
        """Whether each point has its own interval."""
        self._points: tuple[Point, ...] = ()
        self._due: dict[int, int] = {}
        self._held: dict[int, Held] = {}
        self.source: Source | None = None
        """Of what is held."""
        self.awaited: int | None = None
        """For its owner to note by what number it will ask for what can be released."""

    def admit(self, batch: Batch, choice: Choice, now: int) -> Batch | None:
        """What of the batch is to be published; of what is not chosen, anything. `now` is when it came."""
        if batch.past:
            return batch
        if not self._each:
            if batch.indices is None and not batch.source.pushed:
                return batch if self._whole.admits(now) else None
            self._each = True
        if batch.source.points is not self._points:
            self._become(batch.source.points)
        return self._admit(batch, choice.positions(batch), now)

    def _become(self, points: tuple[Point, ...]) -> None:
        """Points that are where and what they were keep their intervals."""
        changed = changed_points(self._points, points)
        if changed is None:
            self._due.clear()
            self._held.clear()
        for index in changed or ():
            self._due.pop(index, None)
            self._held.pop(index, None)
        self._points = points

    def _admit(self, batch: Batch, positions: Positions, now: int) -> Batch | None:
        numbers, due, held = batch.indices, self._due, self._held
        behind = now - self._slack
        first = behind if self._whole.due is None else self._whole.due
        kept: list[int] = []
        chosen = places(positions, batch)
        for position in chosen:
            index = position if numbers is None else numbers[position]
            at = due.get(index, first)
            if now < at and at - now <= self._interval:
                held[index] = _reading(batch, position)
                due[index] = at
                continue
            due[index] = (at if behind < at <= now else behind) + self._interval
            kept.append(position)
            if held:
                held.pop(index, None)
        self.source = batch.source if held else None
        if len(kept) == len(chosen):
            return batch if kept else None
        return _part(batch, kept) if kept else None

    @property
    def release_at(self) -> int | None:
        """When the first of what is held is to go; a little later than it could, so that others may go with
        it."""
        return min(self._due[index] for index in self._held) + self._slack if self._held else None

    def release(self, now: int, timestamp: int) -> Batch | None:
        """What has been held for long enough; `timestamp`, Unix ms, is the batch's."""
        ready = [index for index in self._held if self._due[index] <= now]
        for index in ready:
            self._due[index] = max(self._due[index], now - self._slack) + self._interval
        return self._batch(ready, timestamp)

    def release_all(self, timestamp: int) -> Batch | None:
        """All that is held."""
        return self._batch(list(self._held), timestamp)

    def _batch(self, indices: Iterable[int], timestamp: int) -> Batch | None:
        ready = [(index, self._held.pop(index)) for index in indices]
        source = self.source
        if not ready or source is None:
            return None
        if not self._held:
            self.source = None
        codes = [held.code for _, held in ready]
        insights = [held.insight for _, held in ready]
        return Batch(
            source,
            timestamp,
            [held.value for _, held in ready],
            codes if any(codes) else None,
            {},
            insights=insights if any(one is not None for one in insights) else None,
            indices=tuple(index for index, _ in ready),
            times=[held.time for _, held in ready],
        )


def _reading(batch: Batch, position: int) -> Held:
    codes, times, insights = batch.qualities, batch.times, batch.insights
    return Held(
        batch.values[position],
        None if codes is None else codes[position],
        batch.timestamp if times is None else times[position],
        None if insights is None else insights[position],
    )


def _part(batch: Batch, positions: list[int]) -> Batch:
    """The readings at these positions."""
    codes, times, insights, held = batch.qualities, batch.times, batch.insights, batch.indices
    return Batch(
        batch.source,
        batch.timestamp,
        [batch.values[position] for position in positions],
        None if codes is None else [codes[position] for position in positions],
        {},
        insights=None if insights is None else [insights[position] for position in positions],
        indices=tuple(positions if held is None else [held[position] for position in positions]),
        times=None if times is None else [times[position] for position in positions],
    )
