"""An endpoint that is read by polling."""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any, Final

from actors.connections.connection import Transient
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult
from storage.timestamps import unix_ms

from . import kinds, quality, tags
from .capability import Capability
from .codec import Content, Key, Refused, Several, Value, key_of
from .codec import Found as Said
from .finding import Found, check_identity, identity
from .points import DataPoint, Ref
from .reader import LONGEST, Group, Job, Reader, patience_of
from .reading import Reading, read
from .session import BacnetSession

Plan = tuple[int, list[Job]]
"""What to ask, with the version of what the device is known to be able to do."""
Told = tuple[Any, str | None, int]
"""What was read last of a point: value, code, Unix ms."""


class BacnetPolled(BacnetSession, PolledSession):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        super().__init__(endpoint, listener, lines)
        self._places = [_Place(point) for point in self._points]
        self._due: list[float] = []
        """When each point is to be read again; monotonic seconds."""
        self._told: list[Told] = []
        self._plans: dict[tuple[int, ...], Plan] = {}
        """By the points that are due together."""
        self._has_own_pace = any(point.interval is not None for point in self._points)

    @property
    def patience(self) -> float:
        """The last request of a reading may begin just before its time is over, and finding the device again
        takes its time too."""
        one_answer = patience_of(self._connection)
        reading = 2 * (max(LONGEST, one_answer) + one_answer + self._connection.timeout)
        return max(reading, super().patience)

    # The connection

    async def connect(self) -> None:
        await self._open()
        assert self._reader is not None
        self._reader.capability.doubt()
        self._plans.clear()
        self._told.clear()
        self._due = [0.0] * len(self._points)
        await self._asked().answers(self._probe())

    def _probe(self) -> list[Ref]:
        if not self._points:
            return [Ref(kinds.DEVICE, self._device, 75), Ref(kinds.DEVICE, self._device, kinds.OBJECT_NAME)]
        first = self._points[0].ref
        return [first, _of(first, kinds.STATUS_FLAGS)]

    # Reading

    async def read(self, within: float) -> PollResult:
        reader, who = self._asked(), self._found
        assert who is not None
        until = monotonic() + within
        due = self._now_due()
        if not due and self._points:
            return self._result([], due)
        found = await reader.carry_out(self._plan(reader, who, due), within)
        check_identity(found, who, who.station)
        self._learn_absent(reader.capability, due, found)
        told = self._read(reader.capability, due, found)
        if any(code == quality.FAULT_CODE for _, code in told):
            await self._tell_why(reader, due, told, until)
        return self._result(told, due)

    @property
    def _device(self) -> int:
        known = None if self._found is None else self._found.instance
        return kinds.ANY_INSTANCE if known is None else known

    def _now_due(self) -> tuple[int, ...]:
        if not self._has_own_pace:
            return tuple(range(len(self._points)))
        now = monotonic()
        due = tuple(place for place, moment in enumerate(self._due) if moment <= now + _EARLY)
        for place in due:
            self._due[place] = now + (self._points[place].interval or 0.0)
        return due

    def _plan(self, reader: Reader, who: Found, due: tuple[int, ...]) -> list[Job]:
        """What to ask, who it is among it: nothing is taken from another device that has the address now."""
        capability = reader.capability
        capability.look()
        plan = self._plans.get(due)
        if plan is None or plan[0] != capability.version:
            own = identity(who)
            groups: list[Group] = [] if own is None else [(own,)]
            groups += _groups_of((self._places[place] for place in due), capability)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[due] = capability.version, reader.plan(groups or [tuple(self._probe()[:1])])
        return plan[1]

    def _learn_absent(self, capability: Capability, due: Iterable[int], found: Said) -> None:
        """Not every object has status flags."""
        for place in due:
            key = self._places[place].flags
            content = None if key is None else found.get(key)
            if key is not None and isinstance(content, Refused) and content.code == _UNKNOWN_PROPERTY:
                capability.lacks(key)

    def _read(self, capability: Capability, due: Iterable[int], found: Said) -> list[Reading]:
        absent, states = capability.absent, self._descriptions.states
        told = []
        for place in due:
            one = self._places[place]
            flags: Content | None = None
            if one.flags is not None and one.flags not in absent:
                flags = found.get(one.flags, _NOTHING)
            told.append(read(one.point, found.get(one.key), flags, states.get(place)))
        return told

    def _result(self, told: list[Reading], due: Sequence[int]) -> PollResult:
        times = None
        if self._has_own_pace:
            now = unix_ms()
            if not self._told:
                self._told = [(None, quality.TIMEOUT, now)] * len(self._points)
            for place, (value, code) in zip(due, told, strict=True):
                self._told[place] = value, code, now
                if code == quality.TIMEOUT:
                    self._due[place] = 0.0  # an answer that was lost is no reason to wait for the next turn
            told = [one[:2] for one in self._told]
            times = [one[2] for one in self._told]
        codes = [code for _, code in told]
        return PollResult([value for value, _ in told], codes if any(codes) else None, times)

    async def _tell_why(self, reader: Reader, due: Sequence[int], told: list[Reading], until: float) -> None:
        """Faults by the device's own word for them."""
        capability = reader.capability
        faulty = [
            (position, _of(self._points[place].ref, kinds.RELIABILITY))
            for position, place in enumerate(due)
            if told[position][1] == quality.FAULT_CODE
        ]
        asked = [(ref,) for _, ref in faulty if key_of(ref) not in capability.absent]
        try:
            said = await reader.read(asked, max(0.0, until - monotonic()))
        except Transient:
            return  # that is no reason to lose what was read
        for position, ref in faulty:
            content = said.get(key_of(ref))
            if isinstance(content, Refused) and content.code == _UNKNOWN_PROPERTY:
                capability.lacks(key_of(ref))
            elif isinstance(content, Value) and content.tag == tags.ENUMERATED and content.value:
                told[position] = None, quality.reliability_code(content.value)


_EARLY: Final = 0.05
"""Seconds: polls are not that punctual."""
_MOST_PLANS: Final = 32
_UNKNOWN_PROPERTY: Final = 32
_NOTHING: Final = Several(b"")


class _Place:
    """A data point, and where what is said of it is found; `flags` are the status flags that go with a
    present value."""

    def __init__(self, point: DataPoint) -> None:
        self.point = point
        self.ref = point.ref
        self.key = key_of(self.ref)
        present = point.property_id == kinds.PRESENT_VALUE and point.index is None
        self.flags: Key | None = key_of(_of(self.ref, kinds.STATUS_FLAGS)) if present else None


def _of(ref: Ref, property_id: int) -> Ref:
    return Ref(ref.type, ref.instance, property_id)


def _groups_of(places: Iterable[_Place], capability: Capability) -> list[Group]:
    """What is asked of each object."""
    objects: dict[tuple[int, int], list[Ref]] = {}
    for one in places:
        refs = objects.setdefault((one.ref.type, one.ref.instance), [])
        refs.append(one.ref)
        if one.flags is not None and one.flags not in capability.absent:
            refs.append(_of(one.ref, kinds.STATUS_FLAGS))
    return [tuple(dict.fromkeys(refs)) for refs in objects.values()]
