"""The HTTP server: listens, and bounds what clients that connect and ask nothing can hold."""

import asyncio
from asyncio import TimerHandle

from aiohttp import web
from aiohttp.typedefs import Handler

MAX_CONNECTIONS = 256
"""Further ones are closed at once: a process has as few as 1024 descriptors, and devices, brokers and the
database need some of them."""

FIRST_REQUEST = 30.0  # seconds after which a connection is closed over which no whole request has come
NEXT_REQUEST = 75.0  # seconds after which a connection is closed over which no further one has come
CLOSE_TIMEOUT = 2.0  # seconds that requests under way may take when the server ends


class HttpServer:
    """Serves an application, from `start` to `close`."""

    def __init__(self, app: web.Application) -> None:
        app.middlewares.insert(0, self._heard)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSE_TIMEOUT,
            keepalive_timeout=NEXT_REQUEST,
        )
        self._listening: asyncio.Server | None = None
        self._silent: dict[asyncio.BaseProtocol, TimerHandle] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, host, port, reuse_address=True)
        bound: int = self._listening.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Listen no more, and end what is under way."""
        if self._listening is not None:
            self._listening.close()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _TurnedAway()
        protocol = server()
        loop = asyncio.get_running_loop()
        self._silent[protocol] = loop.call_later(FIRST_REQUEST, self._give_up_on, protocol)
        return protocol

    def _give_up_on(self, protocol: web.RequestHandler) -> None:
        self._silent.pop(protocol, None)
        protocol.force_close()

    @web.middleware
    async def _heard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
