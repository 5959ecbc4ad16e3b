"""Accepting connections, on one port, without ever standing still over a lack of descriptors."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

BACKLOG: Final = 512
AT_ONCE: Final = 64
"""Connections that are accepted before others have their turn."""

WITHOUT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say that there is no descriptor, or no memory, for another connection."""

AGAIN: Final = 1.0
"""Seconds without accepting when not even the spare descriptor helps."""


class Listener:
    """Hands each connection to `admit(socket, peer)`, which closes what it does not want, and says False when
    others should end before the next one. `exhausted(error)` is told of each that had to be closed unseen."""

    def __init__(
        self, admit: Callable[[socket.socket, str], bool], exhausted: Callable[[OSError], None]
    ) -> None:
        self._admit = admit
        self._exhausted = exhausted
        self._sockets: list[socket.socket] = []
        self._spare: int | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen on every address of `host`; returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_listening(family, (*address[:1], port, *address[2:])))
                port = port or self._sockets[0].getsockname()[1]
        except OSError:
            self.close()
            raise
        self._hold_spare()
        for one in self._sockets:
            loop.add_reader(one, self._accept, one)
        return port

    def close(self) -> None:
        """Accept no more."""
        listening, self._sockets = self._sockets, []
        for one in listening:
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in WITHOUT:
                    continue  # the connection that was there has gone
                if not self._close_next(listening, error):
                    return
                continue
            connection.setblocking(False)
            if not self._admit(connection, address[0]):
                return

    def _close_next(self, listening: socket.socket, error: OSError) -> bool:
        """Close the connection that waits, which would else be reported over and over: in the place of the
        spare descriptor there is room for it. False when none waits, or when there was no room either."""
        if self._spare is None:
            self._exhausted(error)
            self._pause(listening)
            return False
        os.close(self._spare)
        self._spare = None
        try:
            listening.accept()[0].close()
        except OSError:
            return False  # nobody is there: without a descriptor the system does not look
        finally:
            self._hold_spare()
        self._exhausted(error)
        return True

    def _hold_spare(self) -> None:
        if self._spare is None:
            with suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY)

    def _pause(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(AGAIN, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._hold_spare()
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setblocking(False)
        listening.bind(address)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
