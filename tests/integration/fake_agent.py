"""A double of the actors that the API asks, over a small in-memory model, and the API served over it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fake_accounts import FakeAccounts
from fake_backups import FakeBackups
from fake_discovery import FakeDiscovery
from fake_host import FakeHost
from fake_logs import FakeLogs
from fake_outputs import FakeOutputs
from fake_settings import FakeSettings
from fake_updates import FakeUpdates
from msgspec import UNSET
from thespian.actors import ActorAddress

from actors.endpoints import messages as field
from actors.endpoints.protocol import Browsed, BrowsedNode
from actors.publish import messages as publishing
from actors.publish.preview_messages import (
    PreviewNewSubscription,
    PreviewSubscription,
    SubscriptionPreviewed,
)
from actors.readings.batch import Batch
from actors.readings.messages import LatestReported, ReportLatest, ReportRouting, RoutingReported
from actors.subsystems.messages import AgentDescribed, Check, DescribeAgent, ReportState, StateReported
from actors.system.failure import Failed, Refusal
from actors.system.messages import ActorNode, DumpTree, TreeDumped
from api.app import build_app
from api.context import Context
from storage.dead_letters import DeadLetter

NOW = "2024-01-15T10:30:00.000Z"
NOW_MS = 1_705_314_600_000
STATUS = publishing.DestinationStatus("connected", 0, 0, None, 0, 0, 0, 0, 0)
JSON = ("connection", "data_points", "metadata")
SILENT = object()
"""An answer that never comes: `ask` returns None."""

Client = TestClient[web.Request, web.Application]


class FakeAgent(
    FakeAccounts, FakeOutputs, FakeBackups, FakeHost, FakeSettings, FakeLogs, FakeUpdates, FakeDiscovery
):
    """`ask` answers with real reply structs. `answers` overrides the reply to a message type:
    a struct, `SILENT`, an exception to raise, or a function of the message."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[type, Any] = {}
        self.asked: list[Any] = []
        self.endpoints: dict[str, field.EndpointRow] = {}
        self.destinations: dict[int, publishing.DestinationRow] = {}
        self.subscriptions: dict[int, publishing.SubscriptionRow] = {}
        self.dead_letters: dict[int, list[DeadLetter]] = {}
        self.latest: list[Batch] = []
        self.registers: dict[str, Any] = {"setpoint": 0, "holding:10": 0}

    async def ask(self, target: Any, message: Any, within: float | None = None) -> Any:
        self.asked.append(message)
        await asyncio.sleep(0)
        answer = self.answers.get(type(message)) or getattr(self, f"on_{type(message).__name__}")
        if answer is SILENT:
            return None
        if isinstance(answer, Exception):
            raise answer
        if not callable(answer):
            return answer
        try:
            if isinstance(target, ActorAddress):
                return answer(message, self._owner(target.addressDetails))
            return answer(message)
        except Refusal as refusal:
            return refusal.failed()

    async def ask_each(self, targets: Sequence[ActorAddress], message: Any, within: float) -> list[Any]:
        return [await self.ask(target, message) for target in targets]

    def _owner(self, address: str) -> field.EndpointRow | str:
        """The endpoint, or the protocol of the drift detector, at an address."""
        return self.endpoints.get(address) or address.rpartition("/")[2]

    # agent

    def on_ReportState(self, message: ReportState) -> StateReported:
        return StateReported("RUNNING", True, [Check("database", True, True, NOW_MS)])

    def on_DescribeAgent(self, message: DescribeAgent) -> AgentDescribed:
        return AgentDescribed("7f3e9a1b", "factory-sensor-01", "standalone", "0.1.0", created_at=NOW)

    def on_DumpTree(self, message: DumpTree) -> TreeDumped:
        return TreeDumped(node("agent", children=[node("store"), node("endpoints")]), 0.25, 12.0)

    # endpoints

    def on_ListEndpoints(self, message: field.ListEndpoints) -> field.EndpointsListed:
        rows = sorted(self.endpoints.values(), key=lambda row: row.name)
        return field.EndpointsListed([row for row in rows if message.protocol in (None, row.protocol)])

    def on_AddEndpoint(self, message: field.AddEndpoint) -> field.EndpointChanged:
        if message.protocol != "modbus":
            raise Refusal(f"Invalid protocol: {message.protocol}", "protocol")
        _check_interval(message.poll_interval)
        if any(row.name == message.name for row in self.endpoints.values()):
            raise Refusal(f"Endpoint already exists: {message.name}", "name", "conflict")
        uuid = str(uuid4())
        row = field.EndpointRow(
            id=len(self.endpoints) + 1,
            uuid=uuid,
            created_at=NOW,
            updated_at=NOW,
            address=ActorAddress(uuid) if message.enabled else None,
            **msgspec.structs.asdict(message) | {name: as_json(getattr(message, name)) for name in JSON},
        )
        self.endpoints[uuid] = row
        return field.EndpointChanged(row)

    def on_ImportEndpoints(self, message: field.ImportEndpoints) -> field.EndpointsImported:
        before, faults = dict(self.endpoints), []
        for position, endpoint in enumerate(message.endpoints):
            try:
                self.on_AddEndpoint(endpoint)
            except Refusal as refusal:
                faults.append(field.ImportFault(position, refusal.failed()))
        if faults:
            self.endpoints = before
        return field.EndpointsImported(0 if faults else len(message.endpoints), faults)

    def on_ChangeEndpoint(self, message: field.ChangeEndpoint) -> field.EndpointChanged:
        for row in self.endpoints.values():
            if message.key in (row.uuid, row.name):
                if message.poll_interval is not UNSET:
                    _check_interval(message.poll_interval)
                changed = _changed(row, message, ("enabled", "poll_interval"))
                address = ActorAddress(row.uuid) if changed.enabled else None
                self.endpoints[row.uuid] = msgspec.structs.replace(changed, address=address)
                return field.EndpointChanged(self.endpoints[row.uuid])
        raise Refusal(f"Endpoint not found: {message.key}", kind="not_found")

    def on_RemoveEndpoint(self, message: field.RemoveEndpoint) -> field.EndpointsRemoved:
        if self.endpoints.pop(message.uuid, None) is None:
            raise Refusal(f"Endpoint not found: {message.uuid}", kind="not_found")
        return field.EndpointsRemoved(1)

    def on_RemoveAllEndpoints(self, message: field.RemoveAllEndpoints) -> field.EndpointsRemoved:
        removed = len(self.endpoints)
        self.endpoints.clear()
        return field.EndpointsRemoved(removed)

    def on_ListDevices(self, message: field.ListDevices) -> field.DevicesListed:
        rows = [device(row) for row in self.endpoints.values() if message.protocol in (None, row.protocol)]
        if message.running and not any(row.enabled for row in rows):
            raise Refusal(f"No adapter running for protocol: {message.protocol}", kind="not_found")
        rows = [row for row in rows if message.name in (None, row.name, row.uuid)]
        return field.DevicesListed(sorted(rows, key=lambda row: row.name))

    # one endpoint

    def on_ReportDevices(self, message: field.ReportDevices, row: field.EndpointRow) -> field.DevicesReported:
        return field.DevicesReported({device(row).uuid: health(row.name)})

    def on_RemoveDevice(self, message: field.RemoveDevice) -> field.DeviceRemoved:
        raise Refusal(f"Device not found: {message.uuid}", kind="not_found")

    def on_ReportHealth(self, message: field.ReportHealth, row: field.EndpointRow) -> field.HealthReported:
        return health(row.name)

    def on_DescribeDevice(
        self, message: field.DescribeDevice, row: field.EndpointRow
    ) -> field.DeviceDescribed:
        register = {"name": "setpoint", "address": "holding:10", "lastValue": self.registers["setpoint"]}
        return field.DeviceDescribed(health(row.name), {"pollDurations": [12.0]}, [register])

    def on_SummariseMetrics(
        self, message: field.SummariseMetrics, row: field.EndpointRow
    ) -> field.MetricsSummarised:
        return field.MetricsSummarised(row.name, {"avgPollMs": 12.0, "totalPolls": 100})

    def on_WriteRegister(self, message: field.WriteRegister, row: field.EndpointRow) -> field.RegisterWritten:
        if message.register == "serial":
            raise Refusal("serial is read-only", "register", "read_only")
        if message.register not in self.registers:
            raise Refusal(f"Register not found: {message.register}", kind="not_found")
        if isinstance(message.value, bool) or not isinstance(message.value, int | float):
            raise Refusal("value must be a number", "value")
        self.registers[message.register] = message.value
        return field.RegisterWritten(message.register, message.value)

    def on_BrowseDevice(self, message: field.BrowseDevice) -> Browsed:
        if message.protocol != "opcua":
            raise Refusal(f"Protocol {message.protocol} cannot be browsed", "protocol", "unsupported")
        plant = BrowsedNode("ns=2;s=Plant", "Plant", "Object", has_children=True)
        speed = BrowsedNode("ns=2;s=Speed", "Speed", "Variable", plant.node, False, "Double", None, True)
        return Browsed([plant, speed, BrowsedNode("i=2253", "Server", "Object", has_children=True)])

    def on_TryEndpoint(self, message: field.TryEndpoint) -> field.Tried:
        if message.protocol != "modbus":
            raise Refusal(f"Unknown protocol: {message.protocol}", "protocol")
        if not isinstance(message.connection.get("host"), str):
            raise Refusal("host is required", "connection.host")
        names = [str(point.get("name")) for point in message.data_points]
        return field.Tried([field.TriedValue(None, name, "rpm", 7, None, NOW_MS) for name in names], 12.34)

    def on_TryStoredEndpoint(self, message: field.TryStoredEndpoint) -> field.Tried:
        if not any(message.key in (row.uuid, row.name) for row in self.endpoints.values()):
            raise Refusal(f"Endpoint not found: {message.key}", kind="not_found")
        return field.Tried([], 3000.0, "connection refused", "CONNECTION_REFUSED")

    # publisher

    def on_ListDestinations(self, message: publishing.ListDestinations) -> publishing.DestinationsListed:
        rows = self.destinations.values()
        return publishing.DestinationsListed([row for row in rows if row.enabled or message.include_disabled])

    def on_AddDestination(self, message: publishing.AddDestination) -> publishing.DestinationChanged:
        self._check_destination(message.name, message.type, None)
        row = publishing.DestinationRow(
            id=max(self.destinations, default=0) + 1,
            last_error=None,
            last_error_at=None,
            created_at=NOW,
            updated_at=NOW,
            status=STATUS,
            **msgspec.structs.asdict(message),
        )
        self.destinations[row.id] = row
        return publishing.DestinationChanged(row)

    def on_ChangeDestination(self, message: publishing.ChangeDestination) -> publishing.DestinationChanged:
        if message.id not in self.destinations:
            raise Refusal(f"Publisher not found: {message.id}", kind="not_found")
        row = _changed(self.destinations[message.id], message, ("name", "type", "config_json", "enabled"))
        self._check_destination(row.name, row.type, row.id)
        self.destinations[row.id] = row
        return publishing.DestinationChanged(row)

    def on_RemoveDestination(self, message: publishing.RemoveDestination) -> publishing.DestinationRemoved:
        if self.destinations.pop(message.id, None) is None:
            raise Refusal(f"Destination not found: {message.id}", kind="not_found")
        self.subscriptions = {
            key: row for key, row in self.subscriptions.items() if row.publish_destination_id != message.id
        }
        return publishing.DestinationRemoved(message.id)

    def on_TestDestination(self, message: publishing.TestDestination) -> publishing.DestinationTested:
        if message.type != "mqtt":
            error = f'Connection test not supported for type "{message.type}"'
            return publishing.DestinationTested(False, error=error)
        return publishing.DestinationTested(True, "TCP reachable at localhost:1883")

    def _check_destination(self, name: str, type_name: str, own_id: int | None) -> None:
        if type_name not in ("mqtt", "influxdb"):
            raise Refusal(f"Invalid type: {type_name}", "type")
        if any(row.name == name and row.id != own_id for row in self.destinations.values()):
            raise Refusal(f"Destination already exists: {name}", "name", "conflict")

    def on_ListDeadLetters(self, message: publishing.ListDeadLetters) -> publishing.DeadLettersListed:
        letters = self._dead_letters(message.destination_id)
        return publishing.DeadLettersListed(letters[: message.limit], len(letters))

    def on_RemoveDeadLetters(self, message: publishing.RemoveDeadLetters) -> publishing.DeadLettersRemoved:
        letters = self._dead_letters(message.destination_id)
        self.dead_letters[message.destination_id] = []
        return publishing.DeadLettersRemoved(len(letters))

    def _dead_letters(self, destination_id: int) -> list[DeadLetter]:
        if destination_id not in self.destinations:
            raise Refusal(f"Destination not found: {destination_id}", kind="not_found")
        return self.dead_letters.get(destination_id, [])

    def on_ListSubscriptions(self, message: publishing.ListSubscriptions) -> publishing.SubscriptionsListed:
        return publishing.SubscriptionsListed(
            [
                row
                for row in self.subscriptions.values()
                if message.publish_destination_id in (None, row.publish_destination_id)
                and (row.enabled or message.include_disabled)
            ]
        )

    def on_AddSubscription(self, message: publishing.AddSubscription) -> publishing.SubscriptionChanged:
        row = publishing.SubscriptionRow(
            id=max(self.subscriptions, default=0) + 1,
            created_at=NOW,
            updated_at=NOW,
            **msgspec.structs.asdict(message),
        )
        return self._keep_subscription(row)

    def on_ChangeSubscription(self, message: publishing.ChangeSubscription) -> publishing.SubscriptionChanged:
        if message.id not in self.subscriptions:
            raise Refusal(f"Publish subscription not found: {message.id}", kind="not_found")
        names = tuple(name for name in message.__struct_fields__ if name != "id")
        return self._keep_subscription(_changed(self.subscriptions[message.id], message, names))

    def on_PreviewSubscription(self, message: PreviewSubscription) -> SubscriptionPreviewed:
        if message.id not in self.subscriptions:
            raise Refusal(f"Publish subscription not found: {message.id}", kind="not_found")
        return SubscriptionPreviewed([], 0, 0, [], 0, None, [])

    def on_PreviewNewSubscription(self, message: PreviewNewSubscription) -> SubscriptionPreviewed:
        known = dict(self.subscriptions)
        self.on_AddSubscription(message.subscription)
        self.subscriptions = known
        return SubscriptionPreviewed([], 0, 0, [], 0, None, [])

    def _keep_subscription(self, row: publishing.SubscriptionRow) -> publishing.SubscriptionChanged:
        if row.payload_format not in ("custom", "tags", "ecp"):
            raise Refusal(f"Invalid payload_format: {row.payload_format}", "payload_format")
        if row.compression not in (None, "json", "msgpack", "json+deflate", "msgpack+deflate"):
            raise Refusal(f"Invalid compression: {row.compression}", "compression")
        if row.publish_destination_id not in self.destinations:
            raise Refusal(f"Destination not found: {row.publish_destination_id}", kind="not_found")
        if not str((row.route_json or {}).get("topic") or "").strip():
            text = "route_json.topic is required for external destinations"
            raise Refusal(text, "route_json.topic")
        self.subscriptions[row.id] = row
        return publishing.SubscriptionChanged(row)

    def on_RemoveSubscription(self, message: publishing.RemoveSubscription) -> publishing.SubscriptionRemoved:
        if self.subscriptions.pop(message.id, None) is None:
            raise Refusal(f"Publish subscription not found: {message.id}", kind="not_found")
        return publishing.SubscriptionRemoved(message.id)

    def on_ReportBuffers(self, message: publishing.ReportBuffers) -> publishing.BuffersReported:
        return publishing.BuffersReported([])

    # router

    def on_ReportRouting(self, message: ReportRouting) -> RoutingReported:
        return RoutingReported(0)

    def on_ReportLatest(self, message: ReportLatest) -> LatestReported:
        return LatestReported(list(self.latest))


def node(name: str, *, children: list[ActorNode] | None = None, **changes: Any) -> ActorNode:
    plain = ActorNode(
        name=name,
        actor_class=name.title(),
        address=f"/{name}",
        state="running",
        health=None,
        uptime=65.0,
        mailbox=0,
        mailbox_high=3,
        mailbox_dropped=0,
        handled=42,
        mean_ms=0.05,
        max_ms=1.5,
        restarts=0,
        last_error=None,
        children=children or [],
    )
    return msgspec.structs.replace(plain, **changes)


def health(name: str) -> field.HealthReported:
    return field.HealthReported(
        device=name,
        status="connected",
        connected=True,
        last_poll=NOW_MS,
        last_seen=NOW_MS,
        error_count=0,
        last_error=None,
        response_time_ms=12.0,
        poll_success_rate=0.985,
        registers_updated=2,
        communication_quality=98.5,
        quality_word="good",
        polls_skipped=0,
    )


def device(row: field.EndpointRow) -> field.DeviceRow:
    return field.DeviceRow(
        uuid=f"device-of-{row.uuid}",
        endpoint_id=row.id,
        name=row.name,
        protocol=row.protocol,
        enabled=row.enabled,
        identifier="1",
        metadata=None,
        created_at=NOW,
        updated_at=NOW,
        address=row.address,
        endpoint=row.name,
    )


def as_json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _check_interval(poll_interval: int) -> None:
    if not 10 <= poll_interval <= 86_400_000:
        raise Refusal("poll_interval must be from 10 to 86400000", "poll_interval")


def _changed(row: Any, message: Any, names: tuple[str, ...]) -> Any:
    changes = {name: getattr(message, name) for name in names if getattr(message, name) is not UNSET}
    return msgspec.structs.replace(row, **changes)


def failing(kind: Any, message: str, field_name: str | None = None) -> Callable[..., Failed]:
    return lambda *_: Failed(kind, message, field_name)


@asynccontextmanager
async def serving(agent: FakeAgent, **settings: Any) -> AsyncIterator[Client]:
    """A client of the API on a free port of 127.0.0.1; `settings` are those of `Context`."""
    app = build_app(Context(agent.ask, agent.ask_each, **settings))
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield client
