"""The socket of a port: where it is bound, and why it cannot be."""

import asyncio
import errno
import ipaddress
import socket
from typing import Final

from actors.connections.connection import Permanent, Transient

from . import quality
from .connection import Local

_RECEIVE_BUFFER: Final = 4 << 20
"""Bytes: a burst of notifications of a hundred devices waits here."""
_SO_RCVBUFFORCE: Final = 33
_STANDARD: Final = 47808


def broadcast_of(local: Local) -> tuple[str, int]:
    """Where what is meant for everybody goes: to the port that all devices of BACnet/IP listen on."""
    if local.broadcast:
        return local.broadcast, _STANDARD
    if "/" in local.address:
        return str(ipaddress.IPv4Interface(local.address).network.broadcast_address), _STANDARD
    if local.address.startswith("127."):
        return "127.255.255.255", _STANDARD
    return "255.255.255.255", _STANDARD


async def resolve(host: str) -> str:
    """The IPv4 address of a host. Raises `Transient`."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        pass
    else:
        return host
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except OSError as error:
        text = f"{host} is no name of a host that is known here"
        raise Transient(text, code=quality.HOST_UNREACHABLE) from error
    return str(found[0][4][0])


async def bound(sock: socket.socket, address: str, port: int) -> None:
    """A port that was closed just now is free in the loop's next turn."""
    for _ in range(_TURNS):
        try:
            sock.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            await asyncio.sleep(_TURN)
        else:
            return
    sock.bind((address, port))


_TURNS: Final = 5
_TURN: Final = 0.01
"""Seconds."""


def widen(sock: socket.socket) -> None:
    """Who may goes beyond what the system grants to everybody."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
        except OSError:
            continue
        return


def unbound(error: OSError, address: str, port: int) -> Transient | Permanent:
    code = quality.PORT_NOT_OPEN
    if error.errno == errno.EADDRINUSE:
        return Transient(f"UDP port {port} is in use by another program", code=code)
    if error.errno == errno.EADDRNOTAVAIL:
        return Transient(f"{address} is no address of this machine", code=code)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Permanent(f"UDP port {port} of {address} may not be used: {error.strerror}", code=code)
    return Transient(f"UDP port {port} of {address} cannot be used: {error.strerror}", code=code)
