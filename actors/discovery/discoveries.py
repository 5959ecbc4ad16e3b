"""The discovery supervisor: keeper of the rules, their parent, and that of scans that somebody asks for."""

import logging
from typing import Any

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress

from actors.discovery.messages import (
    AddRule,
    ChangeRule,
    ListRules,
    ListRuns,
    RemoveRule,
    RuleChanged,
    RuleRan,
    RuleRemoved,
    RuleRow,
    RulesListed,
    RunRuleNow,
)
from actors.discovery.rule import BeginRule, ReportStanding, Rule, RuleHasRun, RuleStands, RunRule
from actors.discovery.rules import MOST, RuleBody, check, fault
from actors.discovery.run_keeper import DiscoveryOpened, RunDiscovery, RunKeeper
from actors.discovery.scan_messages import RunScan
from actors.discovery.schedule import Schedule
from actors.discovery.unasked import unasked_rules
from actors.state.rows import Kept, summary, understand
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.addresses import child_address
from actors.system.clock import running_ms
from actors.system.failure import Failed, Refusal
from actors.system.masks import unmasked
from actors.system.supervision import Restart
from storage import discovery as stored
from storage.discovery import RuleState, Stored
from storage.target_state import Row
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)


class Begin(msgspec.Struct, frozen=True):
    """To itself: ask for the rows."""


class Discoveries(RunKeeper):
    """Answers for the rules; every change is stored before it takes effect. Scans go on while it restarts."""

    RESTART = Restart(keep_children=True)
    CHANGES = (AddRule, ChangeRule, RemoveRule)
    REQUESTS = (*CHANGES, ListRules, ListRuns, RunRuleNow)

    def __init__(self) -> None:
        super().__init__()
        self.rules: dict[str, Kept[RuleBody]] = {}
        self.stands: dict[str, RuleStands] = {}

    def receiveMsg_RunDiscovery(self, message: RunDiscovery, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        if self.loaded:
            self._bring_in_line()
        elif not self.is_asked("load"):
            self.wakeupAfter(0, Begin())

    def receiveMsg_Begin(self, message: Begin, sender: ActorAddress) -> None:
        """After what the life before has left."""
        if not self.loaded and not self.is_asked("load"):
            self.begin()

    def load(self) -> tuple[Any, ...]:
        return stored.load, not self.opened

    def take(self, stored: Stored) -> None:
        self.opened = True
        self.remember(DiscoveryOpened(self.follower))
        self.rules = {row.uuid: understand(row, RuleBody) for row in stored.rules}
        self.stands = {
            uuid: self.stands.get(uuid) or RuleStands(state, None) for uuid, state in stored.states.items()
        }
        for kept in self.rules.values():
            if kept.body is None:
                log.error("discovery rule %s cannot run: %s", kept.row.uuid, kept.error)
        self._bring_in_line()

    # The tree

    def _bring_in_line(self) -> None:
        """Rules as they are stored and as settings say; scans that somebody has asked for go on."""
        wanted = {start.uuid: start for start in self._starts()}
        scans = [one for one in self.running_children() if isinstance(self.start_of(one), RunScan)]
        self.keep_only([*(self._address(uuid) for uuid in wanted), *scans])
        for start in wanted.values():
            self._keep_running(start)

    def _starts(self) -> list[RunRule]:
        config = self.config
        rules = [self._start(kept) for kept in self.rules.values() if kept.body is not None]
        return rules + unasked_rules(config.unasked, config.settings, config.store, config.endpoints)

    def _start(self, kept: Kept[RuleBody]) -> RunRule:
        return RunRule(
            uuid=kept.row.uuid,
            body=kept.known,
            scheduled=self.config.unasked.wanted,
            store=self.config.store,
            endpoints=self.config.endpoints,
            settings=self.config.settings,
            owner=kept.row.uuid,
        )

    def _keep_running(self, start: RunRule) -> None:
        address = self._address(start.uuid)
        if not self.running(address):
            self.spawn(Rule, start.uuid, start, label=start.body.name)
        elif self.start_of(address) != start:
            self.restate(address, start, label=start.body.name)
        else:
            self.send(address, ReportStanding())

    def _address(self, uuid: str) -> ActorAddress:
        return child_address(self.myAddress, uuid)

    def knows(self, rule_uuid: str) -> bool:
        return rule_uuid in self.rules or rule_uuid in self.stands

    def checked(self) -> SubsystemChecked:
        errors = {
            kept.row.uuid: kept.error or "cannot be read" for kept in self.rules.values() if kept.body is None
        }
        for kept in self.rules.values():
            if kept.body is not None and (reason := fault(kept.body)) is not None:
                errors[kept.body.name] = reason
        checks = []
        if broken := summary("rules", errors):
            checks.append(Check("discovery-rows", False, last_error=broken))
        stale = sorted({name for stands in self.stands.values() for name in stands.stale})
        if stale:
            shown = ", ".join(stale[:5]) + (f" and {len(stale) - 5} more" if len(stale) > 5 else "")
            checks.append(Check("discovery-stale", False, last_error=f"not found for a week: {shown}"))
        return SubsystemChecked(checks=checks)

    # Rules

    def receiveMsg_RuleStands(self, message: RuleStands, sender: ActorAddress) -> None:
        if not self.running(sender):
            return
        self.stands[message.state.rule_uuid] = message
        if message.state.status != "running":
            self.no_longer(message.state.rule_uuid, stored.INTERRUPTED)

    def receiveMsg_ListRules(self, message: ListRules, sender: ActorAddress) -> None:
        rows = [self._row(kept) for kept in self.rules.values()]
        self.send(sender, RulesListed(sorted(rows, key=lambda row: (row.name, row.uuid))))

    def _row(self, kept: Kept[RuleBody]) -> RuleRow:
        row = kept.row
        body = kept.body or RuleBody(name="", protocol="unknown", enabled=False)
        stands = self.stands.get(row.uuid) or RuleStands(RuleState(row.uuid), None)
        state, due = stands.state, stands.due_at
        return RuleRow(
            uuid=row.uuid,
            name=body.name,
            enabled=body.enabled,
            protocol=body.protocol or "",
            interval_seconds=body.interval_seconds,
            target_json=body.target_json,
            params_json=body.params_json,
            auto_enable=body.auto_enable,
            status=state.status,
            last_run_at=state.last_run_at,
            next_run_at=None if due is None else unix_ms() + max(0, due - running_ms()),
            last_result_json=state.last_result,
            created_at=row.created_at,
            updated_at=row.updated_at,
            error=kept.error or (None if kept.body is None else fault(kept.body)),
        )

    def receiveMsg_AddRule(self, message: AddRule, sender: ActorAddress) -> None:
        body = RuleBody(**msgspec.structs.asdict(message))
        check(body, self.config.settings)
        if len(self.rules) >= MOST:
            raise Refusal(f"There are {MOST} rules already", kind="conflict")

        def added(result: tuple[Row, RuleState]) -> RuleChanged:
            row, state = result
            kept = self.rules[row.uuid] = understand(row, RuleBody)
            self.stands[row.uuid] = self._standing(kept, state)
            self._keep_running(self._start(kept))
            return RuleChanged(self._row(kept))

        first = Schedule("")
        first.change(body.interval_seconds * 1000, None, unix_ms(), running_ms())
        at = first.next_at(unix_ms(), running_ms()) if body.enabled else None
        self.transact(sender, added, stored.add_rule, msgspec.to_builtins(body), at)

    def receiveMsg_ChangeRule(self, message: ChangeRule, sender: ActorAddress) -> None:
        kept = self._find(message.uuid)
        if kept.body is None:
            raise Refusal(f"{kept.error}: remove it, and add it anew", kind="conflict")
        given = {
            name: value
            for name, value in msgspec.structs.asdict(message).items()
            if name != "uuid" and value is not UNSET
        }
        for name in ("params_json", "target_json"):
            if name in given:
                given[name] = unmasked(getattr(kept.body, name), given[name])
        body = msgspec.structs.replace(kept.body, **given)
        check(body, self.config.settings)
        before = kept.body

        def changed(row: Row) -> RuleChanged:
            now = self.rules[row.uuid] = understand(row, RuleBody)
            stands = self.stands.get(row.uuid)
            state = RuleState(row.uuid) if stands is None else stands.state
            due = None if stands is None else stands.due_at
            if due is None or not body.enabled or before.interval_seconds != body.interval_seconds:
                self.stands[row.uuid] = self._standing(now, state)
            self._keep_running(self._start(now))
            return RuleChanged(self._row(now))

        self.transact(sender, changed, stored.change_rule, kept.row.id, msgspec.to_builtins(body))

    def _standing(self, kept: Kept[RuleBody], state: RuleState) -> RuleStands:
        """As the rule itself is about to tell."""
        schedule = Schedule(kept.row.uuid)
        body = kept.known
        if body.enabled and self.config.unasked.wanted:
            schedule.change(body.interval_seconds * 1000, state.last_run_at, unix_ms(), running_ms())
        return RuleStands(state, schedule.due_at)

    def receiveMsg_RemoveRule(self, message: RemoveRule, sender: ActorAddress) -> None:
        kept = self._find(message.uuid)

        def removed(count: int) -> RuleRemoved:
            self.rules.pop(kept.row.uuid, None)
            self.stands.pop(kept.row.uuid, None)
            self.stop_child(self._address(kept.row.uuid))
            self.no_longer(kept.row.uuid, "its rule was removed")
            return RuleRemoved()

        self.transact(sender, removed, stored.remove_rules, [(kept.row.id, kept.row.uuid)])

    def receiveMsg_RunRuleNow(self, message: RunRuleNow, sender: ActorAddress) -> None:
        kept = self._find(message.uuid)
        if kept.body is None:
            raise Refusal(f"{kept.error}: remove it, and add it anew", kind="conflict")
        address = self._address(message.uuid)
        if not self.running(address):
            raise Refusal("The rule has crashed too often; it is tried again by itself", kind="unavailable")
        self.send(address, BeginRule(sender, message.dry_run))

    def receiveMsg_RuleHasRun(self, message: RuleHasRun, sender: ActorAddress) -> None:
        kept = self.rules.get(message.uuid)
        if message.result is None or kept is None:
            failed = message.failed or Failed("not_found", "The rule was removed meanwhile")
            self.send(message.requester, failed)
        else:
            self.send(message.requester, RuleRan(self._row(kept), message.result))

    def _find(self, uuid: str) -> Kept[RuleBody]:
        kept = self.rules.get(uuid)
        if kept is None:
            raise Refusal(f"Discovery rule not found: {uuid}", kind="not_found")
        return kept
