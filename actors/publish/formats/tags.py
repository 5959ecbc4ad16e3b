"""Format `tags` (spec 02 section 5.2): names and values of one poll of one device."""

from collections.abc import Sequence

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import Entries, Frame, PerSource, choose, join, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Points


class _Prepared(msgspec.Struct, frozen=True):
    device: bytes
    entries: Entries
    values: list[Frame]
    errors: list[Frame]


def _payload(pieces: Sequence[Piece], ids: MessageIds) -> bytes:
    ((batch, points),) = pieces
    prepared = _prepared.get(batch.source, points)
    if batch.qualities is None:
        tags = prepared.entries.render(choose(batch.values, points))
    else:
        tags = _with_errors(prepared, batch, batch.qualities, points)
    return b'{"timestamp":%d%b[%b],"msgId":"%b"}' % (batch.timestamp, prepared.device, tags, ids.next())


def _with_errors(prepared: _Prepared, batch: Batch, qualities: list[str | None], points: Points) -> bytes:
    values = choose(batch.values, points)
    codes = choose(qualities, points)
    frames = zip(prepared.values, prepared.errors, codes, strict=True)
    return join(
        [value if code is None else error for value, error, code in frames],
        [value if code is None else code for value, code in zip(values, codes, strict=True)],
    )


def _prepare(source: Source, points: Points) -> _Prepared:
    names = [text(point.name) for point in choose(list(source.points), points)]
    values = [(b'{"name":%b,"value":' % name, b"}") for name in names]
    return _Prepared(
        device=b',"node":%b,"group":%b,"tags":' % (text(source.device), text(source.protocol)),
        entries=Entries(values),
        values=values,
        errors=[(b'{"name":%b,"error":' % name, b"}") for name in names],
    )


_prepared = PerSource(_prepare)

FORMAT = Format("tags", True, _payload)
