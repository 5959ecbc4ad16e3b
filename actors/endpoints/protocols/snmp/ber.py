"""BER as SNMP uses it (X.690, RFC 3417 section 8): one-byte tags, definite lengths.

What comes from outside is read with its bounds checked; anything else than well-formed raises `Malformed`.
"""

from typing import Final

INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30

_LONGEST_LENGTH = 4
"""Bytes of a length; a datagram needs two of them, some devices always write four."""


class Malformed(ValueError):
    """Not what a well-behaved peer sends; the text is for people."""


def tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + length(len(content)) + content


def length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Of either sign; the unsigned types of SMI are written as non-negative integers too."""
    if 0 <= value < 0x80:
        return bytes((tag, 1, value))
    return tlv(
        tag,
        value.to_bytes(
            (value.bit_length() if value >= 0 else (~value).bit_length()) // 8 + 1, "big", signed=True
        ),
    )


def sequence(*parts: bytes) -> bytes:
    return tlv(SEQUENCE, b"".join(parts))


def header(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The tag at `at`, and where its content begins and ends; it ends within `end`."""
    if at + 2 > end:
        raise Malformed("it ends within a field")
    tag, size = data[at], data[at + 1]
    at += 2
    if size & 0x80:
        octets = size & 0x7F
        if not 0 < octets <= _LONGEST_LENGTH or at + octets > end:
            raise Malformed("a field has no length that can be")
        size = int.from_bytes(data[at : at + octets], "big")
        at += octets
    if at + size > end:
        raise Malformed("a field is longer than what it is part of")
    return tag, at, at + size


def field(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of a field of that tag begins and ends."""
    if at + 2 <= end and data[at] == tag and (size := data[at + 1]) < 0x80:  # as most of them are
        stop = at + 2 + size
        if stop <= end:
            return at + 2, stop
    found, start, stop = header(data, at, end)
    if found != tag:
        raise Malformed(f"a field of type 0x{found:02x} where 0x{tag:02x} is to be")
    return start, stop


def number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """An INTEGER, and where it ends."""
    start, stop = field(data, at, end, INTEGER)
    if stop - start == 1:
        octet = data[start]
        return (octet if octet < 0x80 else octet - 0x100), stop
    if not 0 < stop - start <= 8:
        raise Malformed("an integer of no size that can be")
    return int.from_bytes(data[start:stop], "big", signed=True), stop


def octets(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """An OCTET STRING, and where it ends."""
    start, stop = field(data, at, end, OCTETS)
    return data[start:stop], stop
