"""From what an agent answers to values of readings.

The type on the wire decides: a value of another type than the data point says is none. Functions here take
the tag and the content of a value, and raise `Unfit` with a quality code.
"""

import re
import struct
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from actors.endpoints.floats import shortest

from . import oids, quality
from .ber import Malformed
from .kinds import (
    COUNTER32,
    COUNTER64,
    INTEGER,
    IP_ADDRESS,
    OCTETS,
    OID,
    OPAQUE,
    TAGS,
    WHOLE,
)
from .points import DataPoint

Shape = Callable[[int, bytes], Any]

_DIGITS = 15
_NUMERAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_LONGEST_NUMERAL = 64
_WRAPPED = 0x9F
_FLOAT, _DOUBLE, _COUNTER64, _INT64, _UINT64 = 0x78, 0x79, 0x76, 0x7A, 0x7B
"""Types that Net-SNMP wraps into an Opaque, by what follows 0x9F."""


class Unfit(ValueError):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def shape_of(point: DataPoint) -> Shape:
    """What makes its values; of a rate the count itself."""
    base = plain if point.kind is None else _declared(point)
    if point.labels is not None:
        return _labelled(base, point.labels)
    return _scaled(base, point) if point.scaled and not point.rate else base


def whole(tag: int, raw: bytes) -> int:
    """Of any type of whole numbers."""
    size = len(raw)
    if tag == INTEGER:
        if 0 < size <= 8:
            return int.from_bytes(raw, "big", signed=True)
        raise Unfit(quality.READ_ERROR)
    if tag not in WHOLE:
        raise _other(tag)
    # Some agents leave out the zero that keeps a large number from being a negative one.
    found = int.from_bytes(raw, "big")
    if not size or found >= 1 << (64 if tag == COUNTER64 else 32):
        raise Unfit(quality.READ_ERROR)
    return found


def text(raw: bytes, encoding: str = "utf-8") -> str:
    try:
        found = raw.decode(encoding)
    except (UnicodeError, LookupError):
        raise Unfit(quality.TYPE_MISMATCH) from None
    return found.rstrip("\0")


def hexadecimal(raw: bytes) -> str:
    return raw.hex(":")


def scaled(point: DataPoint, raw: Any) -> int | float:
    result: int | float = raw * point.scale + point.offset
    if isinstance(result, float):
        if not isfinite(result):
            raise Unfit(quality.NOT_A_NUMBER)
        return float(f"{result:.{_DIGITS}g}")  # 0.1 x 3 is 0.3
    return result


def _other(tag: int) -> Unfit:
    """Why a value of that type is none."""
    return Unfit(quality.EXCEPTIONS.get(tag, quality.TYPE_MISMATCH))


def plain(tag: int, raw: bytes) -> Any:
    if tag in WHOLE:
        return whole(tag, raw)
    make = _MAKE.get(tag)
    if make is None:
        raise _other(tag)
    return make(raw)


def _octets(raw: bytes) -> str:
    """A text if it is one, else its bytes in hexadecimal."""
    try:
        found = raw.decode().rstrip("\0")
    except UnicodeError:
        return hexadecimal(raw)
    return found if all(sign.isprintable() or sign in "\r\n\t" for sign in found) else hexadecimal(raw)


def _address(raw: bytes) -> str:
    if len(raw) != 4:
        raise Unfit(quality.READ_ERROR)
    return ".".join(map(str, raw))


def _name(raw: bytes) -> str:
    try:
        return oids.shown(oids.decode(raw))
    except Malformed:
        raise Unfit(quality.READ_ERROR) from None


def _opaque(raw: bytes) -> Any:
    """A number if it is one of those that Net-SNMP wraps, else its bytes in hexadecimal."""
    if len(raw) > 3 and raw[0] == _WRAPPED and raw[2] == len(raw) - 3:
        kind, content = raw[1], raw[3:]
        if kind == _FLOAT and len(content) == 4:
            return _finite(shortest(struct.unpack(">f", content)[0]))
        if kind == _DOUBLE and len(content) == 8:
            return _finite(struct.unpack(">d", content)[0])
        if kind in (_INT64, _UINT64, _COUNTER64) and len(content) <= 9:
            found = int.from_bytes(content, "big", signed=kind == _INT64)
            if found < 2**64:
                return found
    return hexadecimal(raw)


def _finite(value: float | None) -> float:
    if value is None or not isfinite(value):
        raise Unfit(quality.NOT_A_NUMBER)
    return value


_MAKE: Final[dict[int, Callable[[bytes], Any]]] = {
    OCTETS: _octets,
    OID: _name,
    IP_ADDRESS: _address,
    OPAQUE: _opaque,
}


def _declared(point: DataPoint) -> Shape:
    assert point.kind is not None
    tags, make = TAGS[point.kind], _SHAPES.get(point.kind, whole)
    if point.kind == "string":
        encoding = point.encoding

        def make(tag: int, raw: bytes) -> Any:
            return text(raw, encoding)

    def shape(tag: int, raw: bytes) -> Any:
        if tag not in tags:
            raise _other(tag)
        return make(tag, raw)

    return shape


def number(tag: int, raw: bytes) -> int | float:
    """Also one that stands in a text, or in an Opaque."""
    if tag in WHOLE:
        return whole(tag, raw)
    if tag == OPAQUE:
        found = _opaque(raw)
        if isinstance(found, str):
            raise Unfit(quality.TYPE_MISMATCH)
        return found  # type: ignore[no-any-return]
    numeral = text(raw, "ascii").strip()
    if len(numeral) > _LONGEST_NUMERAL or _NUMERAL.fullmatch(numeral) is None:
        raise Unfit(quality.TYPE_MISMATCH)
    if numeral.lstrip("+-").isdecimal() and -(2**63) <= int(numeral) < 2**64:
        return int(numeral)
    return _finite(float(numeral))


def _float(tag: int, raw: bytes) -> float:
    return float(number(tag, raw))


def _boolean(tag: int, raw: bytes) -> bool:
    """TruthValue says 1 and 2; others say 1 and 0."""
    found = whole(tag, raw)
    if found not in (0, 1, 2):
        raise Unfit(quality.TYPE_MISMATCH)
    return found == 1


def _bits(tag: int, raw: bytes) -> list[int]:
    """The numbers of those that are set; 0 is the highest of the first byte (RFC 2578 section 7.1.4)."""
    return [8 * place + bit for place, octet in enumerate(raw) for bit in range(8) if octet & 0x80 >> bit]


_SHAPES: Final[dict[str, Shape]] = {
    "number": number,
    "float": _float,
    "double": _float,
    "boolean": _boolean,
    "octets-hex": lambda tag, raw: hexadecimal(raw),
    "bits": _bits,
    "ipaddress": lambda tag, raw: _address(raw),
    "oid": lambda tag, raw: _name(raw),
    "opaque": lambda tag, raw: _opaque(raw),
}


def _labelled(base: Shape, labels: dict[int, str]) -> Shape:
    def shape(tag: int, raw: bytes) -> str:
        found = base(tag, raw)
        if type(found) is not int:
            raise Unfit(quality.TYPE_MISMATCH)
        return labels.get(found) or str(found)

    return shape


def _scaled(base: Shape, point: DataPoint) -> Shape:
    def shape(tag: int, raw: bytes) -> int | float:
        found = base(tag, raw)
        if type(found) not in (int, float):
            raise Unfit(quality.TYPE_MISMATCH)
        return scaled(point, found)

    return shape


BITS: Final = {COUNTER32: 32, COUNTER64: 64}
"""Of the types that begin anew at 0 when they are full."""
