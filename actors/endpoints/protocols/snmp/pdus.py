"""Requests and replies (RFC 3416, RFC 1157), whatever message they are wrapped in."""

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from . import oids
from .ber import NULL, OID, SEQUENCE, Malformed, field, header, integer, length, number, tlv
from .oids import Arcs

GET: Final = 0xA0
GET_NEXT: Final = 0xA1
RESPONSE: Final = 0xA2
SET: Final = 0xA3
TRAP_V1: Final = 0xA4
GET_BULK: Final = 0xA5
INFORM: Final = 0xA6
TRAP: Final = 0xA7
REPORT: Final = 0xA8

NOTHING: Final = tlv(NULL, b"")
NO_SUCH_OBJECT: Final = 0x80
NO_SUCH_INSTANCE: Final = 0x81
END_OF_MIB: Final = 0x82

_ID: Final = 4
"""Bytes of a request's number: always so many, so that it can be put into a request that is encoded."""


class Binding(NamedTuple):
    """One variable of a reply; `raw` is the content of its value, of the type `tag`."""

    oid: Arcs
    tag: int
    raw: bytes


class Value(NamedTuple):
    """As in `Binding`, of a variable whose name is known."""

    tag: int
    raw: bytes


class Pdu(NamedTuple):
    """`kind` is its tag; the bindings are at `start` to `stop` of `data`. `culprit` is which of them an
    error-status is about, counted from 1. Of a GetBulk these two are what it repeats."""

    kind: int
    number: int
    status: int
    culprit: int
    data: bytes
    start: int
    stop: int


def new_id() -> int:
    """The number of a request or a message, that nobody can guess; of four bytes."""
    return secrets.randbelow(0x7E000000) + 0x01000000


class Request(NamedTuple):
    """A request encoded but for its number. `asked` are the names, as on the wire, that a reply to a Get has
    in the same order."""

    kind: int
    before: bytes
    after: bytes
    asked: tuple[bytes, ...]

    def encode(self, number: int) -> bytes:
        return self.before + number.to_bytes(_ID, "big") + self.after


def request(
    kind: int, names: Sequence[Arcs], values: Sequence[bytes] | None = None, repeat: tuple[int, int] = (0, 0)
) -> Request:
    """`values` are whole fields; `repeat` is non-repeaters and max-repetitions of a GetBulk."""
    asked = tuple(map(oids.encode, names))
    given = (NOTHING,) * len(asked) if values is None else values
    bindings = b"".join(tlv(SEQUENCE, name + value) for name, value in zip(asked, given, strict=True))
    after = integer(repeat[0]) + integer(repeat[1]) + tlv(SEQUENCE, bindings)
    before = bytes((kind,)) + length(2 + _ID + len(after)) + bytes((0x02, _ID))
    return Request(kind, before, after, asked)


def parse(data: bytes, at: int, end: int) -> Pdu:
    """The PDU at `at`, but a trap of v1. Raises `Malformed`."""
    kind, at, end = header(data, at, end)
    if kind not in (GET, GET_NEXT, RESPONSE, SET, GET_BULK, INFORM, TRAP, REPORT):
        raise Malformed(f"a message of type 0x{kind:02x}")
    identifier, at = number(data, at, end)
    status, at = number(data, at, end)
    culprit, at = number(data, at, end)
    start, stop = field(data, at, end, SEQUENCE)
    return Pdu(kind, identifier, status, culprit, data, start, stop)


def bindings(pdu: Pdu) -> list[Binding]:
    """Raises `Malformed`."""
    return list_bindings(pdu.data, pdu.start, pdu.stop)


def list_bindings(data: bytes, at: int, stop: int) -> list[Binding]:
    found = []
    while at < stop:
        start, at = field(data, at, stop, SEQUENCE)
        begins, ends = field(data, start, at, OID)
        tag, value, last = header(data, ends, at)
        if last != at:
            raise Malformed("a variable with something behind its value")
        found.append(Binding(oids.decode(data[begins:ends]), tag, data[value:last]))
    return found


def values(pdu: Pdu, asked: Sequence[bytes]) -> list[Value] | None:
    """Of the variables that were asked for, in their order; None when the reply is about any others. Most
    replies are short and as asked, and every poll comes here: it is not read further than that takes.
    Raises `Malformed`."""
    data, at, end = pdu.data, pdu.start, pdu.stop
    found = []
    for name in asked:
        if at + 2 > end or data[at] != SEQUENCE:
            return None
        size = data[at + 1]
        if size < 0x80:
            start = at + 2
            stop = start + size
            if stop > end:
                raise Malformed("a variable is longer than what it is part of")
        else:
            start, stop = field(data, at, end, SEQUENCE)
        if not data.startswith(name, start, stop):
            if not _is_same(data, start, stop, name):
                return None
            value = field(data, start, stop, OID)[1]
        else:
            value = start + len(name)
        if value + 2 > stop:
            raise Malformed("a variable without a value")
        size = data[value + 1]
        if size < 0x80 and value + 2 + size == stop:
            found.append(Value(data[value], data[value + 2 : stop]))
        else:
            tag, begins, ends = header(data, value, stop)
            if ends != stop:
                raise Malformed("a variable with something behind its value")
            found.append(Value(tag, data[begins:ends]))
        at = stop
    return found if at == end else None


def _is_same(data: bytes, start: int, stop: int, name: bytes) -> bool:
    """Whether it is that name with its length, or its numbers, spelled in more bytes than it takes."""
    begins, ends = field(data, start, stop, OID)
    content = field(name, 0, len(name), OID)
    return oids.decode(data[begins:ends]) == oids.decode(name[content[0] : content[1]])
