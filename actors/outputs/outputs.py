"""Protocol outputs: keeper of the drift options, parent of the drift detectors."""

import logging
from typing import Any, Final

import msgspec
from thespian.actors import ActorAddress

from actors.outputs import options
from actors.outputs.detector import DriftDetector, RunDetector
from actors.outputs.messages import (
    ChangeDriftOptions,
    DriftEventsListed,
    ListDriftEvents,
    ListOutputs,
    OutputRow,
    OutputsChanged,
    OutputsListed,
)
from actors.outputs.options import DriftOptions
from actors.state.keeper import Keeper
from actors.state.rows import summary
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import drift as stored
from storage import target_state
from storage.target_state import Row

log = logging.getLogger(__name__)

PROTOCOLS: Final = ("modbus", "opcua", "snmp", "mqtt", "bacnet")
"""The protocols that have an output (spec 01 section 10), by id from 1. A detector's name is its protocol."""

BUFFER_CAPACITY: Final = {"opcua": 1_048_576}


class RunOutputs(msgspec.Struct, frozen=True):
    """Start. An output that was never changed is as old as the agent: `created_at`, ISO-8601."""

    store: ActorAddress
    router: ActorAddress
    created_at: str


class Outputs(Keeper):
    """Answers for the outputs; every change is stored before it takes effect."""

    RESTART = Restart(keep_children=True)
    CHANGES = (ChangeDriftOptions,)
    REQUESTS = (*CHANGES, ListOutputs, ListDriftEvents)

    def receiveMsg_RunOutputs(self, message: RunOutputs, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        self.begin()

    def load(self) -> tuple[Any, ...]:
        return target_state.load, (stored.OUTPUT,)

    def take(self, stored: list[Row]) -> None:
        self.rows = {row.name: row for row in stored}
        for protocol in PROTOCOLS:
            self._reconcile(protocol)

    def checked(self) -> SubsystemChecked:
        errors = {name or "": row.error for name, row in self.rows.items() if row.error is not None}
        broken = summary("drift options", errors)
        return SubsystemChecked(checks=[Check("outputs-rows", False, last_error=broken)] if broken else [])

    def receiveMsg_ListOutputs(self, message: ListOutputs, sender: ActorAddress) -> None:
        detectors = {protocol: child_address(self.myAddress, protocol) for protocol in PROTOCOLS}
        self.send(sender, OutputsListed([self._row(protocol) for protocol in PROTOCOLS], detectors))

    def receiveMsg_ChangeDriftOptions(self, message: ChangeDriftOptions, sender: ActorAddress) -> None:
        if message.protocol not in (None, *PROTOCOLS):
            raise Refusal(f"Protocol output not found: {message.protocol}", kind="not_found")
        protocols = PROTOCOLS if message.protocol is None else (message.protocol,)
        change = None if message.options is None else options.check(message.options)

        def changed(rows: list[Row]) -> OutputsChanged:
            self.rows |= {row.name: row for row in rows}
            for protocol in protocols:
                self._reconcile(protocol)
            return OutputsChanged([self._row(protocol) for protocol in protocols])

        put, drop = (None, ()) if change is None else (change.put, change.drop)
        self.transact(sender, changed, stored.change_options, protocols, put, drop)

    def receiveMsg_ListDriftEvents(self, message: ListDriftEvents, sender: ActorAddress) -> None:
        self.look_up(sender, DriftEventsListed, stored.newest, message.protocol, message.limit)

    def _row(self, protocol: str) -> OutputRow:
        row = self.rows.get(protocol)
        return OutputRow(
            id=PROTOCOLS.index(protocol) + 1,
            protocol=protocol,
            drift_options=self._stored(protocol),
            created_at=self.config.created_at,
            updated_at=self.config.created_at if row is None else row.updated_at,
            buffer_capacity=BUFFER_CAPACITY.get(protocol, 131_072),
        )

    def _stored(self, protocol: str) -> dict[str, Any] | None:
        row = self.rows.get(protocol)
        options = None if row is None else row.body.get("drift_options")
        return options if isinstance(options, dict) else None

    def _reconcile(self, protocol: str) -> None:
        address = child_address(self.myAddress, protocol)
        start = RunDetector(protocol, self._options(protocol), self.store, self.config.router)
        if self.running(address):
            self.restate(address, start)
        else:
            self.spawn(DriftDetector, protocol, start)

    def _options(self, protocol: str) -> DriftOptions:
        """Only what passed the checks is stored; but another version may have had other checks."""
        row = self.rows.get(protocol)
        if row is not None and row.error is not None:
            log.error("%s: its drift options count as not set: %s", protocol, row.error)
        try:
            return options.read(self._stored(protocol))
        except Refusal as refusal:
            log.warning("%s: its drift options count as not set: %s", protocol, refusal)
            return DriftOptions()
