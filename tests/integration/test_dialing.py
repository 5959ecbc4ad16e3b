"""Reaching a host whose name has several addresses."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from servers.black_hole import black_hole
from servers.names import named

from actors.connections import dialing
from actors.connections.dialing import dial


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where somebody listens on 127.0.0.1 only."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def reached(host: str, port: int, **options: object) -> str:
    with await dial(host, port, **options) as connected:
        peer: str = connected.getpeername()[0]
        return peer


async def test_an_address_that_leads_nowhere_does_not_hide_the_one_that_works(port, monkeypatch):
    named(monkeypatch, {"plant": ["::1", "127.0.0.1"]})
    with black_hole("::1", port):
        async with asyncio.timeout(2):
            assert await reached("plant", port) == "127.0.0.1"


async def test_many_of_a_family_that_lead_nowhere_cost_little(port, monkeypatch):
    """The families take turns."""
    named(monkeypatch, {"plant": [*["::1"] * 20, "127.0.0.1"]})
    with black_hole("::1", port):
        async with asyncio.timeout(2):
            assert await reached("plant", port) == "127.0.0.1"


async def test_an_address_that_refuses_costs_nothing(port, monkeypatch):
    named(monkeypatch, {"plant": ["127.0.0.2", "127.0.0.1"]})
    async with asyncio.timeout(0.2):
        assert await reached("plant", port) == "127.0.0.1"


async def test_an_address_to_be_avoided_comes_last(monkeypatch):
    names = named(monkeypatch, {"plant": ["127.0.0.1", "127.0.0.2"]})
    found = await dialing.addresses("plant", 1, avoid=("127.0.0.1", 1))
    assert [each[4][0] for each in found] == ["127.0.0.2", "127.0.0.1"]
    assert names.asked == ["plant"]


async def test_what_refuses_everywhere_is_said_in_the_words_of_the_system(monkeypatch):
    named(monkeypatch, {"plant": ["127.0.0.2", "127.0.0.3"]})
    with pytest.raises(ConnectionRefusedError):
        await dial("plant", 1)


async def test_a_resolver_that_hangs_ends_the_attempt_and_holds_up_no_other_name(port, monkeypatch):
    names = named(monkeypatch, {"plant": ["127.0.0.1"]})
    names.silent = {"gone"}
    monkeypatch.setattr(dialing, "RESOLVE_SECONDS", 0.1)
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="gone is not resolved within"):
                await dial("gone", port)
        assert names.asked == ["gone"], "one thread hangs, not one for each attempt"
        assert await reached("plant", port) == "127.0.0.1"
    finally:
        names.released.set()


async def test_giving_up_leaves_no_socket(port, monkeypatch):
    opened: list[socket.socket] = []

    class Counted(socket.socket):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            opened.append(self)

    named(monkeypatch, {"plant": ["127.0.0.2", "127.0.0.3"]})
    with black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
        monkeypatch.setattr(socket, "socket", Counted)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await dial("plant", port)
    assert len(opened) == 2
    assert [each.fileno() for each in opened] == [-1, -1]
