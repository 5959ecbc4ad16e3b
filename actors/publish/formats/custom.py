"""Format `custom` (spec 02 section 5.1): every reading with all that is known of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import Entries, PerSource, choose, encode_each, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Point, Quality, Source, quality
from actors.readings.interest import Points

# Stands for the poll's time until a payload is made. No encoded JSON contains it.
_TIME = b"\0"
_GOOD = b',"quality":"GOOD"'


class _Prepared(msgspec.Struct, frozen=True):
    """`good` is for readings that are all GOOD and of which nothing else is known; `heads` are the texts
    before the values and `units` those after, up to the quality."""

    good: Entries
    heads: list[bytes]
    units: list[bytes]


def _payload(pieces: Sequence[Piece], ids: MessageIds) -> bytes:
    messages = b",".join([_readings(batch, points) for batch, points in pieces])
    return b'{"timestamp":"%b","protocol":%b,"messages":[%b],"msgId":"%b"}' % (
        _iso(ids.clock()),
        text(pieces[0][0].source.protocol),
        messages,
        ids.next(),
    )


def _readings(batch: Batch, points: Points) -> bytes:
    prepared = _prepared.get(batch.source, points)
    if batch.qualities is None and batch.insights is None:
        readings = prepared.good.render(choose(batch.values, points))
    else:
        readings = _annotated(prepared, batch, points)
    return readings.replace(_TIME, _iso(batch.timestamp))


def _iso(timestamp: int) -> bytes:
    """`2025-03-04T10:15:30.123Z` of Unix ms."""
    seconds, ms = divmod(timestamp, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z".encode()


def _annotated(prepared: _Prepared, batch: Batch, points: Points) -> bytes:
    values = choose(batch.values, points)
    parts = zip(
        prepared.heads,
        encode_each(values),
        prepared.units,
        _qualities(values, batch.qualities, points),
        _insights(batch, points),
        strict=False,
    )
    return b",".join([b"%b%b%b%b%b}" % part for part in parts])


def _qualities(values: list[object], qualities: list[str | None] | None, points: Points) -> list[bytes]:
    if qualities is None:
        return [_GOOD] * len(values)
    codes = choose(qualities, points)
    return [
        _GOOD if code is None else _coded(quality(value, code), code)
        for value, code in zip(values, codes, strict=True)
    ]


@lru_cache(256)
def _coded(quality: Quality, code: str) -> bytes:
    return b',"quality":%b,"qualityCode":%b' % (text(quality), text(code))


def _insights(batch: Batch, points: Points) -> list[bytes]:
    """The keys of each chosen point's insight, with a comma before them."""
    if batch.insights is None:
        return [b""] * len(batch.values)
    encoded = encode_each(choose(batch.insights, points))
    return [b"" if json in (b"null", b"{}") else b"," + json[1:-1] for json in encoded]


def _prepare(source: Source, points: Points) -> _Prepared:
    origin = b'{"timestamp":"%b","deviceName":%b,"protocol":%b,"endpoint_uuid":%b,"device_uuid":%b' % (
        _TIME,
        text(source.device),
        text(source.protocol),
        text(source.endpoint_uuid),
        text(source.device_uuid),
    )
    chosen = choose(list(source.points), points)
    heads = [b'%b,"metric":%b,"value":' % (origin, text(point.name)) for point in chosen]
    units = [_unit(point) for point in chosen]
    good = Entries([(head, unit + _GOOD + b"}") for head, unit in zip(heads, units, strict=True)])
    return _Prepared(good, heads, units)


def _unit(point: Point) -> bytes:
    return b"" if point.unit is None else b',"unit":%b' % text(point.unit)


_prepared = PerSource(_prepare)

FORMAT = Format("custom", False, _payload)
