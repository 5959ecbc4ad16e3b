"""Format `custom` (spec 02 section 5.1): every reading with all that is known of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property, lru_cache

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import Entries, PerSource, choose, encode_each, pick, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Point, Quality, Source, quality
from actors.readings.interest import Points, Positions
from storage.timestamps import EARLIEST_MS, LATEST_MS

# Stands for the time of all readings until a payload is made. No encoded JSON contains it.
_TIME = b"\0"
_GOOD = b',"quality":"GOOD"'


class _Prepared:
    """`origin` is the text between the time of a reading and what is its point's own: `heads` are those
    before the values, and `units` those after, up to the quality."""

    def __init__(self, origin: bytes, points: Sequence[Point]) -> None:
        self.origin = origin
        self.heads = [b',"metric":%b,"value":' % text(point.name) for point in points]
        self.units = [_unit(point) for point in points]

    @cached_property
    def good(self) -> Entries:
        """For readings of one time that are all GOOD and of which nothing else is known."""
        opened, ended = b'{"timestamp":"%b%b' % (_TIME, self.origin), _GOOD + b"}"
        pairs = zip(self.heads, self.units, strict=True)
        return Entries([(opened + head, unit + ended) for head, unit in pairs])


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
        opened = [_TIME + prepared.origin] * len(values)
        readings = _annotated(opened, prepared.heads, prepared.units, batch, positions)
    return readings.replace(_TIME, _iso(batch.timestamp))


def _with_times(batch: Batch, positions: Positions) -> bytes:
    """Of some points of the source, or each with a time of its own."""
    prepared = _prepared.get(batch.source, None)
    heads = pick(prepared.heads, batch.indices, positions)
    units = pick(prepared.units, batch.indices, positions)
    origin = prepared.origin
    if batch.times is None:
        opened = [_iso(batch.timestamp) + origin] * len(heads)
    else:
        own = choose(batch.times, positions)
        spelled = {time: _iso(time) + origin for time in set(own)}
        opened = [spelled[time] for time in own]
    return _annotated(opened, heads, units, batch, positions)


def _iso(timestamp: int) -> bytes:
    """`2025-03-04T10:15:30.123Z` of Unix ms, or the nearest that there is."""
    seconds, ms = divmod(min(max(timestamp, EARLIEST_MS), LATEST_MS), 1000)
    return b"%b.%03dZ" % (_second(seconds), ms)


@lru_cache(1024)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00").encode()


def _annotated(
    opened: Sequence[bytes],
    heads: Sequence[bytes],
    units: Sequence[bytes],
    batch: Batch,
    positions: Positions,
) -> bytes:
    values = choose(batch.values, positions)
    parts = zip(
        opened,
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
    return _Prepared(origin, choose(list(source.points), points))


@lru_cache(1024)
def _unit_text(unit: str) -> bytes:
    return b',"unit":%b' % text(unit)


def _unit(point: Point) -> bytes:
    return b"" if point.unit is None else _unit_text(point.unit)


_prepared = PerSource(_prepare)

FORMAT = Format("custom", False, _payload)
