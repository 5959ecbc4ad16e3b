"""Format `tags` (spec 02 section 5.2): names and values of one poll of one device."""

from collections.abc import Sequence
from functools import cached_property, lru_cache

import msgspec

from actors.publish.formats.format import Format, Piece
from actors.publish.formats.fragments import Entries, Frame, PerSource, choose, join, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Points


class _Tags:
    """The frames of points of these names; devices whose points are called the same share them. What only a
    poll with bad points needs is made for the first of them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [text(name) for name in names]
        self.entries = Entries([_value(name) for name in self._names])

    @cached_property
    def values(self) -> list[Frame]:
        return [_value(name) for name in self._names]

    @cached_property
    def errors(self) -> list[Frame]:
        return [(b'{"name":%b,"error":' % name, b"}") for name in self._names]


def _value(name: bytes) -> Frame:
    return b'{"name":%b,"value":' % name, b"}"


class _Prepared(msgspec.Struct, frozen=True):
    device: bytes
    tags: _Tags


def _payload(pieces: Sequence[Piece], ids: MessageIds) -> bytes:
    ((batch, points),) = pieces
    prepared = _prepared.get(batch.source, points)
    if batch.qualities is None:
        tags = prepared.tags.entries.render(choose(batch.values, points))
    else:
        tags = _with_errors(prepared.tags, batch, batch.qualities, points)
    return b'{"timestamp":%d%b[%b],"msgId":"%b"}' % (batch.timestamp, prepared.device, tags, ids.next())


def _with_errors(tags: _Tags, batch: Batch, qualities: list[str | None], points: Points) -> bytes:
    values = choose(batch.values, points)
    codes = choose(qualities, points)
    frames = zip(tags.values, tags.errors, codes, strict=True)
    return join(
        [value if code is None else error for value, error, code in frames],
        [value if code is None else code for value, code in zip(values, codes, strict=True)],
    )


def _prepare(source: Source, points: Points) -> _Prepared:
    return _Prepared(
        device=b',"node":%b,"group":%b,"tags":' % (text(source.device), text(source.protocol)),
        tags=_tags(tuple(point.name for point in choose(list(source.points), points))),
    )


_tags = lru_cache(maxsize=64)(_Tags)
_prepared = PerSource(_prepare)

FORMAT = Format("tags", True, _payload)
