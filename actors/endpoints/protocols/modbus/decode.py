"""From the bytes of a reply to values (spec 03 section 2.2), compiled once per read request.

The points of a request are sorted into layers: points that share byte order and kind of arithmetic and
do not overlap. One `struct` call unpacks a layer, one comprehension finishes it.
"""

import struct
from array import array
from collections.abc import Callable, Sequence
from math import isfinite, lcm
from typing import Any, NamedTuple

from .points import DataPoint
from .quality import READ_ERROR

Indexed = tuple[int, DataPoint]
"""A point and its place in the list of values."""
Finish = Callable[[tuple[Any, ...]], list[Any]]

_LETTERS = {
    "int16": "h",
    "uint16": "H",
    "boolean": "H",
    "int32": "i",
    "uint32": "I",
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
    fallible: bool
    """whether a value can be None because it is not a finite number"""


class Decoder:
    """Decodes the replies to one read request of `count` registers or bits from `address` on."""

    def __init__(self, points: Sequence[Indexed], address: int, count: int) -> None:
        """`points` are of one table, sorted by address and inside the request."""
        bits = points[0][1].table.is_bits
        self.size = (count + 7) // 8 if bits else 2 * count
        """how many bytes a reply must have"""
        self._layers = [_bits(points, address)] if bits else _layers(points, address, count)

    def fill(self, values: list[Any], reply: bytes) -> dict[int, str] | None:
        """Put the points' values in their places of `values`. `reply` has `size` bytes.

        Returns the codes, by place, of those that are not GOOD; None when all are. A value of None is BAD,
        another one with a code UNCERTAIN.
        """
        codes: dict[int, str] | None = None
        for swapped, unpack, finish, places, fallible in self._layers:
            found = finish(unpack(swap(reply) if swapped else reply))
            if isinstance(places, slice):
                values[places] = found
            else:
                for place, value in zip(places, found, strict=True):
                    values[place] = value
            if fallible and None in found:
                indices = range(len(values))[places] if isinstance(places, slice) else places
                faults = {p: READ_ERROR for p, v in zip(indices, found, strict=True) if v is None}
                codes = faults if codes is None else codes | faults
        return codes


def order_of(point: DataPoint) -> tuple[bool, str]:
    """Whether the bytes of each register are swapped, and the `struct` byte order that remains.

    A value of one register is always big-endian, as Modbus has it; of a string only the swap counts.
    """
    if point.kind == "string":
        return point.order in ("BADC", "DCBA"), ">"
    return _ORDERS["ABCD" if point.count == 1 else point.order]


def letter_of(point: DataPoint) -> str:
    """The `struct` format of one value."""
    return f"{2 * point.count}s" if point.kind == "string" else _LETTERS[point.kind]


def swap(registers: bytes) -> bytes:
    """Swap the two bytes of every register."""
    words = array("H", registers)
    words.byteswap()
    return words.tobytes()


def _bits(points: Sequence[Indexed], address: int) -> Layer:
    spots = tuple(((p.address - address) >> 3, 1 << ((p.address - address) & 7)) for _, p in points)

    def unpack(reply: bytes) -> tuple[Any, ...]:
        return tuple([reply[byte] & mask != 0 for byte, mask in spots])

    return Layer(False, unpack, list, _places(points), False)


def _layers(points: Sequence[Indexed], address: int, count: int) -> list[Layer]:
    piles: dict[tuple[bool, str, str], list[list[Indexed]]] = {}
    for indexed in points:
        point = indexed[1]
        same = piles.setdefault((*order_of(point), _arithmetic(point)), [])
        for pile in same:
            if pile[-1][1].end <= point.address:
                pile.append(indexed)
                break
        else:
            same.append([indexed])
    return [
        Layer(
            swapped,
            _structure(pile, order, address, count).unpack,
            _finish(name, pile),
            _places(pile),
            "float" in name,
        )
        for (swapped, order, name), same in piles.items()
        for pile in same
    ]


def _structure(points: Sequence[Indexed], order: str, address: int, count: int) -> struct.Struct:
    """Unpacks the points from a whole reply, skipping the registers between them."""
    letters, at = [order], address
    for _, point in points:
        letters.append(f"{2 * (point.address - at)}x{letter_of(point)}")
        at = point.end
    letters.append(f"{2 * (address + count - at)}x")
    return struct.Struct("".join(letters))


def _places(points: Sequence[Indexed]) -> slice | tuple[int, ...]:
    places = tuple(index for index, _ in points)
    if places == tuple(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return places


def _arithmetic(point: DataPoint) -> str:
    """Which kind of finishing a value needs; a key of `_FINISHERS`."""
    if point.kind in ("boolean", "string"):
        return point.kind
    scaled = point.scale != 1 or point.offset != 0
    if point.kind.startswith("float"):
        return f"scaled {point.kind}" if scaled else point.kind
    if not scaled:
        return "integer"
    return "whole" if point.scale.denominator == point.offset.denominator == 1 else "decimal"


def _finish(name: str, points: Sequence[Indexed]) -> Finish:
    return _FINISHERS[name]([point for _, point in points])


def _integer(points: list[DataPoint]) -> Finish:
    return list


def _boolean(points: list[DataPoint]) -> Finish:
    return lambda raw: [word != 0 for word in raw]


def _whole(points: list[DataPoint]) -> Finish:
    """Integer scale and offset: the values stay integers."""
    lines = [(int(point.scale), int(point.offset)) for point in points]
    return lambda raw: [value * scale + offset for value, (scale, offset) in zip(raw, lines, strict=True)]


def _decimal(points: list[DataPoint]) -> Finish:
    """Scale and offset as one division of integers, which rounds once and so leaves no noise to remove."""
    lines = []
    for point in points:
        below = lcm(point.scale.denominator, point.offset.denominator)
        lines.append((int(point.scale * below), int(point.offset * below), below))
    factor, offset, divisor = lines[0]
    if any(line != lines[0] for line in lines):
        return lambda raw: [(v * m + o) / d for v, (m, o, d) in zip(raw, lines, strict=True)]
    if factor == 1 and offset == 0:
        return lambda raw: [value / divisor for value in raw]
    return lambda raw: [(value * factor + offset) / divisor for value in raw]


def _float32(points: list[DataPoint]) -> Finish:
    """The shortest decimal numbers that are these floats: 21.3, not 21.299999237."""
    packing = struct.Struct(f"{len(points)}f")

    def finish(raw: tuple[float, ...]) -> list[float | None]:
        # Up to seven digits, what a sensor has, are found by arithmetic at half the price of formatting.
        short = [round(value * 1e4) / 1e4 if -1e3 < value < 1e3 else shortest(value) for value in raw]
        try:
            back = packing.unpack(packing.pack(*short))
        except struct.error:  # a value is not finite
            return [shortest(value) for value in raw]
        if back == raw:
            return short
        return [
            found if same == value else shortest(value)
            for found, same, value in zip(short, back, raw, strict=True)
        ]

    return finish


def _float64(points: list[DataPoint]) -> Finish:
    return lambda raw: [value if isfinite(value) else None for value in raw]


def _scaled_float32(points: list[DataPoint]) -> Finish:
    shorten, lines = _float32(points), _lines(points)
    return lambda raw: [
        _scaled(v, scale, offset, "%.12g") for v, (scale, offset) in zip(shorten(raw), lines, strict=True)
    ]


def _scaled_float64(points: list[DataPoint]) -> Finish:
    lines = _lines(points)
    return lambda raw: [
        _scaled(v, scale, offset, "%.15g") for v, (scale, offset) in zip(raw, lines, strict=True)
    ]


def _string(points: list[DataPoint]) -> Finish:
    encodings = [point.encoding for point in points]
    return lambda raw: [
        text.decode(encoding, "replace").strip("\0") for text, encoding in zip(raw, encodings, strict=True)
    ]


_FINISHERS: dict[str, Callable[[list[DataPoint]], Finish]] = {
    "integer": _integer,
    "boolean": _boolean,
    "whole": _whole,
    "decimal": _decimal,
    "float32": _float32,
    "float64": _float64,
    "scaled float32": _scaled_float32,
    "scaled float64": _scaled_float64,
    "string": _string,
}


def _lines(points: list[DataPoint]) -> list[tuple[float, float]]:
    return [(float(point.scale), float(point.offset)) for point in points]


def _scaled(value: float | None, scale: float, offset: float, digits: str) -> float | None:
    if value is None:
        return None
    scaled = value * scale + offset
    return float(digits % scaled) if isfinite(scaled) else None


_FLOAT32 = struct.Struct("f")


def shortest(value: float) -> float | None:
    """The shortest decimal number that is this 32-bit float; None when it is not finite."""
    if not isfinite(value):
        return None
    bits = _FLOAT32.pack(value)
    for digits in ("%.7g", "%.8g"):
        short = float(digits % value)
        try:
            if _FLOAT32.pack(short) == bits:
                return short
        except OverflowError:  # rounded up past the largest float
            continue
    return float(f"{value:.9g}")
