"""Getting connected, by pymodbus's transport: TCP, TLS, UDP or a serial port."""

import asyncio
import logging
import os
import socket
import ssl
import stat
import struct
import termios
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any

from pymodbus.transport import CommParams, CommType, ModbusProtocol

from actors.connections import dialing, os_errors
from actors.connections.connection import Permanent, Transient
from actors.connections.tls import server_context
from conf.hosts import is_address

from . import quality
from .connection import Connection, Tls
from .frames import Ascii, Framing, Mbap, Rtu

AUTHORITIES_FRESH = 600.0
"""Seconds after which a new connection looks at which authorities the system trusts now."""

_MIN_USER_TIMEOUT = 10.0
_LINGER_NOT = struct.pack("ii", 1, 0)
STREAMS = ("tcp", "rtu-over-tcp", "tls")
_TYPES = {"tcp": CommType.TCP, "rtu-over-tcp": CommType.TCP, "tls": CommType.TLS, "udp": CommType.UDP}
_FRAMINGS: dict[str, type[Framing]] = {"rtu": Rtu, "rtu-over-tcp": Rtu, "ascii": Ascii}

_library_log = logging.getLogger("pymodbus.logging")
if _library_log.level == logging.NOTSET:
    # What pymodbus logs of its transports is what callers learn from `Transient`.
    _library_log.setLevel(logging.CRITICAL)


def framing_of(connection: Connection) -> Framing:
    return _FRAMINGS.get(connection.transport, Mbap)()


class Wire(ModbusProtocol):
    """A connection that was made, or is being made. `received` gets what comes in, `lost` is called once when
    it ends by itself."""

    def __init__(
        self, connection: Connection, received: Callable[[bytes], None], lost: Callable[["Wire", str], None]
    ) -> None:
        super().__init__(_parameters(connection), False)
        self.up: asyncio.Future[None] = self.loop.create_future()
        self._received = received
        self._lost = lost
        self._send: Callable[[bytes], None]

    def put(self, frame: bytes) -> None:
        """Send a frame; without pymodbus's log of it, which takes as long."""
        self._send(frame)

    def abort(self) -> None:
        """Close at once, so that the other end forgets the connection too: many take one only, and wait for
        minutes until the one that they still know is used."""
        if self.transport is not None:
            connected = self.transport.get_extra_info("socket")
            if connected is not None and connected.type == socket.SOCK_STREAM:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.transport.abort()  # type: ignore[attr-defined]
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.is_closing:
            transport.close()  # who wanted it has gone meanwhile
        else:
            udp = self.comm_params.comm_type is CommType.UDP
            self._send = transport.sendto if udp else transport.write  # type: ignore[attr-defined]
            super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...] | None) -> None:
        self._received(data)

    def error_received(self, exc: Exception) -> None:
        """UDP: the other host says that nobody listens there."""
        if isinstance(exc, OSError):
            self._lost(self, quality.code_of_error(exc))

    def callback_new_connection(self) -> ModbusProtocol:
        raise RuntimeError("a client is not connected to")

    def callback_connected(self) -> None:
        if not self.up.done():
            self.up.set_result(None)

    def callback_disconnected(self, exc: Exception | None) -> None:
        code = quality.CONNECTION_RESET
        self._lost(self, quality.code_of_error(exc) if isinstance(exc, OSError) and exc.errno else code)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        return len(data)  # `data_received` has had it


async def dial(connection: Connection, wire: Wire, seconds: float) -> None:
    """Connect. Raises `Transient` or `Permanent`; then, and when it is cancelled, the wire is closed."""
    try:
        _look_at_port(connection)
        async with asyncio.timeout(seconds):
            # Not wire.connect(): it keeps the error, and so the quality code, to itself.
            transport, _ = await _create(connection, wire)
            await wire.up
    except termios.error as error:
        wire.close()
        raise Transient(str(error), code=quality.code_of_error(OSError(*error.args))) from error
    except OSError as error:
        wire.close()
        reason = "no connection in time" if isinstance(error, TimeoutError) else os_errors.reason(error)
        raise Transient(reason, code=quality.code_of_error(error)) from error
    except ValueError as error:
        wire.close()
        raise Permanent(f"{connection.place}: {error}") from error
    except BaseException:
        wire.close()
        raise
    if not wire.is_active():
        raise Transient("the connection was lost", code=quality.CONNECTION_RESET)
    _tune(transport, seconds)


async def _create(connection: Connection, wire: Wire) -> tuple[asyncio.BaseTransport, Any]:
    """The transport; of a name with several addresses that to the first that is reached: one of a kind that
    leads nowhere must not use all of the time up."""
    if connection.transport not in STREAMS or is_address(connection.host):
        created: tuple[asyncio.BaseTransport, Any] = await wire.call_create()
        return created
    loop = asyncio.get_running_loop()
    reached = await dialing.dial(connection.host, connection.port)
    name = connection.host if connection.transport == "tls" else None
    return await loop.create_connection(
        wire.handle_new_connection, sock=reached, ssl=wire.comm_params.sslctx, server_hostname=name
    )


def _look_at_port(connection: Connection) -> None:
    """Opening a file or a pipe as a serial port might change it, or wait for ever."""
    port = connection.serial_port
    if port and not stat.S_ISCHR(os.stat(port).st_mode):
        raise Permanent(f"{port} is not a serial port", code=quality.PORT_NOT_OPEN)


def _parameters(connection: Connection) -> CommParams:
    if connection.is_serial:
        return CommParams(
            comm_name="modbus",
            comm_type=CommType.SERIAL,
            reconnect_delay=0,
            host=connection.serial_port,
            baudrate=connection.baud_rate,
            bytesize=connection.data_bits,
            parity=connection.parity,
            stopbits=connection.stop_bits,
        )
    return CommParams(
        comm_name="modbus",
        comm_type=_TYPES[connection.transport],
        reconnect_delay=0,
        host=connection.host,
        port=connection.port,
        sslctx=_context_now(connection.tls) if connection.transport == "tls" else None,
    )


def _context_now(tls: Tls) -> ssl.SSLContext:
    return _context(tls, int(monotonic() // AUTHORITIES_FRESH))


@lru_cache(maxsize=64)
def _context(tls: Tls, _period: int) -> ssl.SSLContext:
    """Made once a period for all connections that are alike: reading the system's authorities takes 17 ms."""
    return server_context(ca=tls.ca, cert=tls.cert, key=tls.key, verify=tls.verify, path="connection")


def _tune(transport: Any, timeout: float) -> None:
    """Set the options of a TCP socket."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.type != socket.SOCK_STREAM:
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A unit that is silent behind a live gateway still gets its bytes acknowledged; a host that is gone
        # does not, and without this limit the kernel would go on resending for a quarter of an hour.
        limit = max(2 * timeout, _MIN_USER_TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limit * 1000))
