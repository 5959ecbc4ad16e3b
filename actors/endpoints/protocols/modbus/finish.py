"""From unpacked numbers to values: scale, offset, and the shortest decimal numbers that are the same."""

import struct
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from math import isfinite, lcm
from typing import Any

from actors.endpoints.floats import shortest_all, shortest_half

from .kinds import FLOATS, TIMES, bits_of
from .points import DataPoint

Finish = Callable[[tuple[Any, ...]], list[Any]]
"""From the raw values of some points to their values; None for a number that is not finite."""
_MOST_SIGNED, _MOST_UNSIGNED = 2**63, 2**64 - 1
"""What JSON and MessagePack writers take."""


def finish_of(name: str, points: list[DataPoint]) -> Finish:
    """`points` all have the `arithmetic` of that name."""
    return _FINISHERS[name](points)


def arithmetic(point: DataPoint) -> str:
    """Which kind of finishing a raw value needs; a key of `_FINISHERS`."""
    if point.kind in ("boolean", "string"):
        return point.kind
    scaled = point.scale != 1 or point.offset != 0
    if point.kind in FLOATS:
        return f"scaled {point.kind}" if scaled else point.kind
    if not scaled or point.kind in TIMES:
        return "integer"
    return "whole" if point.scale.denominator == point.offset.denominator == 1 else "decimal"


def reach_of(point: DataPoint) -> Fraction:
    """What the scaled values of a point that holds integers stay below, whatever their sign."""
    return abs(point.scale) * (1 << bits_of(point.kind, point.count)) + abs(point.offset)


def text_of(data: bytes, encoding: str) -> str:
    """Up to the first NUL, without trailing blanks; what cannot be decoded is U+FFFD."""
    return data.decode(encoding, "replace").partition("\0")[0].rstrip(" ")


def _integer(points: list[DataPoint]) -> Finish:
    return list


def _boolean(points: list[DataPoint]) -> Finish:
    return lambda raw: [word != 0 for word in raw]


def _whole(points: list[DataPoint]) -> Finish:
    """Integer scale and offset: the values stay integers, unless 64 bits are too few for them."""
    lines = [(int(point.scale), int(point.offset)) for point in points]

    def finish(raw: tuple[Any, ...]) -> list[Any]:
        return [value * scale + offset for value, (scale, offset) in zip(raw, lines, strict=True)]

    if all(reach_of(point) < _MOST_SIGNED for point in points):
        return finish
    return lambda raw: [
        value if -_MOST_SIGNED <= value <= _MOST_UNSIGNED else float(value) for value in finish(raw)
    ]


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
    packing = struct.Struct(f"{len(points)}f")
    return lambda raw: shortest_all(raw, packing)


def _float64(points: list[DataPoint]) -> Finish:
    return lambda raw: [value if isfinite(value) else None for value in raw]


def _float16(points: list[DataPoint]) -> Finish:
    return lambda raw: [shortest_half(value) for value in raw]


def _scaled_float16(points: list[DataPoint]) -> Finish:
    lines = [_line(point) for point in points]
    return lambda raw: _scaled([shortest_half(value) for value in raw], lines)


def _scaled_float32(points: list[DataPoint]) -> Finish:
    shorten, lines = _float32(points), [_line(point) for point in points]
    return lambda raw: _scaled(shorten(raw), lines)


def _scaled_float64(points: list[DataPoint]) -> Finish:
    scales = [_exactly(point) for point in points]
    return lambda raw: [scale(value) for value, scale in zip(raw, scales, strict=True)]


def _string(points: list[DataPoint]) -> Finish:
    encodings = [point.encoding for point in points]
    return lambda raw: [text_of(text, encoding) for text, encoding in zip(raw, encodings, strict=True)]


_FINISHERS: dict[str, Callable[[list[DataPoint]], Finish]] = {
    "integer": _integer,
    "boolean": _boolean,
    "whole": _whole,
    "decimal": _decimal,
    "float16": _float16,
    "float32": _float32,
    "float64": _float64,
    "scaled float16": _scaled_float16,
    "scaled float32": _scaled_float32,
    "scaled float64": _scaled_float64,
    "string": _string,
}


Scale = Callable[[float], float | None]
"""From the raw to the scaled number; None unless both are finite."""


def _line(point: DataPoint) -> tuple[float, float, float, Scale]:
    """Scale and offset, below which value their sum has lost digits, and what scales it then."""
    offset = float(point.offset)
    return float(point.scale), offset, abs(offset) / 100, _exactly(point)


def _scaled(values: list[float | None], lines: list[tuple[float, float, float, Scale]]) -> list[float | None]:
    """Of numbers of few digits: noise is behind the twelfth, unless the offset takes most of them away."""
    return [
        None
        if value is None
        else float("%.12g" % scaled)  # noqa: UP031 - the fastest
        if least <= abs(scaled := value * scale + offset) < 1e12
        else exactly(value)
        for value, (scale, offset, least, exactly) in zip(values, lines, strict=True)
    ]


def _exactly(point: DataPoint) -> Scale:
    """In decimal numbers, rounded once."""
    context = Context(prec=40)
    scale, offset = (
        context.divide(Decimal(number.numerator), Decimal(number.denominator))
        for number in (point.scale, point.offset)
    )

    def exactly(value: float) -> float | None:
        if not isfinite(value):
            return None
        scaled = float(context.fma(Decimal(repr(value)), scale, offset))
        return scaled if isfinite(scaled) else None

    return exactly
