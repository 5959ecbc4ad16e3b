"""DataValues of fixed size on the wire (part 6, 5.2.2.17): neighbours that differ only in their numbers."""

import struct
from collections.abc import Sequence
from typing import Final

VALUE, STATUS, SOURCE, SERVER, SOURCE_PICO, SERVER_PICO = (1 << bit for bit in range(6))
"""Bits of a DataValue's mask: what there is of it."""
KNOWN: Final = 0x3F

FIXED: Final = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""The types of a fixed size, by number."""

# In the order of the wire, which is not that of the bits.
_PARTS = ((STATUS, "I"), (SOURCE, "q"), (SOURCE_PICO, "2x"), (SERVER, "q"), (SERVER_PICO, "2x"))
_FEW = 4
"""Neighbours from which on it pays to take them together."""
_EPOCH = 116_444_736_000_000_000  # of Unix, in ticks of 100 ns since 1601
_LAST = 2_650_467_743_990_000_000  # the end of the year 9999, which says that there is none
_TICKS = 10_000  # in a millisecond


class Shape:
    """`value` and those below are places among what `packing` unpacks; 0: there is none."""

    def __init__(self, mask: int, kind: int, numbered: bool) -> None:
        """`numbered`: with a handle before the mask."""
        pattern = ["<", "I" if numbered else "", "xx", FIXED[kind]]
        pattern += [part for bit, part in _PARTS if mask & bit]
        self.mask, self.kind, self.lead = mask, kind, 4 if numbered else 0
        self.packing = struct.Struct("".join(pattern))
        self.size = self.packing.size
        self.value = int(numbered)
        self.status = self.value + 1 if mask & STATUS else 0
        after = self.value + 1 + bool(self.status)
        self.source = after if mask & SOURCE else 0
        self.server = after + bool(self.source) if mask & SERVER else 0


class _Shapes(dict[int, Shape | None]):
    """By mask and type (the one times 256 plus the other), made when first met; None of what has no fixed
    size."""

    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered

    def __missing__(self, key: int) -> Shape | None:
        mask, kind = key >> 8, key & 0xFF
        fixed = kind in FIXED and not mask & ~KNOWN
        shape = self[key] = Shape(mask, kind, self._numbered) if fixed else None
        return shape


NUMBERED, PLAIN = _Shapes(True), _Shapes(False)


def neighbours(body: bytes, at: int, shape: Shape, most: int) -> int:
    """How many DataValues from the one on whose mask is at `at` are of its shape and complete; 1 if they are
    few."""
    size = shape.size
    most = min(most, (len(body) - at + shape.lead) // size)
    ahead = at + (_FEW - 1) * size
    if most < _FEW or body[ahead] != shape.mask or body[ahead + 1] != shape.kind:
        return 1
    end = at + most * size
    # Each begins where the one before ends: up to the first that differs, all are where they are looked for.
    masks, kinds = body[at:end:size], body[at + 1 : end : size]
    others = max(len(masks.lstrip(bytes((shape.mask,)))), len(kinds.lstrip(bytes((shape.kind,)))))
    return most - others


def stamps(ticks: Sequence[int]) -> Sequence[int | None]:
    """Unix ms of DateTimes; None of those that say that there is no time."""
    if min(ticks) > _EPOCH and max(ticks) < _LAST:
        return [(tick - _EPOCH) // _TICKS for tick in ticks]
    return [stamp(tick) for tick in ticks]


def stamp(tick: int) -> int | None:
    return (tick - _EPOCH) // _TICKS if _EPOCH < tick < _LAST else None
