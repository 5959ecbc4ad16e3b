"""What payloads become in the body of a request. Plain."""

import zlib
from collections.abc import Sequence

import msgspec

JSON, MSGPACK, CBOR = "application/json", "application/vnd.msgpack", "application/cbor"
BYTES = "application/octet-stream"

_ZLIB = 0x78


class Kind(msgspec.Struct, frozen=True):
    """What a payload is; `deflated`: in a zlib stream, which HTTP calls the encoding `deflate`."""

    media_type: str
    deflated: bool = False

    @property
    def joins(self) -> bool:
        """Whether several are one array."""
        return not self.deflated and self.media_type != BYTES


def kind_of(payload: bytes) -> Kind:
    """By its first byte, as `docs/publishing.rst` says."""
    first = payload[:1]
    if first and first[0] == _ZLIB:
        try:
            return Kind(_media_type(zlib.decompressobj().decompress(payload, 1)), deflated=True)
        except zlib.error:
            return Kind(BYTES)
    return Kind(_media_type(first))


def _media_type(first: bytes) -> str:
    match first:
        case b"{" | b"[":
            return JSON
        case b"\xde" | b"\xdf":
            return MSGPACK
    if b"\x80" <= first <= b"\x8f":
        return MSGPACK
    return CBOR if b"\xa0" <= first <= b"\xbf" else BYTES


def joined(kind: Kind, payloads: Sequence[bytes]) -> bytes:
    """An array of payloads of one kind that `joins`, in its own encoding (RFC 8259, RFC 8949, MessagePack);
    at most 65,535."""
    count = len(payloads)
    match kind.media_type:
        case "application/json":
            return b"[%b]" % b",".join(payloads)
        case "application/vnd.msgpack":
            head = b"\xdc" + count.to_bytes(2, "big")
        case _:
            head = b"\x99" + count.to_bytes(2, "big")
    return head + b"".join(payloads)
