"""Requests, replies, and the three ways in which they are framed.

Sources: Modbus Application Protocol 1.1b3 and Modbus over Serial Line 1.02. What a reply proves of the
request that it answers differs: over TCP and UDP it has a number and a unit, on a serial line a unit alone.
"""

import re
import struct
from abc import ABC, abstractmethod
from binascii import hexlify, unhexlify
from typing import ClassVar, NamedTuple

from pymodbus.framer import FramerAscii, FramerRTU

from .points import Table

READS = (1, 2, 3, 4)
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_REGISTER = 5, 6, 15, 16, 22
IDENTIFY = 43
EXCEPTION = 0x80
ECHOED = (WRITE_COIL, WRITE_REGISTER, MASK_REGISTER)
"""Functions whose reply is, byte for byte, the request."""

_WRITES = (WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_REGISTER)
_FUNCTIONS = frozenset((*READS, *_WRITES, IDENTIFY))
_MBAP = struct.Struct(">HHHBB")
_BIT_TABLES = (Table.coil, Table.discrete)
_ASCII_REPLY = re.compile(rb"[:>]((?:[0-9A-Fa-f]{2}){4,})\r?\n")
"""Chargers of ABL begin their replies with the second sign."""
_LONGEST = 2 * 260
"""Bytes that a frame over TCP says it has at most; devices send more than the 260 that are allowed."""


class Request:
    """May be sent any number of times. `expects` is what the body of its reply begins with."""

    __slots__ = ("body", "expects", "function", "unit")

    def __init__(self, function: int, unit: int, body: bytes, expects: bytes) -> None:
        self.function = function
        self.unit = unit
        self.body = body
        self.expects = expects

    @property
    def shape(self) -> tuple[int, bytes]:
        """What a reply must have."""
        return self.function, self.expects


def reading(table: Table, unit: int, address: int, count: int) -> Request:
    """A request for registers or bits."""
    size = (count + 7) // 8 if table in _BIT_TABLES else 2 * count
    return Request(int(table), unit, struct.pack(">HH", address, count), bytes((size,)))


def writing(function: int, unit: int, body: bytes) -> Request:
    """A request that writes; its reply repeats where, and what or how much."""
    return Request(function, unit, body, body[: 6 if function == MASK_REGISTER else 4])


def variant(request: Request, units: int) -> Request | None:
    """The read request for that many registers, or bytes of bits, from the same address on; None when there
    are not so many."""
    address = int.from_bytes(request.body[:2], "big")
    table = Table(request.function)
    count = units * (8 if table in _BIT_TABLES else 1)
    return reading(table, request.unit, address, count) if address + count <= 0x10000 else None


class Frame(NamedTuple):
    """A reply. `transaction` is None where replies have no number."""

    transaction: int | None
    unit: int
    function: int
    body: bytes
    """what follows the function code"""


def answer(request: Request, frame: Frame) -> bytes | int | None:
    """What a reply says: the registers' or bits' bytes, the number of an exception, or None when it does not
    fit the request. Of a write that was done the bytes are empty.

    What comes after the bytes that were asked for means nothing; bits may be padded with bytes that say 0.
    """
    body = frame.body
    if frame.function == request.function | EXCEPTION:
        return body[0] if body else None
    if frame.function != request.function:
        return None
    if request.function not in READS:
        if not body.startswith(request.expects):
            return None
        return body if request.function == IDENTIFY else b""
    size = request.expects[0]
    end = size + 1
    if len(body) < end:
        return None
    if body[0] != size and (
        request.function not in _BIT_TABLES or body[0] < size or any(body[end : body[0] + 1])
    ):
        return None
    return body[1:end]


def alike(one: Request, other: Request) -> bool:
    """Whether a reply to the one may look like a reply to the other."""
    if one.function in _BIT_TABLES:  # it may be padded
        return one.function == other.function and one.expects >= other.expects
    return one.shape == other.shape


class Framing(ABC):
    """How requests and replies are put on the wire."""

    numbered: ClassVar[bool] = False
    """whether frames have a number"""

    @abstractmethod
    def encode(self, transaction: int, request: Request) -> bytes:
        """The bytes to send."""

    @abstractmethod
    def decode(self, received: bytes, request: Request) -> tuple[Frame | None, int]:
        """The first frame in what was received since `request` went out, None if there is none yet, and how
        many bytes need not be looked at again."""

    def is_whole(self, received: bytes, request: Request) -> bool:
        """Whether so much was received that what makes no frame by now never will."""
        return False


class Mbap(Framing):
    """Modbus TCP's header: number, protocol 0, length, unit."""

    numbered = True

    def encode(self, transaction: int, request: Request) -> bytes:
        body = request.body
        return _MBAP.pack(transaction, 0, len(body) + 2, request.unit, request.function) + body

    def decode(self, received: bytes, request: Request) -> tuple[Frame | None, int]:
        at, size = 0, len(received)
        while size - at >= _MBAP.size:
            transaction, protocol, length, unit, function = _MBAP.unpack_from(received, at)
            # Behind bytes that make no frame only what looks like the reply is one.
            likely = (request.function,) if at else _FUNCTIONS
            if protocol == 0 and 2 <= length <= _LONGEST and function & 0x7F in likely:
                end = _end_of(received, at, length, request)
                if end > size:
                    return None, at
                return Frame(transaction, unit, function, received[at + _MBAP.size : end]), end
            at += 1
        return None, at


def _end_of(received: bytes, at: int, length: int, request: Request) -> int:
    """Where a frame ends. Some gateways count one byte too few, or too many: a reply that begins as it has to
    says itself how long it is."""
    end, body = at + 6 + length, at + _MBAP.size
    function = received[body - 1]
    if function & EXCEPTION:
        says = body + 1
    elif function == request.function != IDENTIFY and received.startswith(request.expects, body):
        says = body + (1 + request.expects[0] if function in READS else len(request.expects))
    else:
        return end
    return says if says <= end + 1 else end


class Rtu(Framing):
    """Unit, function, body and a CRC; where a frame begins and ends follows from what is in it. Adapters add
    bytes before and after frames."""

    def encode(self, transaction: int, request: Request) -> bytes:
        frame = bytes((request.unit, request.function)) + request.body
        return frame + _crc(frame)

    def decode(self, received: bytes, request: Request) -> tuple[Frame | None, int]:
        for at in range(len(received) - 4):
            unit, function = received[at], received[at + 1]
            if at and (unit != request.unit or function & 0x7F != request.function):
                continue
            size = _size(received[at + 1 :])
            ends = (at + 1 + size + 2, len(received)) if size else (len(received),)
            for end in ends:
                if end <= len(received) and _crc(received[at : end - 2]) == received[end - 2 : end]:
                    return Frame(None, unit, function, received[at + 2 : end - 2]), end
        return None, 0

    def is_whole(self, received: bytes, request: Request) -> bool:
        if request.function in READS:
            return len(received) >= 5 + request.expects[0]
        return len(received) >= 4 + len(request.expects)


class Ascii(Framing):
    """The same in hexadecimal digits, between a colon and a line end, with an LRC."""

    def encode(self, transaction: int, request: Request) -> bytes:
        frame = bytes((request.unit, request.function)) + request.body
        return b":" + hexlify(frame + bytes((FramerAscii.compute_LRC(frame),))).upper() + b"\r\n"

    def decode(self, received: bytes, request: Request) -> tuple[Frame | None, int]:
        for found in _ASCII_REPLY.finditer(received):
            frame = unhexlify(found[1])
            if FramerAscii.compute_LRC(frame[:-1]) == frame[-1]:
                return Frame(None, frame[0], frame[1], frame[2:-1]), found.end()
        return None, received.rfind(b"\n") + 1

    def is_whole(self, received: bytes, request: Request) -> bool:
        return b"\n" in received


def _crc(frame: bytes) -> bytes:
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")


def _size(reply: bytes) -> int | None:
    """How many bytes a reply has from its function code on; None when they do not say so yet."""
    function = reply[0]
    if function & EXCEPTION:
        return 2
    if function in READS:
        return 2 + reply[1]
    if function == MASK_REGISTER:
        return 7
    return 5 if function in _WRITES else None
