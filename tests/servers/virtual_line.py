"""Modbus devices in virtual time: a line whose devices and gateways behave as badly as physics allows.

Register i of unit u holds 1000 * u + i and never changes, but for registers from `WRITABLE` on. Nothing here
uses the agent's code for frames.
"""

import asyncio
import random
import selectors
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from servers.rude_device import crc

WRITABLE = 900
KINDS = ("serial", "rtu-over-tcp", "ascii", "own", "zero", "latest", "queue", "udp", "udp-zero")
"""How replies come: on a serial line, through a transparent gateway, in ASCII; over TCP with their own
number, with 0, with that of the latest request; by a gateway that asks one after the other and gives the
number of the one that it is at; over UDP with their own number or 0."""


def bit(unit: int, address: int) -> bool:
    """What coils and discrete inputs say: few of them anything."""
    return hash((unit, address)) % 5 == 0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for nothing: when there is nothing to do, it is later."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Hurried(self))

    def time(self) -> float:
        return self.now


class _Hurried(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self._loop.now += max(timeout, 0.0)
        return super().select(0)


class Trouble(NamedTuple):
    """Shares of requests that meet with it; `late` is the most in time-outs."""

    lost: float = 0.0
    delayed: float = 0.0
    late: float = 0.0
    damaged: float = 0.0
    noise: float = 0.0
    exception: float = 0.0
    closed: float = 0.0
    doubled: float = 0.0
    remembers: int = 1
    """Requests that a device hears while it is at work."""
    tells: bool = True
    """Whether the gateway says so when it gives up."""
    patience: float = 1.0
    """Of the gateway, in time-outs of the client."""


class Asked(NamedTuple):
    number: int
    unit: int
    pdu: bytes
    wire: "VirtualWire"


class World:
    """Everything behind the client's wire."""

    def __init__(self, kind: str, trouble: Trouble, timeout: float, seed: int) -> None:
        self.kind = kind
        self.trouble = trouble
        self.timeout = timeout
        self.random = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.wire: VirtualWire | None = None
        self.requests = 0
        self.written: dict[tuple[int, int], list[int]] = {}
        self._registers: dict[tuple[int, int], int] = {}
        self._busy: dict[int, list[Asked]] = {}
        self._latest = 0
        self._gateway: list[Asked] = []
        self._current: Asked | None = None
        self._reaches = 0.0
        self._returns = 0.0
        self.trace: list[str] = []

    def note(self, text: str) -> None:
        self.trace.append(f"{self.loop.time():.3f} {text}")

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def _after(self, latest: float) -> float:
        """When something arrives; but for datagrams, not before what was sent earlier."""
        at = self.loop.time() + self.random.uniform(0.001, 0.02)
        return at if self.kind == "udp" else max(at, latest + 1e-6)

    # From the client

    def sent(self, wire: "VirtualWire", frame: bytes) -> None:
        self.requests += 1
        number, unit, pdu = self._unframed(frame)
        asked = Asked(number, unit, pdu, wire)
        self.note(f"-> {number} unit {unit} {pdu.hex()}")
        if self.chance(self.trouble.closed):
            self.loop.call_later(self.random.uniform(0, self.timeout), wire.end)
        if self.chance(self.trouble.lost):
            return
        self._reaches = self._after(self._reaches)
        self.loop.call_at(self._reaches, self._arrive, asked)

    def _arrive(self, asked: Asked) -> None:
        self._latest = asked.number
        if self.kind == "queue":
            self._gateway.append(asked)
            self._next_of_gateway()
        else:
            self._on_bus(asked)

    def _next_of_gateway(self) -> None:
        if self._current is None and self._gateway:
            self._current = asked = self._gateway.pop(0)
            self.loop.call_later(self.trouble.patience * self.timeout, self._give_up, asked)
            self._on_bus(asked)

    def _give_up(self, asked: Asked) -> None:
        if self._current is asked:
            self._current = None
            if self.trouble.tells:
                self._to_client(asked.number, asked.unit, bytes((asked.pdu[0] | 0x80, 11)), asked.wire)
            self._next_of_gateway()

    # The devices

    def _on_bus(self, asked: Asked) -> None:
        waiting = self._busy.setdefault(asked.unit, [])
        if len(waiting) > self.trouble.remembers:
            return
        waiting.append(asked)
        if len(waiting) == 1:
            self._work(asked)

    def _work(self, asked: Asked) -> None:
        delay = self.random.uniform(0.002, 0.03)
        if self.chance(self.trouble.delayed):
            delay = self.random.uniform(0.8, self.trouble.late) * self.timeout
        self.loop.call_later(delay, self._done, asked)

    def _done(self, asked: Asked) -> None:
        waiting = self._busy[asked.unit]
        waiting.pop(0)
        if waiting:
            self._work(waiting[0])
        pdu = self._answer(asked)
        if self.chance(self.trouble.exception):
            pdu = bytes((asked.pdu[0] | 0x80, self.random.choice((1, 2, 3, 4, 6))))
        if not self.chance(self.trouble.lost):
            self._from_bus(asked, pdu)

    def _answer(self, asked: Asked) -> bytes:
        pdu, unit = asked.pdu, asked.unit
        address, count = struct.unpack_from(">HH", pdu, 1)
        if pdu[0] in (1, 2):
            bits = sum(bit(unit, address + index) << index for index in range(count))
            return bytes((pdu[0], (count + 7) // 8)) + bits.to_bytes((count + 7) // 8, "little")
        if pdu[0] in (3, 4):
            values = [
                self._registers.get((unit, at), 1000 * unit + at) for at in range(address, address + count)
            ]
            return bytes((pdu[0], 2 * count)) + struct.pack(f">{count}H", *values)
        if pdu[0] == 6:
            self._write(unit, address, count)
        else:
            for index in range(count):
                self._write(unit, address + index, struct.unpack_from(">H", pdu, 6 + 2 * index)[0])
        return pdu[:5]

    def _write(self, unit: int, address: int, value: int) -> None:
        self._registers[unit, address] = value
        self.written.setdefault((unit, address), []).append(value)

    # To the client

    def _from_bus(self, asked: Asked, pdu: bytes) -> None:
        if self.kind == "queue":
            current = self._current
            if current is None or current.unit != asked.unit:
                return
            self._current = None
            self._to_client(current.number, asked.unit, pdu, current.wire)
            self._next_of_gateway()
            return
        number = {"latest": self._latest, "zero": 0, "udp-zero": 0}.get(self.kind, asked.number)
        forgets = self.kind in ("own", "udp", "udp-zero")
        self._to_client(number, asked.unit, pdu, asked.wire if forgets else self.wire)

    def _to_client(self, number: int, unit: int, pdu: bytes, wire: "VirtualWire | None") -> None:
        if wire is None:
            return
        frame = self._framed(number, unit, pdu)
        self.note(f"<- {number} unit {unit} {pdu.hex()}")
        self._returns = self._after(self._returns)
        self.loop.call_at(self._returns, wire.take, frame)
        if self.kind == "udp" and self.chance(self.trouble.doubled):
            self.loop.call_later(self.random.uniform(0.001, 2 * self.timeout), wire.take, frame)

    # Frames

    def _unframed(self, frame: bytes) -> tuple[int, int, bytes]:
        if self.kind in ("serial", "rtu-over-tcp"):
            return 0, frame[0], frame[1:-2]
        if self.kind == "ascii":
            plain = bytes.fromhex(frame[1:].decode())
            return 0, plain[0], plain[1:-1]
        return int.from_bytes(frame[:2], "big"), frame[6], frame[7:]

    def _framed(self, number: int, unit: int, pdu: bytes) -> bytes:
        plain = bytes((unit,)) + pdu
        if self.kind == "ascii":
            return self._spoilt(
                b":" + (plain + bytes((-sum(plain) & 0xFF,))).hex().upper().encode() + b"\r\n"
            )
        if self.kind in ("serial", "rtu-over-tcp"):
            return self._spoilt(plain + crc(plain).to_bytes(2, "little"))
        return struct.pack(">HHH", number, 0, len(plain)) + plain

    def _spoilt(self, frame: bytes) -> bytes:
        if self.chance(self.trouble.damaged):
            if self.chance(0.5):
                frame = frame[: self.random.randrange(len(frame))]
            else:
                at = self.random.randrange(len(frame))
                frame = frame[:at] + bytes((frame[at] ^ 1 << self.random.randrange(8),)) + frame[at + 1 :]
        return frame


class VirtualWire:
    """In place of `Wire`."""

    world: World

    def __init__(self, connection: Any, received: Callable[[bytes], None], lost: Callable[..., None]) -> None:
        self._received = received
        self._lost = lost
        self.up = False

    def put(self, frame: bytes) -> None:
        if self.up:
            self.world.sent(self, frame)
            if self.world.chance(self.world.trouble.noise):
                noise = self.world.random.randbytes(self.world.random.randrange(1, 20))
                self.world.loop.call_later(self.world.random.uniform(0, 0.1), self.take, noise)

    def take(self, data: bytes) -> None:
        if not self.up or not data:
            return
        if self.world.kind.startswith("udp") or self.world.chance(0.7):
            self._received(data)
        else:
            at = self.world.random.randrange(len(data) + 1)
            for part in filter(None, (data[:at], data[at:])):
                self._received(part)

    def end(self) -> None:
        if self.up:
            self.close()
            self.world.note("closed")
            self._lost(self, "CONNECTION_RESET")

    def close(self) -> None:
        self.up = False
        if self.world.wire is self:
            self.world.wire = None

    abort = close


async def dial(connection: Any, wire: VirtualWire, seconds: float) -> None:
    await asyncio.sleep(0.005)
    wire.up = True
    wire.world.wire = wire
    wire.world.note("connected")
