"""Who shares a connection: devices of one host and port, or of one serial port, use the same link."""

from actors.connections.connection import Permanent
from actors.endpoints.lines import Lines

from . import quality
from .connection import Connection
from .link import Link


def _key(lines: Lines, connection: Connection) -> str:
    """What the device's link is shared by. An adapter that is plugged in anew may have another name than
    before: that of the first user's port stands for all the others."""
    line = connection.line
    if not connection.is_serial:
        return line
    for _, link in lines:
        if link.connection.is_serial and link.connection.line == line:
            key: str = link.key
            return key
    return connection.serial_port


def acquire(lines: Lines, connection: Connection) -> Link:
    """The link that the device's line shares; every acquired link must be released once.

    Raises `Permanent` when another device uses the same line with other settings.
    """
    key = _key(lines, connection)
    link = lines.acquire(key, lambda: Link(connection, key))
    if link.connection.settings != connection.settings:
        lines.release(key)
        what = connection.serial_port or f"{connection.host}:{connection.port}"
        raise Permanent(f"{what} is in use with other settings", code=quality.PORT_NOT_OPEN)
    link.join(connection)
    return link


def release(lines: Lines, link: Link, connection: Connection) -> None:
    """Give one use of a link up; the last one closes it."""
    link.leave(connection)
    if lines.release(link.key):
        link.reset(quality.CONNECTION_RESET, "the connection was closed")
