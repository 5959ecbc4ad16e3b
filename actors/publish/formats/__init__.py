"""Payload formats by name (spec 02 section 5). A format is a file here and a word in `_FORMATS`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.publish.formats import custom, ecp, line_protocol, sparkplug, tags
from actors.publish.formats.compression import compress
from actors.publish.formats.format import Format, Piece
from actors.publish.formats.message_ids import MessageIds

__all__ = ["JSON_NAMES", "NAMES", "MessageIds", "Piece", "encode", "encode_event", "find"]

_FORMATS: dict[str, Format] = {
    known.name: known
    for known in (custom.FORMAT, tags.FORMAT, ecp.FORMAT, sparkplug.FORMAT, line_protocol.FORMAT)
}

NAMES = tuple(name for name, known in _FORMATS.items() if not known.internal)
"""The formats that a subscription can ask for."""
JSON_NAMES = tuple(name for name in NAMES if _FORMATS[name].json)
"""Those of them that can be compressed, and beside which events can be told."""


def find(format_name: str) -> Format:
    return _FORMATS[format_name]


def encode(format_name: str, compression: str, pieces: Sequence[Piece], ids: MessageIds) -> bytes | None:
    """One message of pieces that all have the same source, one piece if the format is `per_poll`; None
    when the format has nothing to tell of them.

    What a single piece becomes is kept in its `Batch.encoded` and so is shared, message id included, by
    every subscription of equal format, compression and positions; its JSON also by other compressions.
    """
    chosen = _FORMATS[format_name]
    if not chosen.json:
        compression = "json"
    if len(pieces) > 1:
        payload = chosen.payload(pieces, ids)
        return None if payload is None else compress(compression, payload)
    ((batch, positions),) = pieces
    key = (format_name, compression, positions)
    payload = batch.encoded.get(key)
    if payload is None:
        plain = _plain(chosen, pieces, ids)
        payload = batch.encoded[key] = compress(compression, plain) if plain else plain
    return payload or None


def _plain(chosen: Format, pieces: Sequence[Piece], ids: MessageIds) -> bytes:
    """The JSON of a single piece; empty when there is nothing to tell."""
    ((batch, positions),) = pieces
    key = (chosen.name, "json", positions)
    plain = batch.encoded.get(key)
    if plain is None:
        plain = batch.encoded[key] = chosen.payload(pieces, ids) or b""
    return plain


def encode_event(compression: str, body: dict[str, Any], ids: MessageIds) -> bytes:
    """An event, with a message id of its own."""
    return compress(compression, msgspec.json.encode({**body, "msgId": ids.next().decode()}))
