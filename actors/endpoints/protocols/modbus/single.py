"""One value and its registers: for the types that are not unpacked together with others, and for writing."""

import struct
from collections.abc import Callable
from fractions import Fraction
from math import isnan
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

from .finish import arithmetic, finish_of, text_of
from .kinds import BYTES, DECIMALS, FLOATS, SIGNED, TIMES, arrangement
from .options import Extra
from .points import DataPoint
from .quality import READ_ERROR
from .times import text_of_time

NO_VALUE = "NO_VALUE"
OUT_OF_RANGE = "OUT_OF_RANGE"
UNDECODABLE = "UNDECODABLE"
UNKNOWN_VALUE = "UNKNOWN_VALUE"
_MOST_POWER, _NO_POWER = 10, -0x8000

Read = Callable[[bytes], tuple[Any, str | None]]
"""From the point's registers to its value, and its code unless it is GOOD."""


def read_of(point: DataPoint) -> Read:
    """How the registers of a point without `length` are read."""
    ordered = itemgetter(*places_of(point))
    extra = point.extra
    finish = _finished(point)
    high = 0 if extra.high_byte else 1

    def read(registers: bytes) -> tuple[Any, str | None]:
        data = bytes(ordered(registers))
        if point.kind in BYTES:
            data = data[high : high + 1]
        if extra.no_value and int.from_bytes(data, "big") in extra.no_value:
            return None, NO_VALUE
        try:
            return finish(_raw(point, data), data)
        except ValueError:
            return None, READ_ERROR

    return read


def scaled_of(point: DataPoint) -> Callable[[bytes, bytes], tuple[Any, str | None]]:
    """How a point is read whose power of ten is in a register of its own (SunSpec's sunssf):
    from -10 to 10, 0x8000 where there is no value. The value is always a float."""
    read = read_of(replace(point, scale=Fraction(1), offset=Fraction(0), extra=_without_limits(point)))

    def scaled(registers: bytes, power: bytes) -> tuple[Any, str | None]:
        raw, code = read(registers)
        if raw is None:
            return None, code
        exponent = int.from_bytes(power, "big", signed=True)
        if not -_MOST_POWER <= exponent <= _MOST_POWER:
            return None, NO_VALUE if exponent == _NO_POWER else READ_ERROR
        value = _times(raw, exponent, point)
        return value, None if within(point, value) else OUT_OF_RANGE

    return scaled


def _without_limits(point: DataPoint) -> Extra:
    return replace(point.extra, least=None, most=None, scale_register=None)


def _times(raw: Any, exponent: int, point: DataPoint) -> float:
    """The nearest float to the exact product."""
    exact = Fraction(str(raw)) if isinstance(raw, float) else Fraction(raw)
    return float(exact * Fraction(10) ** exponent * point.scale + point.offset)


def places_of(point: DataPoint) -> tuple[int, ...]:
    """Where in its registers each byte of a value is, the most significant first."""
    size = 2 * point.count
    if point.kind == "string" or point.kind.startswith("s7_"):  # not one number: only bytes can be swapped
        order = "BADC" if point.order in ("BADC", "DCBA") else "ABCD"
        return arrangement(order, size)
    return arrangement(point.order, size)


def part_of(point: DataPoint) -> int | None:
    """The bits that the value is of the number in its registers; None: all of them."""
    if point.extra.bit is not None:
        return 1 << point.extra.bit
    if point.kind in BYTES:
        return 0xFF00 if point.extra.high_byte else 0xFF
    return point.extra.mask


def to_wire(point: DataPoint, data: bytes) -> bytes:
    """The bytes of a value, the most significant first, as they are in its registers."""
    wire = bytearray(len(data))
    for byte, place in zip(data, places_of(point), strict=True):
        wire[place] = byte
    return bytes(wire)


def check_text(data: bytes, text: str, encoding: str) -> str | None:
    """`UNDECODABLE` for a text in which characters had to be replaced."""
    if "\ufffd" not in text:
        return None
    try:
        data.decode(encoding)
    except UnicodeError:
        return UNDECODABLE
    return None


def _raw(point: DataPoint, data: bytes) -> Any:
    """Raises `ValueError` when the bytes are no value of the type."""
    kind, extra = point.kind, point.extra
    if kind in FLOATS:
        return struct.unpack(FLOATS[kind], data)[0]
    if kind == "string":
        return text_of(data, point.encoding)
    if kind in TIMES:
        return text_of_time(kind, data)
    if kind in DECIMALS:
        return _decimal_digits(data) if kind == "bcd" else _base_10000(data)
    if extra.bit is not None:
        return int.from_bytes(data, "big") >> extra.bit & 1
    if extra.mask is not None:
        return (int.from_bytes(data, "big") & extra.mask) >> extra.shift
    return int.from_bytes(data, "big", signed=kind in SIGNED)


def _decimal_digits(data: bytes) -> int:
    digits = data.hex()
    if not digits.isdigit():
        raise ValueError(f"{digits} is not made of decimal digits")
    return int(digits)


def _base_10000(data: bytes) -> int:
    number = 0
    for (register,) in struct.iter_unpack(">H", data):
        if register > 9999:
            raise ValueError(f"the register {register} is above 9999")
        number = 10_000 * number + register
    return number


def _finished(point: DataPoint) -> Callable[[Any, bytes], tuple[Any, str | None]]:
    """From the raw value, and the bytes that it was, to the value and its code."""
    extra = point.extra
    if extra.values:
        return lambda raw, data: named(extra.values, int(bool(raw)) if point.kind == "boolean" else raw)
    if point.kind == "boolean" or extra.bit is not None:
        return lambda raw, data: (raw != 0, None)
    if point.kind == "string":
        return lambda text, data: (text, check_text(data, text, point.encoding))
    finish = finish_of(arithmetic(point), [point])

    def finished(raw: Any, data: bytes) -> tuple[Any, str | None]:
        [value] = finish((raw,))
        if value is None:
            return None, NO_VALUE if extra.no_value_is_nan and isnan(raw) else READ_ERROR
        return value, None if within(point, value) else OUT_OF_RANGE

    return finished


def named(values: tuple[tuple[int, str], ...], number: int) -> tuple[Any, str | None]:
    """The text that stands for a number; an unknown number stays one."""
    for known, text in values:
        if known == number:
            return text, None
    return number, UNKNOWN_VALUE


def within(point: DataPoint, value: Any) -> bool:
    least, most = point.extra.least, point.extra.most
    return (least is None or value >= least) and (most is None or value <= most)
