"""What a device has shown that it can do; doubted once a day."""

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final

from . import kinds
from .codec import Key, key_of
from .points import Ref

_FORGET_AFTER: Final = 86_400.0
"""Seconds: a device may get other firmware."""

_DOUBT_AFTER: Final = 600.0
"""Seconds: answers are lost without being too long, and a device that begins anew says odd things."""

OURS: Final = 1476
"""Octets of the longest APDU on BACnet/IP."""
_UNKNOWN: Final = 1024
_UNKNOWN_BEHIND_ROUTER: Final = 480
"""MS/TP's (clause 20.1.2.5)."""
_LEAST: Final = 50
_ACK: Final = 3
_OBJECT: Final = 7
_SCALAR: Final = 12
_TEXT: Final = 60
"""Octets of answers at most, of texts as they usually are."""
_TEXTS: Final = frozenset({40})
_TEXT_PROPERTIES: Final = frozenset({4, 12, 28, 44, 46, 58, 70, 77, 110, 121, 168, 31, 1, 3})
_NUMBERS: Final = kinds.ANALOG | kinds.BINARY | kinds.MULTISTATE


class Capability:
    """Of one device, whoever asks it. `version` grows with what is to be asked for at a time."""

    def __init__(self, longest: int | None = None, *, behind_router: bool = False) -> None:
        """`longest` APDU that the device takes, in octets, if it has said so."""
        self._longest = longest or (_UNKNOWN_BEHIND_ROUTER if behind_router else _UNKNOWN)
        self.version = 0
        self._forget()

    def _forget(self) -> None:
        self._since = self._doubted_since = monotonic()
        self.multiple = True
        """whether it knows ReadPropertyMultiple"""
        self.room = _room(self._longest)
        """octets of an answer"""
        self._most: int | None = None
        self._most_doubted: int | None = None
        self.mixes = False
        """whether it has answered one request with what another one asked for: then there is one at a time"""
        self.alone: set[Key] = set()
        """what the device answers with an error for all that was asked for together with it"""
        self.absent: set[Key] = set()
        """optional properties that objects do not have"""

    def look(self) -> None:
        """Before anything is asked: what was learned long ago may not be so any more."""
        now = monotonic()
        if now - self._since > _FORGET_AFTER:
            self._forget()
            self.version += 1
        elif now - self._doubted_since > _DOUBT_AFTER:
            self.doubt()

    def doubt(self) -> None:
        """What may have had other reasons is found out anew."""
        self._doubted_since = monotonic()
        if self.absent or self._most_doubted is not None:
            self.absent = set()
            self._most_doubted = None
            self.version += 1

    @property
    def most(self) -> int | None:
        """Properties in one request; None: as many as fit."""
        known = [most for most in (self._most, self._most_doubted) if most is not None]
        return min(known, default=None)

    def accepts(self, longest: int) -> None:
        """The device says what it takes."""
        if longest != self._longest:
            self._longest = longest
            self.room = _room(longest)
            self.version += 1

    def knows_no_multiple(self) -> None:
        if self.multiple:
            self.multiple = False
            self.version += 1

    def spoils(self, key: Key) -> None:
        if key not in self.alone:
            self.alone.add(key)
            self.version += 1

    def lacks(self, key: Key) -> None:
        if key not in self.absent:
            self.absent.add(key)
            self.version += 1

    def too_much(self, properties: int, *, said: bool) -> None:
        """So many properties were more than it could say at once; it has `said` so, or nothing at all."""
        most = max(1, properties // 2)
        if self.most is not None and self.most <= most:
            return
        if said:
            self._most = most
        else:
            self._most_doubted = most
        self.version += 1

    # Requests

    def batches(self, groups: Iterable[tuple[Ref, ...]]) -> Iterator[tuple[Ref, ...]]:
        """Together what fits into one request and its answer. Each group is of one object, and stays together
        where it can."""
        batch: list[Ref] = []
        asked = answered = 0
        for group in groups:
            together = [ref for ref in group if self.multiple and key_of(ref) not in self.alone]
            for ref in group:
                if ref not in together:
                    yield (ref,)
            if not together:
                continue
            question, answer = _sizes(together)
            full = self.most is not None and len(batch) + len(together) > self.most
            if batch and (full or asked + question > self.room or answered + answer > self.room):
                yield tuple(batch)
                batch, asked, answered = [], 0, 0
            batch += together
            asked, answered = (asked or 5) + question, (answered or _ACK) + answer
        if batch:
            yield tuple(batch)


def _room(longest: int) -> int:
    return max(_LEAST, min(longest, OURS))


def _sizes(refs: list[Ref]) -> tuple[int, int]:
    """Octets of the question and of the answer, about one object."""
    heads = sum(_head(ref) for ref in refs)
    return _OBJECT + heads, _OBJECT + sum(_content(ref) for ref in refs) + heads


def _head(ref: Ref) -> int:
    return 2 + (ref.property_id > 255) + (0 if ref.index is None else 3)


def _content(ref: Ref) -> int:
    if ref.property_id == kinds.STATUS_FLAGS:
        return 5
    if ref.property_id == kinds.PRESENT_VALUE and ref.type in _NUMBERS:
        return 7
    is_text = ref.property_id in _TEXT_PROPERTIES or ref.type in _TEXTS
    return 2 + (_TEXT if is_text else _SCALAR)
