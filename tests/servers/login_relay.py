"""A TLS relay in front of a broker that reads along how clients log in."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Self

from servers.certificates import Authority
from servers.mosquitto import free_port


class SeenLogin(NamedTuple):
    client_id: str
    username: str | None
    password: str | None


class LoginRelay:
    """Listens on 127.0.0.1 with TLS (`ca_pem` verifies it) and hands everything to the plain broker at
    `broker_port`; `logins` are the CONNECT packets that went through, decoded by MQTT 3.1.1 section 3.1.

    `lifetime` says after how many seconds a connection is to be ended for its login; 0: it is refused.
    """

    def __init__(
        self, broker_port: int, lifetime: Callable[[SeenLogin], float | None] = lambda _: None
    ) -> None:
        self.port = free_port()
        self.logins: list[SeenLogin] = []
        self.outlived = 0
        """Connections that had to be ended."""
        self._lifetime = lifetime
        authority = Authority()
        self.ca_pem = authority.pem
        self._context = _serving(*authority.issue())
        self._broker_port = broker_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        try:
            packet, body = await _packet(reader)
            login = _login(body)
            seconds = self._lifetime(login)
            if seconds is not None and seconds <= 0:
                await _refuse(writer)
                return
            self.logins.append(login)
            there, back = await asyncio.open_connection("127.0.0.1", self._broker_port)
            ends.append(back)
            back.write(packet)
            copies = [asyncio.ensure_future(_copy(reader, back)), asyncio.ensure_future(_copy(there, writer))]
            try:
                done, _ = await asyncio.wait(copies, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                self.outlived += not done
            finally:
                for copy in copies:
                    copy.cancel()
                await asyncio.gather(*copies, return_exceptions=True)
        except (asyncio.IncompleteReadError, OSError):
            return  # The client hung up, or the broker is not there.
        finally:
            self._tasks.discard(task)
            for each in ends:
                each.transport.abort()


def _serving(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder, "server.pem")
        file.write_text(certificate + key)
        context.load_cert_chain(file)
    return context


async def _refuse(writer: asyncio.StreamWriter) -> None:
    """CONNACK 5: not authorised."""
    writer.write(b"\x20\x02\x00\x05")
    writer.close()
    await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(65_536):
        writer.write(octets)
        await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One whole packet, and what follows its length."""
    head = await reader.readexactly(2)
    while head[-1] & 0x80:
        head += await reader.readexactly(1)
    length = sum((octet & 0x7F) << 7 * place for place, octet in enumerate(head[1:]))
    body = await reader.readexactly(length)
    return head + body, body


def _login(body: bytes) -> SeenLogin:
    assert body.startswith(b"\x00\x04MQTT\x04"), "not a CONNECT of MQTT 3.1.1"
    flags, rest = body[7], body[10:]
    texts = []
    while rest:
        end = 2 + int.from_bytes(rest[:2], "big")
        texts.append(rest[2:end].decode())
        rest = rest[end:]
    assert not flags & 0x04, "there is a will"
    found = iter(texts)
    login = SeenLogin(
        next(found), next(found) if flags & 0x80 else None, next(found) if flags & 0x40 else None
    )
    assert not list(found), "more than the flags say"
    return login
