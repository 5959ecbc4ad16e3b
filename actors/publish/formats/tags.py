"""Format `tags` (spec 02 section 5.2): names and values of one poll of one device, all of one time."""

from collections.abc import Sequence
from functools import cached_property, lru_cache

import msgspec

from actors.publish.formats.format import Format, Piece, time_of
from actors.publish.formats.fragments import Entries, Frame, PerSource, choose, join, pick, text
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Points, Positions


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
    ((batch, positions),) = pieces
    whole = batch.indices is None
    prepared = _prepared.get(batch.source, positions if whole else None)
    if batch.qualities is not None:
        tags = _with_errors(prepared.tags, batch, batch.qualities, positions)
    elif whole:
        tags = prepared.tags.entries.render(choose(batch.values, positions))
    else:
        values = choose(batch.values, positions)
        tags = join(pick(prepared.tags.values, batch.indices, positions), values)
    time = time_of(pieces[0])
    return b'{"timestamp":%d%b[%b],"msgId":"%b"}' % (time, prepared.device, tags, ids.next())


def _with_errors(tags: _Tags, batch: Batch, qualities: list[str | None], positions: Positions) -> bytes:
    values = choose(batch.values, positions)
    codes = choose(qualities, positions)
    good, bad = tags.values, tags.errors
    if batch.indices is not None:
        good, bad = (pick(frames, batch.indices, positions) for frames in (good, bad))
    frames = zip(good, bad, codes, strict=True)
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

FORMAT = Format("tags", True, _payload, per_time=True)
