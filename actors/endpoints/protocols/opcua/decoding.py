"""From the bytes of a PublishResponse or a ReadResponse to columns of values (part 6, 5.2).

Scalars and arrays of the types that field devices have are decoded here, neighbours of one shape in one go.
Every other value, and every message of another shape, goes to the library's decoder: what is not known is
not guessed. The decoders raise `Garbage`, or what the library raises for the status that the server answered.
"""

import logging
import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import (
    extensionobject_from_binary,
    nodeid_from_binary,
    struct_from_binary,
    variant_from_binary,
)
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from . import shapes, values
from .shapes import KNOWN, SERVER, SERVER_PICO, SOURCE, SOURCE_PICO, STATUS, VALUE, Shape

T = TypeVar("T")

log = logging.getLogger(__name__)

UNREADABLE: Final = object()
"""Of a value that is not understood, until it is told as BadDecodingError."""


class Garbage(UaError):  # type: ignore[misc]
    """What came is not what the protocol allows."""


class Found(NamedTuple):
    """Values in the order of the message, as JSON; `statuses` None when all are Good, without any bits of
    their own; `times` Unix ms, the source's or where it has none the server's, None where neither has one."""

    values: list[Any]
    statuses: list[int] | None
    times: list[int | None]


class Notification(msgspec.Struct, gc=False):
    """What one answer to a Publish request holds. The lists belong together: a value of the monitored item of
    that client handle, and the rest as in `Found`. One item may be there several times, in order."""

    subscription: int
    sequence: int
    handles: list[int]
    values: list[Any]
    statuses: list[int] | None
    times: list[int | None]
    events: list[Any]
    """`EventFieldList`s of the library"""
    status: int | None
    """A status change of the subscription."""
    keep_alive: bool
    available: Sequence[int]
    """Sequence numbers that the server can send again."""


def published(body: bytes) -> Notification:
    """Of a PublishResponse."""
    return _guarded(_published, body)


def results(body: bytes) -> Found:
    """Of a ReadResponse."""
    return _guarded(_results, body)


def _guarded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (Garbage, UaStatusCodeError):
        raise
    except Exception as error:  # whatever the library's decoder makes of bytes that are none of its
        raise Garbage(f"undecodable: {error or type(error).__name__}") from error


_LONG = struct.Struct("<q").unpack_from
_WORD = struct.Struct("<I").unpack_from
_LENGTH = struct.Struct("<i").unpack_from
_MORE = struct.Struct("<?I").unpack_from
_SCALARS: Final = {kind: struct.Struct(f"<{pattern}").unpack_from for kind, pattern in shapes.FIXED.items()}
_SIZES: Final = {kind: struct.calcsize(f"<{pattern}") for kind, pattern in shapes.FIXED.items()}
_INT32, _FLOAT, _DOUBLE, _STRING, _EXTENSION, _DATA_VALUE, _VARIANT = 6, 10, 11, 12, 22, 23, 24
_NESTING: Final = frozenset({_STRING, _DATA_VALUE, _VARIANT})
_BAD = 0x8000_0000
_KIND, _ARRAY, _MATRIX = 0x3F, 0x80, 0x40
"""Bits of a variant's encoding: the number of its type, and whether there are several, with dimensions."""


def _encoding(name: str) -> bytes:
    """The node id that a message or structure of that kind begins with."""
    return struct.pack("<BBH", 1, 0, getattr(ua.ObjectIds, f"{name}_Encoding_DefaultBinary"))


_PUBLISHED = _encoding("PublishResponse")
_READ = _encoding("ReadResponse")
_FAULT = _encoding("ServiceFault")
_CHANGES = _encoding("DataChangeNotification") + b"\x01"  # and its body as bytes


# Messages


def _header(body: bytes, kind: bytes) -> int | None:
    """Where the header of a response of that kind ends; None if it has parts that only the library knows."""
    if not body.startswith(kind):
        if body.startswith(_FAULT):
            struct_from_binary(ua.ResponseHeader, Buffer(body, 4)).ServiceResult.check()
        raise Garbage(f"a response of another kind: {body[:4].hex()}")
    if body[20] or _LENGTH(body, 21)[0] > 0 or body[25:28] != b"\0\0\0":  # diagnostics, their texts, more
        return None
    _check(_WORD(body, 16)[0])
    return 28


def _check(status: int) -> None:
    if status >> 30:
        ua.StatusCode(status).check()


def _published(body: bytes) -> Notification:
    at = _header(body, _PUBLISHED)
    if at is None:
        return _published_by_library(body)
    subscription = _WORD(body, at)[0]
    available, at = _words(body, at + 4)
    _, sequence = _MORE(body, at)
    found = Notification(subscription, sequence, [], [], [], [], [], None, False, available)
    count = _LENGTH(body, at + 13)[0]
    found.keep_alive = count <= 0
    at += 17
    for _ in range(count):
        at = _add_notification(found, body, at)
    if not any(found.statuses or ()):
        found.statuses = None
    _words(body, at)
    return found


def _words(body: bytes, at: int) -> tuple[Sequence[int], int]:
    count = _LENGTH(body, at)[0]
    at += 4
    if count <= 0:
        return (), at
    if count > (len(body) - at) // 4:
        raise Garbage("truncated")
    return struct.unpack_from(f"<{count}I", body, at), at + 4 * count


def _add_notification(found: Notification, body: bytes, at: int) -> int:
    """One ExtensionObject; returns where it ends."""
    if body[at : at + 5] == _CHANGES and (length := _LENGTH(body, at + 5)[0]) >= 0:
        start = at + 9
        end: int = start + length
        if end > len(body):
            raise Garbage("truncated")
        assert found.statuses is not None
        columns = _Columns(found.values, found.statuses, found.times, found.handles)
        part = body[start:end]
        _rows(part, 4, _LENGTH(part, 0)[0], columns)
        return end
    buffer = Buffer(body, at)
    _add_object(found, extensionobject_from_binary(buffer))
    return int(buffer.cur_pos)


def _results(body: bytes) -> Found:
    at = _header(body, _READ)
    if at is None:
        response = struct_from_binary(ua.ReadResponse, Buffer(body))
        response.ResponseHeader.ServiceResult.check()
        return found_of(response.Results or ())
    columns = _Columns([], [], [], None)
    _rows(body, at + 4, _LENGTH(body, at)[0], columns)
    return Found(columns.values, columns.statuses if any(columns.statuses) else None, columns.times)


# DataValues


class _Columns(NamedTuple):
    values: list[Any]
    statuses: list[int]
    times: list[int | None]
    handles: list[int] | None
    """None: there are none before the values"""


def _rows(body: bytes, at: int, count: int, columns: _Columns) -> int:
    """So many DataValues from `at` on, each with a handle before it if there are handles; returns where they
    end."""
    if count > len(body) - at:
        raise Garbage("truncated")
    known, lead = (shapes.PLAIN, 0) if columns.handles is None else (shapes.NUMBERED, 4)
    left = count
    while left > 0:
        mask = body[at + lead]
        shape = known[mask << 8 | body[at + lead + 1]] if mask & VALUE else None
        run = 1 if shape is None else shapes.neighbours(body, at + lead, shape, left)
        if shape is None or run == 1:
            at = _row(body, at, mask, shape, columns)
        else:
            _take(body[at : at + run * shape.size], run, shape, columns)
            at += run * shape.size
        left -= run
    return at


def _take(rows: bytes, count: int, shape: Shape, columns: _Columns) -> None:
    """Neighbours of one shape."""
    fields = list(zip(*shape.packing.iter_unpack(rows), strict=True))
    if columns.handles is not None:
        columns.handles.extend(fields[0])
    columns.values.extend(_finish(shape.kind, fields[shape.value]))
    columns.statuses.extend(fields[shape.status] if shape.status else [0] * count)
    times = shapes.stamps(fields[shape.source]) if shape.source else [None] * count
    if shape.server and None in times:
        of_server = shapes.stamps(fields[shape.server])
        times = [its if mine is None else mine for mine, its in zip(times, of_server, strict=True)]
    columns.times.extend(times)


def _finish(kind: int, raw: Sequence[Any]) -> Sequence[Any]:
    return values.finished(raw, kind == _FLOAT) if kind in (_FLOAT, _DOUBLE) else raw


def _row(body: bytes, at: int, mask: int, shape: Shape | None, columns: _Columns) -> int:
    """A single one, whatever it holds; returns where it ends."""
    if mask & ~KNOWN:
        raise Garbage(f"a DataValue of an unknown shape: {mask:#04x}")
    if columns.handles is not None:
        columns.handles.append(_WORD(body, at)[0])
        at += 4
    if shape is not None:
        value, kind = _SCALARS[shape.kind](body, at + 2)[0], shape.kind
        if kind in (_FLOAT, _DOUBLE):
            value = values.finished_one(value, kind == _FLOAT)
        at += 2 + _SIZES[kind]
    elif mask & VALUE:
        value, at = _variant(body, at + 1)
    else:
        value, at = None, at + 1
    columns.values.append(None if value is UNREADABLE else value)
    at = _rest(body, at, mask, columns)
    if value is UNREADABLE and not columns.statuses[-1] & _BAD:
        columns.statuses[-1] = int(ua.StatusCodes.BadDecodingError)
    return at


def _rest(body: bytes, at: int, mask: int, columns: _Columns) -> int:
    status = source = server = 0
    if mask & STATUS:
        status, at = _WORD(body, at)[0], at + 4
    if mask & SOURCE:
        source, at = _LONG(body, at)[0], at + 8
    if mask & SOURCE_PICO:
        at += 2
    if mask & SERVER:
        server, at = _LONG(body, at)[0], at + 8
    if mask & SERVER_PICO:
        at += 2
    if at > len(body):
        raise Garbage("truncated")
    columns.statuses.append(status)
    time = shapes.stamp(source)
    columns.times.append(shapes.stamp(server) if time is None else time)
    return at


def _variant(body: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """A value as JSON, and where it ends."""
    kind, shape = body[at] & _KIND, body[at] & (_ARRAY | _MATRIX)
    if depth > values.DEEPEST or shape == _MATRIX:
        raise Garbage("a value of an unknown shape")
    if kind == _EXTENSION:
        return _structures(body, at + 1, shape, depth)
    if not shape:
        return _scalar(body, at + 1, kind, depth)
    found, at = _array(body, at + 1, kind, depth)
    if shape & _MATRIX:
        dimensions, at = _array(body, at, _INT32, depth)
        found = found if found is UNREADABLE else _shaped(found, dimensions or [])
    return found, at


def _scalar(body: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """The library's unless it is one that may hold others, or one that is often met."""
    if kind == _STRING:
        length = _LENGTH(body, at)[0]
        at += 4
        if length == -1:
            return None, at
        if not 0 <= length <= len(body) - at:
            raise Garbage("truncated")
        return body[at : at + length].decode(errors="replace"), at + length
    if kind == _VARIANT:
        return _variant(body, at, depth + 1)
    if kind == _DATA_VALUE:
        mask = body[at]
        value, at = _variant(body, at + 1, depth + 1) if mask & VALUE else (None, at + 1)
        columns = _Columns([], [], [], None)
        at = _rest(body, at, mask, columns)
        return (None if columns.statuses[0] & _BAD else value), at
    buffer = Buffer(body, at - 1)  # with its type
    return values.of_variant(variant_from_binary(buffer)), int(buffer.cur_pos)


def _structures(body: bytes, at: int, shape: int, depth: int) -> tuple[Any, int]:
    """One, or as many as are said."""
    if not shape:
        found, at = _structure(body, at)
        return (found if found is UNREADABLE else _shown(found, depth)), at
    count = _LENGTH(body, at)[0]
    at += 4
    if count == -1:
        return None, at if not shape & _MATRIX else _array(body, at, _INT32, 0)[1]
    if not 0 <= count <= len(body) - at:
        raise Garbage("an array of more than there is")
    several: list[Any] = []
    for _ in range(count):
        one, at = _structure(body, at)
        several.append(one)
    unreadable = UNREADABLE in several
    if shape & _MATRIX:
        dimensions, at = _array(body, at, _INT32, 0)
        several = _shaped(several, dimensions or []) or []
    return (UNREADABLE if unreadable else _shown(several, depth)), at


def _shown(content: Any, depth: int) -> Any:
    """Within another value it is shown as it is, whether its type is known or not."""
    variant = ua.Variant(content, ua.VariantType.ExtensionObject)
    return values.to_json(content) if depth else values.of_variant(variant)


def _structure(body: bytes, at: int) -> tuple[Any, int]:
    """As the library has it. It says how long it is: one that cannot be read costs only its own value."""
    buffer = Buffer(body, at)
    nodeid_from_binary(buffer)
    encoding, end = body[buffer.cur_pos], int(buffer.cur_pos) + 1
    if encoding:
        length = _LENGTH(body, end)[0]
        end += 4 + length
        if length < 0 or end > len(body):
            raise Garbage("truncated")
    if encoding > 1:  # XML, which the library takes for none
        return UNREADABLE, end
    try:
        return extensionobject_from_binary(Buffer(body[at:end])), end
    except Exception as error:  # noqa: BLE001 - whatever it runs into
        log.debug("a structure cannot be read: %r", error)
        return UNREADABLE, end


def _array(body: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    count = _LENGTH(body, at)[0]
    start = at + 4
    if count == -1:
        return None, start
    if not kind or not 0 <= count <= (len(body) - start) // _SIZES.get(kind, 1):
        raise Garbage("an array of more than there is")
    if kind in _SIZES:
        raw = struct.unpack_from(f"<{count}{shapes.FIXED[kind]}", body, start)
        return list(_finish(kind, raw)), start + count * _SIZES[kind]
    if kind not in _NESTING:
        buffer = Buffer(bytes((kind | _ARRAY,)) + body[at:])
        return values.of_variant(variant_from_binary(buffer)), at + int(buffer.cur_pos) - 1
    found = []
    at = start
    for _ in range(count):
        value, at = _scalar(body, at, kind, depth)
        found.append(value)
    return (UNREADABLE if UNREADABLE in found else found), at


def _shaped(flat: list[Any] | None, dimensions: Sequence[int]) -> list[Any] | None:
    """Lists of lists; the last dimension is the innermost."""
    if flat is None:
        return None
    if not 0 < len(dimensions) <= values.DEEPEST or prod(dimensions) != len(flat) or min(dimensions) < 0:
        raise Garbage("a matrix of other dimensions than it says")
    for size in reversed(dimensions[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), max(size, 1))]
    return flat


# What the library decoded


def _published_by_library(body: bytes) -> Notification:
    response = struct_from_binary(ua.PublishResponse, Buffer(body))
    response.ResponseHeader.ServiceResult.check()
    result = response.Parameters
    available = tuple(result.AvailableSequenceNumbers or ())
    return notification(int(result.SubscriptionId), result.NotificationMessage, available)


def notification(subscription: int, message: Any, available: Sequence[int] = ()) -> Notification:
    """Of a NotificationMessage of the library."""
    sequence, data = int(message.SequenceNumber), message.NotificationData or ()
    found = Notification(subscription, sequence, [], [], [], [], [], None, not data, available)
    for one in data:
        _add_object(found, one)
    if not any(found.statuses or ()):
        found.statuses = None
    return found


def _add_object(found: Notification, one: Any) -> None:
    match one:
        case ua.DataChangeNotification():
            items = one.MonitoredItems or ()
            columns = found_of([item.Value for item in items])
            assert found.statuses is not None
            found.handles.extend(int(item.ClientHandle) for item in items)
            found.values.extend(columns.values)
            found.statuses.extend(columns.statuses or [0] * len(items))
            found.times.extend(columns.times)
        case ua.EventNotificationList():
            found.events.extend(one.Events or ())
        case ua.StatusChangeNotification():
            found.status = int(one.Status.value)


def found_of(data: Sequence[Any]) -> Found:
    """Of DataValues of the library."""
    statuses = [0 if one.StatusCode is None else int(one.StatusCode.value) for one in data]
    return Found(
        [values.of_variant(one.Value) for one in data],
        statuses if any(statuses) else None,
        [_time_of(one.SourceTimestamp) or _time_of(one.ServerTimestamp) for one in data],
    )


def _time_of(time: Any) -> int | None:
    return None if time is None else shapes.stamp(ua.datetime_to_win_epoch(time))
