import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from fake_agent import FakeAgent
from servers.agent import AgentProcess

from api import http_server
from api.app import build_app
from api.context import Context
from api.http_server import HttpServer

SECONDS = 10
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ping(self) -> bool:
        """Whether it is answered; False when the connection is closed instead."""
        try:
            self.writer.write(PING)
            async with asyncio.timeout(SECONDS):
                return b"OK" in await self.reader.readuntil(b"\r\n\r\nOK")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    async def closed(self) -> bool:
        """Waits for the server to close it."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read() == b""


class Listening:
    """A server, and connections to it that are closed with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: list[Connection] = []

    async def connect(self) -> Connection:
        self.connections.append(Connection(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.connections[-1]


@asynccontextmanager
async def listening() -> AsyncIterator[Listening]:
    agent = FakeAgent()
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)))
    there = Listening(await server.start("127.0.0.1", 0))
    try:
        yield there
    finally:
        for connection in there.connections:
            connection.writer.close()
        await server.close()


async def test_more_connections_than_there_may_be_are_closed_and_the_others_served(monkeypatch):
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
    async with listening() as there:
        held = [await there.connect() for _ in range(3)]
        assert [await one.ping() for one in held] == [True] * 3
        assert not await (await there.connect()).ping()
        assert [await one.ping() for one in held] == [True] * 3

        held.pop().writer.close()
        async with asyncio.timeout(SECONDS):
            while not await (await there.connect()).ping():
                pass


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTT", b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: "])
async def test_a_connection_without_a_whole_request_is_closed_and_one_with_one_is_not(monkeypatch, sent):
    monkeypatch.setattr(http_server, "FIRST_REQUEST", 0.3)
    async with listening() as there:
        asking, silent = await there.connect(), await there.connect()
        assert await asking.ping()
        silent.writer.write(sent)
        assert await silent.closed()
        assert await asking.ping()


async def test_a_connection_that_asks_nothing_more_is_closed(monkeypatch):
    monkeypatch.setattr(http_server, "NEXT_REQUEST", 0.3)
    async with listening() as there:
        asking = await there.connect()
        assert await asking.ping()
        assert await asking.closed()


async def test_what_is_open_when_the_server_ends_is_closed_and_nobody_listens():
    agent = FakeAgent()
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)))
    there = Listening(await server.start("127.0.0.1", 0))
    asking, silent = await there.connect(), await there.connect()
    assert await asking.ping()
    await server.close()
    assert await asking.closed()
    assert await silent.closed()
    with pytest.raises(ConnectionError):
        await there.connect()
    for connection in there.connections:
        connection.writer.close()


def test_connections_that_ask_nothing_leave_the_agent_what_it_needs(tmp_path):
    with AgentProcess(tmp_path / "data") as agent, ExitStack() as open_ones:
        for _ in range(http_server.MAX_CONNECTIONS + 50):
            last = open_ones.enter_context(socket.create_connection(("127.0.0.1", agent.port), SECONDS))
        last.settimeout(SECONDS)
        assert last.recv(1) == b""
        held = len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))
        assert held < http_server.MAX_CONNECTIONS + 50
        open_ones.close()
        agent.wait_until_running()
        assert agent.stop() == 0
        assert "Traceback" not in agent.log.read_text()
