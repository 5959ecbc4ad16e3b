"""The discovery supervisor: keeper of the rules, their parent, and that of scans that somebody asks for."""

import logging
from collections import deque
from typing import Any, Final

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress, ChildActorExited

from actors.discovery.messages import (
    AddRule,
    CancelRun,
    ChangeRule,
    Discover,
    FollowRuns,
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
    RunsProgressed,
    UnfollowRuns,
)
from actors.discovery.planning import Wanted, named
from actors.discovery.rule import (
    BeginRule,
    ReportStanding,
    Rule,
    RuleHasRun,
    RuleStands,
    RunRule,
    run_row,
    scan_name,
)
from actors.discovery.rules import MOST, RuleBody, check, fault, unmasked
from actors.discovery.saving import Keep
from actors.discovery.scan import EndScan, RunScan, Scan, ScanEnded, ScanProgressed
from actors.discovery.schedule import Schedule
from actors.discovery.unasked import Unasked, unasked_rules
from actors.state.keeper import Keeper
from actors.state.messages import Transacted
from actors.state.rows import Kept, summary, understand
from actors.subsystems.messages import Check, SubsystemChecked
from actors.system.addresses import child_address
from actors.system.clock import running_ms
from actors.system.failure import Failed, Refusal
from actors.system.supervision import Restart
from conf.settings import Settings
from storage import discovery as stored
from storage.discovery import RuleState, Run, Stored
from storage.target_state import Row
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

MANUAL: Final = 8
"""Scans at once that somebody has asked for."""
REMEMBERED: Final = 20
"""Of those, that are known when they have ended."""
TELL_EVERY = 0.5  # seconds between two reports to who follows
MOST_RUNS_EVER: Final = 2**63
MOST_RUNS: Final = 1000
"""That are listed."""
LONGEST: Final = 3600.0
"""Seconds that a scan which somebody asks for may take."""


class RunDiscovery(msgspec.Struct, frozen=True):
    """Start, and again whenever the runtime settings change."""

    store: ActorAddress
    endpoints: ActorAddress
    settings: Settings
    unasked: Unasked


class DiscoveryOpened(msgspec.Struct, frozen=True):
    """To each life to come: what was cut short by the end of another process is closed; who follows runs."""

    follower: ActorAddress | None = None


class Begin(msgspec.Struct, frozen=True):
    """To itself: ask for the rows."""


class TellOfRuns(msgspec.Struct, frozen=True):
    """To itself."""


class Discoveries(Keeper):
    """Answers for the rules; every change is stored before it takes effect. Scans go on while it restarts."""

    RESTART = Restart(keep_children=True)
    CHANGES = (AddRule, ChangeRule, RemoveRule)
    REQUESTS = (*CHANGES, ListRules, ListRuns, RunRuleNow)

    def __init__(self) -> None:
        super().__init__()
        self.opened = False
        self.rules: dict[str, Kept[RuleBody]] = {}
        self.stands: dict[str, RuleStands] = {}
        self.under_way: dict[str, tuple[RunRow, ActorAddress]] = {}
        """By uuid, each with who has told of it."""
        self.ended: deque[RunRow] = deque(maxlen=REMEMBERED)
        self.follower: ActorAddress | None = None
        self.news: dict[str, RunRow] = {}
        self.telling = False

    def receiveMsg_DiscoveryOpened(self, message: DiscoveryOpened, sender: ActorAddress) -> None:
        self.opened = True
        self.follower = message.follower

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

    # Scans that somebody asks for

    def receiveMsg_Discover(self, message: Discover, sender: ActorAddress) -> None:
        try:
            wanted = Wanted(message.protocols, message.overrides, message.validate)
            named(wanted)
            if message.within is not None and not 1 <= message.within <= LONGEST:
                raise Refusal(f"within must be 1 to {LONGEST:g} s, not {message.within:g}", "within")
            scans = [one for one in self.running_children() if isinstance(self.start_of(one), RunScan)]
            if len(scans) >= MANUAL:
                raise Refusal(f"{MANUAL} scans are under way; try again", kind="unavailable")
        except Refusal as refusal:
            self.send(sender, refusal.failed())
            return
        run = RunRow(
            uuid=stored.new_uuid(),
            rule_uuid=None,
            rule_name=None,
            protocol=",".join(message.protocols or ()),
            trigger="manual",
            started_at=unix_ms(),
        )
        start = RunScan(
            run=run,
            wanted=wanted,
            endpoints=self.config.endpoints,
            store=self.config.store,
            watcher=self.myAddress,
            settings=self.config.settings,
            requester=sender,
            within=message.within,
            keep=self._keep(message),
        )
        self.spawn(Scan, scan_name(), start)

    @staticmethod
    def _keep(message: Discover) -> Keep | None:
        if not (message.save or message.prune or message.dry_run):
            return None
        dry_run = message.dry_run or not message.save
        return Keep(stored.MANUAL, prune=message.prune, dry_run=dry_run)

    def receiveMsg_ScanEnded(self, message: ScanEnded, sender: ActorAddress) -> None:
        start = self.start_of(sender)
        if not isinstance(start, RunScan):
            return
        self.stop_child(sender)
        self.ended.append(message.run)
        self._progressed(message.run, sender)
        if message.seen and start.keep is not None:
            at = message.run.started_at
            self.ask_store("seen", stored.save_seen, start.keep.owner, message.seen, at)
        if start.requester is not None:
            self.send(start.requester, message.result or message.failed)

    def _seen_done(self, answer: Transacted) -> None:
        if answer.error is not None:
            log.warning("who was found cannot be stored: %s", answer.error)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        """Of a scan that has crashed; rules are restarted."""
        for row, teller in list(self.under_way.values()):
            if teller == message.childAddress and row.rule_uuid is None:
                now = unix_ms()
                crashed = msgspec.structs.replace(
                    row, status="error", error="the scan has crashed", finished_at=now
                )
                self.ended.append(crashed)
                self._progressed(crashed, teller)

    def receiveMsg_CancelRun(self, message: CancelRun, sender: ActorAddress) -> None:
        found = self.under_way.get(message.uuid)
        if found is None:
            self.send(sender, Failed("not_found", f"No such run is under way: {message.uuid}"))
            return
        self.send(found[1], EndScan("cancelled"))
        self.send(sender, RunCancelled())

    # Progress

    def receiveMsg_ScanProgressed(self, message: ScanProgressed, sender: ActorAddress) -> None:
        self._progressed(message.run, sender)

    def _progressed(self, row: RunRow, teller: ActorAddress) -> None:
        if row.status == "running":
            self.under_way[row.uuid] = row, teller
        else:
            self.under_way.pop(row.uuid, None)
        if self.follower is not None:
            self.news[row.uuid] = row
            self._tell_soon()

    def _tell_soon(self) -> None:
        if not self.telling:
            self.telling = True
            self.wakeupAfter(TELL_EVERY, TellOfRuns())

    def receiveMsg_TellOfRuns(self, message: TellOfRuns, sender: ActorAddress) -> None:
        self.telling = False
        news, self.news = self.news, {}
        if self.follower is not None and not self.exists(self.follower):
            self.follower = None
        if self.follower is not None and news:
            self.send(self.follower, RunsProgressed(list(news.values())))

    def receiveMsg_FollowRuns(self, message: FollowRuns, sender: ActorAddress) -> None:
        self._follow(sender)
        self.send(sender, RunsProgressed([row for row, _ in self.under_way.values()]))

    def receiveMsg_UnfollowRuns(self, message: UnfollowRuns, sender: ActorAddress) -> None:
        self._follow(None)

    def _follow(self, follower: ActorAddress | None) -> None:
        self.follower = follower
        self.news = {}
        if self.opened:
            self.remember(DiscoveryOpened(follower))

    def receiveMsg_ListRuns(self, message: ListRuns, sender: ActorAddress) -> None:
        limit = min(max(1, message.limit), MOST_RUNS)
        wanted = message.rule_uuid
        if wanted is not None and wanted not in self.rules and wanted not in self.stands:
            raise Refusal(f"Discovery rule not found: {wanted}", kind="not_found")

        def listed(found: list[Run]) -> RunsListed:
            rows = {run.uuid: run_row(run) for run in found}
            for live in (*(row for row, _ in self.under_way.values()), *self.ended):
                if wanted in (None, live.rule_uuid):
                    known = rows.get(live.uuid)
                    rows[live.uuid] = msgspec.structs.replace(live, id=None if known is None else known.id)
            # By number where all have one, for the clock may have been set.
            numbered = wanted is not None

            def age(row: RunRow) -> int:
                return row.started_at if not numbered else row.id or MOST_RUNS_EVER

            return RunsListed(sorted(rows.values(), key=age, reverse=True)[:limit])

        self.look_up(sender, listed, stored.runs, wanted, limit)

    # Rules

    def receiveMsg_RuleStands(self, message: RuleStands, sender: ActorAddress) -> None:
        if not self.running(sender):
            return
        self.stands[message.state.rule_uuid] = message
        if message.state.status != "running":
            self._no_longer(message.state.rule_uuid, stored.INTERRUPTED)

    def _no_longer(self, rule_uuid: str, reason: str) -> None:
        """What is known of a run of that rule ends with it."""
        for row, _ in list(self.under_way.values()):
            if row.rule_uuid == rule_uuid:
                ended = msgspec.structs.replace(row, status="error", error=reason, finished_at=unix_ms())
                self._progressed(ended, self.myAddress)

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
            self._no_longer(kept.row.uuid, "its rule was removed")
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
