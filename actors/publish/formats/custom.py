"""Format `custom` (spec 02 section 5.1): every reading with all that is known of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import Entries, PerSource, choose, encode_each, pick, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Point, Quality, Source, quality
from actors.readings.interest import Points, Positions
from storage.timestamps import EARLIEST_MS, LATEST_MS

# Stands for the time of all readings until a payload is made. No encoded JSON contains it.
_TIME = b"\0"
_OPEN = b'{"timestamp":"'
_GOOD = b',"quality":"GOOD"'


class _Prepared(msgspec.Struct, frozen=True):
    """`good` is for readings that are all GOOD and of which nothing else is known; `heads` are the texts
    between the times and the values, and `units` those after, up to the quality."""

    good: Entries
    heads: list[bytes]
    units: list[bytes]


def _payload(pieces: Sequence[Piece], ids: MessageIds) -> bytes:
    messages = b",".join([_readings(batch, positions) for batch, positions in pieces])
    return b'{"timestamp":"%b","protocol":%b,"messages":[%b],"msgId":"%b"}' % (
        _iso(ids.clock()),
        text(pieces[0][0].source.protocol),
        messages,
        ids.next(),
    )


def _readings(batch: Batch, positions: Positions) -> bytes:
    if batch.indices is not None or batch.times is not None:
        return _with_times(batch, positions)
    prepared = _prepared.get(batch.source, positions)
    values = choose(batch.values, positions)
    if batch.qualities is None and batch.insights is None:
        readings = prepared.good.render(values)
    else:
        times = [_TIME] * len(values)
        readings = _annotated(times, prepared.heads, prepared.units, batch, positions)
    return readings.replace(_TIME, _iso(batch.timestamp))


def _with_times(batch: Batch, positions: Positions) -> bytes:
    """Of some points of the source, or each with a time of its own."""
    prepared = _prepared.get(batch.source, None)
    heads = pick(prepared.heads, batch.indices, positions)
    units = pick(prepared.units, batch.indices, positions)
    if batch.times is None:
        return _annotated([_iso(batch.timestamp)] * len(heads), heads, units, batch, positions)
    own = choose(batch.times, positions)
    spelled = {time: _iso(time) for time in set(own)}
    return _annotated([spelled[time] for time in own], heads, units, batch, positions)


def _iso(timestamp: int) -> bytes:
    """`2025-03-04T10:15:30.123Z` of Unix ms, or the nearest that there is."""
    seconds, ms = divmod(min(max(timestamp, EARLIEST_MS), LATEST_MS), 1000)
    return b"%b.%03dZ" % (_second(seconds), ms)


@lru_cache(1024)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00").encode()


def _annotated(
    times: Sequence[bytes],
    heads: Sequence[bytes],
    units: Sequence[bytes],
    batch: Batch,
    positions: Positions,
) -> bytes:
    values = choose(batch.values, positions)
    parts = zip(
        times,
        heads,
        encode_each(values),
        units,
        _qualities(values, batch.qualities, positions),
        _insights(batch, positions),
        strict=False,
    )
    return b",".join([b'{"timestamp":"%b%b%b%b%b%b}' % part for part in parts])


def _qualities(values: list[object], qualities: list[str | None] | None, positions: Positions) -> list[bytes]:
    if qualities is None:
        return [_GOOD] * len(values)
    codes = choose(qualities, positions)
    return [
        _GOOD if code is None else _coded(quality(value, code), code)
        for value, code in zip(values, codes, strict=True)
    ]


@lru_cache(256)
def _coded(quality: Quality, code: str) -> bytes:
    return b',"quality":%b,"qualityCode":%b' % (text(quality), text(code))


def _insights(batch: Batch, positions: Positions) -> list[bytes]:
    """The keys of each chosen point's insight, with a comma before them."""
    if batch.insights is None:
        return [b""] * len(batch.values)
    encoded = encode_each(choose(batch.insights, positions))
    return [b"" if json in (b"null", b"{}") else b"," + json[1:-1] for json in encoded]


def _prepare(source: Source, points: Points) -> _Prepared:
    origin = b'","deviceName":%b,"protocol":%b,"endpoint_uuid":%b,"device_uuid":%b' % (
        text(source.device),
        text(source.protocol),
        text(source.endpoint_uuid),
        text(source.device_uuid),
    )
    chosen = choose(list(source.points), points)
    heads = [b'%b,"metric":%b,"value":' % (origin, text(point.name)) for point in chosen]
    units = [_unit(point) for point in chosen]
    opened = _OPEN + _TIME
    good = Entries([(opened + head, unit + _GOOD + b"}") for head, unit in zip(heads, units, strict=True)])
    return _Prepared(good, heads, units)


def _unit(point: Point) -> bytes:
    return b"" if point.unit is None else b',"unit":%b' % text(point.unit)


_prepared = PerSource(_prepare)

FORMAT = Format("custom", False, _payload)
