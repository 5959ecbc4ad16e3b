"""The gateway actor: owns the HTTP server, turns requests into messages and replies."""

import logging
from typing import Any

import msgspec
from aiohttp import web
from thespian.actors import ActorAddress

from actors.agent import GatewayFailed, GatewayListening, RunGateway
from actors.connections import os_errors
from actors.readings.batch import Batch
from actors.readings.messages import Observe
from actors.system.actor import Actor
from api.access import bind_host
from api.app import build_app
from api.context import Context, Target
from api.readings_hub import ReadingsHub

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds until the next attempt to listen
CLOSE_TIMEOUT = 2.0  # seconds that requests under way may take when the gateway ends
LEASE = 10.0  # seconds that the router goes on sending readings after it has last been asked to
RENEW_EVERY = 2.0  # seconds; so long a router that has restarted sends none


class FollowersChanged(msgspec.Struct, frozen=True):
    """To itself: the first client follows the readings, or the last has left."""


class RenewLease(msgspec.Struct, frozen=True):
    """To itself."""


class Gateway(Actor):
    """The one actor that asks: handlers wait for replies at one-shot addresses."""

    def __init__(self) -> None:
        self.runner: web.AppRunner | None = None
        self.hub = ReadingsHub()
        self.renewing = False

    def receiveMsg_RunGateway(self, message: RunGateway, sender: ActorAddress) -> None:
        self.agent = message.agent
        self.start = message
        api = message.settings.api
        targets = {
            "agent": message.agent,
            "endpoints": message.endpoints,
            "publisher": message.publisher,
            "router": message.router,
            "outputs": message.outputs,
        }
        system = self._myRef.system
        deadline = api.request_timeout_ms / 1000

        async def ask(target: Target, request: Any) -> Any:
            address = targets[target] if isinstance(target, str) else target
            return await system.ask(address, request, deadline)

        def followers_changed() -> None:
            system.deliver(self.myAddress, FollowersChanged(), self.myAddress)

        self.hub = ReadingsHub(followers_changed)
        app = build_app(
            Context(ask, api.security_mode, api.enable_auth, api.key, api.allowed_hosts, self.hub)
        )
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

    # Readings as they come

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.hub.publish(message)

    def receiveMsg_FollowersChanged(self, message: FollowersChanged, sender: ActorAddress) -> None:
        """The router is asked for readings only while somebody wants them."""
        self.send(self.start.router, Observe(self.myAddress, LEASE if self.hub.clients else 0))
        if self.hub.clients and not self.renewing:
            self.renewing = True
            self.wakeupAfter(RENEW_EVERY, RenewLease())

    def receiveMsg_RenewLease(self, message: RenewLease, sender: ActorAddress) -> None:
        self.renewing = self.hub.clients > 0
        if self.renewing:
            self.send(self.start.router, Observe(self.myAddress, LEASE))
            self.wakeupAfter(RENEW_EVERY, RenewLease())


async def _listen(runner: web.AppRunner, host: str, port: int) -> GatewayListening | GatewayFailed:
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
    except OSError as error:
        return GatewayFailed(f"the API cannot listen on {host}:{port}: {os_errors.reason(error)}")
    return GatewayListening(runner.addresses[0][1])


def _as_is(message: Any) -> Any:
    return message
