"""What a write means: which node, and which value of which type (spec 03 section 3)."""

import base64
import binascii
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from math import isfinite
from typing import Any, Final
from uuid import UUID

import msgspec

from actors.endpoints.protocol import CheckedEndpoint, WriteRequest
from actors.system.failure import Refusal

from .kinds import FLOATS, INTEGERS, write_type
from .nodes import BrowsePath, NodeRef, parse_place
from .points import OWN, DataPoint

DEEPEST: Final = 8
"""Dimensions of an array that is written."""
LONGEST: Final = 65_535
"""Of a text or an array that is written."""
_TRUE = frozenset({"true", "1", "on", "yes"})
_FALSE = frozenset({"false", "0", "off", "no"})
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DIGITS: Final = 400
"""Of a number that is written as a text."""


class Writing(msgspec.Struct, frozen=True):
    """A write that was checked as far as it can be without the server: `value` is what the client wants,
    unscaled when the data point is scaled; `kind` the type on the wire, None: the node's own."""

    place: NodeRef | BrowsePath
    index_range: str | None
    value: Any
    kind: str | None
    point: DataPoint | None
    by_address: bool
    """The node may be that of a data point which is not writable, spelled in another way."""


def prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> Writing:
    """What a session writes. Raises `Refusal` on `register` or `value`."""
    points = _points(endpoint, request.device)
    point = next((point for point in points if point.name == request.register), None)
    every = [point for device in _devices(endpoint) for point in _points(endpoint, device)]
    if point is None:
        point, place = _addressed(every, request.register)
    else:
        place = point.place
    if point is not None and not point.writable:
        raise read_only(request.register)
    kind = _kind(request, point)
    value = request.value
    dimensions(value)
    if point is not None and point.scaled:
        value = _each(value, lambda one: unscaled(point, one))
    if kind is not None:
        _each(value, lambda one: fit(kind, one))
    index_range = None if point is None else point.index_range
    return Writing(place, index_range, value, kind, point, by_address=point is None)


def read_only(register: str) -> Refusal:
    return Refusal(f"{register} is read-only: the data point is not writable", "register", "read_only")


def _devices(endpoint: CheckedEndpoint) -> list[str]:
    return [OWN, *(device.identifier for device in endpoint.devices)]


def _points(endpoint: CheckedEndpoint, device: str) -> tuple[DataPoint, ...]:
    if device == OWN:
        return endpoint.points
    return next((one.points for one in endpoint.devices if one.identifier == device), ())


def _addressed(every: list[DataPoint], text: str) -> tuple[DataPoint | None, NodeRef | BrowsePath]:
    """A node by its address, with or without a data point there; of several the one that is writable."""
    try:
        place = parse_place(text)
    except ValueError as error:
        raise Refusal(f"Register not found: {text}", "register", "not_found") from error
    there = [point for point in every if point.place == place and point.index_range is None]
    there.sort(key=lambda point: not point.writable)
    return (there[0] if there else None), place


def _kind(request: WriteRequest, point: DataPoint | None) -> str | None:
    if request.data_type is None:
        return None if point is None else point.write_type
    kind = write_type(request.data_type)
    if kind is None:
        raise Refusal(f"dataType {request.data_type!r} is not a type that can be written", "dataType")
    if point is not None and point.write_type not in (None, kind):
        raise Refusal(f"dataType {kind} contradicts the data point's {point.write_type}", "dataType")
    return kind


def _each(value: Any, do: Any) -> Any:
    """Of an array, each of its elements; of a matrix, of each of its rows."""
    if isinstance(value, list):
        if len(value) > LONGEST:
            raise refused(f"an array of {len(value)} is longer than {LONGEST}")
        return [_each(one, do) for one in value]
    return do(value)


def dimensions(value: Any) -> list[int]:
    """Of an array; none of a single value. Raises `Refusal` on `value` where its rows differ: on the wire an
    array is one list and its dimensions."""
    found: list[int] = []
    level = [value]
    while any(isinstance(one, list) for one in level):
        lengths = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(lengths) > 1:
            raise refused("the rows of a matrix must be of one length")
        if len(found) == DEEPEST:
            raise refused(f"an array of more than {DEEPEST} dimensions")
        found += lengths
        level = [part for one in level for part in one]
    return found


def unscaled(point: DataPoint, value: Any) -> int | float:
    """The raw number that the scaled one stands for."""
    exact = (number(value) - Fraction(str(point.offset))) / Fraction(str(point.scale))
    if exact.denominator == 1:
        return int(exact)
    try:
        return float(exact)
    except OverflowError as error:
        raise refused(f"{value!r} does not fit any type") from error


def fit(kind: str, value: Any) -> Any:
    """A value that a client sends, as the library takes it for that type. Raises `Refusal` on `value`."""
    if kind == "Boolean":
        return _truth(value)
    if kind in INTEGERS:
        return _integer(kind, value)
    if kind in FLOATS:
        return _float(kind, value)
    if not isinstance(value, str):
        raise refused(f"{value!r} is not a text, as {kind} is written")
    if len(value) > LONGEST:
        raise refused(f"a text of {len(value)} characters is longer than {LONGEST}")
    read: Callable[[str], Any] = _FROM_TEXT[kind]
    try:
        return read(value)
    except (ValueError, binascii.Error) as error:
        raise refused(f"{value[:80]!r} is not {_MEANT[kind]}") from error


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else value
    if isinstance(word, float):
        word = f"{word:g}"
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise refused(f"Invalid boolean: {value!r}")


def _integer(kind: str, value: Any) -> int:
    exact = number(value)
    whole = (abs(exact) + Fraction(1, 2)).__floor__()  # halves away from zero
    whole = whole if exact >= 0 else -whole
    least, most = INTEGERS[kind]
    if not least <= whole <= most:
        raise refused(f"{value!r} does not fit {kind} ({least} to {most})")
    return whole


def _float(kind: str, value: Any) -> float:
    exact = number(value)
    try:
        found = float(exact)
        struct.pack("<f" if kind == "Float" else "<d", found)
    except (OverflowError, struct.error) as error:
        raise refused(f"{value!r} does not fit {kind}") from error
    return found


def number(value: Any) -> Fraction:
    """Exactly the decimal number that the client wrote. Raises `Refusal` on `value`."""
    if isinstance(value, bool):
        raise refused(f"{value!r} is not a number")
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float) and isfinite(value):
        return Fraction(str(value))
    if isinstance(value, str) and value.isascii() and "_" not in value and len(value) <= _DIGITS:
        try:
            found = float(value)
            if isfinite(found) and "/" not in value:
                return Fraction(value.strip())
        except ValueError:
            pass
    raise refused(f"{value!r} is not a number")


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _guid(text: str) -> UUID:
    if _GUID.fullmatch(text) is None:
        raise ValueError
    return UUID(text)


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "String": str,
    "LocalizedText": str,
    "DateTime": _time,
    "Guid": _guid,
    "ByteString": lambda text: base64.b64decode(text, validate=True),
}
_MEANT: Final = {
    "String": "a text",
    "LocalizedText": "a text",
    "DateTime": "a time such as 2024-01-15T10:30:00Z",
    "Guid": "a GUID",
    "ByteString": "base64",
}


def refused(message: str) -> Refusal:
    return Refusal(message, "value")
