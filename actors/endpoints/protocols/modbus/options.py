"""Options of a data point that few have: parts of registers, lists, texts for numbers, limits, no value."""

import re
import struct
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from actors.system.failure import Refusal
from conf.annotations import allowed, reads
from conf.fields import Number, lower
from conf.texts import is_broken_text

from .kinds import BYTES, DECIMALS, FLOATS, INTEGERS, NUMBERS, bits_of, limits_of

WriteFunction = Literal["auto", "single", "multiple"]

_PARTED = (INTEGERS - BYTES) | {"boolean"}
_NAMED = INTEGERS | DECIMALS | {"boolean"}
_MOST_REGISTERS, _MOST_BITS = 125, 2000
_INTEGER = re.compile(r"-?(0x[0-9a-f]{1,16}|[0-9]{1,20})", re.ASCII | re.IGNORECASE)
_SUNSPEC = {
    "int16": 0x8000,
    "uint16": 0xFFFF,
    "boolean": 0xFFFF,
    "int32": 0x8000_0000,
    "uint32": 0xFFFF_FFFF,
    "sunspec_time": 0xFFFF_FFFF,
    "int64": 0x8000_0000_0000_0000,
    "uint64": 0xFFFF_FFFF_FFFF_FFFF,
    "string": 0,
}


class Extra(msgspec.Struct, frozen=True):
    """What few data points say; points that say the same share one."""

    bit: int | None = None
    """The value is this bit of the number, 0 the least significant, and a boolean."""
    mask: int | None = None
    """The value is the number's bits in this mask, moved down by `shift`."""
    shift: int = 0
    high_byte: bool = False
    """An 8-bit value is the high byte of its register, not the low one."""
    length: int | None = None
    """The value is a list of so many values."""
    values: tuple[tuple[int, str], ...] = ()
    """Texts that stand for raw numbers."""
    least: float | None = None
    most: float | None = None
    """Limits of the scaled value."""
    no_value: frozenset[int] = frozenset()
    """The bits, as an unsigned number, that say that there is no value."""
    no_value_is_nan: bool = False
    """So does a float that is not a number."""
    write_function: WriteFunction = "auto"
    scale_register: int | None = None
    """Where the power of ten is that the value is to be multiplied with: a register of the same table, read
    by the same request."""


@lru_cache(maxsize=1024)
def shared(extra: Extra) -> Extra:
    """The one of those that are equal."""
    return extra


NO_EXTRA = shared(Extra())


def _hexadecimal(value: Any) -> Any:
    return _integer(value) if isinstance(value, str) and value[:2].lower() == "0x" else value


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What clients send."""

    bit: Annotated[int, Meta(ge=0, le=63)] | None = None
    byte: Annotated[Literal["high", "low"], reads(lower)] | None = None
    mask: Annotated[int, reads(_hexadecimal), allowed("an integer, or a text such as 0x00F0")] | None = None
    shift: Annotated[int, Meta(ge=0, le=63)] | None = None
    length: Annotated[int, Meta(ge=1, le=_MOST_BITS)] | None = None
    values: Annotated[dict[str, str], allowed("an object of texts by number")] | None = None
    min: Number | None = None
    max: Number | None = None
    no_value: (
        Annotated[
            tuple[int | float | str, ...],
            reads(_several),
            allowed("raw numbers, texts such as 0x8000, nan or sunspec"),
        ]
        | None
    ) = None
    write_function: Annotated[WriteFunction, reads(lower)] | None = None
    scale_register: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None


class Shape(NamedTuple):
    """What the options of a data point are about."""

    kind: str
    registers: int
    """of one value; 1 for a coil or discrete input"""
    is_bits: bool
    """a coil or discrete input"""


def read_options(given: Options, shape: Shape, where: str) -> Extra:
    """Check the options. Raises `Refusal` naming `<where>.<key>`."""
    if all(getattr(given, field) is None for field in Options.__struct_fields__):
        return NO_EXTRA
    kind = "coil" if shape.is_bits else shape.kind
    for key, value, fits in (
        ("bit", given.bit, kind in _PARTED),
        ("byte", given.byte, kind in BYTES),
        ("mask", given.mask, kind in _PARTED - {"boolean"}),
        ("length", given.length, kind not in BYTES | {"string"}),
        ("values", given.values, kind in _NAMED | {"coil"}),
        ("min", given.min, kind in NUMBERS),
        ("max", given.max, kind in NUMBERS),
        ("noValue", given.no_value, kind != "coil"),
        ("scaleRegister", given.scale_register, kind in NUMBERS - BYTES),
    ):
        if value is not None and not fits:
            raise Refusal(f"{key} does not go with {kind}", f"{where}.{key}")
    for one, other in _EXCLUSIVE:
        if getattr(given, one) is not None and getattr(given, other) is not None:
            key = _SPELLED.get(other, other)
            raise Refusal(f"{key} does not go with {one}", f"{where}.{key}")
    if given.bit is not None and given.bit >= 16 * shape.registers:
        raise Refusal(f"{shape.kind} has no bit {given.bit}", f"{where}.bit")
    if given.min is not None and given.max is not None and given.min > given.max:
        raise Refusal("min is above max", f"{where}.min")
    _check_length(given, shape, where)
    no_value, is_nan = _no_value(given, shape, f"{where}.noValue")
    return shared(
        Extra(
            bit=given.bit,
            mask=given.mask,
            shift=_shift(given, shape, where),
            high_byte=given.byte == "high",
            length=given.length,
            values=_values(given, shape, f"{where}.values"),
            least=given.min,
            most=given.max,
            no_value=no_value,
            no_value_is_nan=is_nan,
            write_function=given.write_function or "auto",
            scale_register=given.scale_register,
        )
    )


_EXCLUSIVE = (
    ("bit", "mask"),
    ("bit", "length"),
    ("mask", "length"),
    ("bit", "min"),
    ("bit", "max"),
    ("values", "min"),
    ("values", "max"),
    ("bit", "scale_register"),
    ("mask", "scale_register"),
    ("length", "scale_register"),
    ("values", "scale_register"),
)
_SPELLED = {"scale_register": "scaleRegister"}


def _check_length(given: Options, shape: Shape, where: str) -> None:
    length = given.length or 1
    most = _MOST_BITS if shape.is_bits else _MOST_REGISTERS // shape.registers
    if length > most:
        raise Refusal(f"length must be at most {most} for {shape.kind}", f"{where}.length")
    if given.write_function == "single" and length * shape.registers > 1 and given.bit is None:
        raise Refusal("more than one register or coil is not written by single", f"{where}.writeFunction")


def _shift(given: Options, shape: Shape, where: str) -> int:
    if given.mask is None:
        if given.shift is not None:
            raise Refusal("shift needs a mask", f"{where}.shift")
        return 0
    if not 0 < given.mask < 1 << 16 * shape.registers:
        raise Refusal(
            f"mask must be from 1 to the {16 * shape.registers} bits of {shape.kind}", f"{where}.mask"
        )
    zeros = (given.mask & -given.mask).bit_length() - 1
    if given.shift is not None and given.shift > zeros:
        raise Refusal(f"shift must be at most {zeros}, or bits of the mask are lost", f"{where}.shift")
    return zeros if given.shift is None else given.shift


def _values(given: Options, shape: Shape, field: str) -> tuple[tuple[int, str], ...]:
    if given.values is None:
        return ()
    least, most = limits_of(shape.kind, shape.registers)
    if given.bit is not None:
        least, most = 0, 1
    elif given.mask is not None:
        least, most = 0, given.mask >> _shift(given, shape, "")
    texts: dict[int, str] = {}
    for key, text in given.values.items():
        try:
            number = _integer(key)
        except ValueError as error:
            raise Refusal(f"values: {key!r} is not a number", field) from error
        if not least <= number <= most:
            raise Refusal(f"values: {key} is not from {least} to {most}", field)
        if number in texts or text in texts.values():
            raise Refusal(f"values: {key} or {text!r} is there twice", field)
        if not text.strip() or is_broken_text(text):
            raise Refusal(f"values: the text of {key} is empty or broken", field)
        texts[number] = text
    if not texts:
        raise Refusal("values must not be empty", field)
    return tuple(sorted(texts.items()))


def _no_value(given: Options, shape: Shape, field: str) -> tuple[frozenset[int], bool]:
    """The bits that mean that there is no value, and whether not a number does."""
    bits: set[int] = set()
    is_nan = False
    for one in given.no_value or ():
        word = one.strip().lower() if isinstance(one, str) else one
        if word == "nan" or (word == "sunspec" and shape.kind in ("float32", "float64")):
            if shape.kind not in FLOATS:
                raise Refusal(f"noValue: {shape.kind} is never nan", field)
            is_nan = True
        elif word == "sunspec":
            if shape.kind not in _SUNSPEC:
                raise Refusal(f"noValue: SunSpec says nothing of {shape.kind}", field)
            bits.add(_SUNSPEC[shape.kind])
        elif shape.kind == "string":
            raise Refusal("noValue: a string has no other than sunspec", field)
        else:
            bits.add(_bits(word, shape, field))
    return frozenset(bits), is_nan


def _bits(raw: int | float | str, shape: Shape, field: str) -> int:
    """The bits of a raw number of the type; a text spells the bits themselves."""
    size = bits_of(shape.kind, shape.registers)
    try:
        if shape.kind in FLOATS:
            if not isinstance(raw, str):
                return int.from_bytes(struct.pack(FLOATS[shape.kind], raw), "big")
            if "x" not in raw.lower():  # would be taken for the bits
                raise ValueError
        number = _integer(raw)
        if not -(1 << size - 1) <= number < 1 << size:
            raise ValueError
    except (ValueError, OverflowError, struct.error) as error:
        raise Refusal(f"noValue: {raw} is not a raw number of {shape.kind}", field) from error
    return number & (1 << size) - 1


def _integer(value: Any) -> int:
    """An integer, also one that is a text, decimal or 0x. Raises `ValueError`."""
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value, 16 if "x" in value.lower() else 10)
    if isinstance(value, str) or value != int(value):
        raise ValueError
    return int(value)
