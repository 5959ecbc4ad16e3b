"""The many hosts of `servers.plant_hosts` as one process, light enough for hundreds: fakes, each at an
address of its own, most of them as hosts in the field behave and some as none should. It is told as
`servers.told_program` says.
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from servers.told_program import run

_PORTS = (502, 1883, 4840)
"""Those that hosts of no protocol in particular have open."""
_UDP_PORTS = (161, 47808)
_RESET = struct.pack("ii", 1, 0)


class Seen:
    """What a host has seen of its clients."""

    def __init__(self) -> None:
        self.accepted = 0
        self.open = 0
        self.peak = 0
        """the most connections at a time"""
        self.requests = 0
        self.odd = 0
        """what a well-behaved client would not have done: this host minds"""
        self.gap: float | None = None
        """the least seconds between two requests"""
        self._last: float | None = None

    def request(self) -> None:
        self.requests += 1
        now = time.monotonic()
        if self._last is not None and (self.gap is None or now - self._last < self.gap):
            self.gap = now - self._last
        self._last = now

    def told(self) -> dict[str, Any]:
        return {
            "accepted": self.accepted,
            "open": self.open,
            "peak": self.peak,
            "requests": self.requests,
            "odd": self.odd,
            "gap": self.gap,
        }


class Client(asyncio.Protocol):
    """A connection of a client to a host, which does nothing about it: a tarpit."""

    def __init__(self, host: dict[str, Any], seen: Seen) -> None:
        self.host = host
        self.seen = seen
        self.transport: Any = None
        self.there = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.there = True
        self.seen.accepted += 1
        self.seen.open += 1
        self.seen.peak = max(self.seen.peak, self.seen.open)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self.there = False
        self.seen.open -= 1

    def data_received(self, data: bytes) -> None:
        self.seen.request()
        self.take(data)

    def begin(self) -> None: ...

    def take(self, data: bytes) -> None: ...

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def later(self, seconds: float, octets: bytes) -> None:
        asyncio.get_running_loop().call_later(seconds, self.say, octets)

    def say(self, octets: bytes) -> None:
        if self.there and not self.transport.is_closing():
            self.transport.write(octets)


class Banner(Client):
    """Talks without end, as fast as somebody listens."""

    def begin(self) -> None:
        self.transport.set_write_buffer_limits(high=65_536)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.there and not self.paused and not self.transport.is_closing():
            self.transport.write(b"welcome to the machine " * 200)
            asyncio.get_running_loop().call_later(0.001, self._go_on)


class Trickle(Client):
    """Sends a little, again and again: it is never silent for long."""

    def begin(self) -> None:
        self.say(b"\0")
        if self.there:
            asyncio.get_running_loop().call_later(0.05, self._go_on)

    def _go_on(self) -> None:
        if self.there:
            self.begin()


class Garbage(Client):
    def begin(self) -> None:
        self.say(bytes(range(256)))

    def take(self, data: bytes) -> None:
        self.say(os.urandom(64))


class Echo(Client):
    def take(self, data: bytes) -> None:
        self.say(data)


class ResetAtOnce(Client):
    def begin(self) -> None:
        self.reset()


class ResetWhenAsked(Client):
    def take(self, data: bytes) -> None:
        self.reset()


class Closes(Client):
    def begin(self) -> None:
        self.transport.close()


class Http(Client):
    def take(self, data: bytes) -> None:
        self.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.close()


class Ssh(Client):
    def begin(self) -> None:
        self.say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")


class OpcUaRefuses(Client):
    """Says hello as an OPC UA server does, then that it has no room."""

    def take(self, data: bytes) -> None:
        reason = b"Bad_TcpNotEnoughResources"
        body = struct.pack("<Ii", 0x80810000, len(reason)) + reason
        self.say(b"ERRF" + struct.pack("<I", 8 + len(body)) + body)


class OpcUaGreets(Client):
    """Acknowledges the hello and says no more."""

    def take(self, data: bytes) -> None:
        if data[:3] == b"HEL":
            self.say(b"ACKF" + struct.pack("<I5I", 28, 0, 65_536, 65_536, 0, 0))


class MqttRefuses(Client):
    """A broker that lets nobody in."""

    def take(self, data: bytes) -> None:
        self.say(bytes((0x20, 2, 0, 5)))
        self.transport.close()


class Forward(Client):
    """Passes everything on to the host's `target`, at the port that the client came to."""

    def begin(self) -> None:
        self._waiting: list[bytes] = []
        self._there: asyncio.StreamWriter | None = None
        self._passing = asyncio.get_running_loop().create_task(self._pass())

    async def _pass(self) -> None:
        port = self.transport.get_extra_info("sockname")[1]
        try:
            reader, self._there = await asyncio.open_connection(self.host["target"], port)
            self._there.writelines(self._waiting)
            while octets := await reader.read(65_536):
                self.say(octets)
        except OSError:
            pass
        finally:
            self.transport.close()
            if self._there is not None:
                self._there.close()

    def take(self, data: bytes) -> None:
        if self._there is None:
            self._waiting.append(data)
        else:
            self._there.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._passing.cancel()


class Modbus(Client):
    """Of the host: `units` (None: it answers whoever is asked for), `registers` (from address 0 on) or
    `blocks` (by address), `identity` (objects of device identification, by number), `missing`: what it says
    of units that it does not have, an exception or None for nothing; `delay` before it answers, `drip`
    seconds between the octets, `connections` that it allows: with `jealous` one more is the end of all and of
    the device, until it is `dead` no more; `slots`: connections of which each is lost until it is ended in
    order; `ends`: functions that end the connection; `off`: how much the numbers of replies differ from
    those of requests."""

    def begin(self) -> None:
        self._rest = b""
        most, slots = self.host.get("connections"), self.host.get("slots")
        if self.host.get("dead") or (slots is not None and self.host.get("taken", 0) >= slots):
            self.reset()
            return
        self.host["taken"] = self.host.get("taken", 0) + 1
        if most is not None and self.seen.open > most:
            self.seen.odd += 1
            self.host["dead"] = self.host.get("jealous", False)
            self.reset()

    def eof_received(self) -> None:
        self.host["taken"] -= 1

    def take(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 8:
            length = 6 + int.from_bytes(self._rest[4:6], "big")
            if len(self._rest) < length:
                return
            frame, self._rest = self._rest[:length], self._rest[length:]
            self._serve(frame)

    def _serve(self, frame: bytes) -> None:
        unit, function = frame[6], frame[7]
        if self.host.get("dead") or function in self.host.get("ends", ()):
            self.reset()
            return
        units = self.host.get("units")
        if units is not None and unit not in units:
            missing = self.host.get("missing")
            answer = None if missing is None else bytes((function | 0x80, missing))
        else:
            answer = self._answer(unit, function, frame[8:])
        if answer is None:
            return
        number = struct.pack(">H", (int.from_bytes(frame[:2], "big") + self.host.get("off", 0)) & 0xFFFF)
        self._send(number + struct.pack(">HHB", 0, len(answer) + 1, unit) + answer)

    def _send(self, octets: bytes) -> None:
        delay, drip = self.host.get("delay", 0.0), self.host.get("drip")
        if drip:
            for place, octet in enumerate(octets):
                self.later(delay + drip * place, bytes((octet,)))
        elif delay:
            self.later(delay, octets)
        else:
            self.say(octets)

    def _answer(self, unit: int, function: int, body: bytes) -> bytes:
        if function in (3, 4) and len(body) == 4:
            address, count = struct.unpack(">HH", body)
            words = [self._word(unit, address + place) for place in range(count)]
            if not 1 <= count <= 125 or None in words:
                return bytes((function | 0x80, 2))
            return bytes((function, 2 * count)) + struct.pack(f">{count}H", *words)
        if function == 43 and self.host.get("identity") and len(body) == 3:
            objects = {int(number): text.encode() for number, text in self.host["identity"].items()}
            told = b"".join(bytes((number, len(text))) + text for number, text in objects.items())
            return bytes((43, 14, 1, 1, 0, 0, len(objects))) + told
        return bytes((function | 0x80, 1))

    def _word(self, unit: int, address: int) -> int | None:
        for start, words in (self.host.get("blocks") or {}).items():
            if int(start) <= address < int(start) + len(words):
                found: int = words[address - int(start)]
                return found
        registers = self.host.get("registers", 100)
        return (1000 * unit + address) & 0xFFFF if address < registers else None


class Datagrams(asyncio.DatagramProtocol):
    """`answer` makes of what was heard what is said."""

    def __init__(self, seen: Seen, answer: Callable[[bytes], bytes | None]) -> None:
        self.seen = seen
        self.answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.request()
        answer = self.answer(data)
        if answer is not None:
            self.transport.sendto(answer, addr)


_KINDS: dict[str, type[Client]] = {
    "tarpit": Client,
    "banner": Banner,
    "trickle": Trickle,
    "garbage": Garbage,
    "echo": Echo,
    "reset": ResetAtOnce,
    "reset-when-asked": ResetWhenAsked,
    "closes": Closes,
    "http": Http,
    "ssh": Ssh,
    "opcua-refuses": OpcUaRefuses,
    "opcua-greets": OpcUaGreets,
    "mqtt-refuses": MqttRefuses,
    "forward": Forward,
    "modbus": Modbus,
}
_DATAGRAMS: dict[str, Callable[[bytes], bytes | None]] = {
    "garbage": lambda _: os.urandom(64),
    "echo": lambda data: data,
    "tarpit": lambda _: None,
}


class Devices:
    def __init__(self, config: dict[str, Any]) -> None:
        self.hosts: dict[str, dict[str, Any]] = {host["address"]: host for host in config["hosts"]}
        self.seen = {address: Seen() for address in self.hosts}
        self._kept: list[Any] = []
        self._listening: dict[str, list[asyncio.Server]] = {}
        self._full: list[socket.socket] = []

    async def start(self) -> int:
        """Returns how many sockets it has."""
        for address, host in self.hosts.items():
            await self._open(address, host, self.seen[address])
        return len(self._kept) + len(self._full)

    async def _open(self, address: str, host: dict[str, Any], seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        kind = host["kind"]
        if kind == "full":
            for port in host.get("ports", _PORTS):
                self._full.extend(_full(address, port))
            return
        for port in host.get("ports", _PORTS):
            made = _KINDS[kind]
            server = await loop.create_server(
                lambda made=made: made(host, seen),  # type: ignore[misc]
                address,
                port,
                backlog=64,
            )
            self._kept.append(server)
            self._listening.setdefault(address, []).append(server)
        for port in host.get("udp", _UDP_PORTS if kind in _DATAGRAMS else ()):
            answer = _DATAGRAMS[kind]
            transport, _ = await loop.create_datagram_endpoint(
                lambda answer=answer: Datagrams(seen, answer),  # type: ignore[misc]
                local_addr=(address, port),
            )
            self._kept.append(transport)

    async def stop_host(self, address: str) -> None:
        """Nobody listens there any more; who is connected stays so until a request."""
        for server in self._listening.pop(address):
            self._kept.remove(server)
            server.close()
        self.hosts[address]["dead"] = True

    async def start_host(self, address: str) -> None:
        self.hosts[address]["dead"] = False
        await self._open(address, self.hosts[address], self.seen[address])

    async def counts(self) -> dict[str, Any]:
        return {address: seen.told() for address, seen in self.seen.items() if seen.accepted or seen.requests}

    async def forget(self) -> None:
        for seen in self.seen.values():
            still = seen.open
            seen.__init__()  # type: ignore[misc]
            seen.open = seen.peak = still

    async def dead(self) -> list[str]:
        """Jealous hosts that had one connection too many."""
        return [address for address, host in self.hosts.items() if host.get("dead")]


def _full(address: str, port: int) -> Iterator[socket.socket]:
    """A listener whose queue is full: to further clients it is as if nobody were there."""
    listening = socket.create_server((address, port), backlog=0)
    yield listening
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((address, port))
        yield filler


if __name__ == "__main__":
    run(Devices)
