"""Format `tags` (spec 02 section 5.2): names and values of one poll of one device."""

from collections.abc import Sequence

from actors.batch import Batch, Source
from actors.publish.formats.format import Format
from actors.publish.formats.fragments import Entries, Frame, PerSource, choose, text
from actors.publish.formats.message_ids import MessageIds


def _payload(batches: Sequence[Batch], points: tuple[int, ...] | None, ids: MessageIds) -> bytes:
    (batch,) = batches
    device, entries = _prepared.get(batch.source, points)
    tags = entries.render(batch.values, batch.qualities)
    return b'{"timestamp":%d%b[%b],"msgId":"%b"}' % (batch.timestamp, device, tags, ids.next())


def _prepare(source: Source, points: tuple[int, ...] | None) -> tuple[bytes, Entries]:
    device = b',"node":%b,"group":%b,"tags":' % (text(source.device), text(source.protocol))
    names = [text(point.name) for point in choose(list(source.points), points)]
    good = [Frame(b'{"name":%b,"value":' % name, b"}") for name in names]
    bad = [Frame(b'{"name":%b,"error":' % name, b"}") for name in names]
    return device, Entries(good, bad, points)


_prepared = PerSource(_prepare)

FORMAT = Format("tags", True, _payload)
