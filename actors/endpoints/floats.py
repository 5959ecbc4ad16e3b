"""The shortest decimal numbers that are the same floats: 21.3, and not 21.299999237."""

import struct
from collections.abc import Sequence
from math import isfinite

_FLOAT16 = struct.Struct("e")
_FLOAT32 = struct.Struct("f")


def shortest_all(raw: Sequence[float], packing: struct.Struct) -> list[float | None]:
    """Of many 32-bit floats, as many as `packing` takes; whole numbers as they are, None for one that is not
    finite."""
    # Up to seven digits, what a sensor has, are found by arithmetic at half the price of formatting.
    short = [
        round(value * 1e4) / 1e4
        if -1e3 < value < 1e3
        else (round(value * 1e2) / 1e2 if -1e5 < value < 1e5 else shortest(value))
        for value in raw
    ]
    try:
        back = packing.unpack(packing.pack(*short))
    except struct.error:  # a value is not finite
        return [shortest(value) for value in raw]
    if back == tuple(raw):
        return short
    return [
        found if same == value else shortest(value)
        for found, same, value in zip(short, back, raw, strict=True)
    ]


def shortest(value: float) -> float | None:
    """This 32-bit float if it is whole, else the shortest decimal number that is it; None when it is not
    finite."""
    return value if value.is_integer() else _shortened(value, _FLOAT32, ("%.7g", "%.8g"), "%.9g")


def shortest_half(value: float) -> float | None:
    """The same of a 16-bit float."""
    return value if value.is_integer() else _shortened(value, _FLOAT16, ("%.3g", "%.4g"), "%.5g")


def _shortened(value: float, packing: struct.Struct, fewer: tuple[str, ...], enough: str) -> float | None:
    if not isfinite(value):
        return None
    bits = packing.pack(value)
    for digits in fewer:
        short = float(digits % value)
        try:
            if packing.pack(short) == bits:
                return short
        except OverflowError:  # rounded up past the largest float
            continue
    return float(enough % value)
