"""Format `sparkplug`: what the node of a Sparkplug B destination makes its messages of.

What goes on the wire depends on the connection: sequence numbers count within it, and metrics go by the
aliases that were told on it. So a payload in an outbox holds everything by name, as JSON that dead letters
show as it is::

    {"sparkplug":1,"device":"press-4","names":["oil_temp"],"units":["degC"],"timestamp":1741083325004,"values":[61.4]}

`codes`, a quality code or null for each value, follow when any is not GOOD. When a device is no more::

    {"sparkplug":1,"device":"press-4","ended":true}
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import PerSource, choose
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Point, Source
from actors.readings.interest import Points, indices
from actors.readings.source_topics import level

NAME = "sparkplug"
_MARK = b'{"sparkplug":'
_VERSION = 1
_HEAD = b"%b%d," % (_MARK, _VERSION)
_ENDING = b',"ended":true}'


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A payload as it is read back. `units` and `values` belong to `names`, which are all different; so do
    `codes`, None when every value is GOOD. Of a device that has `ended` there is nothing else."""

    sparkplug: int
    device: str
    names: list[str] = []
    units: list[str | None] = []
    timestamp: int = 0
    values: list[Any] = []
    codes: list[str | None] | None = None
    ended: bool = False


def is_stored(payload: bytes) -> bool:
    """Whether this format made it; no other format's payloads begin like that."""
    return payload.startswith(_MARK)


def is_ending(payload: bytes) -> bool:
    """Whether such a payload says that a device is no more, and nothing else."""
    return payload.endswith(_ENDING)


def read(payload: bytes) -> Stored:
    """Raises `msgspec.DecodeError` for what is none."""
    stored = _decoder.decode(payload)
    if stored.sparkplug != _VERSION:
        raise msgspec.DecodeError(f"it is of version {stored.sparkplug}, which is not known")
    lists = [stored.units, stored.values, *([] if stored.codes is None else [stored.codes])]
    if any(len(one) != len(stored.names) for one in lists):
        raise msgspec.DecodeError("names, units, values and codes do not belong together")
    return stored


def device_id(source: Source) -> str:
    """The device's name as a level of a topic; with the beginning of its uuid where another device's might be
    the same."""
    name = level(source.device)
    return name if name == source.endpoint else f"{name}-{level(source.device_uuid[:8])}"


class _Prepared(msgspec.Struct, frozen=True):
    """`points` are without those whose name another one has that comes later."""

    head: bytes
    points: Points


def _ended(source: Source) -> bytes:
    return b'%b"device":%b%b' % (_HEAD, _encode(device_id(source)), _ENDING)


def _payload(pieces: Sequence[Piece], _: MessageIds) -> bytes:
    ((batch, points),) = pieces
    prepared = _prepared.get(batch.source, points)
    values = _encode(choose(batch.values, prepared.points))
    codes = b""
    if batch.qualities is not None:
        chosen = choose(batch.qualities, prepared.points)
        codes = b',"codes":%b' % _encode(chosen) if any(chosen) else b""
    return b'%b"timestamp":%d,"values":%b%b}' % (prepared.head, max(0, batch.timestamp), values, codes)


def _prepare(source: Source, points: Points) -> _Prepared:
    latest = {source.points[index].name: index for index in indices(points, source)}
    distinct = tuple(sorted(latest.values()))
    if len(distinct) != len(indices(points, source)):
        points = distinct
    chosen: list[Point] = choose(list(source.points), points)
    head = b'%b"device":%b,"names":%b,"units":%b,' % (
        _HEAD,
        _encode(device_id(source)),
        _encode([point.name for point in chosen]),
        _encode([point.unit for point in chosen]),
    )
    return _Prepared(head, points)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Stored)
_prepared = PerSource(_prepare)

FORMAT = Format(NAME, True, _payload, json=False, addresses=True, device=device_id, ended=_ended)
