"""Trend logs (ASHRAE 135, clause 12.25), read by ReadRange: what a device has recorded of a data point."""

from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from bacpypes3.apdu import ReadRangeACK, ReadRangeRequest
from bacpypes3.basetypes import (
    DateTime,
    DeviceObjectPropertyReference,
    LogRecord,
    PropertyIdentifier,
    Range,
    RangeByPosition,
    RangeBySequenceNumber,
    RangeByTime,
)
from bacpypes3.constructeddata import SequenceOf
from bacpypes3.primitivedata import Date, TagList, Time

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.protocol import BackfillRequest, Recorded
from actors.system.failure import Refusal

from . import kinds, quality, reading, tags
from .asking import Asking, Refused, object_id
from .browse import object_list
from .codec import Content, Value
from .device_time import DeviceTime, device_time
from .points import DataPoint, Ref, parse_object

_LOG_BUFFER, _REFERENCE, _COUNT, _TOTAL = 131, 132, 141, 145
_AT_A_TIME: Final = 100
"""Records that are asked for at a time; devices send as many as fit."""
_BEYOND: Final = 2**32
_AS_LISTED: Final = 60.0
"""Seconds for which a point without a log is believed to have none."""
_MOST_NOTES: Final = 20
_MOST_LOGS: Final = 500
_STATUS: Final = ("it was disabled", "its buffer was purged", "it was interrupted")


class TrendLogs:
    """Of one device; which log is of which data point is remembered."""

    def __init__(self) -> None:
        self._references: dict[int, Ref | None] | None = None
        """What each log records, by its instance; None: of another device, or not known."""
        self._listed_at = 0.0

    async def backfill(
        self,
        asking: Asking,
        instance: int,
        points: Sequence[DataPoint],
        request: BackfillRequest,
        states: Any,
    ) -> list[Recorded]:
        """See `Session.backfill`; `points` are those that were asked for, `states` the texts of each. Raises
        `Refusal` and `NoConnection`."""
        until = monotonic() + request.within
        logs = [await self._log_of(asking, instance, point, request.log) for point in points]
        if not any(log is not None for log in logs):
            names = ", ".join(point.name for point in points[:5])
            raise Refusal(f"the device has no trend log of {names}", "points", "not_found")
        time = await device_time(asking, instance)
        found: list[Recorded] = []
        for point, log in zip(points, logs, strict=True):
            if log is None:
                found.append(
                    Recorded(point.name, None, [], [], [], notes=("the device has no trend log of it",))
                )
            else:
                one = _Log(asking, log, point, time, states.get(point.name))
                found.append(await one.read(request, until))
        return found

    async def _log_of(self, asking: Asking, instance: int, point: DataPoint, said: str | None) -> int | None:
        if said is not None:
            number = _instance_of(said)
            ref = await _reference(asking, number, instance)
            if ref is not None and ref != point.ref:
                raise Refusal(f"{said} records {ref}, not {point.ref}", "log")
            return number
        known = self._of(point)
        if known is not None and await _reference_or_none(asking, known, instance) == point.ref:
            return known
        if known is not None or monotonic() - self._listed_at > _AS_LISTED:
            self._references = None  # operators set logs to record something else, and add new ones
        if self._references is None:
            logs = [number for kind, number in await object_list(asking, instance) if kind == kinds.TREND_LOG]
            self._references = {
                number: await _reference_or_none(asking, number, instance) for number in logs[:_MOST_LOGS]
            }
            self._listed_at = monotonic()
        return self._of(point)

    def _of(self, point: DataPoint) -> int | None:
        known = (self._references or {}).items()
        return next((number for number, ref in known if ref == point.ref), None)


def _instance_of(text: str) -> int:
    try:
        ref = parse_object(text)
    except ValueError as error:
        raise Refusal(f"log: {error}", "log") from error
    if ref.type != kinds.TREND_LOG:
        raise Refusal(f"{text} is no trend log such as trend-log:3", "log")
    return ref.instance


async def _reference_or_none(asking: Asking, number: int, instance: int) -> Ref | None:
    try:
        return await _reference(asking, number, instance)
    except Refusal:
        return None


async def _reference(asking: Asking, number: int, instance: int) -> Ref | None:
    """What it records, if that is of the same device. Raises `Refusal` when there is no such log."""
    try:
        given = await asking.read_raw(kinds.TREND_LOG, number, _REFERENCE)
    except Refused as refused:
        if refused.name == "UNKNOWN_OBJECT":
            raise Refusal(f"the device has no trend-log:{number}", "log", "not_found") from None
        return None
    try:
        found = DeviceObjectPropertyReference.decode(given)
        device = found.deviceIdentifier
        if device is not None and int(device[1]) not in (instance, kinds.ANY_INSTANCE):
            return None
        kind, which = found.objectIdentifier
        index = found.propertyArrayIndex
        return Ref(
            int(kind), int(which), int(found.propertyIdentifier), None if index is None else int(index)
        )
    except Exception:  # noqa: BLE001 - whatever the library makes of an odd answer
        return None


class _Log:
    def __init__(
        self, asking: Asking, number: int, point: DataPoint, time: DeviceTime, states: list[str] | None
    ) -> None:
        self._asking = asking
        self._number = number
        self._point = point
        self._time = time
        self._states = states
        self._notes: dict[str, None] = dict.fromkeys(time.notes)
        self._undated = 0
        self._partial = False
        """Whether there are more records than could be asked for."""

    async def read(self, request: BackfillRequest, until: float) -> Recorded:
        kept: deque[tuple[int, Any, str | None]] = deque(maxlen=request.limit)
        dropped, complete = 0, True
        following: int | None = None
        try:
            reply = await self._first(request)
            while reply is not None:
                records, following = self._records(reply, following)
                over = False
                for record in records:
                    one = self._reading(record)
                    if one is None or (request.since is not None and one[0] < request.since):
                        continue
                    if request.until is not None and one[0] >= request.until:
                        over = True
                        continue
                    dropped += len(kept) == request.limit
                    kept.append(one)
                if over or not records or following is None:
                    break
                if monotonic() >= until:
                    complete = False
                    self._note("there was no time for all of it")
                    break
                reply = await self._next(following)
        except Refused as refused:
            raise refused.refusal(f"to read trend-log:{self._number}", "log") from None
        except NoConnection as error:
            if not kept:
                raise
            complete = False
            self._note(f"the device stopped answering: {error}")
        if self._undated:
            self._note(f"{self._undated} records without a whole time are left out")
        ordered = sorted(kept, key=lambda one: one[0])
        return Recorded(
            self._point.name,
            f"trend-log:{self._number}",
            [value for _, value, _ in ordered],
            [code for _, _, code in ordered],
            [time for time, _, _ in ordered],
            complete and not dropped and not self._partial,
            tuple(self._notes)[:_MOST_NOTES],
        )

    # Asking

    async def _first(self, request: BackfillRequest) -> Any:
        """The first records of what is wanted; None: the log is empty."""
        if request.since is not None:
            # Those that are later than that moment (clause 15.8.1.1.4.3).
            local = self._time.local(request.since - 10)
            date = Date((local.year - 1900, local.month, local.day, local.isoweekday()))
            time = Time((local.hour, local.minute, local.second, local.microsecond // 10_000))
            reference = DateTime(date=date, time=time)
            try:
                return await self._ask(Range(byTime=RangeByTime(referenceTime=reference, count=_AT_A_TIME)))
            except Refused:
                self._note("the device does not find records by time: all of them were read")
        count = await self._number_of(_COUNT)
        total = await self._number_of(_TOTAL)
        if not count:
            return None
        if total is None:
            self._partial = count > _AT_A_TIME
            return await self._ask(Range(byPosition=RangeByPosition(referenceIndex=1, count=_AT_A_TIME)))
        wanted = (
            count if request.since is not None or request.until is not None else min(count, request.limit)
        )
        return await self._next(1 + (total - wanted) % (_BEYOND - 1))

    async def _next(self, sequence: int) -> Any:
        by_sequence = RangeBySequenceNumber(referenceSequenceNumber=sequence, count=_AT_A_TIME)
        return await self._ask(Range(bySequenceNumber=by_sequence))

    async def _ask(self, span: Any) -> Any:
        request = ReadRangeRequest(
            objectIdentifier=object_id(kinds.TREND_LOG, self._number),
            propertyIdentifier=PropertyIdentifier(_LOG_BUFFER),
            range=span,
        )
        reply = await self._asking.request(request)
        if not isinstance(reply, ReadRangeACK) or reply.objectIdentifier != request.objectIdentifier:
            raise Transient("the device answers another question", code=quality.READ_ERROR)
        return reply

    async def _number_of(self, prop: int) -> int | None:
        try:
            found = await self._asking.read(kinds.TREND_LOG, self._number, prop)
        except Refused:
            return None
        return found if isinstance(found, int) else None

    # Reading

    def _records(self, reply: Any, expected: int | None) -> tuple[list[Any], int | None]:
        """The records of an answer, and the sequence number of the next; None: there is no more."""
        try:
            inside = reply.itemData.tagList[1:-1] if reply.itemData is not None else []
            records = list(SequenceOf(LogRecord).decode(TagList(list(inside))))
            first = None if reply.firstSequenceNumber is None else int(reply.firstSequenceNumber)
            more = bool(reply.resultFlags[2]) or not bool(reply.resultFlags[1])
        except Exception as error:
            raise Transient("a log that cannot be read", code=quality.READ_ERROR) from error
        if first is None or not records:
            self._partial = self._partial or (more and bool(records))
            return records, None
        if expected is not None and first != expected:
            missed = (first - expected) % _BEYOND
            if missed > _BEYOND // 2:
                # It goes round in circles, or does not know what it numbers: there would be no end.
                self._note("the device does not number its records as it should: not all were read")
                self._partial = True
                return [], None
            self._note(f"{missed} records were overwritten meanwhile")
        following = first + len(records)
        return records, (following if following < _BEYOND else 1) if more else None

    def _reading(self, record: Any) -> tuple[int, Any, str | None] | None:
        """Time, value and code; None for what is no reading, which is noted."""
        time = self._time.ms(record.timestamp.date, record.timestamp.time)
        datum = record.logDatum
        if datum.logStatus is not None:
            flags = [text for bit, text in zip(datum.logStatus, _STATUS, strict=False) if bit]
            when = "" if time is None else f"{self._time.local(time):%Y-%m-%d %H:%M:%S}: "
            self._note(f"{when}{' and '.join(flags) or 'it was enabled'}")
            return None
        if datum.timeChange is not None:
            self._note(f"the device's clock was set by {float(datum.timeChange):g} s")
            return None
        if time is None or time < 0:
            self._undated += 1
            return None
        if datum.failure is not None:
            return time, None, str(datum.failure.errorCode).upper().replace("-", "_")
        flags = record.statusFlags
        spoken: Content | None = None
        if flags is not None:
            spoken = Value(tags.BITS, tuple(int(bit) for bit in flags))
        return time, *reading.read(self._point, _content(datum), spoken, self._states)

    def _note(self, text: str) -> None:
        self._notes[text] = None


def _content(datum: Any) -> Content | None:
    if datum.realValue is not None:
        return Value(tags.REAL, float(datum.realValue))
    if datum.enumValue is not None:
        return Value(tags.ENUMERATED, int(datum.enumValue))
    if datum.unsignedValue is not None:
        return Value(tags.UNSIGNED, int(datum.unsignedValue))
    if datum.signedValue is not None:
        return Value(tags.SIGNED, int(datum.signedValue))
    if datum.booleanValue is not None:
        return Value(tags.BOOLEAN, bool(datum.booleanValue))
    if datum.bitstringValue is not None:
        return Value(tags.BITS, tuple(int(bit) for bit in datum.bitstringValue))
    return Value(tags.NULL, None)
