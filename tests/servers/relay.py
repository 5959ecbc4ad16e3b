"""A TCP relay in front of a server, for the troubles that lie between: cut, refused, held back, slow."""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from servers.mosquitto import free_port

_CHUNK = 65_536

# A program of one instruction for Linux's socket filter: take nothing of any packet.
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_RETURN_0 = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
_DROP_ALL = struct.pack("HP", 1, ctypes.addressof(_RETURN_0))


class Way:
    """One direction of all connections: `delay` is seconds before each piece of at most `chunk` bytes."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.chunk = _CHUNK
        self._open = asyncio.Event()
        self._open.set()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within it nothing passes; what came passes afterwards if its connection is still there."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(self.chunk):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._open.wait()
            writer.write(octets)
            await writer.drain()


class Relay:
    """From a free port of 127.0.0.1 to `target`, another one. Runs on the loop that entered it.

    `requests` is the way to the server, `answers` the way back. `accepted` counts connections so far. While
    `portal` is set, it is the answer to whatever is said, and the connection ends. It takes what comes as
    fast as it comes, some MB ahead, unless `buffer` says how many bytes it may hold.
    """

    def __init__(self, target: int, buffer: int | None = None) -> None:
        self.port = free_port()
        self.target = target
        self._buffer = buffer
        self.requests = Way()
        self.answers = Way()
        self.accepted = 0
        self.portal: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        await self.admit()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Within it packets of clients are lost on the way, and their systems hear nothing."""
        sockets = [writer.get_extra_info("socket") for writer in self._clients]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _DROP_ALL)
        try:
            yield
        finally:
            for each in sockets:
                with contextlib.suppress(OSError):  # its server may have closed it meanwhile
                    each.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)

    def inject(self, octets: bytes) -> None:
        """Send them to every client, as if the server had."""
        for client in self._clients:
            client.write(octets)

    async def cut(self) -> None:
        """End every connection, both sides at once, with what was held back; new ones are accepted."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Cut, and let nobody connect; does nothing when it is so already."""
        if self._server is not None:
            self._server.close()
            await self.cut()
            await self._server.wait_closed()
            self._server = None

    async def admit(self) -> None:
        """Let connect again."""
        listening = socket.create_server(("127.0.0.1", self.port))
        if self._buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        limit = self._buffer or _CHUNK
        self._server = await asyncio.start_server(self._accepted, sock=listening, limit=limit)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(writer)
        self.accepted += 1
        try:
            if self.portal is not None:
                await reader.read(_CHUNK)
                writer.write(self.portal)
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            try:
                await self._between(reader, back, there, writer)
            finally:
                back.close()
        except OSError:
            return  # The server is not there.
        except asyncio.CancelledError:
            return  # It was cut, which is no failure of this handler.
        finally:
            self._tasks.discard(task)
            self._clients.discard(writer)
            writer.close()

    async def _between(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        copies = [
            asyncio.ensure_future(self.requests.copy(reader, back)),
            asyncio.ensure_future(self.answers.copy(there, writer)),
        ]
        try:
            # Whichever side hangs up, the other is told when it has got what was sent before.
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for end in (back, writer):
                end.transport.abort()
            raise
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
