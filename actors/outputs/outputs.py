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
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import drift as stored
from storage.target_state import Row

log = logging.getLogger(__name__)

PROTOCOLS: Final = ("modbus", "opcua", "snmp", "mqtt", "bacnet")
"""The protocols that have an output (spec 01 section 10), by id from 1. A detector's name is its protocol."""

BUFFER_CAPACITY: Final = {"opcua": 1_048_576}


class RunOutputs(msgspec.Struct, frozen=True):
    """Start. Of `rows` those of the kind `storage.drift.OUTPUT` count; an output that was never changed is as
    old as the agent: `created_at`, ISO-8601."""

    rows: list[Row]
    store: ActorAddress
    router: ActorAddress
    created_at: str


class Outputs(Keeper):
    """Answers for the outputs; every change is stored before it takes effect."""

    RESTART = Restart(keep_children=True)

    def receiveMsg_RunOutputs(self, message: RunOutputs, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        self.rows = {row.name: row for row in message.rows if row.kind == stored.OUTPUT}
        self._reconcile()

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
            self._reconcile()
            return OutputsChanged([self._row(protocol) for protocol in protocols])

        put, drop = (None, ()) if change is None else (change.put, change.drop)
        self.transact(sender, changed, stored.change_options, protocols, put, drop)

    def receiveMsg_ListDriftEvents(self, message: ListDriftEvents, sender: ActorAddress) -> None:
        self.transact(sender, DriftEventsListed, stored.newest, message.protocol, message.limit)

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
        return None if row is None else row.body.get("drift_options")

    def _reconcile(self) -> None:
        self.remember(msgspec.structs.replace(self.config, rows=list(self.rows.values())))
        for protocol in PROTOCOLS:
            address = child_address(self.myAddress, protocol)
            start = RunDetector(protocol, self._options(protocol), self.store, self.config.router)
            if self.running(address):
                self.restate(address, start)
            else:
                self.spawn(DriftDetector, protocol, start)

    def _options(self, protocol: str) -> DriftOptions:
        """Only what passed the checks is stored; but another version may have had other checks."""
        try:
            return options.read(self._stored(protocol))
        except Refusal as refusal:
            log.warning("%s: its drift options count as not set: %s", protocol, refusal)
            return DriftOptions()
