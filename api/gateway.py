"""The gateway actor: owns the HTTP server, turns requests into messages and replies."""

import logging
from typing import Any

from aiohttp import web
from thespian.actors import ActorAddress

from actors import os_errors
from actors.agent import GatewayFailed, GatewayListening, RunGateway
from actors.system.actor import Actor
from api.access import bind_host
from api.app import build_app
from api.context import Context, Target

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds until the next attempt to listen
CLOSE_TIMEOUT = 2.0  # seconds that requests under way may take when the gateway ends


class Gateway(Actor):
    """The one actor that asks: handlers wait for replies at one-shot addresses."""

    def __init__(self) -> None:
        self.runner: web.AppRunner | None = None

    def receiveMsg_RunGateway(self, message: RunGateway, sender: ActorAddress) -> None:
        self.agent = message.agent
        self.start = message
        api = message.settings.api
        targets = {
            "agent": message.agent,
            "endpoints": message.endpoints,
            "publisher": message.publisher,
        }
        system = self._myRef.system
        deadline = api.request_timeout_ms / 1000

        async def ask(target: Target, request: Any) -> Any:
            address = targets[target] if isinstance(target, str) else target
            return await system.ask(address, request, deadline)

        app = build_app(Context(ask, api.security_mode, api.enable_auth, api.key))
        self.runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_TIMEOUT
        )
        self.host = bind_host(api.host, api.security_mode)
        self.run(_listen(self.runner, self.host, api.port), then=_as_is)

    def receiveMsg_GatewayListening(self, message: GatewayListening, sender: ActorAddress) -> None:
        log.info("the API listens on http://%s:%d", self.host, message.port)
        self.health = f"listening on port {message.port}"
        self.send(self.agent, message)

    def receiveMsg_GatewayFailed(self, message: GatewayFailed, sender: ActorAddress) -> None:
        self.health = f"degraded: {message.message}"
        self.send(self.agent, message)
        self._close()
        self.wakeupAfter(RETRY, self.start)

    def _close(self) -> None:
        if self.runner is not None:
            self.release(self.runner.cleanup())
            self.runner = None

    def stopped(self) -> None:
        self._close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> GatewayListening | GatewayFailed:
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        return GatewayFailed(f"the API cannot listen on {host}:{port}: {os_errors.reason(error)}")
    return GatewayListening(runner.addresses[0][1])


def _as_is(message: Any) -> Any:
    return message
