"""A UDP socket that hears one address alone: the system drops what comes from any other."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from actors.connections.connection import NoConnection, Transient
from actors.connections.dialing import Found, addresses

from . import quality

_LONGEST: Final = 65_535
_AT_ONCE: Final = 16
"""Datagrams that are read before others have their turn."""

_BY_NUMBER: Final = {
    errno.ECONNREFUSED: quality.REFUSED,
    errno.EHOSTUNREACH: quality.UNREACHABLE,
    errno.ENETUNREACH: quality.UNREACHABLE,
    errno.EHOSTDOWN: quality.UNREACHABLE,
    errno.ENETDOWN: quality.UNREACHABLE,
    errno.ETIMEDOUT: quality.TIMEOUT,
}


class Port:
    """`heard` is told what comes, `failed` that the system says that nobody is there; neither is told
    anything after `close`. Raises `OSError`."""

    def __init__(
        self, found: Found, heard: Callable[[bytes], None], failed: Callable[[OSError], None]
    ) -> None:
        self._heard = heard
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(found[4])
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._read)

    def say(self, octets: bytes) -> None:
        """What the system has no room for is lost, as anything may be on the way. Raises `OSError`."""
        try:
            self._socket.send(octets)
        except (BlockingIOError, InterruptedError):
            pass
        except ConnectionRefusedError:
            self._socket.send(octets)  # that was the answer to what was sent before

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._socket.fileno() < 0:  # closed by who was told of the one before
                return
            try:
                octets = self._socket.recv(_LONGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                return
            self._heard(octets)


async def resolve(host: str, port: int) -> list[Found]:
    """Raises `Transient`."""
    try:
        return await addresses(host, port)
    except OSError as error:
        raise Transient(
            f"the host's name is not known: {error.strerror}", code=quality.UNREACHABLE
        ) from error


def trouble(error: OSError) -> NoConnection:
    """What to raise instead."""
    if isinstance(error, ConnectionRefusedError):
        return Transient("nothing listens there (port unreachable)", code=quality.REFUSED)
    code = _BY_NUMBER.get(error.errno or 0, quality.RESET)
    return Transient(error.strerror or str(error), code=code)
