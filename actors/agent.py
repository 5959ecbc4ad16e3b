"""The root actor: builds the tree, goes through the lifecycle, checks health."""

import logging
import platform
import time
import uuid

import msgspec
from thespian.actors import ActorAddress, ActorExitRequest

from actors.endpoints.supervisor import Endpoints, RunEndpoints
from actors.outputs.outputs import PROTOCOLS, Outputs, RunOutputs
from actors.publish.destinations.fallbacks import fallbacks
from actors.publish.messages import AllRetired, BuffersReported, ReportBuffers, RetireAll
from actors.publish.outbox import Limits
from actors.publish.publisher import ROUTER, Publisher
from actors.publish.starts import RunPublisher
from actors.state.messages import Transact, Transacted
from actors.state.store import RunStore, Store, StoreFailed, StoreOpened
from actors.subsystems.messages import AgentDescribed, DescribeAgent, ReportState, StateReported, Subsystem
from actors.system import tree
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.messages import DumpTree
from conf.settings import Settings
from storage import database

log = logging.getLogger(__name__)

MILLISECONDS_AN_HOUR = 3_600_000


class RunAgent(msgspec.Struct, frozen=True):
    """Start. `gateway` is the class of the gateway actor; its start message is `RunGateway`."""

    settings: Settings
    version: str
    gateway: type[Actor]


class RunGateway(msgspec.Struct, frozen=True):
    """Start of the gateway; it answers its parent `GatewayListening` or `GatewayFailed`."""

    settings: Settings
    agent: ActorAddress
    endpoints: ActorAddress
    publisher: ActorAddress
    router: ActorAddress
    outputs: ActorAddress


class GatewayListening(msgspec.Struct, frozen=True):
    port: int


class GatewayFailed(msgspec.Struct, frozen=True):
    message: str


class Stop(msgspec.Struct, frozen=True):
    """To `agent`: bring every reading to safety and end; answered by `Stopped`."""


class Stopped(msgspec.Struct, frozen=True):
    pass


class CheckHealth(msgspec.Struct, frozen=True):
    """To itself."""


class Agent(Actor):
    """Store first, then publishing, endpoints and the gateway; stops in the opposite order."""

    def __init__(self) -> None:
        self.state = "BOOT"
        self.checks: dict[str, Subsystem] = {}
        self.port: int | None = None
        self.stop_to: ActorAddress | None = None
        self.store_asked = False
        self.database_note: str | None = None

    # Lifecycle

    def receiveMsg_RunAgent(self, message: RunAgent, sender: ActorAddress) -> None:
        self.settings = message.settings
        self.version = message.version
        self.gateway = message.gateway
        log.info("callboard %s starts, its data is in %s", self.version, self.settings.storage.data_dir)
        self._enter("INIT")
        agent = self.settings.agent
        start = RunStore(
            path=self.settings.database_path,
            data_dir=self.settings.storage.data_dir,
            busy_timeout_ms=self.settings.storage.busy_timeout_ms,
            uuid=agent.uuid,
            name=agent.name,
            type=agent.type,
        )
        self.store = self.spawn(Store, "store", start)

    def receiveMsg_StoreOpened(self, message: StoreOpened, sender: ActorAddress) -> None:
        if self.state != "INIT":
            return  # the store came back after a crash; the tree stands
        self.identity = message.identity
        if message.set_aside is not None:
            self.database_note = f"started clean; the corrupt database is {message.set_aside.name}"
        self._note("database", True, critical=True)
        publish = self.settings.publish
        limits = Limits(
            max_rows=publish.max_rows,
            max_bytes=publish.max_bytes,
            ttl_ms=publish.ttl_hours * MILLISECONDS_AN_HOUR,
            memory_bytes=publish.memory_bytes,
            hold=publish.commit_interval_ms / 2000,
            strict=publish.durability == "strict",
        )
        outputs = child_address(self.myAddress, "outputs")
        start = RunPublisher(
            rows=message.rows,
            outboxes=message.outboxes,
            store=self.store,
            agent_uuid=self.identity.uuid,
            limits=limits,
            window=publish.window,
            compression=publish.compression,
            fallbacks=fallbacks(self.settings),
            observers={protocol: child_address(outputs, protocol) for protocol in PROTOCOLS},
        )
        self.publisher = self.spawn(Publisher, "publisher", start)
        router = child_address(self.publisher, ROUTER)
        self.outputs = self.spawn(
            Outputs,
            "outputs",
            RunOutputs(message.rows, self.store, router, self.identity.created_at),
        )
        self.endpoints = self.spawn(
            Endpoints,
            "endpoints",
            RunEndpoints(
                rows=message.rows,
                devices=message.devices,
                store=self.store,
                router=router,
                reconnect_min_ms=self.settings.endpoints.reconnect_min_ms,
                reconnect_max_ms=self.settings.endpoints.reconnect_max_ms,
            ),
        )
        self._enter("READY")
        self.spawn(
            self.gateway,
            "gateway",
            RunGateway(self.settings, self.myAddress, self.endpoints, self.publisher, router, outputs),
        )

    def receiveMsg_GatewayListening(self, message: GatewayListening, sender: ActorAddress) -> None:
        self.port = message.port
        self._note("agent-api", True, critical=True)
        if self.state == "READY":
            self._enter("RUNNING")
            self.receiveMsg_CheckHealth(CheckHealth(), self.myAddress)

    def receiveMsg_StoreFailed(self, message: StoreFailed, sender: ActorAddress) -> None:
        self._failed("database", message.message)

    def receiveMsg_GatewayFailed(self, message: GatewayFailed, sender: ActorAddress) -> None:
        self._failed("agent-api", message.message)

    def _failed(self, subsystem: str, message: str) -> None:
        """Before RUNNING there is nothing to keep: end, so that whoever started the agent sees it."""
        self._note(subsystem, False, critical=True, error=message)
        if self.state in ("INIT", "READY"):
            log.critical("cannot start: %s", message)
            self.state = self.health = "ERROR"
            self.send(self.myAddress, ActorExitRequest())

    def receiveMsg_Stop(self, message: Stop, sender: ActorAddress) -> None:
        self.stop_to = sender
        if self.state != "RUNNING":
            self._stopped()
            return
        self._enter("STOPPING")
        self.stop_child(self.endpoints)
        self.stop_child(self.outputs)
        self.send(self.publisher, RetireAll())

    def receiveMsg_AllRetired(self, message: AllRetired, sender: ActorAddress) -> None:
        self._stopped()

    def _stopped(self) -> None:
        self._enter("STOPPED")
        assert self.stop_to is not None
        self.send(self.stop_to, Stopped())

    def _enter(self, state: str) -> None:
        log.info("lifecycle: %s", state)
        self.state = state
        self.health = state

    # Health

    def receiveMsg_CheckHealth(self, message: CheckHealth, sender: ActorAddress) -> None:
        """Ask; the answers are noted as they come. One that is missing at the next check is a failure."""
        if self.store_asked:
            self._note("database", False, critical=True, error="no answer")
        self.store_asked = True
        self.send(self.store, Transact("ping", database.ping))
        self.send(self.publisher, ReportBuffers())
        self.wakeupAfter(self.settings.health.check_interval_ms / 1000, CheckHealth())

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        self.store_asked = False
        error = None if message.error is None else str(message.error)
        self._note("database", error is None, critical=True, error=error)

    def receiveMsg_BuffersReported(self, message: BuffersReported, sender: ActorAddress) -> None:
        away = [box for box in message.outboxes if not box.connected and box.last_error]
        error = "; ".join(f"{box.destination}: {box.last_error}" for box in away) or None
        self._note("mqtt", not away, critical=False, error=error)

    def _note(self, name: str, healthy: bool, critical: bool, error: str | None = None) -> None:
        before = self.checks.get(name)
        failures = 0 if healthy else (before.consecutive_failures if before else 0) + 1
        self.checks[name] = Subsystem(
            name=name,
            healthy=healthy,
            critical=critical,
            last_check=int(time.time() * 1000),
            consecutive_failures=failures,
            description=self.database_note if name == "database" else None,
            last_error=error if not healthy else (before.last_error if before else None),
        )

    def receiveMsg_ReportState(self, message: ReportState, sender: ActorAddress) -> None:
        self._note("lifecycle", self.state == "RUNNING", critical=True)
        failed = any(check.critical and not check.healthy for check in self.checks.values())
        ready = self.state == "RUNNING" and not failed
        self.send(sender, StateReported(self.state, ready, list(self.checks.values())))

    # Answering

    def receiveMsg_DumpTree(self, message: DumpTree, sender: ActorAddress) -> None:
        self.send(sender, tree.dump(self._myRef))

    def receiveMsg_DescribeAgent(self, message: DescribeAgent, sender: ActorAddress) -> None:
        agent = self.settings.agent
        self.send(
            sender,
            AgentDescribed(
                uuid=self.identity.uuid,
                name=self.identity.name,
                type=self.identity.type,
                version=self.version,
                mac_address=agent.mac_address or _mac_address(),
                os_version=agent.os_version or platform.platform(),
                created_at=self.identity.created_at,
            ),
        )


def _mac_address() -> str:
    return ":".join(f"{byte:02x}" for byte in uuid.getnode().to_bytes(6, "big"))
