"""What a file under `formats/` exports: one `Format` named `FORMAT`."""

from collections.abc import Callable, Sequence

import msgspec

from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Positions

Piece = tuple[Batch, Positions]
"""The part of a batch that goes into a message: at least one of its positions."""


def time_of(piece: Piece) -> int:
    """Of the first reading, Unix ms: that of them all, if the format is `per_time`."""
    batch, positions = piece
    if batch.times is None:
        return batch.timestamp
    return batch.times[0 if positions is None else positions[0]]


def own_name(source: Source) -> str:
    """The device's."""
    return source.device


class Format(msgspec.Struct, frozen=True):
    """One payload format. `payload` gets one or more pieces of the same source, a single one when
    `per_poll`, and one of readings of the same time when `per_time`; None means nothing to publish.

    An `internal` format is a destination type's own: no subscription can ask for it. What is no `json` is
    never compressed and cannot tell events. A format with `addresses` has topics of its own: only
    destination types that say where its payloads go take it (`DestinationType.targets`). `device` is what
    it calls the device of a source in topics, `ended` what to publish when a source is no more, if anything.
    """

    name: str
    per_poll: bool
    payload: Callable[[Sequence[Piece], MessageIds], bytes | None]
    internal: bool = False
    json: bool = True
    addresses: bool = False
    device: Callable[[Source], str] = own_name
    ended: Callable[[Source], bytes] | None = None
    per_time: bool = False
