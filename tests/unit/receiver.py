"""What a subscriber makes of a payload, which has no marker of what it is."""

import json
import zlib
from typing import Any

import cbor2
import msgspec


def receive(payload: bytes) -> Any:
    """Decode by the rule of spec 02 section 6, and what begins as a CBOR map as CBOR."""
    if payload[:2] == b"\x78\x9c":
        payload = zlib.decompress(payload)
    first = payload[0]
    if 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF:
        return msgspec.msgpack.decode(payload)
    if 0xA0 <= first <= 0xBF:
        return cbor2.loads(payload)
    return json.loads(payload)
