"""The endpoints supervisor: keeper of the endpoint configuration, parent of the adapters."""

import logging
from collections.abc import Iterable
from contextlib import suppress
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
from actors.state.names import check_name
from actors.state.rows import Kept, summary, understand
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import endpoints as stored
from storage import target_state
from storage.devices import Device
from storage.target_state import Row

log = logging.getLogger(__name__)


class RunEndpoints(msgspec.Struct, frozen=True):
    """Start: whom the tree needs below."""

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
    """Answers for all endpoints; every change is stored before it takes effect, and costs what it changes."""

    RESTART = Restart(keep_children=True)
    CHANGES = (AddEndpoint, ChangeEndpoint, RemoveEndpoint, RemoveAllEndpoints)
    REQUESTS = (*CHANGES, ListEndpoints, ListDevices)

    def receiveMsg_RunEndpoints(self, message: RunEndpoints, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        self.begin()

    def load(self) -> tuple[Any, ...]:
        return (stored.load,)

    def take(self, stored: tuple[list[Row], list[Device]]) -> None:
        rows, devices = stored
        self.devices = {device.endpoint_id: device for device in devices}
        self.rows: dict[int, Kept[Body]] = {}
        self.starts: dict[str, dict[int, RunEndpoint]] = {}
        for row in rows:
            self._put(row)
            _tell_unknown(self.rows[row.id])
        self.keep_only(child_address(self.myAddress, protocol) for protocol in self.starts)
        self._reconcile(self.starts)

    def checked(self) -> SubsystemChecked:
        errors = {kept.row.name or "": kept.error for kept in self.rows.values() if kept.error is not None}
        broken = summary("endpoints", errors)
        return SubsystemChecked(checks=[Check("endpoints-rows", False, last_error=broken)] if broken else [])

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
        check_name(message.name)
        if any(kept.row.name == message.name for kept in self.rows.values()):
            raise Refusal(f"Endpoint already exists: {message.name}", "name", "conflict")
        checked = protocols.find(body.protocol).accept(body.connection, body.data_points or [])
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
        return self._changed(row)

    def receiveMsg_ChangeEndpoint(self, message: ChangeEndpoint, sender: ActorAddress) -> None:
        kept = self._find(message.key)
        if kept.body is None:
            raise Refusal(f"{kept.error}: remove it, and add it anew", kind="conflict")
        changes: dict[str, Any] = {}
        if message.enabled is not UNSET:
            changes["enabled"] = message.enabled
        if message.poll_interval is not UNSET:
            _check_interval(message.poll_interval)
            changes["poll_interval"] = message.poll_interval
        self.transact(sender, self._changed, stored.change_endpoint, kept.row.id, changes)

    def _changed(self, row: Row) -> EndpointChanged:
        device = self.devices[row.id]
        self.devices[row.id] = msgspec.structs.replace(device, enabled=row.body["enabled"])
        self._reconcile(self._put(row))
        return EndpointChanged(self._row(self.rows[row.id]))

    def receiveMsg_RemoveEndpoint(self, message: RemoveEndpoint, sender: ActorAddress) -> None:
        found = [kept.row.id for kept in self.rows.values() if kept.row.uuid == message.uuid]
        if not found:
            raise Refusal(f"Endpoint not found: {message.uuid}", kind="not_found")
        self._remove(found, sender)

    def receiveMsg_RemoveAllEndpoints(self, message: RemoveAllEndpoints, sender: ActorAddress) -> None:
        self._remove(list(self.rows), sender)

    def _remove(self, ids: list[int], requester: ActorAddress) -> None:
        def removed(count: int) -> EndpointsRemoved:
            self._reconcile({protocol for id in ids for protocol in self._drop(id)})
            return EndpointsRemoved(count)

        self.transact(requester, removed, target_state.delete, ids)

    def _find(self, key: str) -> Kept[Body]:
        for kept in self.rows.values():
            if key in (kept.row.uuid, kept.row.name):
                return kept
        raise Refusal(f"Endpoint not found: {key}", kind="not_found")

    # Answering

    def receiveMsg_ListEndpoints(self, message: ListEndpoints, sender: ActorAddress) -> None:
        rows = [self._row(kept) for kept in self.rows.values()]
        chosen = [row for row in rows if message.protocol in (None, row.protocol)]
        self.send(sender, EndpointsListed(sorted(chosen, key=lambda row: row.name)))

    def receiveMsg_ListDevices(self, message: ListDevices, sender: ActorAddress) -> None:
        if message.running and not self.running(child_address(self.myAddress, message.protocol or "")):
            raise Refusal(f"No adapter running for protocol: {message.protocol}", kind="not_found")
        rows = [
            DeviceRow(**msgspec.structs.asdict(device), address=self._address(device.endpoint_id))
            for device in self.devices.values()
            if message.protocol in (None, device.protocol)
        ]
        self.send(sender, DevicesListed(sorted(rows, key=lambda row: row.name)))

    def _row(self, kept: Kept[Body]) -> EndpointRow:
        row, device = kept.row, self.devices.get(kept.row.id)
        body = kept.body or Body(
            protocol=device.protocol if device else "unknown",
            connection={},
            poll_interval=0,
            enabled=device is not None and device.enabled,
        )
        return EndpointRow(
            id=row.id,
            uuid=row.uuid,
            name=row.name or "",
            created_at=row.created_at,
            updated_at=row.updated_at,
            address=self._address(row.id),
            error=kept.error,
            **msgspec.structs.asdict(body),
        )

    def _address(self, id: int) -> ActorAddress | None:
        """The endpoint's actor, or None when it is not to run."""
        kept = self.rows.get(id)
        if kept is None or kept.body is None or not kept.body.enabled:
            return None
        return child_address(child_address(self.myAddress, kept.body.protocol), kept.row.name or "")

    # Bringing the tree in line

    def _put(self, row: Row) -> set[str]:
        """Keep a row; the protocols whose adapters it concerns."""
        before = self._drop_start(row.id)
        kept = understand(row, Body)
        device = self.devices.get(row.id)
        if kept.body is not None and device is None:
            kept = Kept(row, None, "its device is missing in the database")
        elif kept.body is not None and kept.body.poll_interval <= 0:
            kept = Kept(row, None, f"its stored poll_interval is {kept.body.poll_interval} ms")
        self.rows[row.id] = kept
        if kept.error is not None:
            log.error("endpoint %s cannot run: %s", row.name, kept.error)
        if kept.body is None or device is None or not kept.body.enabled:
            return before
        start = self._start(row, kept.body, device)
        self.starts.setdefault(start.protocol, {})[row.id] = start
        return before | {start.protocol}

    def _drop(self, id: int) -> set[str]:
        self.rows.pop(id, None)
        self.devices.pop(id, None)
        return self._drop_start(id)

    def _drop_start(self, id: int) -> set[str]:
        return {protocol for protocol, known in self.starts.items() if known.pop(id, None) is not None}

    def _reconcile(self, protocols: Iterable[str]) -> None:
        """Bring these adapters in line; the others have nothing to do with it."""
        for protocol in protocols:
            address = child_address(self.myAddress, protocol)
            endpoints = self.starts.get(protocol)
            if not endpoints:
                self.stop_child(address)
            elif self.running(address):
                self.restate(address, RunAdapter(tuple(endpoints.values())))
            else:
                self.spawn(Adapter, protocol, RunAdapter(tuple(endpoints.values())))

    def _start(self, row: Row, body: Body, device: Device) -> RunEndpoint:
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


def _tell_unknown(kept: Kept[Body]) -> None:
    """Log the keys of a stored endpoint that its protocol does not know, if there is that protocol."""
    body = kept.body
    if body is not None:
        with suppress(Refusal):
            protocol = protocols.find(body.protocol)
            protocol.tell_unknown(f"endpoint {kept.row.name}", body.connection, body.data_points or [])


def _check_interval(interval: int) -> None:
    low, high = Protocol.INTERVAL_MS
    if not low <= interval <= high:
        raise Refusal(f"poll_interval must be {low} to {high} ms, not {interval}", "poll_interval")
