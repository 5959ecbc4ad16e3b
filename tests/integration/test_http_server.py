"""Clients that hold what they do not use: the others are served, and the agent keeps what it needs."""

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_agent import FakeAgent
from servers.agent import AgentProcess
from servers.field import field

from actors.endpoints.messages import AddEndpoint
from api import connection, connections, listener, streams
from api.app import build_app
from api.connections import Limits
from api.context import Context
from api.http_server import HttpServer, first_reserved
from conf.peers import peer_of

SECONDS = 10
SOON = 0.3
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ping(self) -> bool:
        """Whether it is answered; False when the connection is closed instead."""
        try:
            self.send(PING)
            return b"200 OK" in await self.head() and await self.reader.readexactly(2) == b"OK"
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    async def head(self) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """All that comes until the server closes it."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def closed(self) -> bool:
        """Waits for the server to close it, which says nothing more."""
        return await self.rest() == b""


class Listening:
    """A server, and connections to it that are closed with it."""

    def __init__(self, port: int, agent: FakeAgent, server: HttpServer) -> None:
        self.port = port
        self.agent = agent
        self.connections: list[Connection] = []
        self._held = server.connections

    @property
    def open(self) -> int:
        return len(self._held)

    @property
    def unread(self) -> int:
        return self._held.unread

    async def connect(self, source: str = "127.0.0.1", **options: Any) -> Connection:
        opened = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0), **options)
        self.connections.append(Connection(*opened))
        return self.connections[-1]

    async def served(self) -> None:
        """Waits until a new connection is answered."""
        async with asyncio.timeout(SECONDS):
            while not await (await self.connect()).ping():
                pass


@asynccontextmanager
async def listening(
    max_connections: int = 256, max_per_peer: int = 64, ask: Callable[[Any, Any], Any] | None = None
) -> AsyncIterator[Listening]:
    agent = FakeAgent()
    app = build_app(Context(ask or agent.ask, agent.ask_each))
    server = HttpServer(app, max_connections, max_per_peer)
    there = Listening(await server.start("127.0.0.1", 0), agent, server)
    try:
        yield there
    finally:
        for one in there.connections:
            one.writer.close()
        await server.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit is reached soon."""
    for name in ("FIRST_REQUEST", "NEXT_REQUEST", "PATIENCE"):
        monkeypatch.setattr(connection, name, SOON)
    monkeypatch.setattr(connection, "LEAST_RATE", 1 << 40)
    monkeypatch.setattr(connections, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(connections, "GRACE", 0.0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks nothing gives way at once."""
    monkeypatch.setattr(connections, "GRACE", 0.0)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


# How many


async def test_of_too_many_connections_who_has_asked_nothing_for_longest_gives_way(at_once, caplog):
    async with listening(max_connections=3) as there:
        oldest, *others = [await there.connect() for _ in range(3)]
        assert [await one.ping() for one in (oldest, *others)] == [True] * 3
        newcomer = await there.connect()
        assert await newcomer.ping()
        assert await oldest.closed()
        assert [await one.ping() for one in others] == [True] * 2
        for _ in range(10):
            assert await (await there.connect()).ping()
    assert [line.split(":")[0] for line in told(caplog)] == [
        "clients open more connections than there may be",
        "11 connections of clients were too many",
    ]


class Gate:
    """Stands for the agent: requests wait until it is opened, and are not answered then."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()

    async def __call__(self, target: Any, message: Any) -> None:
        self.waiting += 1
        await self._open.wait()

    def open(self) -> None:
        self._open.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while self.waiting < count:  # noqa: ASYNC110 - what is waited for announces itself to nobody
                await asyncio.sleep(0.001)


DEVICE = b"GET /v1/device HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_who_is_being_answered_does_not_give_way(at_once):
    gate = Gate()
    async with listening(max_connections=3, ask=gate) as there:
        held = [await there.connect() for _ in range(3)]
        for one in held:
            one.send(DEVICE)
        await gate.wait_for(3)
        assert not await (await there.connect()).ping()
        gate.open()
        assert all([b"503" in await one.head() for one in held])
        assert await (await there.connect()).ping()


async def test_who_has_left_without_the_answer_gives_way(at_once):
    gate = Gate()
    async with listening(max_connections=3, ask=gate) as there:
        for count in range(1, 6):
            one = await there.connect()
            one.send(DEVICE)
            await gate.wait_for(count)
            one.writer.close()
        await there.served()
        gate.open()


async def test_one_peer_leaves_room_for_others(monkeypatch):
    monkeypatch.setattr(connections, "peer_of", lambda address: address)
    monkeypatch.setattr(connections, "GRACE", 60.0)
    async with listening(max_connections=5, max_per_peer=3) as there:
        greedy = [await there.connect("127.0.0.2") for _ in range(3)]
        assert [await one.ping() for one in greedy] == [True] * 3
        assert not await (await there.connect("127.0.0.2")).ping()
        assert await (await there.connect("127.0.0.3")).ping()
        assert [await one.ping() for one in greedy] == [True] * 3


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("127.0.0.1", None),
        ("127.8.8.8", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_a_peer_is_an_address_or_a_network_and_no_client_of_this_machine(address, peer):
    assert peer_of(address) == peer


async def test_streams_count_apart(impatient):
    async with listening(max_connections=3) as there:
        streams = []
        for _ in range(5):
            one = await there.connect()
            streams.append(one)
            one.send(b"GET /v1/readings/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"text/event-stream" in await one.head()
        asking = [await there.connect() for _ in range(3)]
        assert [await one.ping() for one in asking] == [True] * 3
        await asyncio.sleep(2 * SOON)
        async with asyncio.timeout(SECONDS):
            assert all([b"retry" in await one.reader.readuntil(b"\n\n") for one in streams])
        await there.served()


async def test_a_head_of_a_stream_is_no_stream(at_once):
    async with listening(max_connections=3) as there:
        for _ in range(6):
            one = await there.connect()
            one.send(b"HEAD /v1/readings/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await one.head()
        assert await there.connections[0].closed()


# How long

HALF = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: "
POST = b"POST /v1/endpoints HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTT", HALF, PING[:-1]])
@pytest.mark.parametrize("after", [0, 1])
async def test_a_request_that_is_not_finished_ends_the_connection(impatient, sent, after):
    async with listening() as there:
        one = await there.connect()
        for _ in range(after):
            assert await one.ping()
        one.send(sent)
        assert await one.closed()
        await there.served()


@pytest.mark.parametrize("after", [0, 1])
async def test_a_head_that_dribbles_ends_the_connection(impatient, after):
    async with listening() as there:
        one = await there.connect()
        for _ in range(after):
            assert await one.ping()
        one.send(HALF)
        async with asyncio.timeout(SECONDS):
            while not one.reader.at_eof():
                one.send(b"x")
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"],
)
async def test_a_body_that_dribbles_ends_the_connection_and_is_told_once(impatient, framing, caplog):
    async with listening() as there:
        for _ in range(3):
            one = await there.connect()
            one.send(POST + framing)
            async with asyncio.timeout(SECONDS):
                while not one.reader.at_eof():
                    one.send(b" ")
                    await asyncio.sleep(0.02)
    begun, ended = told(caplog)
    assert begun == (
        "connections are closed over what their clients leave undone: a body that does not come,"
        " by a client of this machine"
    )
    assert ended == "3 connections were closed over what their clients had left undone"


async def test_a_body_that_comes_slowly_is_taken(monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    monkeypatch.setattr(connection, "LEAST_RATE", 1)
    monkeypatch.setattr(connections, "LOOK_EVERY", 0.02)
    async with listening() as there:
        one = await there.connect()
        one.send(POST + b"Content-Length: 20\r\n\r\n")
        for _ in range(20):
            one.send(b" ")
            await asyncio.sleep(0.02)
        assert b"400" in await one.head()


async def test_a_connection_that_asks_nothing_is_closed_without_a_word(impatient, caplog):
    async with listening() as there:
        asking, silent = await there.connect(), await there.connect()
        assert await asking.ping()
        assert await asking.closed()
        assert await silent.closed()
    assert told(caplog) == []


# What is too much


async def test_an_endless_head_ends_the_connection():
    async with listening() as there:
        one = await there.connect()
        one.send(b"GET /ping HTTP/1.1\r\n")
        try:
            for number in range(10_000):
                one.send(b"X-%d: %s\r\n" % (number, b"y" * 1000))
                await one.writer.drain()
        except ConnectionError:
            pass
        assert number < 9_999
        assert b"200" not in await one.rest()


async def test_a_chunked_body_without_end_is_refused():
    async with listening() as there:
        one = await there.connect()
        one.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                one.send(b"20000\r\n" + b" " * 0x20000 + b"\r\n")
                await one.writer.drain()
        except ConnectionError:
            pass
        assert b"413" in await one.head()


async def test_of_too_many_bytes_under_way_the_slowest_go(monkeypatch):
    monkeypatch.setattr(connections, "MAX_BODIES", 1_000_000)
    async with listening() as there:
        stalled = [await there.connect() for _ in range(3)]
        for one in stalled:
            one.send(POST + b"Content-Length: 5000000\r\n\r\n")
            for _ in range(3):
                one.send(b" " * 100_000)
                await one.writer.drain()
                await asyncio.sleep(0.02)
        whole = await there.connect()
        body = b" " * 900_000 + b"{}"
        whole.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert b"400" in await whole.head()
        assert await stalled[0].rest() == b""


LARGE = 20_000_000


def deaf(there: Listening, stack: ExitStack) -> socket.socket:
    """A client that asks for a large answer and takes nothing of it."""
    name = f"plc-{len(there.agent.endpoints)}"
    if not there.agent.endpoints:
        there.agent.on_AddEndpoint(
            AddEndpoint(name, "modbus", {"host": "h"}, metadata={"note": "y" * LARGE}, enabled=False)
        )
    one = stack.enter_context(socket.socket())
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect(("127.0.0.1", there.port))
    one.sendall(b"GET /v1/endpoints HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return one


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.01)


async def test_an_answer_that_nobody_takes_ends_the_connection(impatient, caplog):
    async with listening() as there:
        with ExitStack() as stack:
            deaf(there, stack)
            await until(lambda: there.unread > LARGE / 2)
            await until(lambda: there.open == 0)
    assert "an answer that is not taken, by a client of this machine" in told(caplog)[0]


async def test_an_answer_that_is_taken_slowly_arrives(impatient, monkeypatch):
    monkeypatch.setattr(connection, "LEAST_RATE", 1)
    async with listening() as there:
        with ExitStack() as stack:
            one = deaf(there, stack)
            one.setblocking(False)
            await until(lambda: there.unread > LARGE / 2)
            loop = asyncio.get_running_loop()
            taken, ends = 0, loop.time() + 3 * SOON
            while taken < LARGE:
                some = await asyncio.wait_for(loop.sock_recv(one, 1 << 20), SECONDS)
                assert some
                taken += len(some)
                if loop.time() < ends:
                    await asyncio.sleep(0.02)


async def test_a_stream_that_nobody_takes_ends(impatient, monkeypatch):
    monkeypatch.setattr(streams, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
    monkeypatch.setattr(streams, "STILL_HERE", b":" * 1_000_000 + b"\n\n")
    async with listening() as there:
        with ExitStack() as stack:
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", there.port))
            one.sendall(b"GET /v1/readings/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: there.unread > 0)
            await until(lambda: there.open == 0)
            await there.served()


async def test_answers_that_nobody_takes_are_bounded(monkeypatch):
    monkeypatch.setattr(connections, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(connections, "MAX_UNREAD", 4 * LARGE)
    async with listening() as there:
        with ExitStack() as stack:
            for _ in range(3):
                deaf(there, stack)
            await until(lambda: there.unread > 2 * LARGE)
            monkeypatch.setattr(connections, "MAX_UNREAD", LARGE)
            await until(lambda: there.open == 1)
            assert there.unread <= LARGE
            await there.served()


# Odd but allowed


async def test_who_sends_no_more_still_gets_the_answer():
    gate = Gate()
    async with listening(ask=gate) as there:
        one = await there.connect()
        one.send(DEVICE)
        one.writer.write_eof()
        await gate.wait_for(1)
        gate.open()
        assert b"503" in await one.rest()


async def test_who_sends_no_more_in_the_middle_of_a_request_is_closed():
    async with listening() as there:
        for sent in (b"", HALF, POST + b"Content-Length: 1000\r\n\r\n{"):
            one = await there.connect()
            one.send(sent)
            one.writer.write_eof()
            assert b"200" not in await one.rest()


async def test_pipelined_requests_are_answered_in_order():
    async with listening() as there:
        one = await there.connect()
        one.send(PING * 100)
        for _ in range(100):
            assert b"200 OK" in await one.head()
            assert await one.reader.readexactly(2) == b"OK"


async def test_a_body_is_asked_for_once_all_checks_are_passed():
    async with listening() as there:
        expecting = b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        good, evil, odd = [await there.connect() for _ in range(3)]
        good.send(POST + expecting)
        assert await good.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        good.send(b"{}")
        assert b"HTTP/1.1 400" in await good.head()
        evil.send(POST + b"Origin: http://evil.example\r\n" + expecting)
        assert b"HTTP/1.1 403" in await evil.head()
        odd.send(POST + expecting.replace(b"100-continue", b"a miracle"))
        assert b"HTTP/1.1 417" in await odd.head()
        assert b'"error":"Expectation failed"' in await odd.reader.readuntil(b"}")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_old_client_gets_an_answer_and_the_end(version):
    async with listening() as there:
        one = await there.connect()
        one.send(b"GET /ping HTTP/%b\r\nHost: localhost\r\nConnection: close\r\n\r\n" % version)
        assert (await one.rest()).endswith(b"OK")


async def test_thousands_that_come_and_go_leave_nothing():
    async with listening() as there:
        await there.served()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2000):
            socket.create_connection(("127.0.0.1", there.port)).close()
            await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            while len(os.listdir("/proc/self/fd")) > before:  # noqa: ASYNC110 - see `Gate`
                await asyncio.sleep(0.01)


async def test_heads_in_a_flood_are_answered():
    async with listening() as there:
        one = await there.connect()
        for _ in range(500):
            one.send(PING.replace(b"GET", b"HEAD"))
            assert b"200 OK" in await one.head()


# Descriptors


async def test_without_descriptors_connections_are_closed_and_it_is_told_once(monkeypatch, caplog):
    class Exhausted(socket.socket):
        def accept(self) -> Any:
            if failing:
                raise OSError(24, "Too many open files")
            return super().accept()

    def hold_spare(self: listener.Listener) -> None:
        failing.append(True)
        before(self)

    before = listener.Listener._hold_spare
    close = os.close

    def close_spare(descriptor: int) -> None:
        failing.clear()
        close(descriptor)

    monkeypatch.setattr(listener.socket, "socket", Exhausted)
    monkeypatch.setattr(listener.Listener, "_hold_spare", hold_spare)
    monkeypatch.setattr(listener.os, "close", close_spare)
    failing: list[bool] = []
    async with listening() as there:
        refused = [await there.connect() for _ in range(20)]
        assert [await one.ping() for one in refused] == [False] * 20
    assert told(caplog) == [
        "connections are closed for want of descriptors: Too many open files",
        "20 connections were closed unseen",
    ]


async def test_when_nothing_can_be_accepted_the_loop_is_not_kept_busy(monkeypatch):
    monkeypatch.setattr(listener, "AGAIN", 0.1)
    tries = []

    class Exhausted(socket.socket):
        def accept(self) -> Any:
            tries.append(1)
            if len(tries) < 8:
                raise OSError(24, "Too many open files")
            return super().accept()

    monkeypatch.setattr(listener.socket, "socket", Exhausted)
    monkeypatch.setattr(listener.Listener, "_hold_spare", lambda self: None)
    async with listening() as there:
        one = await there.connect()
        assert await one.ping()
        assert len(tries) < 20


async def test_descriptors_in_reserve_are_not_for_clients(at_once):
    agent = FakeAgent()
    held = connections.Connections(Limits(256, 64, lambda: 0))
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)), 256, 64)
    server.connections = held
    there = Listening(await server.start("127.0.0.1", 0), agent, server)
    asking = [await there.connect() for _ in range(connections.ALWAYS)]
    assert [await one.ping() for one in asking] == [True] * connections.ALWAYS
    assert await (await there.connect()).ping()
    assert await asking[0].closed()
    for one in there.connections:
        one.writer.close()
    await server.close()


def test_the_reserve_is_a_part_of_what_there_is(monkeypatch):
    for limit, first in ((1024, 896), (256, 192), (1 << 20, (1 << 20) - 128)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert first_reserved() == first


def test_the_agent_takes_as_many_descriptors_as_it_may(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        agent = AgentProcess(tmp_path / "data")
        agent.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        agent.wait_until_running()
        assert resource.prlimit(agent.pid, resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)
    finally:
        agent.kill()


# The end


async def test_what_is_open_when_the_server_ends_is_closed_and_nobody_listens():
    agent = FakeAgent()
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)), 256, 64)
    there = Listening(await server.start("127.0.0.1", 0), agent, server)
    asking, silent = await there.connect(), await there.connect()
    assert await asking.ping()
    await server.close()
    assert await asking.closed()
    assert await silent.closed()
    with pytest.raises(ConnectionError):
        await there.connect()
    for one in there.connections:
        one.writer.close()


async def test_a_connection_that_is_closed_before_it_is_made_is_closed():
    agent = FakeAgent()
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)), 256, 64)
    there = Listening(await server.start("127.0.0.1", 0), agent, server)
    admit = server.connections.admit

    def admit_and_close(*args: Any) -> bool:
        result = admit(*args)
        (one,) = server.connections._all
        one.abort()
        return result

    server.connections.admit = admit_and_close  # type: ignore[method-assign]
    one = await there.connect()
    assert await one.closed()
    await until(lambda: there.open == 0)
    one.writer.close()
    await server.close()


@pytest.mark.parametrize("descriptors", [None, 100])
def test_connections_that_ask_nothing_leave_the_agent_what_it_needs(tmp_path, descriptors):
    with AgentProcess(tmp_path / "data") as agent, ExitStack() as open_ones:
        if descriptors is not None:
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        device = open_ones.enter_context(field(registers=10, units=(1,)))
        for number in range(1100):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", agent.port), SECONDS))
            one.sendall(HALF)
            if number % 100 == 99:
                agent.wait_until_running(SECONDS)
        held = len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))
        assert held <= (256 + 50 if descriptors is None else descriptors - 20)
        agent.post(
            "/v1/endpoints",
            {"name": "plc", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": device.port}},
        )
        deadline = time.monotonic() + SECONDS
        while "plc: connected" not in agent.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        open_ones.close()
        assert agent.stop() == 0
        log = agent.log.read_text()
        assert "Traceback" not in log
        assert log.count("clients open more connections than there may be") == 1
        assert log.count("connections of clients were too many") == 1
        assert "for want of descriptors" not in log
