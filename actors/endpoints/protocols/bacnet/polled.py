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
from .codec import Content, Found, Key, Refused, Several, Value, key_of
from .finding import check_identity, identity
from .points import DataPoint, Ref
from .reader import LONGEST, Reader, patience_of
from .reading import read
from .session import BacnetSession

_UNKNOWN_PROPERTY: Final = 32
_ACTIVE_TEXT, _INACTIVE_TEXT = 4, 46
_FINDING: Final = 15.0
"""Seconds that it takes at most to find a device."""

Group = tuple[Ref, ...]
Told = tuple[Any, str | None, int]
"""What was read last of a point: value, code, Unix ms."""


class BacnetPolled(BacnetSession, PolledSession):
    def __init__(self, endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> None:
        super().__init__(endpoint, listener, lines)
        self._reader: Reader | None = None
        self._states: dict[int, list[str]] = {}
        """Texts of states, by point."""
        self._due = [0.0] * len(self._points)
        self._told: list[Told] = []
        self._groups: dict[tuple[int, ...], tuple[int, list[Group]]] = {}
        """Of the points that are due together; with the version of what the device is known to be able to."""
        self._has_own_pace = any(point.interval is not None for point in self._points)

    @property
    def patience(self) -> float:
        one_answer = patience_of(self._connection)
        # The last request of a reading may begin just before its time is over.
        return _FINDING + 2 * (max(LONGEST, one_answer) + one_answer + self._connection.timeout)

    # The connection

    async def connect(self) -> None:
        asking = await self._open()
        capability = asking.port.capability(asking.station)
        self._reader = Reader(asking.port, asking.station, capability, self._connection)
        self._states.clear()
        self._told.clear()
        self._due = [0.0] * len(self._points)
        await self._reader.answers(self._probe())

    def _probe(self) -> list[Ref]:
        if not self._points:
            return [Ref(kinds.DEVICE, self._found_instance, kinds.OBJECT_NAME)]
        first = self._points[0].ref
        return [first, _of(first, kinds.STATUS_FLAGS)]

    # Reading

    async def read(self, within: float) -> PollResult:
        assert self._reader is not None
        until = monotonic() + within
        due = self._now_due()
        if not due:
            return self._result(None)
        reader = self._reader
        found = await reader.read([*self._identity(), *self._asked(due)], within)
        self._check(found)
        self._learn_absent(due, found)
        if len(self._states) < len(self._points):
            await self._learn_states(due, found, until)
        told = self._read(due, found)
        await self._tell_why(due, found, told, until)
        return self._result(told, due)

    @property
    def _found_instance(self) -> int:
        known = None if self._found is None else self._found.instance
        return kinds.ANY_INSTANCE if known is None else known

    def _identity(self) -> list[Group]:
        """Read along, so that nothing is taken from another device that has the address now."""
        who = None if self._found is None else identity(self._found)
        return [] if who is None else [(who,)]

    def _check(self, found: Found) -> None:
        assert self._found is not None
        check_identity(found, self._found, self._found.station)

    def _now_due(self) -> tuple[int, ...]:
        if not self._has_own_pace:
            return tuple(range(len(self._points)))
        now = monotonic()
        due = tuple(place for place, moment in enumerate(self._due) if moment <= now + _EARLY)
        for place in due:
            self._due[place] = now + (self._points[place].interval or 0.0)
        return due

    def _asked(self, due: tuple[int, ...]) -> list[Group]:
        assert self._reader is not None
        capability = self._reader.capability
        version, groups = self._groups.get(due, (-1, []))
        if version != capability.version:
            groups = list(_groups_of((self._points[place] for place in due), capability))
            if len(self._groups) > _MOST_GROUPS:
                self._groups.clear()
            self._groups[due] = capability.version, groups
        return groups

    def _learn_absent(self, due: Iterable[int], found: Found) -> None:
        assert self._reader is not None
        for place in due:
            point = self._points[place]
            key = _flags_key(point)
            content = found.get(key) if key is not None else None
            if key is not None and isinstance(content, Refused) and content.code == _UNKNOWN_PROPERTY:
                self._reader.capability.lacks(key)

    def _read(self, due: Iterable[int], found: Found) -> list[tuple[Any, str | None]]:
        assert self._reader is not None
        absent = self._reader.capability.absent
        told = []
        for place in due:
            point = self._points[place]
            key = _flags_key(point)
            flags: Content | None = None
            if key is not None and key not in absent:
                flags = found.get(key, _NOTHING)
            told.append(read(point, found.get(key_of(point.ref)), flags, self._states.get(place)))
        return told

    def _result(self, told: list[tuple[Any, str | None]] | None, due: Sequence[int] = ()) -> PollResult:
        if told is not None and len(due) == len(self._points):
            values, codes = [value for value, _ in told], [code for _, code in told]
            if self._has_own_pace:
                now = unix_ms()
                self._told = [(*one, now) for one in told]
            return PollResult(values, codes if any(codes) else None)
        now = unix_ms()
        for place, one in zip(due, told or (), strict=True):
            self._told[place] = *one, now
        values, codes = [one[0] for one in self._told], [one[1] for one in self._told]
        return PollResult(values, codes if any(codes) else None, [one[2] for one in self._told])

    # What is asked seldom

    async def _tell_why(
        self, due: Sequence[int], found: Found, told: list[tuple[Any, str | None]], until: float
    ) -> None:
        """Faults by the device's own word for them."""
        assert self._reader is not None
        absent = self._reader.capability.absent
        faulty = [
            (position, _of(self._points[place].ref, kinds.RELIABILITY))
            for position, place in enumerate(due)
            if told[position][1] == quality.FAULT_CODE
        ]
        faulty = [one for one in faulty if key_of(one[1]) not in absent]
        if not faulty:
            return
        said = await self._also(((ref,) for _, ref in faulty), until)
        for position, ref in faulty:
            content = said.get(key_of(ref))
            if isinstance(content, Refused):
                self._reader.capability.lacks(key_of(ref))
            elif isinstance(content, Value) and content.tag == tags.ENUMERATED and content.value:
                told[position] = None, quality.reliability_code(content.value)

    async def _learn_states(self, due: Iterable[int], found: Found, until: float) -> None:
        """Texts of states, once a connection."""
        asked = {
            place: _texts_of(self._points[place])
            for place in due
            if self._points[place].state_text
            and place not in self._states
            and isinstance(found.get(key_of(self._points[place].ref)), Value)
        }
        if not asked:
            return
        said = await self._also(asked.values(), until)
        for place, refs in asked.items():
            spoken = [said.get(key_of(ref)) for ref in refs]
            if None not in spoken:
                self._states[place] = [text for content in spoken for text in _texts(content)]

    async def _also(self, groups: Iterable[Group], until: float) -> Found:
        """What is good to know, but no reason to lose what was read."""
        assert self._reader is not None
        try:
            return await self._reader.read(groups, max(0.0, until - monotonic()))
        except Transient:
            return {}


_EARLY: Final = 0.05
"""Seconds: polls are not that punctual."""
_MOST_GROUPS: Final = 32
_NOTHING: Final = Several(b"")


def _of(ref: Ref, property_id: int) -> Ref:
    return Ref(ref.type, ref.instance, property_id)


def _flags_key(point: DataPoint) -> Key | None:
    """Of the status flags that go with a present value."""
    if point.property_id != kinds.PRESENT_VALUE or point.index is not None:
        return None
    return point.type << 22 | point.instance, kinds.STATUS_FLAGS, None


def _groups_of(points: Iterable[DataPoint], capability: Capability) -> Iterable[Group]:
    """What is asked of each object."""
    objects: dict[tuple[int, int], list[Ref]] = {}
    for point in points:
        refs = objects.setdefault((point.type, point.instance), [])
        refs.append(point.ref)
        key = _flags_key(point)
        if key is not None and key not in capability.absent:
            refs.append(_of(point.ref, kinds.STATUS_FLAGS))
    return (tuple(dict.fromkeys(refs)) for refs in objects.values())


def _texts_of(point: DataPoint) -> Group:
    """Where the texts of an object's states are."""
    if point.type in kinds.BINARY:
        return _of(point.ref, _INACTIVE_TEXT), _of(point.ref, _ACTIVE_TEXT)
    return (_of(point.ref, kinds.STATE_TEXT),)


def _texts(content: Content | None) -> list[str]:
    """Of one or more; of what the device does not tell, an empty one."""
    if isinstance(content, Value):
        return [content.value if content.tag == tags.CHARACTERS else ""]
    if not isinstance(content, Several):
        return [""]
    found, at = [], 0
    try:
        while at < len(content.octets):
            tag, value, at = tags.read_value(content.octets, at)
            found.append(value if tag == tags.CHARACTERS else "")
    except (tags.Malformed, IndexError):
        return [""]
    return found
