"""A websocket as the transport of an MQTT connection, on aiohttp (MQTT 3.1.1 section 6).

As with a TCP transport, what the peer has not yet taken is kept: its owner bounds what it hands in.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from actors.connections import dialing
from actors.connections.connection import Permanent, Transient
from actors.connections.http_names import Names
from actors.mqtt.broker import Broker
from actors.mqtt.transports import forget, lowest, sever

_FRAME_BYTES = 65_536  # so many of the waiting bytes go out as one frame, or not quite twice as many
_GOODBYE_SECONDS = 1.0
_TRY_AGAIN = (408, 425, 429)


async def open_websocket(
    broker: Broker,
    tls: ssl.SSLContext | None,
    protocol: asyncio.Protocol,
    reached: Callable[[dialing.Address], None],
    avoid: dialing.Address | None = None,
) -> None:
    """Connect `protocol` to the broker; of its addresses `avoid` is tried last, and `reached` is called with
    the one that TCP and TLS have reached.

    Raises `OSError` as `loop.create_connection` does, and `Transient` or `Permanent` when something else
    answers than a websocket.
    """
    opening = _Opening(reached)
    session = aiohttp.ClientSession(
        connector=opening.connector(avoid),
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[opening.traced()],
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    try:
        opened = await _handshake(session, broker, tls)
    except BaseException:
        opening.note()  # TLS may not have got anywhere
        await session.close()
        raise
    assert opening.response is not None
    WebSocketTransport(session, opened, opening.response, protocol)


async def _handshake(
    session: aiohttp.ClientSession, broker: Broker, tls: ssl.SSLContext | None
) -> aiohttp.ClientWebSocketResponse:
    where = f"{broker.host}:{broker.port}"
    host = f"[{broker.host}]" if ":" in broker.host else broker.host
    try:
        return await session.ws_connect(
            URL(f"{'wss' if broker.tls else 'ws'}://{host}:{broker.port}{broker.path}"),
            protocols=["mqtt"],
            timeout=aiohttp.ClientWSTimeout(ws_close=_GOODBYE_SECONDS),
            ssl=tls or True,
            autoclose=False,
        )
    except aiohttp.ClientConnectorCertificateError as error:
        raise error.certificate_error from error
    except aiohttp.ClientConnectorError as error:
        raise error.os_error from error
    except aiohttp.WSServerHandshakeError as error:
        _refused(error, where)
    except aiohttp.ServerDisconnectedError as error:
        raise Transient(f"{where} closed the connection instead of logging in") from error
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
        raise Transient(f"{where} does not answer as a websocket does") from error


def _refused(error: aiohttp.WSServerHandshakeError, where: str) -> NoReturn:
    if error.status == 101:
        raise Transient(f"{where} does not answer as a websocket does") from error
    kind = Transient if error.status >= 500 or error.status in _TRY_AGAIN else Permanent
    raise kind(f"{where} refused the websocket: HTTP {error.status}") from error


class _Opening:
    """What aiohttp tells of a handshake under way; `response` is the answer to it, which owns the
    connection below the websocket."""

    def __init__(self, reached: Callable[[dialing.Address], None]) -> None:
        self.response: aiohttp.ClientResponse | None = None
        self._reached = reached
        self._sockets: list[socket.socket] = []

    def connector(self, avoid: dialing.Address | None) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            resolver=Names(avoid),
            use_dns_cache=False,
            happy_eyeballs_delay=dialing.NEXT_ADDRESS,
            socket_factory=self._socket,
            force_close=True,
        )

    def _socket(self, address: Any) -> socket.socket:
        """As `dialing.Found`."""
        self._sockets.append(dialing.tuned(address))
        return self._sockets[-1]

    def traced(self) -> aiohttp.TraceConfig:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._connected)
        trace.on_request_redirect.append(self._redirected)
        trace.on_request_end.append(self._answered)
        return trace

    async def _connected(self, *_: Any) -> None:
        self.note()

    def note(self) -> None:
        """Say which address TCP has reached."""
        for each in self._sockets:
            with contextlib.suppress(OSError):  # one that has lost the race
                self._reached(each.getpeername())
        self._sockets.clear()

    async def _redirected(
        self, _session: Any, _context: SimpleNamespace, answer: aiohttp.TraceRequestRedirectParams
    ) -> None:
        # Credentials go only where the configuration says.
        raise Permanent(
            f"{answer.url.host}:{answer.url.port} refused the websocket: HTTP {answer.response.status}"
        )

    async def _answered(
        self, _session: Any, _context: SimpleNamespace, answer: aiohttp.TraceRequestEndParams
    ) -> None:
        self.response = answer.response


class WebSocketTransport(asyncio.Transport):
    """What a link uses of a transport. `connection_lost` comes once, later, as from any transport."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse,
        response: aiohttp.ClientResponse,
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__()
        self._session = session
        self._socket = socket
        self._response = response
        assert response.connection is not None
        assert response.connection.transport is not None
        self._below = response.connection.transport
        self._lowest = lowest(self._below)
        self._protocol = protocol
        self._closing = False
        self._waiting: deque[memoryview] = deque()
        self._to_write = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        protocol.connection_made(self)
        self._running = asyncio.create_task(self._run())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            # Servers have a limit for frames, too.
            pieces = memoryview(data)
            self._waiting.extend(pieces[at : at + _FRAME_BYTES] for at in range(0, len(data), _FRAME_BYTES))
            self._to_write.set()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._waiting)) + self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Write what is waiting and say goodbye; a peer that takes nothing needs an `abort`."""
        self._closing = True
        self._to_write.set()
        self._may_read.set()

    def abort(self) -> None:
        self._waiting.clear()
        sever(self._below)
        self.close()

    async def _run(self) -> None:
        """Until either end has closed the connection."""
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if self._closing:
                # Reading ends where the goodbye begins.
                await asyncio.wait({writing})
        finally:
            self._closing = True
            reading.cancel()
            writing.cancel()
            sever(self._below)
            await asyncio.wait({reading, writing})
            self._response.close()
            await self._session.close()
            forget(self._lowest)
            kept = self._socket.exception()
            if kept is not None:
                kept.__traceback__ = kept.__context__ = None  # which leads back to the socket
            self._protocol.connection_lost(None)

    async def _read(self) -> None:
        while True:
            await self._may_read.wait()
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                return
            self._protocol.data_received(message.data)

    async def _write(self) -> None:
        try:
            while self._waiting or not self._closing:
                await self._to_write.wait()
                self._to_write.clear()
                while self._waiting:
                    await self._socket.send_bytes(self._frame())
        except ConnectionError:
            return  # The connection has ended, which `_run` tells.
        await self._socket.close()

    def _frame(self) -> bytes:
        """Many small packets in one frame; MQTT does not mind where frames begin."""
        packets = [self._waiting.popleft()]
        size = len(packets[0])
        while self._waiting and size < _FRAME_BYTES:
            packets.append(self._waiting.popleft())
            size += len(packets[-1])
        return b"".join(packets)
