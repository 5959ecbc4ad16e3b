"""The endpoints supervisor: keeper of the endpoint configuration, parent of the adapters."""

from typing import Any

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.adapter import Adapter, RunAdapter
from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.messages import (
    AddEndpoint,
    ChangeEndpoint,
    DeviceRow,
    DevicesListed,
    EndpointChanged,
    EndpointRow,
    EndpointsListed,
    EndpointsRemoved,
    ListDevices,
    ListEndpoints,
    RemoveAllEndpoints,
    RemoveEndpoint,
)
from actors.endpoints.protocol import Protocol
from actors.state.keeper import Keeper
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import endpoints as stored
from storage import target_state
from storage.devices import Device
from storage.target_state import Row

NAME_LENGTH = 200


class RunEndpoints(msgspec.Struct, frozen=True):
    """Start: the stored endpoints and devices, and whom the tree needs below."""

    rows: list[Row]
    devices: list[Device]
    store: ActorAddress
    router: ActorAddress
    reconnect_min_ms: int
    reconnect_max_ms: int


class Body(msgspec.Struct, frozen=True):
    """What the target state keeps of an endpoint besides its name."""

    protocol: str
    connection: dict[str, Any]
    poll_interval: int
    enabled: bool
    data_points: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    fingerprint: str | None = None


class Endpoints(Keeper):
    """Answers for all endpoints; every change is stored before it takes effect."""

    RESTART = Restart(keep_children=True)

    def receiveMsg_RunEndpoints(self, message: RunEndpoints, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        self.rows = {row.id: row for row in message.rows if row.kind == stored.ENDPOINT}
        self.devices = {device.endpoint_id: device for device in message.devices}
        self._reconcile()

    # Changing

    def receiveMsg_AddEndpoint(self, message: AddEndpoint, sender: ActorAddress) -> None:
        body = Body(
            protocol=message.protocol,
            connection=message.connection,
            poll_interval=message.poll_interval,
            enabled=message.enabled,
            data_points=message.data_points,
            metadata=message.metadata,
            fingerprint=message.fingerprint,
        )
        _check_name(message.name)
        if any(row.name == message.name for row in self.rows.values()):
            raise Refusal(f"Endpoint already exists: {message.name}", "name", "conflict")
        checked = protocols.find(body.protocol).check(body.connection, body.data_points or [])
        _check_interval(body.poll_interval)
        self.transact(
            sender,
            self._added,
            stored.add_endpoint,
            message.name,
            msgspec.to_builtins(body),
            checked.identifier,
            body.protocol,
        )

    def _added(self, result: tuple[Row, Device]) -> EndpointChanged:
        row, device = result
        self.devices[row.id] = device
        return self._stored(row)

    def receiveMsg_ChangeEndpoint(self, message: ChangeEndpoint, sender: ActorAddress) -> None:
        row = self._find(message.key)
        changes: dict[str, Any] = {}
        if message.enabled is not UNSET:
            changes["enabled"] = message.enabled
        if message.poll_interval is not UNSET:
            _check_interval(message.poll_interval)
            changes["poll_interval"] = message.poll_interval
        self.transact(sender, self._stored, stored.change_endpoint, row.id, changes)

    def _stored(self, row: Row) -> EndpointChanged:
        self.rows[row.id] = row
        device = self.devices[row.id]
        self.devices[row.id] = msgspec.structs.replace(device, enabled=row.body["enabled"])
        self._reconcile()
        return EndpointChanged(self._row(row))

    def receiveMsg_RemoveEndpoint(self, message: RemoveEndpoint, sender: ActorAddress) -> None:
        found = [row.id for row in self.rows.values() if row.uuid == message.uuid]
        if not found:
            raise Refusal(f"Endpoint not found: {message.uuid}", kind="not_found")
        self._remove(found, sender)

    def receiveMsg_RemoveAllEndpoints(self, message: RemoveAllEndpoints, sender: ActorAddress) -> None:
        self._remove(list(self.rows), sender)

    def _remove(self, ids: list[int], requester: ActorAddress) -> None:
        def removed(count: int) -> EndpointsRemoved:
            for id in ids:
                self.rows.pop(id, None)
                self.devices.pop(id, None)
            self._reconcile()
            return EndpointsRemoved(count)

        self.transact(requester, removed, target_state.delete, ids)

    def _find(self, key: str) -> Row:
        for row in self.rows.values():
            if key in (row.uuid, row.name):
                return row
        raise Refusal(f"Endpoint not found: {key}", kind="not_found")

    # Answering

    def receiveMsg_ListEndpoints(self, message: ListEndpoints, sender: ActorAddress) -> None:
        rows = [self._row(row) for row in self.rows.values()]
        chosen = [row for row in rows if message.protocol in (None, row.protocol)]
        self.send(sender, EndpointsListed(sorted(chosen, key=lambda row: row.name)))

    def receiveMsg_ListDevices(self, message: ListDevices, sender: ActorAddress) -> None:
        if message.running and not self.running(child_address(self.myAddress, message.protocol or "")):
            raise Refusal(f"No adapter running for protocol: {message.protocol}", kind="not_found")
        rows = [
            DeviceRow(**msgspec.structs.asdict(device), address=self._address(self.rows[device.endpoint_id]))
            for device in self.devices.values()
            if message.protocol in (None, device.protocol)
        ]
        self.send(sender, DevicesListed(sorted(rows, key=lambda row: row.name)))

    def _row(self, row: Row) -> EndpointRow:
        return EndpointRow(
            id=row.id,
            uuid=row.uuid,
            name=row.name or "",
            created_at=row.created_at,
            updated_at=row.updated_at,
            address=self._address(row),
            **msgspec.structs.asdict(_body(row)),
        )

    def _address(self, row: Row) -> ActorAddress | None:
        """The endpoint's actor, or None while it is disabled."""
        if not row.body["enabled"]:
            return None
        return child_address(child_address(self.myAddress, row.body["protocol"]), row.name or "")

    # Bringing the tree in line

    def _reconcile(self) -> None:
        self.remember(
            msgspec.structs.replace(
                self.config, rows=list(self.rows.values()), devices=list(self.devices.values())
            )
        )
        wanted: dict[str, list[RunEndpoint]] = {}
        for row in self.rows.values():
            if row.body["enabled"]:
                wanted.setdefault(row.body["protocol"], []).append(self._start(row))
        self.keep_only(child_address(self.myAddress, protocol) for protocol in wanted)
        for protocol, endpoints in wanted.items():
            address = child_address(self.myAddress, protocol)
            start = RunAdapter(tuple(endpoints))
            if self.running(address):
                self.restate(address, start)
            else:
                self.spawn(Adapter, protocol, start)

    def _start(self, row: Row) -> RunEndpoint:
        body = _body(row)
        device = self.devices[row.id]
        return RunEndpoint(
            uuid=row.uuid,
            name=row.name or "",
            protocol=body.protocol,
            device_uuid=device.uuid,
            device=device.name,
            connection=body.connection,
            data_points=body.data_points or [],
            poll_interval=body.poll_interval,
            phase=0.0,
            reconnect_min_ms=self.config.reconnect_min_ms,
            reconnect_max_ms=self.config.reconnect_max_ms,
            router=self.config.router,
        )


def _body(row: Row) -> Body:
    return msgspec.convert(row.body, Body)


def _check_name(name: str) -> None:
    if not name.strip():
        raise Refusal("name is required", "name")
    if len(name) > NAME_LENGTH:
        raise Refusal(f"name is longer than {NAME_LENGTH} characters", "name")


def _check_interval(interval: int) -> None:
    low, high = Protocol.INTERVAL_MS
    if not low <= interval <= high:
        raise Refusal(f"poll_interval must be {low} to {high} ms, not {interval}", "poll_interval")
