"""A small, fast Modbus TCP server that simulates many devices, for measuring and for tests.

It shares no code with the agent's Modbus library. Each port is a device, or several told apart by unit
id. Holding and input registers are one array of words, coils and discrete inputs another of bits:

* registers 0-1: a sequence number, uint32, one more at every read request that touches register 0;
* registers 2-3: a clock, uint32, ms since the epoch modulo 2^32 at the read;
* register n from 4 on: n, until it is written.

As a script it prints the ports as one JSON list and serves until SIGTERM:
`python tests/bench/modbus_server.py --devices 100 --registers 50`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

Fault = int | float | Literal["silent", "close", "empty"] | None
"""What to do with a request: an int answers with that exception code, a float with a delay in seconds,
"silent" not at all, "close" closes the connection, "empty" answers with no data; None answers it."""
Hook = Callable[[int, int, int, int], Fault]
"""Called with unit, function code, address and count (1 for a single write)."""

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 1, 2, 3, 11

_REQUEST = struct.Struct(">HHHBBHH")
_READ_HEAD = struct.Struct(">HHHBBB")
_COUNTERS = struct.Struct(">II")


class Device:
    """The memory of one device."""

    def __init__(self, registers: int) -> None:
        self.sequence = 0
        self.words = bytearray(struct.pack(f">{registers}H", *(index & 0xFFFF for index in range(registers))))
        self.bits = [False] * registers

    def __getitem__(self, register: int) -> int:
        return int.from_bytes(self.words[2 * register : 2 * register + 2], "big")

    def __setitem__(self, register: int, word: int) -> None:
        self.words[2 * register : 2 * register + 2] = word.to_bytes(2, "big")

    def read_words(self, address: int, count: int) -> bytes | int:
        """The bytes of registers, or an exception code."""
        if not 1 <= count <= 125:
            return ILLEGAL_VALUE
        if 2 * (address + count) > len(self.words):
            return ILLEGAL_ADDRESS
        if address < 4 and len(self.words) >= 8:
            if address == 0:
                self.sequence = (self.sequence + 1) & 0xFFFFFFFF
            _COUNTERS.pack_into(self.words, 0, self.sequence, time.time_ns() // 1_000_000 & 0xFFFFFFFF)
        return self.words[2 * address : 2 * (address + count)]

    def read_bits(self, address: int, count: int) -> bytes | int:
        """Bits packed as Modbus has them, or an exception code."""
        if not 1 <= count <= 2000:
            return ILLEGAL_VALUE
        if address + count > len(self.bits):
            return ILLEGAL_ADDRESS
        packed = sum(1 << index for index, bit in enumerate(self.bits[address : address + count]) if bit)
        return packed.to_bytes((count + 7) // 8, "little")

    def write_words(self, address: int, words: bytes) -> int:
        """0, or an exception code."""
        if 2 * address + len(words) > len(self.words):
            return ILLEGAL_ADDRESS
        self.words[2 * address : 2 * address + len(words)] = words
        return 0

    def write_bits(self, address: int, bits: Sequence[bool]) -> int:
        """0, or an exception code."""
        if address + len(bits) > len(self.bits):
            return ILLEGAL_ADDRESS
        self.bits[address : address + len(bits)] = bits
        return 0


class Port:
    """One listening port: its devices by unit id, and what was seen there."""

    def __init__(self, devices: dict[int, Device]) -> None:
        self.devices = devices
        self.number = 0
        self.connections: set[_Connection] = set()
        self.deserted = asyncio.Event()
        """Set when the last connection is gone."""
        self.accepted = 0
        self.in_flight = 0
        self.peak = 0
        """The most requests that were ever unanswered at a time."""
        self.log: list[tuple[int, int, int, int]] | None = None
        """Requests as (unit, function, address, count), when it is a list."""
        self.listener: asyncio.Server | None = None


class ModbusServer:
    """Serves `devices` ports with one device for each of `units`; every unit id is the same device
    when `units` is None. `on_request` may be set at any time."""

    def __init__(
        self,
        devices: int = 1,
        registers: int = 50,
        units: Sequence[int] | None = None,
        on_request: Hook | None = None,
        first_port: int = 0,
        record: bool = False,
    ) -> None:
        self.on_request = on_request
        self.listening = [Port({unit: Device(registers) for unit in units or (0,)}) for _ in range(devices)]
        for index, port in enumerate(self.listening):
            port.number = first_port + index if first_port else 0
            port.log = [] if record else None

    @property
    def ports(self) -> list[int]:
        return [port.number for port in self.listening]

    @property
    def port(self) -> int:
        return self.listening[0].number

    @property
    def log(self) -> list[tuple[int, int, int, int]]:
        """The requests of the first port."""
        return self.listening[0].log or []

    def device(self, unit: int = 0, port: int = 0) -> Device:
        return self.listening[port].devices[unit]

    async def start(self) -> None:
        """Listen; a server that was stopped listens on the same ports again."""
        loop = asyncio.get_running_loop()
        for port in self.listening:
            port.listener = await loop.create_server(
                lambda port=port: _Connection(self, port),  # type: ignore[misc]
                "127.0.0.1",
                port.number,
                reuse_address=True,
            )
            port.number = port.listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        for port in self.listening:
            if port.listener is not None:
                port.listener.close()
            self.drop(port)
        await asyncio.sleep(0)

    def drop(self, port: Port | None = None) -> None:
        """Close the connections of a port, or of all, and go on listening."""
        for each in [port] if port else self.listening:
            for connection in list(each.connections):
                connection.transport.abort()

    async def __aenter__(self) -> "ModbusServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class _Connection(asyncio.Protocol):
    def __init__(self, server: ModbusServer, port: Port) -> None:
        self.server = server
        self.port = port
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port.connections.add(self)
        self.port.deserted.clear()
        self.port.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.port.connections.discard(self)
        if not self.port.connections:
            self.port.deserted.set()

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        while len(data) >= 8:
            size = 6 + (data[4] << 8 | data[5])
            if len(data) < size:
                break
            self.serve(data[:size])
            data = data[size:]
        self.buffer = data

    def serve(self, frame: bytes) -> None:
        if len(frame) < _REQUEST.size:  # of none of the functions that it has
            self.transport.write(_exception(frame[0] << 8 | frame[1], frame[6], frame[7], ILLEGAL_FUNCTION))
            return
        transaction, _, _, unit, function, address, count = _REQUEST.unpack_from(frame)
        if function in (5, 6):
            count = 1
        port = self.port
        port.in_flight += 1
        port.peak = max(port.peak, port.in_flight)
        if port.log is not None:
            port.log.append((unit, function, address, count))
        hook = self.server.on_request
        fault = hook(unit, function, address, count) if hook is not None else None
        if fault is None:
            self.reply(self.answer(frame, transaction, unit, function, address, count))
        else:
            self.misbehave(fault, frame, transaction, unit, function, address, count)

    def misbehave(
        self, fault: Fault, frame: bytes, transaction: int, unit: int, function: int, address: int, count: int
    ) -> None:
        if isinstance(fault, float):
            asyncio.get_running_loop().call_later(
                fault,
                lambda: self.reply(self.answer(frame, transaction, unit, function, address, count)),
            )
        elif fault == "silent":
            self.port.in_flight -= 1
        elif fault == "close":
            self.port.in_flight -= 1
            self.transport.abort()
        elif fault == "empty":
            self.reply(_READ_HEAD.pack(transaction, 0, 3, unit, function, 0))
        else:
            self.reply(_exception(transaction, unit, function, int(fault or 0)))

    def reply(self, reply: bytes) -> None:
        self.port.in_flight -= 1
        self.transport.write(reply)

    def answer(
        self, frame: bytes, transaction: int, unit: int, function: int, address: int, count: int
    ) -> bytes:
        device = self.port.devices.get(unit) or self.port.devices.get(0)
        if device is None:
            return _exception(transaction, unit, function, NO_SUCH_UNIT)
        if function in (3, 4):
            found = device.read_words(address, count)
        elif function in (1, 2):
            found = device.read_bits(address, count)
        else:
            refused = _write(device, frame, function, address, count)
            if refused:
                return _exception(transaction, unit, function, refused)
            return frame[:4] + b"\0\6" + frame[6:12]
        if isinstance(found, int):
            return _exception(transaction, unit, function, found)
        return _READ_HEAD.pack(transaction, 0, 3 + len(found), unit, function, len(found)) + found


def _write(device: Device, frame: bytes, function: int, address: int, count: int) -> int:
    """0, or an exception code."""
    if function == 5:
        if frame[10:12] not in (b"\xff\0", b"\0\0"):
            return ILLEGAL_VALUE
        return device.write_bits(address, [frame[10] == 0xFF])
    if function == 6:
        return device.write_words(address, frame[10:12])
    if function == 16:
        if frame[12] != 2 * count or len(frame) != 13 + 2 * count or not 1 <= count <= 123:
            return ILLEGAL_VALUE
        return device.write_words(address, frame[13:])
    if function == 15:
        if frame[12] != (count + 7) // 8 or len(frame) != 13 + frame[12]:
            return ILLEGAL_VALUE
        return device.write_bits(address, [bool(frame[13 + (n >> 3)] >> (n & 7) & 1) for n in range(count)])
    return ILLEGAL_FUNCTION


def _exception(transaction: int, unit: int, function: int, code: int) -> bytes:
    return _READ_HEAD.pack(transaction, 0, 3, unit, function | 0x80, code)


async def _serve(arguments: argparse.Namespace) -> None:
    server = ModbusServer(
        arguments.devices,
        arguments.registers,
        tuple(range(1, arguments.units + 1)) if arguments.units else None,
        first_port=arguments.first_port,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        print(json.dumps(server.ports), flush=True)
        await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulated Modbus TCP devices on 127.0.0.1")
    parser.add_argument("--devices", type=int, default=1, help="how many ports")
    parser.add_argument("--registers", type=int, default=50, help="of each device")
    parser.add_argument(
        "--units", type=int, default=0, help="devices 1..n behind each port (default: any unit)"
    )
    parser.add_argument(
        "--first-port", type=int, default=0, help="the first of a row of ports (default: free ones)"
    )
    arguments = parser.parse_args()
    runner: Callable[[Any], Any] = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        runner = uvloop.run
    runner(_serve(arguments))


if __name__ == "__main__":
    main()
