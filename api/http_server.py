"""The HTTP server: listens, and bounds what clients can hold and how long."""

import resource
import socket
import ssl
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from api.connection import NEXT_REQUEST
from api.connections import LASTS, TAKEN, Connections, Limits
from api.listener import Listener

CLOSE_TIMEOUT = 2.0  # seconds that requests under way may take when the server ends
RESERVE = 128
"""Descriptors, or a quarter of all, that are left to devices, destinations and the database."""


class HttpServer:
    """Serves an application, from `start` to `close`."""

    def __init__(self, app: web.Application, max_connections: int, max_per_peer: int) -> None:
        app.middlewares.insert(0, self._watched)
        app.on_response_prepare.append(self._begins)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSE_TIMEOUT,
            keepalive_timeout=2 * NEXT_REQUEST,  # which `Connection` sees to
        )
        self.connections = Connections(Limits(max_connections, max_per_peer, first_reserved))
        self._listener = Listener(self._admit, self.connections.exhausted)

    def use(self, context: ssl.SSLContext | None) -> None:
        """Speak TLS with it over connections that come from now on."""
        self.connections.tls = context

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        await self._runner.setup()
        return await self._listener.start(host, port)

    async def close(self) -> None:
        """Listen no more, and end what is under way."""
        self._listener.close()
        await self._runner.cleanup()
        self.connections.close()

    def _admit(self, connected: socket.socket, address: str) -> bool:
        server = self._runner.server
        assert server is not None
        return self.connections.admit(connected, address, server)

    @web.middleware
    async def _watched(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = self.connections.of(request.protocol)
        if connection is None:
            return web.Response(status=503)  # which nobody will see
        connection.begin(request)
        request[TAKEN] = partial(self.connections.taken, connection)
        request[LASTS] = partial(setattr, connection, "lasting", True)
        try:
            response = await handler(request)
        finally:
            self.connections.forget(connection)
            goes_on = connection.end()
        if not goes_on:
            response.force_close()
        return response

    async def _begins(self, request: web.Request, response: web.StreamResponse) -> None:
        connection = self.connections.of(request.protocol)
        if connection is not None and response.content_type == "text/event-stream":
            connection.streams = connection.busy


def first_reserved() -> int:
    """The descriptor from which on they are reserved: the lowest free one is always the next."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limit - min(RESERVE, limit // 4)
