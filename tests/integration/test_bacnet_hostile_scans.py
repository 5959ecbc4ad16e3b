"""Searching among BACnet devices of which one answers what nobody can make anything of."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from probing import Tried, search

from actors.endpoints.protocols import find
from actors.endpoints.protocols.bacnet import scanning

DEVICE, INPUT = 8, 0
NAME, OBJECTS, IDENTIFIER, PRESENT, UNITS = 77, 76, 75, 85, 117
Payload = Callable[[int, int, int], bytes | None]
"""The tags of a property's value, of an object's type and instance; None: silence."""

ERROR = b"error"


def identifier(kind: int, instance: int) -> bytes:
    return b"\xc4" + (kind << 22 | instance).to_bytes(4, "big")


def text(value: str) -> bytes:
    octets = b"\0" + value.encode()
    return bytes((0x75, len(octets))) + octets


def device(instance: int, **odd: bytes | None) -> Payload:
    """One with two inputs; `odd` are answers of its own."""
    answers = {
        NAME: text(f"device {instance}"),
        IDENTIFIER: identifier(DEVICE, instance),
        OBJECTS: identifier(DEVICE, instance) + identifier(INPUT, 1) + identifier(INPUT, 2),
        PRESENT: b"\x44\x41\xac\0\0",
    }
    answers |= {globals()[key]: value for key, value in odd.items()}  # type: ignore[misc]
    return lambda kind, number, prop: answers.get(prop, ERROR)


class _Device(asyncio.DatagramProtocol):
    def __init__(self, payload: Payload, delay: float) -> None:
        self._payload, self._delay = payload, delay

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        asked = data[6:]
        if asked[0] >> 4 or asked[3] != 12:
            return
        place, prop = int.from_bytes(asked[5:9], "big"), asked[10]
        value = self._payload(place >> 22, place & 0x3FFFFF, prop)
        if value is None:
            return
        said = bytes((0x30, asked[2], 12)) + asked[4:] + b"\x3e" + value + b"\x3f"
        if value is ERROR:
            said = bytes((0x50, asked[2], 12, 0x91, 2, 0x91, 32))
        packet = b"\x81\x0a" + (len(said) + 6).to_bytes(2, "big") + b"\x01\0" + said
        asyncio.get_running_loop().call_later(self._delay, self._transport.sendto, packet, address)


@asynccontextmanager
async def at(host: str, port: int, payload: Payload, delay: float) -> Any:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Device(payload, delay), local_addr=(host, port)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
        await asyncio.sleep(0.001)


async def scanned(odd: Payload, delay: float = 0.0) -> Tried:
    """The device 1, and an odd one beside it."""
    discovery = find("bacnet").discovery
    assert discovery is not None
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(at("127.0.0.21", 0, device(1), 0.0))
        await stack.enter_async_context(at("127.0.0.22", port, odd, delay))
        near = {"port": port, "timeout": 300, "localPort": port, "localAddress": "127.0.0.1/8"}
        return await search(discovery, {"hosts": "127.0.0.21-22", **near}, validate=True)


@pytest.mark.parametrize("where", ["IDENTIFIER", "NAME", "OBJECTS", "PRESENT", "UNITS"])
@pytest.mark.parametrize("odd", [b"\xc2\x01\x02", b"\x70", b"\x20", b"\x0e\x0e\x0e\x0f", b""])
async def test_a_device_that_answers_nonsense_costs_no_other(where: str, odd: bytes) -> None:
    found = await scanned(device(2, **{where: odd}))

    assert len(found.devices["bacnet:127.0.0.21:1"].data_points) == 2
    if where != "IDENTIFIER" and odd != b"\x0e\x0e\x0e\x0f":
        assert "bacnet:127.0.0.22:2" in found.devices


@pytest.mark.parametrize("odd", [{"OBJECTS": ERROR}, {"OBJECTS": None}, {"PRESENT": None}])
async def test_a_device_that_cannot_be_read_is_told_all_the_same(odd: dict[str, Any]) -> None:
    found = await scanned(device(2, **odd))

    told = found.devices["bacnet:127.0.0.22:2"]
    assert (told.name, told.validated) == ("device 2", False)
    assert [where.partition(":")[0] for where, _ in found.troubles] == ["127.0.0.22"]


async def test_one_that_takes_its_time_for_each_answer_is_told_with_what_it_said_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scanning, "_VALIDATED_WITHIN", 0.8)

    found = await scanned(device(2, NAME=text("n")), delay=0.14)

    assert len(found.devices["bacnet:127.0.0.22:2"].data_points) == 1
    assert "than it tells within" in found.troubles[0][1]


async def test_an_endpoint_takes_what_is_proposed_whatever_objects_are_called() -> None:
    unused = identifier(INPUT, 0x3FFFFF)
    objects = identifier(INPUT, 1) + identifier(INPUT, 2) + unused + identifier(INPUT, 1)
    found = await scanned(device(2, NAME=text("a\0\x1b[31m\u2028"), OBJECTS=objects))

    told = found.devices["bacnet:127.0.0.22:2"]
    endpoint = find("bacnet").accept(dict(told.connection), [dict(point) for point in told.data_points])
    assert len(endpoint.points) == 2
    assert all(point["name"].isprintable() for point in told.data_points)


@pytest.mark.parametrize("origin", ["224.0.0.1:47808", "255.255.255.255:47808", "127.255.255.255:47808"])
async def test_an_address_of_many_is_not_asked_whoever_says_that_a_device_is_there(origin: str) -> None:
    discovery = find("bacnet").discovery
    assert discovery is not None
    host, _, number = origin.partition(":")
    said = b"\x10\0" + identifier(DEVICE, 7) + b"\x22\x05\xc4\x91\x03\x21\x0f"
    forwarded = socket.inet_aton(host) + int(number).to_bytes(2, "big") + b"\x01\0" + said
    packet = b"\x81\x04" + (len(forwarded) + 4).to_bytes(2, "big") + forwarded
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    near = {"localPort": port, "localAddress": "127.0.0.1/8", "timeout": 400}

    async def tell() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
            for _ in range(20):
                await asyncio.sleep(0.02)
                liar.sendto(packet, ("127.0.0.1", port))

    found, _ = await asyncio.gather(search(discovery, near), tell())

    assert (found.devices, dict(found.asked)) == ({}, {})
    assert any(where == origin and "of no host" in reason for where, reason in found.troubles)
