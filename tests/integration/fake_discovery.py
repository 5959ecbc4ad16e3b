"""The double's discovery: one device, found whatever is asked."""

from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET

from actors.discovery.messages import (
    AddRule,
    CancelRun,
    ChangeRule,
    Discover,
    Discovered,
    DiscoveredDevice,
    ListRules,
    ListRuns,
    RemoveRule,
    RuleChanged,
    RuleRan,
    RuleRemoved,
    RuleRow,
    RulesListed,
    RunCancelled,
    RunRow,
    RunRuleNow,
    RunsListed,
)
from actors.system.failure import Refusal

NOW = "2024-01-15T10:30:00.000Z"
NOW_MS = 1_705_314_600_000

DEVICE = DiscoveredDevice(
    name="Modbus Device at 10.0.1.100",
    protocol="modbus",
    fingerprint="f" * 32,
    connection={"host": "10.0.1.100", "port": 502, "password": "hunter2"},
    data_points=({"name": "speed", "register": "holding:0"},),
    confidence="high",
    discovered_at=NOW_MS,
    validated=True,
    metadata={"slaveId": 1},
)


def run_row(**fields: Any) -> RunRow:
    plain = RunRow(
        uuid=str(uuid4()),
        rule_uuid=None,
        rule_name=None,
        protocol="modbus",
        trigger="manual",
        started_at=NOW_MS,
        finished_at=NOW_MS + 1500,
        duration_ms=1500,
        status="ok",
        found=1,
        planned=254,
        probed=254,
        troubles=0,
    )
    return msgspec.structs.replace(plain, **fields)


class FakeDiscovery:
    def __init__(self) -> None:
        super().__init__()
        self.rules: dict[str, RuleRow] = {}
        self.runs: list[RunRow] = []

    def on_Discover(self, message: Discover) -> Discovered:
        for index, protocol in enumerate(message.protocols or ()):
            if protocol not in ("modbus", "opcua"):
                raise Refusal(f"Unknown protocol: {protocol}", f"protocols[{index}]")
        for protocol, options in message.overrides.items():
            if protocol not in ("modbus", "opcua"):
                raise Refusal(f"Unknown protocol: {protocol}", f"overrides.{protocol}")
            if unknown := set(options) - {"network", "host", "port", "timeout"}:
                raise Refusal(f"{min(unknown)} is not known", f"overrides.{protocol}.{min(unknown)}")
        return self._ran(run_row())

    def _ran(self, row: RunRow) -> Discovered:
        self.runs.insert(0, row)
        return Discovered(run=row, devices=(DEVICE,))

    def on_CancelRun(self, message: CancelRun) -> RunCancelled:
        if not any(run.uuid == message.uuid and run.status == "running" for run in self.runs):
            raise Refusal(f"No such run is under way: {message.uuid}", kind="not_found")
        return RunCancelled()

    def on_ListRuns(self, message: ListRuns) -> RunsListed:
        if message.rule_uuid is not None:
            self._rule(message.rule_uuid)
        runs = [run for run in self.runs if message.rule_uuid in (None, run.rule_uuid)]
        return RunsListed(runs[: message.limit])

    def on_ListRules(self, message: ListRules) -> RulesListed:
        return RulesListed(sorted(self.rules.values(), key=lambda row: row.name))

    def on_AddRule(self, message: AddRule) -> RuleChanged:
        row = RuleRow(
            uuid=str(uuid4()),
            status="idle",
            last_run_at=None,
            next_run_at=NOW_MS + 1000 * message.interval_seconds if message.enabled else None,
            last_result_json=None,
            created_at=NOW,
            updated_at=NOW,
            **msgspec.structs.asdict(message),
        )
        return self._keep(row)

    def on_ChangeRule(self, message: ChangeRule) -> RuleChanged:
        given = {name: value for name, value in msgspec.structs.asdict(message).items() if value is not UNSET}
        return self._keep(msgspec.structs.replace(self._rule(message.uuid), **given))

    def _keep(self, row: RuleRow) -> RuleChanged:
        if row.protocol != "modbus":
            raise Refusal(f"Unknown protocol: {row.protocol}", "protocol")
        if not 60 <= row.interval_seconds <= 31_536_000:
            raise Refusal("interval_seconds must be 60 to 31536000", "interval_seconds")
        if any(row.name == other.name and row.uuid != other.uuid for other in self.rules.values()):
            raise Refusal(f"Discovery rule already exists: {row.name}", "name", "conflict")
        self.rules[row.uuid] = row
        return RuleChanged(row)

    def on_RemoveRule(self, message: RemoveRule) -> RuleRemoved:
        self._rule(message.uuid)
        del self.rules[message.uuid]
        return RuleRemoved()

    def on_RunRuleNow(self, message: RunRuleNow) -> RuleRan:
        rule = self._rule(message.uuid)
        return RuleRan(rule, self._ran(run_row(rule_uuid=rule.uuid, rule_name=rule.name)))

    def _rule(self, uuid: str) -> RuleRow:
        if uuid not in self.rules:
            raise Refusal(f"Discovery rule not found: {uuid}", kind="not_found")
        return self.rules[uuid]
