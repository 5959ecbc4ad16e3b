"""A BACnet/IP device that knows bytes only: for what a real one does not do on request, and for hundreds.

As a module it is a process of many such devices, told what to be by its first line of input, which ends with
its input; each change of a value is one more than the value before.
"""

import asyncio
import json
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from servers.udp_relay import free_udp_port

PRESENT_VALUE, STATUS_FLAGS, OBJECT_IDENTIFIER = 85, 111, 75
READ, READ_SEVERAL, SUBSCRIBE = 12, 14, 5
UNKNOWN_OBJECT = b"\x91\x01\x91\x1f"
UNKNOWN_PROPERTY = b"\x91\x02\x91\x20"
GOOD = b"\x82\x04\x00"

Place = tuple[int, int]
"""Type and instance of an object."""
Wanted = tuple[Place, int, int | None]
"""And a property of it, and an index."""
Objects = dict[Place, dict[int, bytes]]
"""Properties as they go over the wire, with their application tags."""


def real(value: float) -> bytes:
    return b"\x44" + struct.pack(">f", value)


def unsigned(value: int) -> bytes:
    return b"\x24" + value.to_bytes(4, "big")


def enumerated(value: int) -> bytes:
    return b"\x92" + value.to_bytes(2, "big")


def flags(in_alarm: bool = False, fault: bool = False, overridden: bool = False, out: bool = False) -> bytes:
    return b"\x82\x04" + bytes((in_alarm << 7 | fault << 6 | overridden << 5 | out << 4,))


def text(value: str) -> bytes:
    octets = b"\x00" + value.encode()
    return (bytes((0x70 | len(octets),)) if len(octets) < 5 else bytes((0x75, len(octets)))) + octets


def object_id(place: Place) -> bytes:
    return (place[0] << 22 | place[1]).to_bytes(4, "big")


def analog_inputs(count: int, value: float = 1.0) -> Objects:
    return {(0, number): {PRESENT_VALUE: real(value + number), STATUS_FLAGS: GOOD} for number in range(count)}


class ByteDevice(asyncio.DatagramProtocol):
    """At `place`. What it answers may be changed by attributes:

    `several` whether it knows ReadPropertyMultiple (None: it says nothing to it); `longest` octets of an
    answer, above which it aborts by `too_long`, the reason (None: it says nothing); `spoils`: what makes it
    answer an error to all that is asked for together with it; `delay` seconds before each answer; `silent`;
    `altered` makes of each answer (an APDU) the ones that are sent in its place.
    """

    transport: asyncio.DatagramTransport

    def __init__(self, objects: Objects | None = None, instance: int = 1001) -> None:
        self.objects = {(8, instance): {77: text("a device")}} | (
            analog_inputs(1) if objects is None else objects
        )
        for place, properties in self.objects.items():
            properties.setdefault(OBJECT_IDENTIFIER, b"\xc4" + object_id(place))
        self.instance = instance
        self.several: bool | None = True
        self.longest = 1476
        self.too_long: int | None = 4
        self.spoils: set[Wanted] = set()
        self.delay = 0.0
        self.silent = False
        self.altered: Callable[[bytes], Iterable[bytes]] = lambda apdu: (apdu,)
        self.counts: Counter[int] = Counter()
        """Requests by service."""
        self.asked: list[tuple[Wanted, ...]] = []
        self.invoke_ids: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.subscribed: dict[tuple[int, Place], tuple[Any, bool]] = {}
        self.place = ("127.0.0.1", 0)

    # The socket

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self, port: int | None = None) -> None:
        self.place = ("127.0.0.1", free_udp_port() if port is None else port)
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self.place)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.close()
        await asyncio.sleep(0)

    def connection(self, **further: Any) -> dict[str, Any]:
        """As clients give it; the agent's end is a free port."""
        host, port = self.place
        own = {"localAddress": "127.0.0.1", "localPort": free_udp_port(), "timeout": 200, "retryDelay": 20}
        return {"host": host, "port": port, **own, **further}

    def datagram_received(self, data: bytes, addr: Any) -> None:
        at = 6
        source = b""
        if data[5] & 0x20:  # for somebody behind this as a router, who is this too
            end = 9 + data[8]
            source, at = data[6:end], end + 1
        apdu = data[at:]
        if apdu[0] >> 4 != 0:
            return
        self.counts[apdu[3]] += 1
        self.invoke_ids.append(apdu[2])
        if self.silent:
            return
        answer = self._answer(apdu, addr)
        if answer is None:
            return
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._reply, answer, addr, source)
        else:
            self._reply(answer, addr, source)

    def _reply(self, answer: bytes, addr: Any, source: bytes = b"") -> None:
        self.under_way -= 1
        if not self.transport.is_closing():
            for apdu in self.altered(answer):
                self.send(apdu, addr, source)

    def send(self, apdu: bytes, addr: Any, source: bytes = b"") -> None:
        self.transport.sendto(wrapped(apdu, source), addr)

    # Answers

    def _answer(self, apdu: bytes, addr: Any) -> bytes | None:
        invoke_id, service = apdu[2], apdu[3]
        if service == READ:
            wanted = _one(apdu[4:])
            self.asked.append((wanted,))
            found = self._content(wanted)
            if found.startswith(b"\x5e"):
                return bytes((0x50, invoke_id, READ)) + found[1:-1]
            head = b"\x0c" + object_id(wanted[0]) + _property(1, wanted)
            return self._fitting(bytes((0x30, invoke_id, READ)) + head + b"\x3e" + found[1:-1] + b"\x3f")
        if service == READ_SEVERAL and self.several:
            several = tuple(_several(apdu[4:]))
            self.asked.append(several)
            if self.spoils & set(several):
                return bytes((0x50, invoke_id, READ_SEVERAL)) + UNKNOWN_OBJECT
            return self._fitting(bytes((0x30, invoke_id, READ_SEVERAL)) + self._list(several))
        if service == SUBSCRIBE:
            self._subscribe(apdu[4:], addr)
            return bytes((0x20, invoke_id, SUBSCRIBE))
        return bytes((0x60, invoke_id, 9)) if self.several is not None or service != READ_SEVERAL else None

    def _list(self, several: Iterable[Wanted]) -> bytes:
        parts = []
        latest = None
        for wanted in several:
            if wanted[0] != latest:
                parts += [b"\x1f"] if latest is not None else []
                parts += [b"\x0c", object_id(wanted[0]), b"\x1e"]
                latest = wanted[0]
            parts += [_property(2, wanted), self._content(wanted)]
        return b"".join(parts) + b"\x1f"

    def _content(self, wanted: Wanted) -> bytes:
        place, prop, _ = wanted
        if place == (8, 4_194_303):
            place = 8, self.instance
        properties = self.objects.get(place)
        if properties is None:
            return b"\x5e" + UNKNOWN_OBJECT + b"\x5f"
        content = properties.get(prop)
        return b"\x5e" + UNKNOWN_PROPERTY + b"\x5f" if content is None else b"\x4e" + content + b"\x4f"

    def _fitting(self, apdu: bytes) -> bytes | None:
        if len(apdu) <= self.longest:
            return apdu
        return None if self.too_long is None else bytes((0x71, apdu[1], self.too_long))

    # Changes of value

    def _subscribe(self, body: bytes, addr: Any) -> None:
        size = body[0] & 7
        process, at = int.from_bytes(body[1 : 1 + size], "big"), 1 + size
        number = int.from_bytes(body[at + 1 : at + 5], "big")
        at += 5
        key = process, (number >> 22, number & 0x3FFFFF)
        if at >= len(body):
            self.subscribed.pop(key, None)
            return
        self.subscribed[key] = addr, bool(body[at + 1])

    def tell(self, process: int, place: Place, addr: Any, confirmed: bool, invoke_id: int = 0) -> None:
        """One notification of what the object is now."""
        size = max(1, (process.bit_length() + 7) // 8)
        properties = self.objects[place]
        body = (
            bytes((0x08 | size,))
            + process.to_bytes(size, "big")
            + b"\x1c"
            + object_id((8, self.instance))
            + b"\x2c"
            + object_id(place)
            + b"\x39\x3c\x4e\x09\x55\x2e"
            + properties[PRESENT_VALUE]
            + b"\x2f\x09\x6f\x2e"
            + properties[STATUS_FLAGS]
            + b"\x2f\x4f"
        )
        head = bytes((0x00, 0x05, invoke_id, 1)) if confirmed else b"\x10\x02"
        self.send(head + body, addr)


def wrapped(apdu: bytes, source: bytes = b"") -> bytes:
    """As a unicast packet; from behind a router with `source`, its network and address there."""
    network = b"\x01\x00" if not source else b"\x01\x08" + source
    return b"\x81\x0a" + (4 + len(network) + len(apdu)).to_bytes(2, "big") + network + apdu


def _property(number: int, wanted: Wanted) -> bytes:
    _, prop, index = wanted
    head = _context(number, prop)
    return head if index is None else head + _context(number + 1, index)


def _context(number: int, value: int) -> bytes:
    octets = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
    return bytes((number << 4 | 8 | len(octets),)) + octets


def _place(body: bytes) -> Place:
    number = int.from_bytes(body[1:5], "big")
    return number >> 22, number & 0x3FFFFF


def _number(body: bytes, at: int) -> tuple[int, int]:
    end = at + 1 + (body[at] & 7)
    return int.from_bytes(body[at + 1 : end], "big"), end


def _one(body: bytes) -> Wanted:
    prop, at = _number(body, 5)
    return _place(body), prop, None if at >= len(body) else _number(body, at)[0]


def _several(body: bytes) -> Iterable[Wanted]:
    at = 0
    while at < len(body):
        place, at = _place(body[at : at + 5]), at + 6
        while body[at] != 0x1F:
            prop, at = _number(body, at)
            index = None
            if body[at] >> 4 == 1 and body[at] != 0x1F:
                index, at = _number(body, at)
            yield place, prop, index
        at += 1


# Many, as a process


class _Many:
    """So many devices with so many objects each; each object changes `rate` times a second once somebody has
    subscribed to it."""

    def __init__(self, devices: int, objects: int, rate: float) -> None:
        self.devices = [ByteDevice(analog_inputs(objects), 1000 + number) for number in range(devices)]
        for device in self.devices:
            device.altered = _sent_once(device)
        self.rate = rate
        self.told = 0

    async def run(self) -> None:
        for device in self.devices:
            await device.start()
        print(json.dumps([device.place[1] for device in self.devices]), flush=True)
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(None, sys.stdin.read)
        while self.rate and not ended.done():
            began = loop.time()
            self._tell()
            await asyncio.sleep(max(0.0, 1 / self.rate - (loop.time() - began)))
        await ended

    def _tell(self) -> None:
        for device in self.devices:
            for (process, place), (addr, confirmed) in device.subscribed.items():
                properties = device.objects[place]
                number = struct.unpack(">f", properties[PRESENT_VALUE][1:])[0] + 1
                properties[PRESENT_VALUE] = real(number)
                device.tell(process, place, addr, confirmed, self.told & 0xFF)
                self.told += 1


def _sent_once(device: ByteDevice) -> Callable[[bytes], Iterable[bytes]]:
    """Not to grow for ever."""

    def forget(apdu: bytes) -> Iterable[bytes]:
        device.asked.clear()
        device.invoke_ids.clear()
        return (apdu,)

    return forget


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    asyncio.run(_Many(given["devices"], given["objects"], given.get("rate", 0.0)).run())
