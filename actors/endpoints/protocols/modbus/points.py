"""The `data_points` of a Modbus endpoint, in both spellings of spec 03 section 2.2."""

import re
from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache
from math import isinf
from sys import intern
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from actors.endpoints import data_points
from actors.system.failure import Refusal
from conf.annotations import allowed, reads, says
from conf.fields import Encoding, Number, Unused, filled, lower, upper

from .kinds import (
    DECIMALS,
    INTEGERS,
    NAMED_ORDERS,
    ORDERS,
    REGISTERS,
    TIMES,
    Kind,
    bits_of,
    kind_of,
    order_of,
    registers_of,
)
from .options import NO_EXTRA, Extra, Options, Shape, read_options

TableName = Literal["coil", "discrete", "holding", "input"]


class Table(IntEnum):
    """A register table; its value is the function code that reads it."""

    coil = 1
    discrete = 2
    holding = 3
    input = 4

    @property
    def is_bits(self) -> bool:
        return self <= Table.discrete


MOST_REGISTERS = 125
_ENDIANNESS = {"big": "ABCD", "little": "CDAB"}
_ADDRESS = re.compile(r"(0x[0-9a-f]+|[0-9]+)(?:\.([0-9]{1,2}))?", re.ASCII | re.IGNORECASE)
_NO_NUMBERS = frozenset({"string", "s7_dt", "s7_dtl"})
"""Of these only the bytes of each register can be swapped."""
_NO_PLACE = "a data point needs a register, or an address with its functionCode"


def _kind(value: Any) -> Any:
    return kind_of(value) if isinstance(value, str) else value


def _order(value: Any) -> Any:
    order = upper(value)
    if isinstance(order, str) and order not in ORDERS:
        raise ValueError(
            f"must be {', '.join(NAMED_ORDERS)}, or the order of all 6 or 8 bytes such as CDABGHEF"
        )
    return intern(order) if isinstance(order, str) else order


class Location(msgspec.Struct, frozen=True):
    """Where a value lives; `address` is zero-based, `bit` 0 the least significant of the value."""

    table: Table
    address: int
    bit: int | None = None

    def __str__(self) -> str:
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.table.name}:{self.address}{bit}"


class DataPoint(msgspec.Struct, frozen=True, gc=False):
    """A checked data point. Value = raw x `scale` + `offset`."""

    name: str
    table: Table
    address: int
    kind: str
    """a key of `REGISTERS`"""
    count: int = 1
    """registers, coils or discrete inputs"""
    order: str = "ABCD"
    """the order of a value's bytes on the wire, A the most significant (see `kinds.arrangement`)"""
    scale: Fraction = Fraction(1)
    """exact, as the decimal number that the client wrote"""
    offset: Fraction = Fraction(0)
    unit: str | None = None
    encoding: str = "ascii"
    writable: bool | None = None
    """None when the client did not say"""
    alone: bool = False
    """never read together with other points"""
    extra: Extra = NO_EXTRA

    @property
    def address_text(self) -> str:
        return str(Location(self.table, self.address, self.extra.bit))

    @property
    def end(self) -> int:
        return self.address + self.count

    @property
    def first(self) -> int:
        """The first register that is read for it, and `last_end` the one after the last: those of its power
        of ten are read along."""
        scale = self.extra.scale_register
        return self.address if scale is None else min(self.address, scale)

    @property
    def last_end(self) -> int:
        scale = self.extra.scale_register
        return self.end if scale is None else max(self.end, scale + 1)


class Given(Options, frozen=True, kw_only=True, rename="camel"):
    """What clients send. A data point says where it is by `register`, or by `address` and `functionCode`;
    `type` names a table or a data type. Unknown keys are left alone."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    register: Annotated[str, says("register must be a text such as holding:0")] | None = None
    address: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    function_code: Annotated[int, Meta(ge=1, le=4)] | None = None
    type: Annotated[Literal[TableName, Kind], reads(_kind)] | None = None
    data_type: Annotated[Kind, reads(_kind)] | None = None
    count: Annotated[int, Meta(ge=1, le=125)] | None = None
    byte_order: Annotated[str, reads(_order)] | None = None
    endianness: Annotated[Literal["big", "little"], reads(lower), allowed("big or little")] | None = None
    scale: Number = 1
    offset: Number = 0
    unit: str | None = None
    encoding: Encoding = "ascii"
    writable: bool | None = None
    no_batch: bool = False
    description: Unused = None  # for people
    # What a client may call a point by that has no name here (spec 01 section 12).
    key: Unused = None
    tag: Unused = None
    label: Unused = None
    """Accepted, without effect."""


def read_points(given: Sequence[dict[str, Any]]) -> tuple[DataPoint, ...]:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    return data_points.read_points(given, Given, _read_point)


def parse_register(text: str) -> tuple[Location, str | None]:
    """Parse `<table>:<address>[.<bit>][:<type>]`. Raises `ValueError` saying what is wrong."""
    table_name, *rest = (part.strip() for part in text.split(":"))
    if table_name.lower() not in Table.__members__ or len(rest) not in (1, 2):
        raise ValueError(f"{text!r} is not <{'|'.join(Table.__members__)}>:<address>[.<bit>][:<type>]")
    table = Table[table_name.lower()]
    found = _ADDRESS.fullmatch(rest[0])
    if found is None:
        raise ValueError(f"{rest[0]!r} is not a register address")
    address, bit = (
        None if digits is None else int(digits, 16 if "x" in digits.lower() else 10)
        for digits in found.groups()
    )
    if address is None or address > 0xFFFF:
        raise ValueError(f"register address {rest[0]} is above 65535")
    if bit is not None and table.is_bits:
        raise ValueError(f"a {table.name} is a single bit")
    kind = None
    if len(rest) == 2:
        kind = kind_of(rest[1])
        if kind not in REGISTERS:
            raise ValueError(f"{rest[1]!r} is not one of {', '.join(REGISTERS)}")
    return Location(table, address, bit), kind


def _read_point(given: Given, where: str) -> DataPoint:
    location, written_kind, key = _locate(given, where)
    if location.bit is not None:
        if given.bit not in (None, location.bit):
            raise Refusal(f"bit contradicts register {location}", f"{where}.bit")
        given = replace(given, bit=location.bit)
    kind = _kind_of(given, where, location.table, written_kind)
    size = _registers(given, kind, where)
    extra = _extra(given, Shape(kind, size, location.table.is_bits), where, location)
    count = size * (extra.length or 1)
    if location.address + count > 0x10000:
        raise Refusal(f"{count} from {location.address} on go past 65535", f"{where}.{key}")
    _check_scale(given, kind, size, where)
    _check_scale_register(extra, location, count, where)
    return DataPoint(
        name=given.name,
        table=location.table,
        address=location.address,
        kind=kind,
        count=count,
        order=_byte_order(given, kind, size, where),
        scale=exact(given.scale),
        offset=exact(given.offset),
        unit=given.unit,
        encoding=given.encoding,
        writable=given.writable,
        alone=given.no_batch,
        extra=extra,
    )


def _extra(given: Given, shape: Shape, where: str, location: Location) -> Extra:
    try:
        return read_options(given, shape, where)
    except Refusal as refusal:
        if refusal.field == f"{where}.bit" and location.bit is not None:  # spelled in the register
            raise Refusal(refusal.message, f"{where}.register") from refusal
        raise


def _registers(given: Given, kind: str, where: str) -> int:
    """The registers of one value. A `count` may be that of all values of a list of the type."""
    count = given.count
    least, most = REGISTERS[kind]
    if given.length is not None and least == most and count == least * given.length:
        return least
    try:
        return registers_of(kind, count)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.count") from error


def _check_scale(given: Given, kind: str, size: int, where: str) -> None:
    if given.scale == 0:
        raise Refusal("scale must not be 0", f"{where}.scale")
    if kind in INTEGERS or kind in DECIMALS:
        reach = abs(given.scale) * 2.0 ** bits_of(kind, size) + abs(given.offset)
        if isinf(reach):
            raise Refusal("scale makes numbers that are too large", f"{where}.scale")
    what = "a boolean" if kind == "boolean" or given.bit is not None else "a text"
    if what == "a boolean" or kind == "string" or kind in TIMES or given.values is not None:
        for key, value, neutral in (("scale", given.scale, 1), ("offset", given.offset, 0)):
            if value != neutral:
                raise Refusal(f"{key} does not go with {what}", f"{where}.{key}")


def _check_scale_register(extra: Extra, location: Location, count: int, where: str) -> None:
    """A value and its power of ten are of one moment only when one request reads them."""
    scale, first, end = extra.scale_register, location.address, location.address + count
    if scale is None:
        return
    if first <= scale < end:
        raise Refusal(f"scaleRegister {scale} is one of the value's own", f"{where}.scaleRegister")
    if max(end, scale + 1) - min(first, scale) > MOST_REGISTERS:
        fault = (
            f"scaleRegister {scale} is too far from {location}: one request reads {MOST_REGISTERS} registers"
        )
        raise Refusal(fault, f"{where}.scaleRegister")


def _byte_order(given: Given, kind: str, size: int, where: str) -> str:
    if given.byte_order is None:
        return _ENDIANNESS[given.endianness or "big"]
    if kind in _NO_NUMBERS and given.byte_order not in NAMED_ORDERS:
        raise Refusal(f"of a {kind} only the bytes of each register can be swapped", f"{where}.byteOrder")
    try:
        return order_of(given.byte_order, 2 * size)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.byteOrder") from error


@lru_cache(maxsize=256)
def exact(number: float) -> Fraction:
    """The decimal number that the client wrote. Most points of a device share theirs."""
    return Fraction(str(number))


def _locate(given: Given, where: str) -> tuple[Location, str | None, str]:
    """The location, the type that `register` names if any, and the key that gave the address."""
    if given.register is None:
        if given.address is None:
            raise Refusal(_NO_PLACE, f"{where}.register")
        return Location(_table(given, where), given.address), None, "address"
    try:
        location, kind = parse_register(given.register)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.register") from error
    if given.address not in (None, location.address):
        raise Refusal(f"address contradicts register {location}", f"{where}.address")
    for key, table in _tables(given).items():
        if table is not location.table:
            raise Refusal(f"{key} contradicts register {location}", f"{where}.{key}")
    return location, kind, "register"


def _table(given: Given, where: str) -> Table:
    tables = _tables(given)
    if not tables:
        raise Refusal("an address needs a functionCode from 1 to 4", f"{where}.functionCode")
    if len(set(tables.values())) > 1:
        raise Refusal("type contradicts functionCode", f"{where}.type")
    return next(iter(tables.values()))


def _tables(given: Given) -> dict[str, Table]:
    """Every table that `functionCode` and `type` name, by the key that names it."""
    tables: dict[str, Table] = {}
    if given.function_code is not None:
        tables["functionCode"] = Table(given.function_code)
    named = Table.__members__.get(given.type or "")
    if named is not None:
        tables["type"] = named
    return tables


def _kind_of(given: Given, where: str, table: Table, written: str | None) -> str:
    """The data type: of `register`, `dataType` or `type`, which must agree."""
    named = {"register": written, "dataType": given.data_type, "type": given.type}
    kinds = {key: kind for key, kind in named.items() if kind in REGISTERS}
    for key, kind in kinds.items():
        if kind != next(iter(kinds.values())):
            raise Refusal(f"{key} {kind} contradicts {next(iter(kinds.items()))[1]}", f"{where}.{key}")
        if table.is_bits and kind != "boolean":
            raise Refusal(f"a {table.name} holds a boolean, not {kind}", f"{where}.{key}")
    return next(iter(kinds.values()), _implied_kind(given, table))


def _implied_kind(given: Given, table: Table) -> str:
    if table.is_bits or given.bit is not None:
        return "boolean"
    if given.byte is not None:
        return "uint8"
    return "float32" if given.mask is None else "uint16"
