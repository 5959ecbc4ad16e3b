"""What becomes of a payload's JSON on the wire (spec 02 section 6)."""

import zlib
from typing import Any

import msgspec

COMPRESSIONS = ("json", "msgpack", "json+deflate", "msgpack+deflate", "cbor", "cbor+deflate")
THRESHOLD = 4096
"""Bytes up to which deflating is not worth its while."""


def compress(compression: str, payload: bytes) -> bytes:
    """The JSON `payload` in that encoding; one of `COMPRESSIONS`."""
    serialisation, _, deflated = compression.partition("+")
    if serialisation == "msgpack":
        payload = _msgpack(payload)
    elif serialisation == "cbor":
        payload = _cbor(payload)
    return zlib.compress(payload) if deflated and len(payload) > THRESHOLD else payload


def _msgpack(payload: bytes) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb(msgspec.json.decode(payload), default=_beyond_64_bits)
    return packed


def _beyond_64_bits(number: int) -> float | None:
    """An integer that MessagePack has no place for, as what most readers of JSON make of it."""
    try:
        return float(number)
    except OverflowError:
        return None


def _cbor(payload: bytes) -> bytes:
    import cbor2

    decoded: Any = msgspec.json.decode(payload)
    return cbor2.dumps(decoded)
