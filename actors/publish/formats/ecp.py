"""Format `ecp` (spec 02 section 5.3): like `tags`, with a type per value and without what has none."""

from collections.abc import Sequence
from typing import Any

from actors.publish.formats.format import Format, Piece, time_of
from actors.publish.formats.fragments import PerSource, choose, encode_each, pick, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Points, Positions

_BOOLEAN = b',"type":1}'
_INTEGER = b',"type":2}'
_NUMBER = b',"type":3}'
_OTHER = b',"type":4}'
_TAILS = {bool: _BOOLEAN, int: _INTEGER}


def _payload(pieces: Sequence[Piece], ids: MessageIds) -> bytes | None:
    ((batch, positions),) = pieces
    device, heads = _frames(batch, positions)
    values = choose(batch.values, positions)
    encoded = encode_each(values)
    # Equal names have equal heads, so the last value of a name wins. NaN is null only once encoded;
    # a BAD point has no value, an UNCERTAIN one keeps its.
    tags = {
        head: _value(value, json)
        for head, value, json in zip(heads, values, encoded, strict=False)
        if json != b"null"
    }
    if not tags:
        return None
    body = b",".join([head + rest for head, rest in tags.items()])
    return b'{"timestamp":%d%b[%b],"msgId":"%b"}' % (time_of(pieces[0]), device, body, ids.next())


def _frames(batch: Batch, positions: Positions) -> tuple[bytes, list[bytes]]:
    if batch.indices is None:
        return _prepared.get(batch.source, positions)
    device, heads = _prepared.get(batch.source, None)
    return device, pick(heads, batch.indices, positions)


def _value(value: Any, json: bytes) -> bytes:
    """The value and its type; an integer-valued float is written as the integer it is."""
    if type(value) is float:
        return json.removesuffix(b".0") + _INTEGER if value.is_integer() else json + _NUMBER
    return json + _TAILS.get(type(value), _OTHER)


def _prepare(source: Source, points: Points) -> tuple[bytes, list[bytes]]:
    device = b',"node":%b,"group":%b,"tags":' % (text(source.device), text(source.protocol))
    chosen = choose(list(source.points), points)
    return device, [b'{"name":%b,"value":' % text(point.name) for point in chosen]


_prepared = PerSource(_prepare)

FORMAT = Format("ecp", True, _payload, per_time=True)
