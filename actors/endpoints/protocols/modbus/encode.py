"""From a value to the body of a write request (spec 03 section 2.4)."""

import struct
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from actors.system.failure import Refusal

from .decode import Decoder, letter_of, order_of, swap
from .points import DataPoint, Table

WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 5, 6, 16
_MAX_WRITTEN = 123

_TRUE = ("true", "1", "on", "yes")
_FALSE = ("false", "0", "off", "no")


class Part(msgspec.Struct, frozen=True):
    """A write of some bits of registers: for devices without function 22, the registers are read, merged and
    written."""

    address: int
    count: int
    """the registers to read"""
    mask: bytes
    """the bits to write, of those registers"""
    bits: bytes
    function: int
    """the one to write with"""
    other: int | None = None
    """the one to write with when the device does not know that one"""

    def merge(self, old: bytes) -> tuple[int, bytes]:
        """The request that writes the registers, which held `old`."""
        return self.function, b""

    def merge_otherwise(self, old: bytes) -> tuple[int, bytes] | None:
        """The same by the other function, for a device that answers exception 1; None without one."""
        return None


class Writing(NamedTuple):
    """A write request."""

    function: int
    """Function code; 0 for a `part` that cannot be written before it was read."""
    body: bytes
    value: Any
    """what the device will hold, as reading it back shows"""
    otherwise: tuple[int, bytes] | None = None
    """Function and body to send when the device answers exception 1 (it does not know the function)."""
    part: Part | None = None
    """What to do when the device does not know function 22, or when `function` is 0."""


def encode(point: DataPoint, value: Any) -> Writing:
    """The request that makes a coil or holding register have a value.

    Raises `Refusal` on field `value` when it cannot be converted or does not fit.
    """
    if point.table is Table.coil:
        on = _truth(value)
        return Writing(WRITE_COIL, struct.pack(">HH", point.address, 0xFF00 if on else 0), on)
    registers = _registers(point, value)
    written: list[Any] = [None]
    Decoder([(0, point)], point.address, point.count).fill(written, registers)
    if point.count == 1:
        return Writing(WRITE_REGISTER, struct.pack(">H", point.address) + registers, written[0])
    head = struct.pack(">HHB", point.address, point.count, len(registers))
    return Writing(WRITE_REGISTERS, head + registers, written[0])


def _registers(point: DataPoint, value: Any) -> bytes:
    if point.count > _MAX_WRITTEN:
        raise _refused(f"{point.count} registers are more than one request can write ({_MAX_WRITTEN})")
    swapped, order = order_of(point)
    raw = _raw(point, value)
    try:
        registers = struct.pack(order + letter_of(point), raw)
    except (struct.error, OverflowError) as error:
        raise _refused(f"{value!r} does not fit {_range(point)}") from error
    return swap(registers) if swapped else registers


def _raw(point: DataPoint, value: Any) -> int | float | bytes:
    if point.kind == "boolean":
        return int(_truth(value))
    if point.kind == "string":
        return _text(point, value)
    exact = (_number(value) - point.offset) / point.scale
    if not point.kind.startswith("float"):
        return _rounded(exact)
    try:
        return float(exact)
    except OverflowError as error:
        raise _refused(f"{value!r} does not fit {point.kind}") from error


def _truth(value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, str | int) else value
    if isinstance(word, float):
        word = f"{word:g}"
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise _refused(f"Invalid boolean: {value!r}")


def _number(value: Any) -> Fraction:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, float) and isfinite(value):
        return Fraction(str(value))
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refused(f"{value!r} is not a number")
    return Fraction(value)


def _parsed(text: str) -> int | float:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    raise _refused(f"{text!r} is not a number")


def _rounded(exact: Fraction) -> int:
    """Halves away from zero."""
    whole = (abs(exact) + Fraction(1, 2)).__floor__()
    return whole if exact >= 0 else -whole


def _text(point: DataPoint, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _refused(f"{value!r} is not a text")
    try:
        text = value.encode(point.encoding)
    except UnicodeEncodeError as error:
        raise _refused(f"{value!r} cannot be written in {point.encoding}") from error
    if len(text) > 2 * point.count:
        raise _refused(f"{value!r} is longer than {2 * point.count} bytes")
    return text


def _range(point: DataPoint) -> str:
    """The values that fit, for people: `uint16 (0 to 6553.5)`."""
    if not point.kind.lstrip("u").startswith("int"):
        return point.kind
    bits = 16 * point.count
    low, high = (0, 2**bits - 1) if point.kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    ends = sorted(float(end * point.scale + point.offset) for end in (low, high))
    return f"{point.kind} ({ends[0]:.12g} to {ends[1]:.12g})"


def _refused(message: str) -> Refusal:
    return Refusal(message, "value")
