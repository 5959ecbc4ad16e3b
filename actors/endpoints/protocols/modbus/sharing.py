"""Who shares a connection: devices of one host and port, or of one serial port, use the same link."""

import asyncio

from actors.connections.connection import Permanent

from . import quality
from .connection import Connection
from .link import Link

_links: dict[tuple[asyncio.AbstractEventLoop, str], Link] = {}


def _key(connection: Connection) -> tuple[asyncio.AbstractEventLoop, str]:
    """Where the link is that the device shares, if there is one. An adapter that is plugged in anew may have
    another name than before: that of the first user's port stands for all the others."""
    loop = asyncio.get_running_loop()
    line = connection.line
    if not connection.is_serial:
        return loop, line
    for other, link in _links.items():
        if other[0] is loop and link.connection.is_serial and link.connection.line == line:
            return other
    return loop, connection.serial_port


def acquire(connection: Connection) -> Link:
    """The link that the device's line shares; every acquired link must be released once.

    Raises `Permanent` when another device uses the same line with other settings.
    """
    key = _key(connection)
    link = _links.get(key)
    if link is None:
        link = _links[key] = Link(connection, key)
    elif link.connection.settings != connection.settings:
        what = connection.serial_port or f"{connection.host}:{connection.port}"
        raise Permanent(f"{what} is in use with other settings", code=quality.PORT_NOT_OPEN)
    link.join(connection)
    return link


def release(link: Link, connection: Connection) -> None:
    """Give one use of a link up; the last one closes it."""
    link.leave(connection)
    if not link.units:
        _links.pop(link.key, None)
        link.reset(quality.CONNECTION_RESET, "the connection was closed")
