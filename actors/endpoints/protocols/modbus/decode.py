"""From the bytes of a reply to values (spec 03 section 2.2), compiled once per read request.

The points of a request are sorted into layers: points that share byte order and kind of arithmetic and
do not overlap. One `struct` call unpacks a layer, one comprehension finishes it. What no `struct` can unpack
is read value by value.
"""

import struct
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf, isnan
from typing import Any, NamedTuple

from msgspec.structs import replace

from .finish import Finish, arithmetic, finish_of
from .kinds import BYTES, FLOATS, NAMED_ORDERS, SIGNED, bits_of
from .options import NO_EXTRA
from .points import DataPoint
from .quality import READ_ERROR
from .single import NO_VALUE, OUT_OF_RANGE, Read, check_text, named, places_of, read_of, scaled_of

Indexed = tuple[int, DataPoint]
"""A point and its place in the list of values."""
Check = Callable[[tuple[Any, ...], list[Any]], dict[int, str]]
"""The codes, by index, of values of a layer that are not GOOD; puts None where there is no value."""

_LETTERS = {
    "int16": "h",
    "uint16": "H",
    "boolean": "H",
    "int32": "i",
    "uint32": "I",
    "float16": "e",
    "float32": "f",
    "int64": "q",
    "uint64": "Q",
    "float64": "d",
}
# CDAB is DCBA with the bytes of each register swapped, BADC is ABCD with them swapped.
_ORDERS = {"ABCD": (False, ">"), "DCBA": (False, "<"), "BADC": (True, ">"), "CDAB": (True, "<")}


class Layer(NamedTuple):
    """One pass over a reply. `places` are the indices of its values in the list of all values."""

    swapped: bool
    """whether the bytes of each register are swapped before unpacking"""
    unpack: Callable[[bytes], tuple[Any, ...]]
    finish: Finish
    places: slice | tuple[int, ...]
    check: Check | None


class Decoder:
    """Decodes the replies to one read request of `count` registers or bits from `address` on."""

    def __init__(self, points: Sequence[Indexed], address: int, count: int) -> None:
        """`points` are of one table, sorted by their first register and inside the request."""
        bits = points[0][1].table.is_bits
        self.size = (count + 7) // 8 if bits else 2 * count
        """how many bytes a reply must have"""
        self._layers = _bit_layers(points, address) if bits else _layers(points, address, count)
        self._singles = [
            (index, _single_bit(point, address) if bits else _single(point, address))
            for index, point in points
            if not _is_layered(point)
        ]

    def fill(self, values: list[Any], reply: bytes) -> dict[int, str] | None:
        """Put the points' values in their places of `values`. `reply` has `size` bytes.

        Returns the codes, by place, of those that are not GOOD; None when all are. A value of None is BAD,
        another one with a code UNCERTAIN.
        """
        codes: dict[int, str] = {}
        for swapped, unpack, finish, places, check in self._layers:
            raw = unpack(swap(reply) if swapped else reply)
            found = finish(raw)
            faults = None if check is None else check(raw, found)
            if isinstance(places, slice):
                values[places] = found
            else:
                for place, value in zip(places, found, strict=True):
                    values[place] = value
            if faults:
                first = range(len(values))[places] if isinstance(places, slice) else places
                codes.update((first[index], code) for index, code in faults.items())
        for place, read in self._singles:
            values[place], code = read(reply)
            if code is not None:
                codes[place] = code
        return codes or None


def swap(registers: bytes) -> bytes:
    """Swap the two bytes of every register."""
    words = array("H", registers)
    words.byteswap()
    return words.tobytes()


def _is_layered(point: DataPoint) -> bool:
    extra = point.extra
    if extra.length is not None or extra.values or extra.scale_register is not None:
        return False
    if point.table.is_bits:
        return True
    if extra.bit is not None:
        return not extra.no_value
    if extra.mask is not None or point.order not in NAMED_ORDERS:
        return False
    if point.kind in FLOATS or point.kind == "string" or point.kind == "boolean":
        return not extra.no_value
    return point.kind in _LETTERS or point.kind in BYTES


def _bit_layers(points: Sequence[Indexed], address: int) -> list[Layer]:
    layered = [indexed for indexed in points if _is_layered(indexed[1])]
    spots = [((point.address - address) >> 3, 1 << (point.address - address & 7)) for _, point in layered]
    return [_bits(layered, spots)] if layered else []


def _bits(points: Sequence[Indexed], spots: Sequence[tuple[int, int]]) -> Layer:
    """Of points that each are one bit of the reply, which `spots` say: a byte and a mask."""
    spots = tuple(spots)

    def unpack(reply: bytes) -> tuple[Any, ...]:
        return tuple([reply[byte] & mask != 0 for byte, mask in spots])

    return Layer(False, unpack, list, _places(points), None)


def _layers(points: Sequence[Indexed], address: int, count: int) -> list[Layer]:
    piles: dict[tuple[bool, str, str, bool], list[list[Indexed]]] = {}
    flags: list[Indexed] = []
    for indexed in points:
        point = indexed[1]
        if not _is_layered(point):
            continue
        if point.extra.bit is not None:
            flags.append(indexed)
            continue
        limited = point.extra != NO_EXTRA
        same = piles.setdefault((*_order_of(point), arithmetic(point), limited), [])
        for pile in same:
            if pile[-1][1].end <= point.address:
                pile.append(indexed)
                break
        else:
            same.append([indexed])
    layers = [
        _layer(swapped, _structure(pile, order, address, count), name, pile)
        for (swapped, order, name, _), same in piles.items()
        for pile in same
    ]
    return [*layers, _bits(flags, [_flag(point, address) for _, point in flags])] if flags else layers


def _layer(swapped: bool, structure: struct.Struct, name: str, pile: Sequence[Indexed]) -> Layer:
    points = [point for _, point in pile]
    check = _check(points)
    return Layer(swapped, structure.unpack, finish_of(name, points), _places(pile), check)


def _order_of(point: DataPoint) -> tuple[bool, str]:
    """Whether the bytes of each register are swapped, and the `struct` byte order that remains."""
    if point.kind == "string" or point.count == 1:
        return point.order in ("BADC", "DCBA"), ">"
    return _ORDERS[point.order]


def _letter_of(point: DataPoint) -> str:
    """The `struct` format of one value."""
    if point.kind in BYTES:
        letter = "b" if point.kind in SIGNED else "B"
        return f"{letter}x" if point.extra.high_byte else f"x{letter}"
    return f"{2 * point.count}s" if point.kind == "string" else _LETTERS[point.kind]


def _structure(points: Sequence[Indexed], order: str, address: int, count: int) -> struct.Struct:
    """Unpacks the points from a whole reply, skipping the registers between them."""
    letters, at = [order], address
    for _, point in points:
        letters.append(f"{2 * (point.address - at)}x{_letter_of(point)}")
        at = point.end
    letters.append(f"{2 * (address + count - at)}x")
    return _compiled("".join(letters))


@lru_cache(maxsize=256)
def _compiled(form: str) -> struct.Struct:
    """Devices of a kind are read by the same requests: there may be thousands."""
    return struct.Struct(form)


def _places(points: Sequence[Indexed]) -> slice | tuple[int, ...]:
    places = tuple(index for index, _ in points)
    if places == tuple(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return places


def _flag(point: DataPoint, address: int) -> tuple[int, int]:
    """The byte of the reply and the mask in it of a point that is one bit of a register."""
    bit = point.extra.bit or 0
    byte = places_of(point)[-1 - bit // 8]
    return 2 * (point.address - address) + byte, 1 << bit % 8


def _check(points: list[DataPoint]) -> Check | None:
    """What can be wrong with a value of a layer, whose points are of one kind of arithmetic."""
    if points[0].kind == "string":
        encodings = [point.encoding for point in points]

        def undecodable(raw: tuple[Any, ...], found: list[Any]) -> dict[int, str]:
            if "\ufffd" not in "".join(found):
                return {}
            checked = map(check_text, raw, found, encodings)
            return {index: code for index, code in enumerate(checked) if code is not None}

        return undecodable
    limits = [_limits(point) for point in points]
    if any(one != _NO_LIMITS for one in limits):
        return _within(limits)
    return _finite if points[0].kind in FLOATS else None


def _finite(raw: tuple[Any, ...], found: list[Any]) -> dict[int, str]:
    if None not in found:
        return {}
    return {index: READ_ERROR for index, value in enumerate(found) if value is None}


_Limits = tuple[frozenset[int], bool, float, float]
_NO_LIMITS: _Limits = (frozenset(), False, -inf, inf)


def _limits(point: DataPoint) -> _Limits:
    """The raw numbers that say that there is no value, whether NaN does, and the limits of the value."""
    extra = point.extra
    bits = bits_of(point.kind, point.count)
    top = 1 << bits - 1 if point.kind in SIGNED else 1 << bits
    none = frozenset(number if number < top else number - (1 << bits) for number in extra.no_value)
    least = -inf if extra.least is None else extra.least
    most = inf if extra.most is None else extra.most
    return none, extra.no_value_is_nan, least, most


def _within(limits: list[_Limits]) -> Check:
    def check(raw: tuple[Any, ...], found: list[Any]) -> dict[int, str]:
        faults: dict[int, str] = {}
        for index, (none, nan, least, most) in enumerate(limits):
            value, number = found[index], raw[index]
            if number in none or value is None:
                found[index] = None
                is_none = number in none or (nan and isnan(number))
                faults[index] = NO_VALUE if is_none else READ_ERROR
            elif not least <= value <= most:
                faults[index] = OUT_OF_RANGE
        return faults

    return check


def elements_of(point: DataPoint) -> list[DataPoint]:
    """The points that the values of a point with `length` are."""
    length = point.extra.length or 1
    size = point.count // length
    extra = replace(point.extra, length=None)
    return [
        replace(point, address=point.address + size * number, count=size, extra=extra)
        for number in range(length)
    ]


def _single(point: DataPoint, address: int) -> Read:
    """Reads one point from a whole reply."""
    start = 2 * (point.address - address)
    stop = start + 2 * point.count
    if point.extra.scale_register is not None:
        power = 2 * (point.extra.scale_register - address)
        read_scaled = scaled_of(point)
        return lambda reply: read_scaled(reply[start:stop], reply[power : power + 2])
    read = read_of(point) if point.extra.length is None else _list(point, point.address)
    return lambda reply: read(reply[start:stop])


def _single_bit(point: DataPoint, address: int) -> Read:
    if point.extra.length is not None:
        return _list(point, address)
    byte, mask = (point.address - address) >> 3, 1 << (point.address - address & 7)
    return lambda reply: named(point.extra.values, int(reply[byte] & mask != 0))


def _list(point: DataPoint, address: int) -> Read:
    """Reads the values of a point with `length`: the values that are BAD are None, and the point has the
    code of the first value that has one; it is BAD when they all are."""
    elements = elements_of(point)
    decoder = Decoder(list(enumerate(elements)), address, point.end - address)

    def read(reply: bytes) -> tuple[Any, str | None]:
        values: list[Any] = [None] * len(elements)
        codes = decoder.fill(values, reply)
        if codes is None:
            return values, None
        return None if values.count(None) == len(values) else values, codes[min(codes)]

    return read
