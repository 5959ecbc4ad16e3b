"""What a file under `formats/` exports: one `Format` named `FORMAT`."""

from collections.abc import Callable, Sequence

import msgspec

from actors.batch import Batch
from actors.publish.formats.message_ids import MessageIds


class Format(msgspec.Struct, frozen=True):
    """One payload format. `payload` gets one or more batches of the same source, a single one when
    `per_poll`, and the indices of the wanted points (None: all); None means nothing to publish."""

    name: str
    per_poll: bool
    payload: Callable[[Sequence[Batch], tuple[int, ...] | None, MessageIds], bytes | None]
