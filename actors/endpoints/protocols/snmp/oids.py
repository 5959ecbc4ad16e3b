"""Object identifiers: dotted decimal numbers, and what is on the wire."""

import re
from functools import lru_cache
from typing import Final

from .ber import OID, Malformed, tlv

LONGEST: Final = 128
"""Arcs (RFC 2578 section 3.5)."""
_LARGEST: Final = 2**32 - 1
_TEXT = re.compile(r"\.?([0-9]{1,10}(?:\.[0-9]{1,10}){1,127})", re.ASCII)

Arcs = tuple[int, ...]


def parse(text: str) -> Arcs:
    """`1.3.6.1.2.1.1.3.0`, with or without a dot before it. Raises `ValueError` with the rest of a sentence
    that begins with the field."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("must be numbers between dots such as 1.3.6.1.2.1.1.3.0")
    arcs = tuple(map(int, found[1].split(".")))
    if max(arcs) > _LARGEST:
        raise ValueError(f"has a number above {_LARGEST}")
    if arcs[0] > 2 or (arcs[0] < 2 and arcs[1] > 39):
        raise ValueError("must begin with 0.0 to 0.39, 1.0 to 1.39, or 2")
    if arcs[0] * 40 + arcs[1] > _LARGEST:
        raise ValueError(f"has a number above {_LARGEST}")
    return arcs


def shown(arcs: Arcs) -> str:
    return ".".join(map(str, arcs))


@lru_cache(maxsize=8192)
def encode(arcs: Arcs) -> bytes:
    """The whole field."""
    content = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        size = max((arc.bit_length() + 6) // 7, 1)
        content += bytes(0x80 | (arc >> 7 * place & 0x7F) for place in range(size - 1, 0, -1))
        content.append(arc & 0x7F)
    return tlv(OID, bytes(content))


def decode(content: bytes) -> Arcs:
    """Raises `Malformed`."""
    if not content or content[-1] & 0x80:
        raise Malformed("an object identifier that does not end")
    arcs: list[int] = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if arc > _LARGEST:
            raise Malformed("an object identifier with a number of more than 32 bits")
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    if len(arcs) >= LONGEST:
        raise Malformed("an object identifier that is too long")
    first = min(arcs[0] // 40, 2)
    return (first, arcs[0] - 40 * first, *arcs[1:])


def is_below(arcs: Arcs, root: Arcs) -> bool:
    return len(arcs) > len(root) and arcs[: len(root)] == root
