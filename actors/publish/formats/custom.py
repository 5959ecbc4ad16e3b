"""Format `custom` (spec 02 section 5.1): every reading with all that is known of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from actors.batch import Batch, Point, Source
from actors.publish.formats.format import Format
from actors.publish.formats.fragments import Entries, Frame, PerSource, choose, text
from actors.publish.formats.message_ids import MessageIds

# Stands for the poll's time until a payload is made. No encoded JSON contains it.
_TIME = b"\0"


def _payload(batches: Sequence[Batch], points: tuple[int, ...] | None, ids: MessageIds) -> bytes:
    source = batches[0].source
    entries = _prepared.get(source, points)
    messages = b",".join(
        [
            entries.render(batch.values, batch.qualities).replace(_TIME, _iso(batch.timestamp))
            for batch in batches
        ]
    )
    return b'{"timestamp":"%b","protocol":%b,"messages":[%b],"msgId":"%b"}' % (
        _iso(ids.clock()),
        text(source.protocol),
        messages,
        ids.next(),
    )


def _iso(timestamp: int) -> bytes:
    """`2025-03-04T10:15:30.123Z` of Unix ms."""
    seconds, ms = divmod(timestamp, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z".encode()


def _prepare(source: Source, points: tuple[int, ...] | None) -> Entries:
    origin = b'{"timestamp":"%b","deviceName":%b,"protocol":%b,"endpoint_uuid":%b,"device_uuid":%b' % (
        _TIME,
        text(source.device),
        text(source.protocol),
        text(source.endpoint_uuid),
        text(source.device_uuid),
    )
    chosen = choose(list(source.points), points)
    return Entries(
        [_good(origin, point) for point in chosen], [_bad(origin, point) for point in chosen], points
    )


def _good(origin: bytes, point: Point) -> Frame:
    return Frame(
        b'%b,"metric":%b,"value":' % (origin, text(point.name)), b'%b,"quality":"GOOD"}' % _unit(point)
    )


def _bad(origin: bytes, point: Point) -> Frame:
    head = b'%b,"metric":%b,"value":null%b,"quality":"BAD","qualityCode":' % (
        origin,
        text(point.name),
        _unit(point),
    )
    return Frame(head, b"}")


def _unit(point: Point) -> bytes:
    return b"" if point.unit is None else b',"unit":%b' % text(point.unit)


_prepared = PerSource(_prepare)

FORMAT = Format("custom", False, _payload)
