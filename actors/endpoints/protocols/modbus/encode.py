"""From a value to the body of a write request (spec 03 section 2.4)."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from actors.system.failure import Refusal

from .decode import Decoder, elements_of
from .kinds import FLOATS, TIMES, bits_of, limits_of
from .points import DataPoint, Table, exact
from .single import part_of, to_wire
from .times import bytes_of_time

WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE = 5, 6, 15, 16, 22
_MAX_REGISTERS, _MAX_COILS = 123, 1968

_TRUE = ("true", "1", "on", "yes")
_FALSE = ("false", "0", "off", "no")


class Part(msgspec.Struct, frozen=True):
    """A write of some bits of registers, for devices without function 22: the registers are read, merged and
    written."""

    address: int
    count: int
    """the registers to read"""
    mask: bytes
    """the bits to write, of those registers"""
    bits: bytes
    """what they become; 0 elsewhere"""
    function: int
    """the one to write with"""
    other: int | None = None
    """the one to write with when the device does not know that one"""

    def merge(self, old: bytes) -> tuple[int, bytes]:
        """Function and body that write the registers, which hold `old`."""
        return self.function, self._body(self.function, old)

    def merge_otherwise(self, old: bytes) -> tuple[int, bytes] | None:
        """The same by the other function, for a device that answers exception 1; None without one."""
        return None if self.other is None else (self.other, self._body(self.other, old))

    def _body(self, function: int, old: bytes) -> bytes:
        kept = zip(old, self.mask, self.bits, strict=True)
        return _registers_body(
            function, self.address, bytes(byte & ~mask | bits for byte, mask, bits in kept)
        )


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
    point: DataPoint | None = None
    """Where it is read back,"""
    wire: bytes = b""
    """and as which registers, or packed bits; those of a `part` are 0 elsewhere."""

    def is_in(self, reply: bytes) -> bool:
        """Whether the registers, or bits, that were read at `point` hold what was written. They are compared
        as they are on the wire: a float has several spellings as a number."""
        assert self.point is not None
        if self.part is None:
            return reply == self.wire
        mask = part_mask(self.point)
        return all(byte & kept == new for byte, kept, new in zip(reply, mask, self.wire, strict=True))


def encode(point: DataPoint, value: Any) -> Writing:
    """The request that makes a coil or holding register have a value.

    Raises `Refusal` on field `value` when it cannot be converted or does not fit.
    """
    if point.extra.length is None:
        elements, values = [point], [value]
    else:
        elements, values = elements_of(point), _list(point, value)
    raw = [_raw(element, each) for element, each in zip(elements, values, strict=True)]
    if point.table is Table.coil:
        return _coils(point, [bool(bit) for bit in raw], value)
    registers = b"".join(_registers(element, each) for element, each in zip(elements, raw, strict=True))
    if part_of(point) is not None:
        return _part(point, registers, value)
    if point.count > _MAX_REGISTERS:
        raise _refused(f"{point.count} registers are more than one request can write ({_MAX_REGISTERS})")
    function, other = _functions(point, point.count, (WRITE_REGISTER, WRITE_REGISTERS))
    return Writing(
        function,
        _registers_body(function, point.address, registers),
        _read_back(point, registers, value),
        None if other is None else (other, _registers_body(other, point.address, registers)),
        point=point,
        wire=registers,
    )


def _coils(point: DataPoint, bits: Sequence[bool], value: Any) -> Writing:
    if point.count > _MAX_COILS:
        raise _refused(f"{point.count} coils are more than one request can write ({_MAX_COILS})")
    packed = sum(bit << place for place, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    bodies = {
        WRITE_COIL: struct.pack(">HH", point.address, 0xFF00 if bits[0] else 0),
        WRITE_COILS: struct.pack(">HHB", point.address, point.count, len(packed)) + packed,
    }
    function, other = _functions(point, point.count, (WRITE_COIL, WRITE_COILS))
    otherwise = None if other is None else (other, bodies[other])
    read_back = _read_back(point, packed, value)
    return Writing(function, bodies[function], read_back, otherwise, point=point, wire=packed)


def _functions(point: DataPoint, count: int, functions: tuple[int, int]) -> tuple[int, int | None]:
    """Which of the functions for one and for several writes that many, and which when the device does not
    know it."""
    single, multiple = functions
    match point.extra.write_function:
        case "single":
            return single, None
        case "multiple":
            return multiple, None
    return (single, multiple) if count == 1 else (multiple, None)


def _part(point: DataPoint, registers: bytes, value: Any) -> Writing:
    """Writes the registers that the bits of the value are in, and of those only these bits."""
    mask = part_mask(point)
    touched = [at // 2 for at, byte in enumerate(mask) if byte]
    first, count = touched[0], touched[-1] + 1 - touched[0]
    span = slice(2 * first, 2 * (first + count))
    address = point.address + first
    function, other = _functions(point, count, (WRITE_REGISTER, WRITE_REGISTERS))
    part = Part(address, count, mask[span], registers[span], function, other)
    unmasked = replace(point, extra=replace(point.extra, no_value=frozenset()))
    after = _read_back(unmasked, registers, value)
    if count > 1 or point.extra.write_function != "auto":
        return Writing(0, b"", after, part=part, point=point, wire=registers)
    kept = bytes(~byte & 0xFF for byte in part.mask)
    body = struct.pack(">H", address) + kept + part.bits
    return Writing(MASK_WRITE, body, after, part=part, point=point, wire=registers)


def part_mask(point: DataPoint) -> bytes:
    """The bits of its registers that a point is."""
    size = 2 * point.count
    part = part_of(point)
    return b"\xff" * size if part is None else to_wire(point, part.to_bytes(size, "big"))


def _registers_body(function: int, address: int, registers: bytes) -> bytes:
    if function == WRITE_REGISTER:
        return struct.pack(">H", address) + registers
    return struct.pack(">HHB", address, len(registers) // 2, len(registers)) + registers


def _read_back(point: DataPoint, reply: bytes, value: Any) -> Any:
    """The value as reading it back shows; refused when that is not GOOD."""
    found: list[Any] = [None]
    codes = Decoder([(0, point)], point.address, point.count).fill(found, reply)
    if codes:
        raise _refused(f"{value!r} would be read as {codes[0]}")
    return found[0]


def _list(point: DataPoint, value: Any) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) != point.extra.length:
        raise _refused(f"{point.name} takes a list of {point.extra.length} values")
    return list(value)


def _registers(point: DataPoint, raw: int | float | bytes) -> bytes:
    """The registers that hold a raw value; other bits of them are 0."""
    size = 2 * point.count
    if isinstance(raw, bytes):
        data = raw.ljust(size, b"\0")
    elif isinstance(raw, float):
        data = struct.pack(FLOATS[point.kind], raw)
    elif point.kind == "bcd":
        data = bytes.fromhex(f"{raw:0{2 * size}}")
    elif point.kind == "mod10k":
        powers = range(point.count - 1, -1, -1)
        data = struct.pack(f">{point.count}H", *(raw // 10_000**power % 10_000 for power in powers))
    else:
        shift = 8 * point.extra.high_byte + point.extra.shift + (point.extra.bit or 0)
        data = (raw % (1 << bits_of(point.kind, point.count)) << shift).to_bytes(size, "big")
    return to_wire(point, data)


def _raw(point: DataPoint, value: Any) -> int | float | bytes:
    """The raw value. Raises `Refusal`."""
    if point.kind == "string":
        return _text(point, value)
    if point.kind in TIMES:
        return _time(point, value)
    if point.extra.values:
        return _named(point, value)
    if point.kind == "boolean" or point.extra.bit is not None:
        return int(_truth(value))
    number = _number(value)
    least, most = point.extra.least, point.extra.most
    if (least is not None and number < exact(least)) or (most is not None and number > exact(most)):
        raise _refused(f"{value!r} is not from {_end(least)} to {_end(most)}")
    unscaled = (number - point.offset) / point.scale
    return _float(point, unscaled, value) if point.kind in FLOATS else _integer(point, unscaled, value)


def _float(point: DataPoint, unscaled: Fraction, value: Any) -> float:
    try:
        raw = float(unscaled)
        struct.pack(FLOATS[point.kind], raw)
    except (OverflowError, struct.error) as error:
        raise _refused(f"{value!r} does not fit {point.kind}") from error
    return raw


def _integer(point: DataPoint, unscaled: Fraction, value: Any) -> int:
    raw = _rounded(unscaled)
    low, high = _limits(point)
    mask, shift = point.extra.mask, point.extra.shift
    if not low <= raw <= high or (mask is not None and raw << shift & ~mask):
        ends = sorted(float(end * point.scale + point.offset) for end in (low, high))
        what = point.kind if mask is None else f"mask 0x{mask:X}"
        raise _refused(f"{value!r} does not fit {what} ({ends[0]:.12g} to {ends[1]:.12g})")
    return raw


def _limits(point: DataPoint) -> tuple[int, int]:
    if point.extra.mask is not None:
        return 0, point.extra.mask >> point.extra.shift
    return limits_of(point.kind, point.count)


def _named(point: DataPoint, value: Any) -> int:
    """The number that a text stands for, or one that has a text."""
    for number, text in point.extra.values:
        if value == text:
            return number
    texts = ", ".join(text for _, text in point.extra.values)
    try:
        found = _number(value)
    except Refusal as error:
        raise _refused(f"{value!r} is not one of {texts}") from error
    for number, _ in point.extra.values:
        if found == number:
            return number
    raise _refused(f"{value!r} is not one of {texts}")


def _time(point: DataPoint, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _refused(f"{value!r} is not a time such as 2024-05-01T12:30:00Z")
    try:
        return bytes_of_time(point.kind, value)
    except ValueError as error:
        raise _refused(f"{value!r} is not a time that fits {point.kind}") from error


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
    """Of the digits 0 to 9; Python reads those of other scripts too, and underscores."""
    if text.isascii() and "_" not in text:
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


def _end(limit: float | None) -> str:
    return "any" if limit is None else f"{limit:.12g}"


def _refused(message: str) -> Refusal:
    return Refusal(message, "value")
