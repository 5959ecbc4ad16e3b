"""The outputs and drift detectors that `FakeAgent` has, over a small in-memory model."""

from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.outputs import messages as outputs
from actors.outputs import options
from actors.outputs.outputs import PROTOCOLS
from actors.system.failure import Refusal
from storage.drift import StoredDriftEvent

CREATED = "2024-01-15T10:30:00.000Z"


class FakeOutputs:
    """`baselines` are those of modbus."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs = {
            protocol: outputs.OutputRow(number, protocol, None, CREATED, CREATED)
            for number, protocol in enumerate(PROTOCOLS, 1)
        }
        self.drift_events: list[StoredDriftEvent] = []
        self.baselines: dict[str, outputs.BaselineRow] = {"press": baseline("press")}

    def on_ListOutputs(self, message: outputs.ListOutputs) -> outputs.OutputsListed:
        detectors = {protocol: ActorAddress(f"/outputs/{protocol}") for protocol in PROTOCOLS}
        return outputs.OutputsListed(list(self.outputs.values()), detectors)

    def on_ChangeDriftOptions(self, message: outputs.ChangeDriftOptions) -> outputs.OutputsChanged:
        if message.protocol not in (None, *PROTOCOLS):
            raise Refusal(f"Protocol output not found: {message.protocol}", kind="not_found")
        changed = PROTOCOLS if message.protocol is None else (message.protocol,)
        for protocol in changed:
            self.outputs[protocol] = self._merged(self.outputs[protocol], message.options)
        return outputs.OutputsChanged([self.outputs[protocol] for protocol in changed])

    def _merged(self, row: outputs.OutputRow, patch: dict[str, Any] | None) -> outputs.OutputRow:
        merged = None if patch is None else (row.drift_options or {}) | options.check(patch).put
        return msgspec.structs.replace(row, drift_options=merged)

    def on_ListDriftEvents(self, message: outputs.ListDriftEvents) -> outputs.DriftEventsListed:
        found = [event for event in self.drift_events if message.protocol in (None, event.protocol)]
        return outputs.DriftEventsListed(found[: message.limit])

    # one detector

    def on_ListBaselines(self, message: outputs.ListBaselines, protocol: str) -> outputs.BaselinesListed:
        return outputs.BaselinesListed(list(self.baselines.values()) if protocol == "modbus" else [])

    def on_RemoveBaselines(self, message: outputs.RemoveBaselines, protocol: str) -> outputs.BaselinesRemoved:
        known = self.baselines if protocol == "modbus" else {}
        if message.device is not None and message.device not in known:
            raise Refusal(f"Baseline not found: {message.device}", "device", "not_found")
        gone = [device for device in known if message.device in (None, device)]
        for device in gone:
            del known[device]
        return outputs.BaselinesRemoved(len(gone))


def baseline(device: str) -> outputs.BaselineRow:
    speed = outputs.FieldRow("reading:speed", ["number"], 1.0, 42, True, False, False)
    return outputs.BaselineRow("modbus", device, f"uuid-of-{device}", 42, False, CREATED, [speed])
