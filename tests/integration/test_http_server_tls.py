"""The API over TLS: who does not speak it, or does so slowly, holds nothing; certificates are renewed under
load."""

import asyncio
import gc
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from fake_accounts import PASSWORD
from fake_agent import FakeAgent, serving
from servers.agent import AgentProcess
from servers.certificates import Authority

from api import connections, tls
from api.app import build_app
from api.context import Context
from api.http_server import HttpServer
from api.tls import Files

SECONDS = 10
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.pem").write_text(authority.pem)
    return write(Files(folder / "cert.pem", folder / "key.pem"), authority)


def write(files: Files, authority: Authority) -> Files:
    cert, key = authority.issue(valid_until=30)
    files.cert.write_text(cert)
    files.key.write_text(key)
    return files


@asynccontextmanager
async def listening(files: Files, max_connections: int = 256) -> AsyncIterator[tuple[int, HttpServer]]:
    agent = FakeAgent()
    server = HttpServer(build_app(Context(agent.ask, agent.ask_each)), max_connections, max_connections)
    server.use(tls.load(files).context)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port, server
    finally:
        await server.close()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.pem)


async def ping(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(PING)
    async with asyncio.timeout(SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"OK"
    writer.close()
    return head


async def empty(server: HttpServer, wanted: bool = True) -> None:
    """Waits until no connection is left, or until there is one."""
    async with asyncio.timeout(SECONDS):
        while (len(server.connections) == 0) is not wanted:  # noqa: ASYNC110 - it announces itself to nobody
            await asyncio.sleep(0.005)


async def test_clients_are_answered_with_keep_alive_and_large_replies(files, authority):
    async with listening(files) as (port, server):
        connector = TCPConnector(ssl=trusting(authority))
        async with ClientSession(f"https://localhost:{port}", connector=connector) as client:
            for _ in range(3):
                assert await (await client.get("/ping")).text() == "OK"
            document = await (await client.get("/v1/openapi.json")).json()
            assert document["openapi"] == "3.1.0"
            large = await client.post("/v1/endpoints", data=BytesIO(b" " * 9_000_000 + b"{}"))
            assert large.status == 400
        await empty(server)


async def test_the_cookie_of_a_session_is_secure_over_tls_and_not_else(files, authority):
    """With the flag over plain HTTP nobody gets past the login page (clawtrol pull request 25)."""
    body = {"username": "admin", "password": PASSWORD}
    async with listening(files) as (port, _):
        connector = TCPConnector(ssl=trusting(authority))
        async with ClientSession(f"https://localhost:{port}", connector=connector) as client:
            for path, fields in (("/v1/auth/login", body), ("/v1/auth/logout", None)):
                reply = await client.post(path, json=fields)
                assert reply.headers["Set-Cookie"].endswith("; Secure")
            own = {"Origin": f"https://localhost:{port}", "Sec-Fetch-Site": "same-origin"}
            assert (await client.post("/v1/auth/logout", headers=own)).status == 200
    async with serving(FakeAgent()) as plain:
        assert "Secure" not in (await plain.post("/v1/auth/login", json=body)).headers["Set-Cookie"]


async def test_curl_is_answered(files):
    async with listening(files) as (port, _):
        done = await asyncio.create_subprocess_exec(
            "curl",
            *("--silent", "--show-error", "--noproxy", "*", "--cacert", str(files.cert.with_name("ca.pem"))),
            f"https://localhost:{port}/v1/healthy",
            stdout=subprocess.PIPE,
        )
        answer, _ = await done.communicate()
        assert b'"status":"healthy"' in answer


async def test_versions_before_1_2_are_refused_and_later_ones_are_not(files, authority):
    async with listening(files) as (port, server):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting(authority)
            context.minimum_version = context.maximum_version = version
            assert b"200 OK" in await ping(port, context)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ping(port, old)
        await empty(server)


@pytest.mark.parametrize(
    "sent",
    [PING, b"\x16\x03\x01\xff\xff" + bytes(70_000), b"\0" * 100, b"\x80", b"SSH-2.0-OpenSSH_9.2\r\n"],
)
async def test_what_is_no_tls_is_closed_and_leaves_nothing(files, authority, sent, caplog):
    """Plain HTTP to the port among it, which a client must not have to wait for."""
    async with listening(files) as (port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionError):
                await reader.read()
        writer.close()
        await empty(server)
        assert b"200 OK" in await ping(port, trusting(authority))
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_shaking_hands_takes_only_so_long(files, monkeypatch):
    """Who connects and says nothing kept a descriptor for good (python/asyncio issue 483)."""
    monkeypatch.setattr(connections, "HANDSHAKE", 0.2)
    async with listening(files) as (port, server):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        opened[0][1].write(b"\x16\x03\x01\x02\x00\x01")
        async with asyncio.timeout(SECONDS):
            for reader, _ in opened:
                assert await reader.read() == b""
        await empty(server)
        for _, writer in opened:
            writer.close()


async def test_who_does_not_shake_hands_gives_way(files, authority, monkeypatch):
    monkeypatch.setattr(connections, "GRACE", 0.0)
    async with listening(files, max_connections=3) as (port, server):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _ in range(4):
            assert b"200 OK" in await ping(port, trusting(authority))
        async with asyncio.timeout(SECONDS):
            assert await silent[0][0].read() == b""
        assert len(server.connections) <= 3
        for _, writer in silent:
            writer.close()


async def test_those_who_shake_hands_when_the_server_ends_end_with_it(files):
    async with listening(files) as (port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await empty(server, wanted=False)
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == b""
    writer.close()
    await empty(server)


@pytest.mark.timeout(120)
async def test_thousands_of_handshakes_leave_nothing(files, authority):
    """Of both versions, with and without a request, and broken off in between (cpython issue 109534, uvloop
    issue 565)."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    contexts = [trusting(authority), trusting(authority)]
    contexts[1].maximum_version = ssl.TLSVersion.TLSv1_2

    def batch(count: int, port: int) -> None:
        for number in range(count):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                if number % 4 == 3:
                    plain.send(b"\x16\x03\x01\x02\x00\x01")
                    continue
                with contexts[number % 2].wrap_socket(plain, server_hostname="localhost") as secure:
                    if number % 4 != 2:
                        secure.send(PING)
                        assert b"200 OK" in secure.recv(4096)

    async with listening(files) as (port, server):
        await asyncio.to_thread(batch, 400, port)
        await empty(server)
        gc.collect()
        before, held = resident(), descriptors()
        own = not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)  # not of the standard library
        await asyncio.to_thread(batch, 2000 if own else 800, port)
        await empty(server)
        gc.collect()
        assert descriptors() <= held
        assert resident() - before < 8_000_000


class Clients:
    """Ask, each over a new connection, until they are told to stop; every answer's certificate is noted."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._stop = threading.Event()
        self.seen: set[bytes] = set()
        self.asked = 0
        self.errors: list[Exception] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", self._port), SECONDS) as plain,
                    self._context.wrap_socket(plain, server_hostname="localhost") as secure,
                ):
                    secure.send(PING)
                    assert b"200 OK" in secure.recv(4096)
                    self.seen.add(secure.getpeercert(binary_form=True) or b"")
                    self.asked += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the test tells of it
                self.errors.append(error)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def until(what, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.timeout(60)
def test_a_certificate_is_renewed_under_load_and_half_a_pair_changes_nothing(tmp_path, authority):
    files = write(Files(tmp_path / "cert.pem", tmp_path / "key.pem"), authority)
    environment = {"API_TLS_CERT": str(files.cert), "API_TLS_KEY": str(files.key)}
    agent = AgentProcess(tmp_path / "data", HEALTH_CHECK_INTERVAL_MS="100", **environment)
    agent.trust(authority.pem)
    with agent:
        with Clients(agent.port, trusting(authority)) as clients:
            renew(agent, clients, files, authority)
        assert agent.stop() == 0
    assert clients.errors == []
    assert agent.log.read_text().count("the API goes on with") == 1
    assert "Traceback" not in agent.log.read_text()


def renew(agent: AgentProcess, clients: Clients, files: Files, authority: Authority) -> None:
    until(lambda: clients.asked > 20)
    cert, key = authority.issue(valid_until=30)
    files.cert.write_text(cert)
    until(lambda: "the API goes on with the certificate that it has" in agent.log.read_text())
    until(lambda: tls_line(agent)["healthy"] is False)
    assert "is not the key of" in tls_line(agent)["lastError"]
    assert agent.ready()
    assert len(clients.seen) == 1
    files.key.write_text(key)
    until(lambda: len(clients.seen) == 2)
    until(lambda: tls_line(agent)["healthy"])


def tls_line(agent: AgentProcess) -> dict[str, object]:
    _, report = agent.request("GET", "/v1/health/report")
    return next(
        (one for one in report["report"]["subsystems"] if one["name"] == "api-tls"), {"healthy": None}
    )


def test_bad_files_at_the_start_are_one_line_that_names_the_setting(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("no key")
    agent = AgentProcess(tmp_path / "data", API_TLS_CERT=str(tmp_path / "nothing.pem"), API_TLS_KEY=str(key))
    agent.launch()
    assert agent.wait() == 1
    assert f"cannot start: api.tls_cert: {tmp_path}/nothing.pem cannot be read" in agent.log.read_text()
