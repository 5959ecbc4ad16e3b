"""How far what was handed to a TCP connection has got: a slow line is not a dead one.

Only what the other host's TCP has acknowledged has left this host. What lies in buffers on the way (of a
relay, a modem) cannot be seen from here.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios

_BYTES_ACKED = struct.Struct("=Q")
_BYTES_ACKED_AT = 120  # in struct tcp_info, since Linux 4.1
_TCP_INFO_BYTES = 128


class Outflow:
    """Of one connection, whatever lies above TCP (TLS, a websocket, HTTP). On systems that do not tell,
    nothing ever moves, and nothing is unsent but what the transport itself still holds."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._taken = taken(transport)

    def moved(self) -> bool:
        """Whether the other host has taken bytes since this was last asked, or since the beginning."""
        before, self._taken = self._taken, taken(self._transport)
        return self._taken > before

    @property
    def unsent(self) -> int:
        """Bytes that the other host has not taken yet; 0 when it has them all."""
        return unsent(self._transport)


def taken(transport: asyncio.BaseTransport) -> int:
    """Bytes that the other host's TCP has acknowledged since the connection began, TLS records and frames
    included; it never falls. 0 where the system does not tell."""
    return acknowledged(_socket_of(transport))


def acknowledged(found: socket.socket) -> int:
    """As `taken`, of a socket, which may be closed already."""
    # A connection that is over has no descriptor any more.
    with contextlib.suppress(OSError, ValueError, AttributeError, struct.error):
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(_BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)[0])
    return 0


def unsent(transport: asyncio.WriteTransport) -> int:
    """Bytes in the transport and in the system's queue below it.

    Under TLS there may be more in between, but not without some in the queue.
    """
    if transport.is_closing():
        return 0
    waiting = transport.get_write_buffer_size()
    # Linux tells by the same request what has not left a terminal and what a TCP peer has not acknowledged.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        queued = fcntl.ioctl(_socket_of(transport).fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", queued)[0]
    return waiting


def _socket_of(transport: asyncio.BaseTransport) -> socket.socket:
    found: socket.socket = transport.get_extra_info("socket")
    return found
