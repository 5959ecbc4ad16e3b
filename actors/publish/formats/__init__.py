"""Payload formats by name (spec 02 section 5). A format is a file here and a word in `_FORMATS`."""

from collections.abc import Sequence

from actors.batch import Batch
from actors.publish.formats import custom, ecp, tags
from actors.publish.formats.format import Format
from actors.publish.formats.message_ids import MessageIds

__all__ = ["NAMES", "MessageIds", "encode"]

_FORMATS: dict[str, Format] = {known.name: known for known in (custom.FORMAT, tags.FORMAT, ecp.FORMAT)}

NAMES = tuple(_FORMATS)


def encode(
    format_name: str, batches: Sequence[Batch], points: tuple[int, ...] | None, ids: MessageIds
) -> list[bytes]:
    """The JSON payloads, oldest first, of batches that all have the same source.

    `points` chooses among the source's points as `topics.select` does. `tags` and `ecp` make one
    payload per poll and none for a poll that has nothing to tell; `custom` makes one payload of all
    batches. What a single batch encodes to is kept in `Batch.encoded` and so is shared, message id
    included, by every subscription of the same format and points.
    """
    chosen = _FORMATS[format_name]
    if not batches or points == ():
        return []
    if chosen.per_poll or len(batches) == 1:
        made = [_shared(chosen, batch, points, ids) for batch in batches]
    else:
        made = [chosen.payload(batches, points, ids)]
    return [payload for payload in made if payload is not None]


def _shared(chosen: Format, batch: Batch, points: tuple[int, ...] | None, ids: MessageIds) -> bytes | None:
    key = (chosen.name, points)
    payload = batch.encoded.get(key)
    if payload is None:
        payload = chosen.payload((batch,), points, ids)
        if payload is not None:
            batch.encoded[key] = payload
    return payload
