"""Modbus devices with the manners of the field: one device, and behaviours for tests to combine.

    async with rude_device(silent_on(7), closes_after_reply()) as device:
        ... device.port ...

Register or bit i of every table holds i + 100 (bits: whether that is odd) until it is written. Behaviours
are called with each request, in their order, before it is answered, and change what becomes of it. Everything
here is written from the Modbus documents and shares no code with the agent or its library.
"""

import asyncio
import os
import random
import ssl
import struct
import tty
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

ILLEGAL_FUNCTION = 1


class Asked:
    """A request, and what is to become of it; for behaviours to change."""

    def __init__(self, device: "RudeDevice", line: "Line", transaction: int, unit: int, pdu: bytes) -> None:
        self.device = device
        self.line = line
        self.transaction = transaction
        self.unit = unit
        self.pdu = pdu
        self.function = pdu[0]
        self.address, self.count = struct.unpack(">HH", pdu[1:5]) if len(pdu) >= 5 else (0, 0)
        if self.function in (5, 6):
            self.count = 1
        self.at = asyncio.get_running_loop().time()
        self.number = len(device.log)
        self.frame = b""
        """As it was on the wire."""

        self.silent = False
        self.exception: int | None = None
        self.values: list[int] | None = None
        """What is read in the place of what the device holds."""
        self.delay = 0.0
        self.close: str | None = None
        """"instead" of a reply, or "after" it"""
        self.reply_transaction: Callable[[], int] = lambda: transaction
        self.reply_unit = unit
        self.surplus = b""
        """Inside the frame, behind what was asked for."""
        self.before = b""
        self.after = b""
        self.apart = 0.0
        """Seconds between `before` and the reply."""
        self.damaged = False
        self.copies = 1
        self.reframe: Callable[[bytes], bytes] = lambda frame: frame
        """What is sent instead of the right frame."""
        self.piece = 0
        """Bytes that are sent at once, `apart` seconds apart; 0: all."""

    def touches(self, registers: Iterable[int]) -> bool:
        return any(self.address <= register < self.address + self.count for register in registers)


Behaviour = Callable[[Asked], None]
When = Callable[[Asked], bool]


# What becomes of requests


def silent_on(*registers: int) -> Behaviour:
    """Says nothing to a request that touches one of the registers."""
    return when(lambda asked: asked.touches(registers), silent=True)


def when(condition: When, **change: Any) -> Behaviour:
    """Sets attributes of the requests for which the condition holds."""

    def behave(asked: Asked) -> None:
        if condition(asked):
            for name, value in change.items():
                setattr(asked, name, value)

    return behave


def the(*numbers: int) -> When:
    """The requests of these numbers, counted from 0 over all connections."""
    return lambda asked: asked.number in numbers


def always(asked: Asked) -> bool:
    return True


def larger_than(count: int) -> When:
    return lambda asked: asked.count > count


def unnumbered() -> Behaviour:
    """Every reply has the transaction number 0."""
    return when(always, reply_transaction=lambda: 0)


def renumbers() -> Behaviour:
    """A gateway that gives every reply the number of the request that came last."""

    def behave(asked: Asked) -> None:
        asked.reply_transaction = lambda: asked.line.latest_transaction

    return behave


def loses(share: float, seed: int = 1, *, damaged: bool = False) -> Behaviour:
    """That share of replies does not arrive, or not undamaged."""
    chance = random.Random(seed)

    def behave(asked: Asked) -> None:
        if chance.random() < share:
            asked.damaged, asked.silent = damaged, not damaged

    return behave


def deaf_after_reply(seconds: float) -> Behaviour:
    """Requests so soon after the last reply are ignored."""

    def behave(asked: Asked) -> None:
        asked.silent = asked.silent or asked.at - asked.line.replied_at < seconds

    return behave


def deaf_after_connect(seconds: float, *, close: bool = False) -> Behaviour:
    """Requests so soon after the connection are ignored, or end it."""

    def behave(asked: Asked) -> None:
        if asked.at - asked.line.connected_at < seconds:
            asked.silent, asked.close = not close, "instead" if close else None

    return behave


def reframed(change: Callable[[bytes], bytes]) -> Behaviour:
    """Every reply's frame is changed so on its way."""
    return when(always, reframe=change)


def echoes(*, apart: float = 0.0) -> Behaviour:
    """An adapter that hears what it sends."""

    def behave(asked: Asked) -> None:
        asked.before, asked.apart = asked.before + asked.frame, apart

    return behave


def holds(registers: Callable[[], dict[int, int]], *functions: int) -> Behaviour:
    """Has these registers, by address, and no others, in the tables that the functions read (3, unless they
    are named); the other tables it does not know."""

    def behave(asked: Asked) -> None:
        if asked.function not in (1, 2, 3, 4):
            return
        there = registers() if asked.function in (functions or (3,)) else None
        words = [] if there is None else [there.get(asked.address + index) for index in range(asked.count)]
        if there is None or None in words:
            asked.exception = ILLEGAL_FUNCTION if there is None else 2
        else:
            asked.values = [word or 0 for word in words]

    return behave


# The device


class RudeDevice:
    """What it holds, and what it was asked."""

    def __init__(self, behaviours: tuple[Behaviour, ...]) -> None:
        self.behaviours = list(behaviours)
        self.port = 0
        self.path = ""
        self.registers = {index: index + 100 for index in range(2000)}
        self.log: list[tuple[int, int, int, int]] = []
        """Requests as (unit, function, address, count)."""
        self.identification: dict[int, bytes] = {}
        self.lines: list[Line] = []
        self.connections = 0
        self.close_idle_after: float | None = None
        self.greeting = b""
        """Sent to whoever connects."""
        self.most_lines: int | None = None
        """Whoever connects beyond so many is hung up on at once."""

    def behave(self, *behaviours: Behaviour) -> None:
        """From now on."""
        self.behaviours = list(behaviours)

    def hang_up(self) -> None:
        for line in list(self.lines):
            line.close()

    def answer(self, asked: Asked) -> bytes:
        """The PDU of the true answer."""
        function, address, count = asked.function, asked.address, asked.count
        if asked.exception is not None:
            return bytes((function | 0x80, asked.exception))
        values = asked.values or [self.registers[(address + index) % 2000] for index in range(count)]
        if function in (1, 2):
            bits = sum((value & 1) << index for index, value in enumerate(values))
            data = bits.to_bytes((count + 7) // 8, "little")
        elif function in (3, 4):
            data = struct.pack(f">{count}H", *values)
        elif function in (5, 6, 15, 16):
            self._write(asked)
            return asked.pdu[:5]
        elif function == 43 and self.identification:
            objects = [bytes((number, len(text))) + text for number, text in self.identification.items()]
            return bytes((43, 14, 1, 1, 0, 0, len(objects))) + b"".join(objects)
        else:
            return bytes((function | 0x80, ILLEGAL_FUNCTION))
        return bytes((function, len(data))) + data

    def _write(self, asked: Asked) -> None:
        pdu = asked.pdu
        if asked.function == 5:
            self.registers[asked.address] = int(pdu[3] == 0xFF)
        elif asked.function == 6:
            self.registers[asked.address] = int.from_bytes(pdu[3:5], "big")
        elif asked.function == 16:
            for index in range(asked.count):
                self.registers[asked.address + index] = int.from_bytes(
                    pdu[6 + 2 * index : 8 + 2 * index], "big"
                )
        else:
            for index in range(asked.count):
                self.registers[asked.address + index] = pdu[6 + index // 8] >> index % 8 & 1


class Line(asyncio.Protocol, asyncio.DatagramProtocol):
    """A connection, in one of the framings mbap, rtu and ascii."""

    def __init__(self, device: RudeDevice, framing: str) -> None:
        self.device = device
        self.framing = framing
        self.send: Callable[[bytes], None] = lambda data: None
        self.close: Callable[[], None] = lambda: None
        self.connected_at = asyncio.get_running_loop().time()
        self.replied_at = -1e9
        self.latest_transaction = 0
        self.ended_by: Exception | None = None
        self._received = b""
        self._transport: Any = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.device.connections += 1
        self.device.lines.append(self)
        self._transport, self.close = transport, transport.close
        self.send = getattr(transport, "write", self.send)
        self._watch_idleness()
        if self.device.greeting:
            self.send(self.device.greeting)
        if self.device.most_lines is not None and len(self.device.lines) > self.device.most_lines:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.device.lines.remove(self)
        self.ended_by = exc
        if self._idle is not None:
            self._idle.cancel()

    def _watch_idleness(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self.device.close_idle_after is not None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self.device.close_idle_after, lambda: self.close())

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.send = lambda reply: self._transport.sendto(reply, addr)
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._watch_idleness()
        while (found := self._request()) is not None:
            transaction, unit, pdu, frame = found
            self.latest_transaction = transaction
            self._serve(transaction, unit, pdu, frame)

    def _request(self) -> tuple[int, int, bytes, bytes] | None:
        """The next request: transaction, unit, PDU, frame."""
        received, size = self._received, 0
        if self.framing == "mbap" and len(received) >= 6:
            size = 6 + int.from_bytes(received[4:6], "big")
        elif self.framing == "ascii" and b"\n" in received:
            size = received.index(b"\n") + 1
        elif self.framing == "rtu" and len(received) >= 7:
            size = 9 + received[6] if received[1] in (15, 16) else {22: 10, 43: 7}.get(received[1], 8)
        if not size or len(received) < size:
            return None
        frame, self._received = received[:size], received[size:]
        if self.framing == "mbap":
            return int.from_bytes(frame[:2], "big"), frame[6], frame[7:], frame
        if self.framing == "ascii":
            plain = bytes.fromhex(frame.strip()[1:].decode())
            return 0, plain[0], plain[1:-1], frame
        return 0, frame[0], frame[1:-2], frame

    def _serve(self, transaction: int, unit: int, pdu: bytes, frame: bytes) -> None:
        asked = Asked(self.device, self, transaction, unit, pdu)
        asked.frame = frame
        self.device.log.append((unit, asked.function, asked.address, asked.count))
        for behaviour in self.device.behaviours:
            behaviour(asked)
        if asked.close == "instead":
            self.close()
        elif asked.delay:
            asyncio.get_running_loop().call_later(asked.delay, self._reply, asked)
        else:
            self._reply(asked)

    def _reply(self, asked: Asked) -> None:
        if asked.silent:
            if asked.before:
                self.send(asked.before)
            return
        frame = asked.reframe(self._framed(asked))
        self.replied_at = asyncio.get_running_loop().time()
        if asked.piece:
            self._send_in_pieces(frame, asked)
        elif asked.apart:
            self.send(asked.before)
            asyncio.get_running_loop().call_later(asked.apart, self.send, frame + asked.after)
        else:
            self.send(asked.before + asked.copies * frame + asked.after)
        if asked.close == "after":
            self.close()

    def _send_in_pieces(self, frame: bytes, asked: Asked) -> None:
        loop = asyncio.get_running_loop()
        for number, start in enumerate(range(0, len(frame), asked.piece)):
            loop.call_later(number * asked.apart, self.send, frame[start : start + asked.piece])

    def _framed(self, asked: Asked) -> bytes:
        pdu = self.device.answer(asked) + asked.surplus
        plain = bytes((asked.reply_unit,)) + pdu
        if self.framing == "mbap":
            return struct.pack(">HHH", asked.reply_transaction(), 0, len(plain)) + plain
        if self.framing == "ascii":
            check = -sum(plain) & 0xFF
            return b":" + (plain + bytes((check ^ asked.damaged,))).hex().upper().encode() + b"\r\n"
        return plain + (crc(plain) ^ asked.damaged).to_bytes(2, "little")


def crc(data: bytes) -> int:
    """Modbus over Serial Line 1.02, appendix B."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


@asynccontextmanager
async def rude_device(
    *behaviours: Behaviour, framing: str = "mbap", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RudeDevice]:
    """On TCP, at `port`."""
    device = RudeDevice(behaviours)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(device, framing), "127.0.0.1", 0, ssl=tls)
    device.port = server.sockets[0].getsockname()[1]
    try:
        yield device
    finally:
        server.close()
        device.hang_up()


@asynccontextmanager
async def rude_datagrams(*behaviours: Behaviour) -> AsyncIterator[RudeDevice]:
    """On UDP, at `port`."""
    device = RudeDevice(behaviours)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Line(device, "mbap"), local_addr=("127.0.0.1", 0)
    )
    device.port = transport.get_extra_info("sockname")[1]
    try:
        yield device
    finally:
        transport.close()


@asynccontextmanager
async def rude_serial(*behaviours: Behaviour, framing: str = "rtu") -> AsyncIterator[RudeDevice]:
    """On a pseudo-terminal, at `path`."""
    device = RudeDevice(behaviours)
    loop = asyncio.get_running_loop()
    near, far = os.openpty()
    tty.setraw(near)
    tty.setraw(far)
    device.path = os.ttyname(far)
    line = Line(device, framing)
    line.send = lambda data: os.write(near, data) and None
    loop.add_reader(near, lambda: line.data_received(os.read(near, 4096)))
    try:
        yield device
    finally:
        loop.remove_reader(near)
        os.close(near)
        os.close(far)
