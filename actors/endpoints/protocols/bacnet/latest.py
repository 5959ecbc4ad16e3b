"""What a device has said last of each data point, whether it was asked or not; points are their places."""

from collections.abc import Sequence
from typing import Final

from . import kinds, quality, reading, tags
from .codec import Content, Found, Key, Refused, Value, key_of
from .points import DataPoint, Ref
from .reading import Reading

Contents = tuple[Content | None, Content | None]
"""A value, and the status flags that belong to it: None of an object that has none."""
Changed = list[tuple[int, Reading]]


class Latest:
    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nothing is known any more."""
        self.values: dict[int, Content] = {}
        self._flags: dict[int, Content | None] = {}
        self._told: dict[int, Reading] = {}
        self._why: dict[int, str | None] = {}
        """What the device says is wrong with what has a fault; None: it says nothing."""
        self.unread: set[int] = set()
        """What the last poll has brought no value of."""

    # What notifications say

    def value(self, index: int) -> Value | None:
        """For notifications that are of flags alone."""
        found = self.values.get(index)
        return found if isinstance(found, Value) else None

    def flags(self, index: int) -> Content | None:
        """For notifications that are of a value alone; those of an object of which nothing is known are not
        read."""
        return self._flags.get(index, _UNREAD)

    def knows_flags(self, index: int) -> bool:
        return index in self._flags

    def needs_reason(self, index: int) -> bool:
        """Whether it has a fault, and the device has not been asked why."""
        told = self._told.get(index)
        return told is not None and told[1] == quality.FAULT_CODE and index not in self._why

    # What polls find

    def refs(self, point: DataPoint, index: int, absent: set[Key]) -> tuple[Ref, ...]:
        """What to ask of a point; `absent` are properties that objects do not have."""
        if not _is_present(point):
            return (point.ref,)
        wanted = [kinds.STATUS_FLAGS] + [kinds.RELIABILITY] * (self._has_fault(index))
        others = [Ref(point.type, point.instance, prop) for prop in wanted]
        return (point.ref, *(ref for ref in others if key_of(ref) not in absent))

    def found(self, found: Found, point: DataPoint, index: int, absent: set[Key]) -> Contents:
        """`absent` as in `refs`."""
        content = found.get(key_of(point.ref))
        if isinstance(content, Value):
            self.unread.discard(index)
        else:
            self.unread.add(index)
        if not _is_present(point):
            return content, None
        if self._has_fault(index):
            self._why[index] = _reason(found.get(_key(point, kinds.RELIABILITY)))
        flags = _key(point, kinds.STATUS_FLAGS)
        return content, None if flags in absent else _there(found.get(flags))

    def differs(self, point: DataPoint, index: int, contents: Contents, states: list[str] | None) -> bool:
        """Whether a poll has found another value than was told."""
        told = self._told.get(index)
        return told is not None and not _same(told, self._read(point, index, contents, states))

    # Both

    def take(
        self,
        contents: dict[int, Contents],
        points: Sequence[DataPoint],
        states: dict[int, list[str]],
    ) -> Changed:
        """What is another than was told."""
        changed: Changed = []
        for index, (content, flags) in contents.items():
            one = self._read(points[index], index, (content, flags), states.get(index))
            if content is not None:
                self.values[index] = content
                self._flags[index] = flags
            if index not in self._told or not _same(self._told[index], one):
                self._told[index] = one
                changed.append((index, one))
        return changed

    def _read(self, point: DataPoint, index: int, contents: Contents, states: list[str] | None) -> Reading:
        value, code = reading.read(point, *contents, states)
        if code != quality.FAULT_CODE:
            self._why.pop(index, None)
            return value, code
        return value, self._why.get(index) or code

    def _has_fault(self, index: int) -> bool:
        return reading.is_fault(self._flags.get(index))


def _is_present(point: DataPoint) -> bool:
    return point.property_id == kinds.PRESENT_VALUE and point.index is None


def _key(point: DataPoint, prop: int) -> Key:
    return key_of(Ref(point.type, point.instance, prop))


def _there(flags: Content | None) -> Content | None:
    return None if isinstance(flags, Refused) and flags.code == _UNKNOWN_PROPERTY else flags or _UNREAD


def _reason(content: Content | None) -> str | None:
    if isinstance(content, Value) and content.tag == tags.ENUMERATED and content.value:
        return quality.reliability_code(content.value)
    return None


_UNKNOWN_PROPERTY: Final = 32
_UNREAD: Final = Refused(0, 0)


def _same(one: Reading, other: Reading) -> bool:
    return one == other and type(one[0]) is type(other[0])
