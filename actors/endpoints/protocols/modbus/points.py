"""The `data_points` of a Modbus endpoint, in both spellings of spec 03 section 2.2."""

from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, reads, says
from conf.fields import Number, filled, lower, upper

from .options import NO_EXTRA, Extra

TableName = Literal["coil", "discrete", "holding", "input"]
Kind = Literal[
    "int16",
    "uint16",
    "boolean",
    "int32",
    "uint32",
    "float32",
    "int64",
    "uint64",
    "float64",
    "string",
]


class Table(IntEnum):
    """A register table; its value is the function code that reads it."""

    coil = 1
    discrete = 2
    holding = 3
    input = 4

    @property
    def is_bits(self) -> bool:
        return self <= Table.discrete


REGISTERS = {
    "int16": 1,
    "uint16": 1,
    "boolean": 1,
    "int32": 2,
    "uint32": 2,
    "float32": 2,
    "int64": 4,
    "uint64": 4,
    "float64": 4,
    "string": None,
}
"""How many registers a value of each data type takes; a string says so by its `count`."""

_TYPE_ALIASES = {"bool": "boolean"}
_ENDIANNESS = {"big": "ABCD", "little": "CDAB"}
_ENCODING_ALIASES = {"utf16le": "utf-16-le", "ucs2": "utf-16-le", "binary": "latin-1"}
_NO_PLACE = "a data point needs a register, or an address with its functionCode"


def _kind_name(value: Any) -> Any:
    value = lower(value)
    return _TYPE_ALIASES.get(value, value) if isinstance(value, str) else value


def _encoding(value: Any) -> Any:
    """The encoding as Python calls it; raises `ValueError` when it has none of that name."""
    if not isinstance(value, str):
        raise ValueError("must be a text such as ascii")
    name = _ENCODING_ALIASES.get(value.lower(), value)
    try:
        b"  ".decode(name, "replace")
    except (LookupError, ValueError) as error:
        raise ValueError("must be the name of a text encoding such as ascii") from error
    return name


class Location(msgspec.Struct, frozen=True):
    """Where a value lives; `address` is zero-based."""

    table: Table
    address: int
    bit: int | None = None

    def __str__(self) -> str:
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.table.name}:{self.address}{bit}"


class DataPoint(msgspec.Struct, frozen=True):
    """A checked data point. Value = raw x `scale` + `offset`."""

    name: str
    table: Table
    address: int
    kind: str
    """a key of `REGISTERS`"""
    count: int = 1
    """registers; coils or discrete inputs"""
    order: str = "ABCD"
    """the order of a value's bytes on the wire, A the most significant"""
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


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. A data point says where it is by `register`, or by `address` and `functionCode`;
    `type` names a table or a data type. Unknown keys are left alone."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    register: Annotated[str, says("register must be a text such as holding:0")] | None = None
    address: Annotated[int, Meta(ge=0, le=0xFFFF)] | None = None
    function_code: Annotated[int, Meta(ge=1, le=4)] | None = None
    type: Annotated[Literal[TableName, Kind], reads(_kind_name)] | None = None
    data_type: Annotated[Kind, reads(_kind_name)] | None = None
    count: Annotated[int, Meta(ge=1, le=125)] | None = None
    byte_order: Annotated[Literal["ABCD", "CDAB", "BADC", "DCBA"], reads(upper)] | None = None
    endianness: Annotated[Literal["big", "little"], reads(lower), allowed("big or little")] | None = None
    scale: Number = 1
    offset: Number = 0
    unit: str | None = None
    encoding: Annotated[str, reads(_encoding)] = "ascii"
    writable: bool | None = None
    no_batch: bool = False


def read_points(given: Sequence[dict[str, Any]]) -> tuple[DataPoint, ...]:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    points: list[DataPoint] = []
    names: set[str] = set()
    for index, raw in enumerate(given):
        where = f"data_points[{index}]"
        point = _read_point(checked(raw, Given, where), where)
        if point.name in names:
            raise Refusal(f"the name {point.name!r} is used twice", f"{where}.name")
        names.add(point.name)
        points.append(point)
    return tuple(points)


def parse_register(text: str) -> tuple[Location, str | None]:
    """Parse `<table>:<address>[:<type>]`. Raises `ValueError` saying what is wrong."""
    table_name, *rest = (part.strip() for part in text.split(":"))
    if table_name.lower() not in Table.__members__ or len(rest) not in (1, 2):
        raise ValueError(f"{text!r} is not <{'|'.join(Table.__members__)}>:<address>[:<type>]")
    digits = rest[0].lower()
    try:
        if not digits.isascii() or not digits[:1].isdigit() or "_" in digits:
            raise ValueError
        address = int(digits, 16) if digits.startswith("0x") else int(digits, 10)
    except ValueError:
        raise ValueError(f"{rest[0]!r} is not a register address") from None
    if address > 0xFFFF:
        raise ValueError(f"register address {rest[0]} is above 65535")
    kind = None
    if len(rest) == 2:
        kind = _TYPE_ALIASES.get(rest[1].lower(), rest[1].lower())
        if kind not in REGISTERS:
            raise ValueError(f"{rest[1]!r} is not one of {', '.join(REGISTERS)}")
    return Location(Table[table_name.lower()], address), kind


def registers_of(kind: str, count: int | None) -> int:
    """How many registers a value takes. Raises `ValueError` when `count` does not fit its type."""
    needed = REGISTERS[kind]
    if needed is None:
        if count is None:
            raise ValueError("a string needs a count of registers")
        return count
    if count is not None and count != needed:
        raise ValueError(f"{kind} takes {needed} register{'s' if needed > 1 else ''}, not {count}")
    return needed


def _read_point(given: Given, where: str) -> DataPoint:
    location, written_kind, key = _locate(given, where)
    kind = _kind(given, where, location.table, written_kind)
    try:
        count = registers_of(kind, given.count)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.count") from error
    if location.address + count > 0x10000:
        raise Refusal(f"{count} registers from {location.address} go past 65535", f"{where}.{key}")
    if given.scale == 0:
        raise Refusal("scale must not be 0", f"{where}.scale")
    return DataPoint(
        name=given.name,
        table=location.table,
        address=location.address,
        kind=kind,
        count=count,
        order=given.byte_order or _ENDIANNESS[given.endianness or "big"],
        scale=_exact(given.scale),
        offset=_exact(given.offset),
        unit=given.unit,
        encoding=given.encoding,
        writable=given.writable,
        alone=given.no_batch,
    )


@lru_cache(maxsize=256)
def _exact(number: float) -> Fraction:
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


def _kind(given: Given, where: str, table: Table, written: str | None) -> str:
    """The data type: of `register`, `dataType` or `type`, which must agree."""
    named = {"register": written, "dataType": given.data_type, "type": given.type}
    kinds = {key: kind for key, kind in named.items() if kind in REGISTERS}
    for key, kind in kinds.items():
        if kind != next(iter(kinds.values())):
            raise Refusal(f"{key} {kind} contradicts {next(iter(kinds.items()))[1]}", f"{where}.{key}")
        if table.is_bits and kind != "boolean":
            raise Refusal(f"a {table.name} holds a boolean, not {kind}", f"{where}.{key}")
    return next(iter(kinds.values()), "boolean" if table.is_bits else "float32")
