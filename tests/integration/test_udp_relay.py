"""The relay of datagrams does to them what it says, and nothing else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest
from servers.udp_relay import UdpRelay, bound, free_udp_port


class Echo(asyncio.DatagramProtocol):
    """Says what it hears, and knows from whom it was."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append((data, addr))
        self.transport.sendto(data, addr)


class Client(asyncio.DatagramProtocol):
    """Connected to the relay, so that it hears of ports that are closed."""

    def __init__(self, strict: bool = True) -> None:
        self.heard: list[bytes] = []
        self.sources: list[Any] = []
        self.refused = 0
        self._strict = strict

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int, strict: bool = True) -> AsyncIterator[Self]:
        loop = asyncio.get_running_loop()
        target: dict[str, Any] = (
            {"remote_addr": ("127.0.0.1", port)} if strict else {"sock": bound("127.0.0.1", 0)}
        )
        transport, found = await loop.create_datagram_endpoint(lambda: cls(strict), **target)
        found.transport, found.port = transport, port
        yield found
        transport.abort()
        await asyncio.sleep(0)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append(data)
        self.sources.append(addr)

    def error_received(self, exc: Exception) -> None:
        assert isinstance(exc, ConnectionRefusedError)
        self.refused += 1

    def say(self, *texts: str) -> None:
        for text in texts:
            self.transport.sendto(text.encode(), *([] if self._strict else [("127.0.0.1", self.port)]))

    async def hears(self, *texts: str) -> None:
        """All that it has heard, in that order; and forgets it."""
        expected = [text.encode() for text in texts]
        async with asyncio.timeout(5):
            while len(self.heard) < len(expected):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        assert self.heard == expected
        self.heard.clear()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    transport, found = await asyncio.get_running_loop().create_datagram_endpoint(
        Echo, sock=bound("127.0.0.1", 0)
    )
    yield found
    transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
async def relay(echo: Echo) -> AsyncIterator[UdpRelay]:
    async with UdpRelay(echo.port) as found:
        yield found


async def test_each_client_is_another_port_to_the_server(relay: UdpRelay, echo: Echo) -> None:
    async with Client.to(relay.port) as ann, Client.to(relay.port) as bob:
        ann.say("a", "b")
        bob.say("c")
        await ann.hears("a", "b")
        await bob.hears("c")
        assert len({source for _, source in echo.heard}) == 2
        assert (relay.accepted, relay.connections, relay.requests.count, relay.answers.count) == (2, 2, 3, 3)
        async with asyncio.timeout(5):
            while relay.connections:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        ann.say("d")
        await ann.hears("d")
        assert (relay.accepted, relay.connections) == (2, 1)


async def test_what_is_held_passes_afterwards_in_its_order(relay: UdpRelay) -> None:
    async with Client.to(relay.port) as ann:
        with relay.answers.held():
            ann.say("a", "b")
            while relay.answers.count < 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            assert not ann.heard
        await ann.hears("a", "b")


async def test_a_closed_port_is_told_by_icmp_and_opens_again(relay: UdpRelay) -> None:
    async with Client.to(relay.port) as ann:
        await relay.refuse()
        await relay.refuse()
        ann.say("a")
        async with asyncio.timeout(5):
            while not ann.refused:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        await relay.admit()
        ann.say("b")
        await ann.hears("b")
        assert relay.accepted == 1


async def test_flows_that_are_cut_come_from_other_ports(relay: UdpRelay, echo: Echo) -> None:
    async with Client.to(relay.port) as ann:
        with relay.answers.held():
            ann.say("a")
            while not relay.answers.count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            await relay.cut()
        ann.say("b")
        await ann.hears("b")
        assert relay.accepted == 2
        assert len({source for _, source in echo.heard}) == 2


async def test_whoever_is_cut_off_hears_nothing_while_others_do(relay: UdpRelay) -> None:
    async with Client.to(relay.port) as ann, Client.to(relay.port) as bob:
        ann.say("a")
        await ann.hears("a")
        with relay.cut_off():
            ann.say("b")
            bob.say("c")
            await bob.hears("c")
            assert not ann.heard
        ann.say("d")
        await ann.hears("d")


async def test_chance_loses_doubles_and_mixes_up(relay: UdpRelay) -> None:
    sent = [str(number) for number in range(100)]
    async with Client.to(relay.port) as ann:
        relay.requests.loss = 0.3
        relay.answers.copies = 2
        relay.answers.jitter = 0.02
        ann.say(*sent)
        async with asyncio.timeout(5):
            while len(ann.heard) < 2 * relay.answers.count or not ann.heard:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        arrived = [text.decode() for text in ann.heard]
        assert 50 < len(set(arrived)) < 90
        assert sorted(arrived) == sorted([*set(arrived), *set(arrived)])
        assert list(dict.fromkeys(arrived)) != sorted(set(arrived), key=int)


async def test_answers_are_altered_made_up_and_come_from_others(relay: UdpRelay) -> None:
    async with Client.to(relay.port, strict=False) as ann:
        relay.answers.altered = lambda octets: octets[:1] if octets != b"gone" else None
        ann.say("gone", "abc")
        await ann.hears("a")
        relay.inject(b"noise")
        await ann.hears("noise")
        relay.portal = b""
        ann.say("abc")
        await ann.hears("")
        relay.portal = None
        for address in (("127.0.0.1", 0), ("127.0.0.2", relay.port)):
            relay.impostor = address
            ann.say("b")
            await ann.hears("b")
            assert ann.sources[-1] == relay.impostor
            assert ann.sources[-1] != ("127.0.0.1", relay.port)


async def test_a_server_that_is_not_there_is_silence() -> None:
    async with UdpRelay(free_udp_port()) as relay, Client.to(relay.port) as ann:
        ann.say("a", "b")
        await asyncio.sleep(0.02)
        assert (ann.heard, ann.refused, relay.requests.count) == ([], 0, 2)


async def test_nothing_is_left_of_many(echo: Echo) -> None:
    for _ in range(30):
        async with UdpRelay(echo.port) as relay:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"a", ("127.0.0.1", relay.port))
            while not relay.requests.count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= 2
