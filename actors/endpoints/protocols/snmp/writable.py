"""What a write means: which variable, and which value of which type."""

from fractions import Fraction
from ipaddress import AddressValueError, IPv4Address
from math import isfinite
from typing import Any

import msgspec

from actors.endpoints.protocol import CheckedEndpoint, WriteRequest
from actors.system.failure import Refusal

from . import oids
from .ber import integer, tlv
from .kinds import INTEGERS, LARGEST, NUMERIC, OCTETS, SMALLEST, TAGS, WRITTEN, kind_of
from .oids import Arcs
from .points import DataPoint

LONGEST = 65_000
_DIGITS = 400
_TRUE, _FALSE = frozenset({"true", "1", "on", "yes"}), frozenset({"false", "0", "off", "no"})


class Writing(msgspec.Struct, frozen=True):
    """A write that was checked as far as it can be without the agent: `value` is what the client wants, `raw`
    the same unscaled and without labels; `kind` None: of the type that the agent has."""

    oid: Arcs
    value: Any
    raw: Any
    kind: str | None
    point: DataPoint | None


def prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> Writing:
    """What a session writes. Raises `Refusal` on `register`, `value`, `dataType` or `priority`."""
    if request.priority is not None:
        raise Refusal("SNMP knows no priority", "priority")
    point, name = _place(endpoint.points, request.register)
    if point is not None and not point.writable:
        raise Refusal(
            f"{request.register} is read-only: the data point is not writable", "register", "read_only"
        )
    if point is not None and point.table:
        raise Refusal(f"{request.register} is a table: write one of its rows", "register")
    kind = _kind(request, point)
    raw = request.value
    if point is not None:
        raw = _unlabelled(point, raw)
        raw = _unscaled(point, raw) if point.scaled else raw
    if kind is not None:
        encode(kind, raw, point)
    elif not isinstance(raw, str | int | float):
        raise refused(f"{raw!r} is not a number or a text")
    return Writing(name, request.value, raw, kind, point)


def _place(points: tuple[DataPoint, ...], register: str) -> tuple[DataPoint | None, Arcs]:
    for point in points:
        if point.name == register:
            return point, point.oid
    try:
        name = oids.parse(register.strip())
    except ValueError as error:
        raise Refusal(f"Register not found: {register}", "register", "not_found") from error
    there = sorted((point for point in points if point.oid == name), key=lambda point: not point.writable)
    return (there[0] if there else None), name


def _kind(request: WriteRequest, point: DataPoint | None) -> str | None:
    declared = None if point is None else point.kind
    if request.data_type is None:
        return declared if declared in WRITTEN else None
    kind = kind_of(request.data_type)
    if kind not in WRITTEN:
        raise Refusal(f"dataType {request.data_type!r} is not a type that can be written", "dataType")
    if declared is not None and not TAGS[declared] >= {WRITTEN[kind]}:
        raise Refusal(f"dataType {kind} contradicts the data point's {declared}", "dataType")
    return kind


def _unlabelled(point: DataPoint, value: Any) -> Any:
    """The number of a label; numbers stay."""
    if point.labels is None or not isinstance(value, str):
        return value
    for number, label in point.labels.items():
        if label == value:
            return number
    return value


def _unscaled(point: DataPoint, value: Any) -> int | float:
    exact = (_number(value) - Fraction(str(point.offset))) / Fraction(str(point.scale))
    try:
        return int(exact) if exact.denominator == 1 else float(exact)
    except OverflowError as error:
        raise refused(f"{value!r} does not fit any type") from error


def encode(kind: str, value: Any, point: DataPoint | None = None) -> tuple[int, bytes]:
    """The tag, and the whole field. Raises `Refusal` on `value`."""
    if kind in INTEGERS or kind == "boolean":
        number = _truth(value) if kind == "boolean" else _whole(kind, value)
        return WRITTEN[kind], integer(number, WRITTEN[kind])
    if kind in NUMERIC or kind == "opaque":
        raise refused(f"a {kind} cannot be written")
    if kind == "bits":
        return OCTETS, tlv(OCTETS, _bits(value))
    if not isinstance(value, str):
        raise refused(f"{value!r} is not a text, as {kind} is written")
    if len(value) > LONGEST:
        raise refused(f"a text of {len(value)} characters is longer than {LONGEST}")
    return WRITTEN[kind], tlv(WRITTEN[kind], _content(kind, value, point))


def _content(kind: str, value: str, point: DataPoint | None) -> bytes:
    try:
        if kind == "ipaddress":
            return IPv4Address(value.strip()).packed
        if kind == "oid":
            return _oid_content(oids.encode(oids.parse(value.strip())))
        if kind == "octets-hex":
            return bytes.fromhex(value.replace(":", " "))
        return value.encode("utf-8" if point is None else point.encoding)
    except (AddressValueError, UnicodeError, ValueError) as error:
        raise refused(f"{value[:80]!r} is not {_MEANT[kind]}") from error


_MEANT = {
    "ipaddress": "an IPv4 address",
    "oid": "an object identifier",
    "octets-hex": "bytes in hexadecimal",
    "string": "a text of that encoding",
}


def _oid_content(encoded: bytes) -> bytes:
    size = encoded[1]
    return encoded[2:] if size < 0x80 else encoded[2 + (size & 0x7F) :]


def _bits(value: Any) -> bytes:
    if not isinstance(value, list) or not all(type(bit) is int and 0 <= bit < 2048 for bit in value):
        raise refused(f"{value!r:.80} is not a list of the numbers of bits")
    octets = bytearray(max(value, default=0) // 8 + 1)
    for bit in value:
        octets[bit // 8] |= 0x80 >> bit % 8
    return bytes(octets)


def _truth(value: Any) -> int:
    """TruthValue: 1 is true, 2 is false."""
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, bool):
        return 1 if word else 2
    if isinstance(word, float):
        word = f"{word:g}"
    if str(word) in _TRUE or str(word) in _FALSE:
        return 1 if str(word) in _TRUE else 2
    raise refused(f"Invalid boolean: {value!r}")


def _whole(kind: str, value: Any) -> int:
    exact = _number(value)
    whole = (abs(exact) + Fraction(1, 2)).__floor__()  # halves away from zero
    whole = whole if exact >= 0 else -whole
    least, most = SMALLEST.get(kind, 0), LARGEST.get(kind, 2**32 - 1)
    if not least <= whole <= most:
        raise refused(f"{value!r} does not fit {kind} ({least} to {most})")
    return whole


def _number(value: Any) -> Fraction:
    """Exactly the decimal number that the client wrote. Raises `Refusal` on `value`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and isfinite(value):
        return Fraction(str(value))
    if isinstance(value, str) and value.isascii() and "_" not in value and len(value) <= _DIGITS:
        try:
            if isfinite(float(value)) and "/" not in value:
                return Fraction(value.strip())
        except ValueError:
            pass
    raise refused(f"{value!r} is not a number")


def refused(message: str) -> Refusal:
    return Refusal(message, "value")
