"""The `data_points` of a Modbus endpoint, in both spellings of spec 03 section 2.2."""

from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from math import isfinite
from typing import Any

import msgspec

from actors.system.failure import Refusal


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
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_ENDIANNESS = {"big": "ABCD", "little": "CDAB"}
_ENCODING_ALIASES = {"utf16le": "utf-16-le", "ucs2": "utf-16-le", "binary": "latin-1"}
_MAX_COUNT = 125
_NO_PLACE = "a data point needs a register, or an address with its functionCode"


class Location(msgspec.Struct, frozen=True):
    """Where a value lives; `address` is zero-based."""

    table: Table
    address: int

    def __str__(self) -> str:
        return f"{self.table.name}:{self.address}"


class DataPoint(msgspec.Struct, frozen=True):
    """A checked data point. Value = raw x `scale` + `offset`."""

    name: str
    table: Table
    address: int
    kind: str
    """a key of `REGISTERS`"""
    count: int = 1
    """registers, or 1 for a coil or discrete input"""
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

    @property
    def address_text(self) -> str:
        return f"{self.table.name}:{self.address}"

    @property
    def end(self) -> int:
        return self.address + self.count


def read_points(given: Sequence[dict[str, Any]]) -> tuple[DataPoint, ...]:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    points: list[DataPoint] = []
    names: set[str] = set()
    for index, raw in enumerate(given):
        where = f"data_points[{index}]"
        if not isinstance(raw, dict):
            raise Refusal("a data point must be an object", where)
        point = _read_point(raw, where)
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


def _read_point(raw: dict[str, Any], where: str) -> DataPoint:
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip():
        raise Refusal("a data point needs a name", f"{where}.name")
    location, written_kind, key = _locate(raw, where)
    kind = _kind(raw, where, location.table, written_kind)
    count = _count(raw, where, kind)
    if location.address + count > 0x10000:
        raise Refusal(f"{count} registers from {location.address} go past 65535", f"{where}.{key}")
    return DataPoint(
        name=name,
        table=location.table,
        address=location.address,
        kind=kind,
        count=count,
        order=_order(raw, where),
        scale=_factor(raw, where, "scale", 1),
        offset=_factor(raw, where, "offset", 0),
        unit=_text(raw, where, "unit"),
        encoding=_encoding(raw, where),
        writable=_flag(raw, where, "writable"),
        alone=_flag(raw, where, "noBatch") or False,
    )


def _locate(raw: dict[str, Any], where: str) -> tuple[Location, str | None, str]:
    """The location, the type that `register` names if any, and the key that gave the address."""
    if raw.get("register") is None:
        address = _address(raw, where)
        return Location(_table(raw, where), address), None, "address"
    register = raw["register"]
    if not isinstance(register, str):
        raise Refusal("register must be a text such as holding:0", f"{where}.register")
    try:
        location, kind = parse_register(register)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.register") from error
    _contradict(raw, where, location)
    return location, kind, "register"


def _contradict(raw: dict[str, Any], where: str, location: Location) -> None:
    """Refuse the other spelling beside `register` when it says something else."""
    if raw.get("address") is not None and _address(raw, where) != location.address:
        raise Refusal(f"address contradicts register {location}", f"{where}.address")
    for key, table in _tables(raw, where).items():
        if table is not location.table:
            raise Refusal(f"{key} contradicts register {location}", f"{where}.{key}")


def _address(raw: dict[str, Any], where: str) -> int:
    address = raw.get("address")
    if address is None:
        raise Refusal(_NO_PLACE, f"{where}.register")
    if not _is_integer(address) or not 0 <= address <= 0xFFFF:
        raise Refusal("address must be an integer from 0 to 65535", f"{where}.address")
    return int(address)


def _table(raw: dict[str, Any], where: str) -> Table:
    tables = _tables(raw, where)
    if not tables:
        raise Refusal("an address needs a functionCode from 1 to 4", f"{where}.functionCode")
    if len(set(tables.values())) > 1:
        raise Refusal("type contradicts functionCode", f"{where}.type")
    return next(iter(tables.values()))


def _tables(raw: dict[str, Any], where: str) -> dict[str, Table]:
    """Every table that `functionCode` and `type` name, by the key that names it."""
    tables: dict[str, Table] = {}
    code = raw.get("functionCode")
    if code is not None:
        if not _is_integer(code) or not 1 <= code <= 4:
            raise Refusal("functionCode must be an integer from 1 to 4", f"{where}.functionCode")
        tables["functionCode"] = Table(code)
    named = raw.get("type")
    if isinstance(named, str) and named.lower() in Table.__members__:
        tables["type"] = Table[named.lower()]
    return tables


def _kind(raw: dict[str, Any], where: str, table: Table, written: str | None) -> str:
    """The data type: of `register`, `dataType` or `type`, which must agree."""
    kinds = {} if written is None else {"register": written}
    for key in ("dataType", "type"):
        given = raw.get(key)
        if given is None or (key == "type" and "type" in _tables(raw, where)):
            continue
        kind = _TYPE_ALIASES.get(given.lower(), given.lower()) if isinstance(given, str) else None
        if kind not in REGISTERS:
            raise Refusal(f"{key} must be one of {', '.join(REGISTERS)}", f"{where}.{key}")
        kinds[key] = kind
    for key, kind in kinds.items():
        if kind != next(iter(kinds.values())):
            raise Refusal(f"{key} {kind} contradicts {next(iter(kinds.items()))[1]}", f"{where}.{key}")
        if table.is_bits and kind != "boolean":
            raise Refusal(f"a {table.name} holds a boolean, not {kind}", f"{where}.{key}")
    if kinds:
        return next(iter(kinds.values()))
    return "boolean" if table.is_bits else "float32"


def _count(raw: dict[str, Any], where: str, kind: str) -> int:
    count = raw.get("count")
    if count is not None and (not _is_integer(count) or not 1 <= count <= _MAX_COUNT):
        raise Refusal(f"count must be an integer from 1 to {_MAX_COUNT}", f"{where}.count")
    try:
        return registers_of(kind, count)
    except ValueError as error:
        raise Refusal(str(error), f"{where}.count") from error


def _order(raw: dict[str, Any], where: str) -> str:
    order, endianness = raw.get("byteOrder"), raw.get("endianness")
    if order is not None:
        if not isinstance(order, str) or order.upper() not in _ORDERS:
            raise Refusal(f"byteOrder must be one of {', '.join(_ORDERS)}", f"{where}.byteOrder")
        return order.upper()
    if endianness is None:
        return "ABCD"
    if not isinstance(endianness, str) or endianness.lower() not in _ENDIANNESS:
        raise Refusal("endianness must be big or little", f"{where}.endianness")
    return _ENDIANNESS[endianness.lower()]


def _factor(raw: dict[str, Any], where: str, key: str, default: int) -> Fraction:
    number = raw.get(key)
    if number is None:
        return Fraction(default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not isfinite(number):
        raise Refusal(f"{key} must be a number", f"{where}.{key}")
    if key == "scale" and number == 0:
        raise Refusal("scale must not be 0", f"{where}.scale")
    return Fraction(str(number))


def _encoding(raw: dict[str, Any], where: str) -> str:
    encoding = raw.get("encoding")
    if encoding is None:
        return "ascii"
    if isinstance(encoding, str):
        name = _ENCODING_ALIASES.get(encoding.lower(), encoding)
        try:
            b"  ".decode(name, "replace")
        except (LookupError, ValueError) as error:
            raise Refusal(f"{encoding!r} is not a text encoding", f"{where}.encoding") from error
        return name
    raise Refusal("encoding must be a text such as ascii", f"{where}.encoding")


def _text(raw: dict[str, Any], where: str, key: str) -> str | None:
    text = raw.get(key)
    if text is not None and not isinstance(text, str):
        raise Refusal(f"{key} must be a text", f"{where}.{key}")
    return text


def _flag(raw: dict[str, Any], where: str, key: str) -> bool | None:
    flag = raw.get(key)
    if flag is not None and not isinstance(flag, bool):
        raise Refusal(f"{key} must be true or false", f"{where}.{key}")
    return flag


def _is_integer(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
