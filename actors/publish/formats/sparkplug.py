"""Format `sparkplug`: what the node of a Sparkplug B destination makes its messages of.

What goes on the wire depends on the connection: sequence numbers count within it, and metrics go by the
aliases that were told on it. So a payload in an outbox holds everything by name, as JSON that dead letters
show as it is::

    {"sparkplug":1,"device":"press-4","names":["oil_temp"],"units":["degC"],"timestamp":1741083325004,"values":[61.4]}

`codes`, a quality code or null for each value, follow when any is not GOOD, and `times`, Unix ms, where not
all values are of `timestamp`. When a device is no more::

    {"sparkplug":1,"device":"press-4","ended":true}
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import PerSource, choose, pick
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Points, Positions, indices, places
from actors.readings.source_topics import level

NAME = "sparkplug"
_MARK = b'{"sparkplug":'
_VERSION = 1
_LATEST = (1 << 63) - 1
_HEAD = b"%b%d," % (_MARK, _VERSION)
_ENDING = b',"ended":true}'


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A payload as it is read back. `units` and `values` belong to `names`, which are all different; so do
    `codes`, None when every value is GOOD, and `times`, None when all are of `timestamp`; readings of the
    `past` are nobody's latest. Of a device that has `ended` there is nothing else."""

    sparkplug: int
    device: str
    names: list[str] = []
    units: list[str | None] = []
    timestamp: int = 0
    values: list[Any] = []
    codes: list[str | None] | None = None
    times: list[int] | None = None
    ended: bool = False
    past: bool = False


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
    lists = (stored.units, stored.values, stored.codes, stored.times)
    if any(one is not None and len(one) != len(stored.names) for one in lists):
        raise msgspec.DecodeError("names, units, values, codes and times do not belong together")
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


class _Texts(msgspec.Struct, frozen=True):
    """`names` and `units` of all points, as JSON. `twins`: some have the same name."""

    device: bytes
    names: list[bytes]
    units: list[bytes]
    twins: bool


def _ended(source: Source) -> bytes:
    return b'%b"device":%b%b' % (_HEAD, _encode(device_id(source)), _ENDING)


def _payload(pieces: Sequence[Piece], _: MessageIds) -> bytes:
    ((batch, positions),) = pieces
    if batch.indices is None:
        prepared = _prepared.get(batch.source, positions)
        head, positions = prepared.head, prepared.points
    else:
        head, positions = _some(batch, batch.indices, positions)
    values = _encode(choose(batch.values, positions))
    codes = b""
    if batch.qualities is not None:
        chosen = choose(batch.qualities, positions)
        codes = b',"codes":%b' % _encode(chosen) if any(chosen) else b""
    timestamp, times = max(0, batch.timestamp), b""
    if batch.times is not None:
        timestamp, times = _times(batch, batch.times, positions)
    past = b',"past":true' if batch.past else b""
    return b'%b"timestamp":%d,"values":%b%b%b%b}' % (head, timestamp, values, codes, times, past)


def _times(batch: Batch, times: list[int], positions: Positions) -> tuple[int, bytes]:
    """The timestamp, and `times` if that is not enough. Sparkplug has none before 1970 or beyond 64 bits."""
    own = choose(times, positions)
    if min(own) < 0 or max(own) > _LATEST:
        own = [min(max(time, 0), _LATEST) for time in own]
    if own.count(own[0]) == len(own):
        return own[0], b""
    return max(0, batch.timestamp), b',"times":%b' % _encode(own)


def _some(batch: Batch, held: Sequence[int], positions: Positions) -> tuple[bytes, Positions]:
    """The head of what a batch of some points has, and its positions without those whose name another one has
    that comes later."""
    texts = _texts.get(batch.source, None)
    if texts.twins:
        latest = {texts.names[held[position]]: position for position in places(positions, batch)}
        positions = tuple(sorted(latest.values()))
    names, units = pick(texts.names, held, positions), pick(texts.units, held, positions)
    return _head(texts.device, b"[%b]" % b",".join(names), b"[%b]" % b",".join(units)), positions


def _prepare(source: Source, points: Points) -> _Prepared:
    latest = {source.points[index].name: index for index in indices(points, source)}
    distinct = tuple(sorted(latest.values()))
    if len(distinct) != len(indices(points, source)):
        points = distinct
    chosen: list[Point] = choose(list(source.points), points)
    names, units = [point.name for point in chosen], [point.unit for point in chosen]
    return _Prepared(_head(_encode(device_id(source)), _encode(names), _encode(units)), points)


def _head(device: bytes, names: bytes, units: bytes) -> bytes:
    return b'%b"device":%b,"names":%b,"units":%b,' % (_HEAD, device, names, units)


def _read_texts(source: Source, _: Points) -> _Texts:
    names = [_encode(point.name) for point in source.points]
    units = [_encode(point.unit) for point in source.points]
    return _Texts(_encode(device_id(source)), names, units, len(set(names)) < len(names))


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Stored)
_prepared = PerSource(_prepare)
_texts = PerSource(_read_texts)

FORMAT = Format(NAME, True, _payload, json=False, addresses=True, device=device_id, ended=_ended)
