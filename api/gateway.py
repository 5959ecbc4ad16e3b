"""The gateway actor: owns the HTTP server, turns requests into messages and replies."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections import os_errors
from actors.discovery.messages import FollowRuns, RunsProgressed, UnfollowRuns
from actors.logs.messages import FollowLogs, LogsAdded, UnfollowLogs
from actors.readings.batch import Batch
from actors.readings.messages import Observe, Unobserve
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor, Surroundings
from actors.subsystems.messages import (
    Check,
    CheckSubsystem,
    LifecycleChanged,
    SubsystemChecked,
    SubsystemFailed,
    SubsystemStarted,
)
from actors.system.addresses import child_address
from api import tls
from api.access import bind_host
from api.app import build_app
from api.context import Context, Lifecycle, Target
from api.http_server import HttpServer
from api.log_hub import LogHub
from api.readings_hub import ReadingsHub
from api.runs_hub import RunsHub
from conf.settings import Settings
from storage.timestamps import iso

log = logging.getLogger(__name__)

RETRY = 5.0  # seconds until the next attempt to listen


class FollowersChanged(msgspec.Struct, frozen=True):
    """To itself: the first client follows the readings, or the last has left."""


class LogFollowersChanged(msgspec.Struct, frozen=True):
    """To itself: as `FollowersChanged`, of the log."""


class RunFollowersChanged(msgspec.Struct, frozen=True):
    """To itself: as `FollowersChanged`, of the runs of discovery."""


class RunGateway(msgspec.Struct, frozen=True):
    """Start; `agent` is the root, `router` where readings come from, `logs` where the log does, `discovery`
    where its runs do."""

    settings: Settings
    agent: ActorAddress
    router: ActorAddress
    logs: ActorAddress
    discovery: ActorAddress


class Listen(msgspec.Struct, frozen=True):
    """To itself."""


class GatewayListening(msgspec.Struct, frozen=True):
    """To itself."""

    port: int
    look: Any = None


class LookAtFiles(msgspec.Struct, frozen=True):
    """To itself: see whether certificate and key have changed."""


class FilesLookedAt(msgspec.Struct, frozen=True):
    """To itself."""

    look: Any


class GatewayFailed(msgspec.Struct, frozen=True):
    """To itself."""

    message: str


class Gateway(SubsystemActor):
    """The one actor that asks: handlers wait for replies at one-shot addresses."""

    def __init__(self) -> None:
        self.server: HttpServer | None = None
        self.hub = ReadingsHub()
        self.log_hub = LogHub()
        self.runs_hub = RunsHub()
        self.lifecycle = Lifecycle("BOOT")
        self.files: tls.Files | None = None
        self.look = tls.Look(None)
        self.served: tls.Served | None = None
        """With what clients are, if that is TLS; `look` is the latest at the files."""

    def receiveMsg_RunGateway(self, message: RunGateway, sender: ActorAddress) -> None:
        self.parent = sender
        self.start = message
        api = message.settings.api
        self.files = tls.Files(api.tls_cert, api.tls_key) if api.tls_cert and api.tls_key else None
        if self.files is not None:
            self.wakeupAfter(tls.LOOK_EVERY, LookAtFiles())
        self.send(message.router, Unobserve(self.myAddress))  # who followed an earlier life has left
        self.receiveMsg_Listen(Listen(), sender)

    def receiveMsg_Listen(self, message: Listen, sender: ActorAddress) -> None:
        start = self.start
        api = start.settings.api
        system = self._myRef.system
        deadline = api.request_timeout_ms / 1000

        async def ask(target: Target, message: Any, within: float | None = None) -> Any:
            return await system.ask(_address(start.agent, target), message, within or deadline)

        def telling(news: Any) -> Callable[[], None]:
            return lambda: system.deliver(self.myAddress, news, self.myAddress)

        self.hub = ReadingsHub(telling(FollowersChanged()))
        self.log_hub = LogHub(telling(LogFollowersChanged()))
        self.runs_hub = RunsHub(telling(RunFollowersChanged()))
        app = build_app(
            Context(
                ask,
                system.ask_each,
                api.security_mode,
                api.enable_auth,
                api.key,
                api.allowed_hosts,
                self.hub,
                self.lifecycle,
                api.require_session,
                logs=self.log_hub,
                runs=self.runs_hub,
            )
        )
        self.server = HttpServer(app, api.max_connections, api.max_connections_per_peer)
        self.host = bind_host(api.host, api.security_mode)
        self.run(_listen(self.server, self.host, api.port, self.files, self.served), then=_as_is)

    def receiveMsg_GatewayListening(self, message: GatewayListening, sender: ActorAddress) -> None:
        scheme = "http" if self.files is None else "https"
        log.info("the API listens on %s://%s:%d", scheme, self.host, message.port)
        self.health = f"listening on port {message.port}"
        self.send(self.parent, SubsystemStarted())
        if message.look is not None:
            self._looked(message.look)

    def receiveMsg_GatewayFailed(self, message: GatewayFailed, sender: ActorAddress) -> None:
        self.health = f"degraded: {message.message}"
        self.send(self.parent, SubsystemFailed(message.message))
        self._close()
        self.wakeupAfter(RETRY, Listen())

    def receiveMsg_LifecycleChanged(self, message: LifecycleChanged, sender: ActorAddress) -> None:
        """With READY the router may be a new one, which knows nobody."""
        self.lifecycle.state = message.state
        self.remember(message)
        if message.state == "READY" and self.hub.clients:
            self.receiveMsg_FollowersChanged(FollowersChanged(), sender)
        if message.state == "RUNNING" and self.runs_hub.clients:
            self.receiveMsg_RunFollowersChanged(RunFollowersChanged(), sender)

    def _close(self) -> None:
        if self.server is not None:
            self.release(self.server.close())
            self.server = None

    def stopped(self) -> None:
        self._close()

    # TLS

    def receiveMsg_LookAtFiles(self, message: LookAtFiles, sender: ActorAddress) -> None:
        if self.files is not None:
            looking = asyncio.to_thread(tls.look, self.files, self.look.mark)
            self.run(looking, then=FilesLookedAt, within=None)

    def receiveMsg_FilesLookedAt(self, message: FilesLookedAt, sender: ActorAddress) -> None:
        self._looked(message.look)
        self.wakeupAfter(tls.LOOK_EVERY, LookAtFiles())

    def _looked(self, found: tls.Look) -> None:
        """What is wrong with new files is said once; clients are served as before."""
        if found.error is not None and found.error != self.look.error:
            log.error("%s: the API goes on with the certificate that it has", found.error)
        if found.served is not None:
            if self.served is not None:
                log.info("the certificate was read anew: it is good until %s", iso(found.served.expires_at))
            self.served = found.served
        if self.server is not None and self.served is not None:
            self.server.use(self.served.context)
        if found.mark != self.look.mark:
            self.look = found

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        if self.served is None:
            self.send(sender, SubsystemChecked())
            return
        trouble = self.look.error or self.served.trouble
        until = f"certificate good until {iso(self.served.expires_at)}"
        line = Check("api-tls", trouble is None, description=until, last_error=trouble)
        self.send(sender, SubsystemChecked(checks=[line]))

    # Readings as they come

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.hub.publish(message)

    def receiveMsg_FollowersChanged(self, message: FollowersChanged, sender: ActorAddress) -> None:
        """The router is asked for readings only while somebody wants them."""
        news = Observe(self.myAddress) if self.hub.clients else Unobserve(self.myAddress)
        self.send(self.start.router, news)

    # The log as it comes

    def receiveMsg_LogsAdded(self, message: LogsAdded, sender: ActorAddress) -> None:
        self.log_hub.publish(message)
        if not self.log_hub.clients:  # who followed an earlier life has left
            self.send(sender, UnfollowLogs())

    def receiveMsg_LogFollowersChanged(self, message: LogFollowersChanged, sender: ActorAddress) -> None:
        self.send(self.start.logs, FollowLogs() if self.log_hub.clients else UnfollowLogs())

    # Discovery as it goes on

    def receiveMsg_RunsProgressed(self, message: RunsProgressed, sender: ActorAddress) -> None:
        self.runs_hub.publish(message)
        if not self.runs_hub.clients:  # who followed an earlier life has left
            self.send(sender, UnfollowRuns())

    def receiveMsg_RunFollowersChanged(self, message: RunFollowersChanged, sender: ActorAddress) -> None:
        self.send(self.start.discovery, FollowRuns() if self.runs_hub.clients else UnfollowRuns())


def _address(agent: ActorAddress, target: Target) -> ActorAddress:
    """A target's actor: `agent` is the root, another name or path is below it."""
    if not isinstance(target, str):
        return target
    address = agent
    for name in target.split("/") if target != "agent" else ():
        address = child_address(address, name)
    return address


async def _listen(
    server: HttpServer, host: str, port: int, files: tls.Files | None, before: tls.Served | None
) -> GatewayListening | GatewayFailed:
    found = None
    if files is not None:
        found = await asyncio.to_thread(tls.look, files, None)
        served = found.served or before
        if served is None:
            return GatewayFailed(str(found.error))
        server.use(served.context)
    try:
        return GatewayListening(await server.start(host, port), found)
    except OSError as error:
        return GatewayFailed(f"the API cannot listen on {host}:{port}: {os_errors.reason(error)}")


def _as_is(message: Any) -> Any:
    return message


def _start(where: Surroundings) -> RunGateway:
    at = where.at
    return RunGateway(where.settings, where.agent, at("readings"), at("logs"), at("discovery"))


SUBSYSTEM = Subsystem(
    name="gateway",
    actor=Gateway,
    start=_start,
    phase=Phase.CORE,
    critical=True,
    stays=True,
    told_state=True,
    reported_as="agent-api",
)
