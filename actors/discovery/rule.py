"""A rule: has a scan run when it is due, and when somebody says so."""

import logging
from collections import deque
from itertools import count
from typing import Any

import msgspec
from thespian.actors import ActorAddress, ChildActorExited

from actors.discovery.messages import Discovered, RunRow
from actors.discovery.planning import Wanted
from actors.discovery.rules import RuleBody
from actors.discovery.run_rows import run_row, stored_run
from actors.discovery.saving import Keep
from actors.discovery.scan import Scan
from actors.discovery.scan_messages import EndScan, RunScan, ScanEnded, ScanProgressed
from actors.discovery.schedule import Schedule
from actors.state.client import StoreClient
from actors.state.messages import Transacted
from actors.system.clock import running_ms
from actors.system.failure import Failed
from conf.settings import Settings
from storage import discovery as stored
from storage.discovery import RuleState, Run, Seen, Trigger
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

LOOK_EVERY = 300.0  # seconds between two looks at what is due, at most
TRY_AGAIN = 5.0  # seconds until the store is asked again
PUT_OFF_MS = 60_000
"""Until the next try of a run that could not be noted."""
UNSAVED = 10
"""Ended runs that wait for a store which does not take them."""
ATTEMPTS = 3
"""Of a scan that is done once: when as many were cut short, it is given up."""

_numbers = count(1)
"""Of scans, never the same twice in a process."""


def scan_name() -> str:
    return f"scan-{next(_numbers)}"


class RunRule(msgspec.Struct, frozen=True, kw_only=True):
    """Start, and again whenever the rule changes. One that is not `scheduled` runs only when somebody says
    so; one that is `once` has one run that ends. `owner` is in whose name endpoints are made."""

    uuid: str
    body: RuleBody
    scheduled: bool
    store: ActorAddress
    endpoints: ActorAddress
    settings: Settings
    owner: str
    once: bool = False
    validate: bool = True
    prune: bool = True
    trigger: Trigger = "scheduled"

    def __repr__(self) -> str:
        return f"RunRule({self.uuid!r})"


class BeginRule(msgspec.Struct, frozen=True):
    """To a rule: run now; `requester` gets what came of it (`RuleHasRun`)."""

    requester: ActorAddress
    dry_run: bool = False


class ReportStanding(msgspec.Struct, frozen=True):
    """To a rule; it tells its parent `RuleStands`."""


class RuleStands(msgspec.Struct, frozen=True):
    """To the parent. `due_at` is in ms of the clock that nobody sets; `stale` are names of devices that have
    not been found for a week."""

    state: RuleState
    due_at: int | None
    stale: tuple[str, ...] = ()


class RuleHasRun(msgspec.Struct, frozen=True):
    """To the parent: `requester` is to be told what came of its run."""

    uuid: str
    requester: ActorAddress
    result: Discovered | None
    failed: Failed | None = None


class LookWhetherRuleDue(msgspec.Struct, frozen=True):
    """To itself."""

    number: int


class OpenRule(msgspec.Struct, frozen=True):
    """To itself."""


class SaveRuns(msgspec.Struct, frozen=True):
    """To itself."""


class Ended(msgspec.Struct, frozen=True):
    """What is to be stored of a run."""

    run: Run
    seen: tuple[Seen, ...]


class Rule(StoreClient):
    """Every run is noted before it begins, so that one that is cut short is known to have been."""

    def __init__(self) -> None:
        super().__init__()
        self.state: RuleState | None = None
        self.run_under_way: Run | None = None
        self.requester: ActorAddress | None = None
        self.unsaved: deque[Ended] = deque(maxlen=UNSAVED)
        self.stale: tuple[str, ...] = ()
        self.looks = 0
        self.waiting: BeginRule | None = None
        """Came before it was known how the rule stands."""
        self.config: RunRule | None = None

    def receiveMsg_RunRule(self, message: RunRule, sender: ActorAddress) -> None:
        before, self.config = self.config, message
        self.parent, self.store = sender, message.store
        if before is None:
            self.schedule = Schedule(message.uuid)
            self.ask_store("open", stored.open_rule, message.uuid)
        elif self.state is not None:
            self._reschedule(before, message)
            self._stand()

    @property
    def known(self) -> RunRule:
        assert self.config is not None
        return self.config

    @property
    def interval(self) -> int:
        return self.known.body.interval_seconds * 1000

    # Schedule

    def receiveMsg_OpenRule(self, message: OpenRule, sender: ActorAddress) -> None:
        self.ask_store("open", stored.open_rule, self.known.uuid)

    def _open_done(self, answer: Transacted) -> None:
        if answer.error is not None:
            self.health = f"degraded: {answer.error}"
            self.wakeupAfter(TRY_AGAIN, OpenRule())
            return
        self.state = answer.result
        if self._runs_by_itself():
            self.schedule.resume(self.interval, answer.result.next_run_at, unix_ms(), running_ms())
        self._stand()
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            self.receiveMsg_BeginRule(waiting, self.parent)

    def _runs_by_itself(self) -> bool:
        config, state = self.known, self.state
        if state is None or not (config.scheduled and config.body.enabled):
            return False
        return not config.once or state.last_run_at is None or 0 < state.attempts < ATTEMPTS

    def _reschedule(self, before: RunRule, now: RunRule) -> None:
        assert self.state is not None
        if not self._runs_by_itself():
            self.schedule.stop()
        elif self.schedule.due_at is None or before.body.interval_seconds != now.body.interval_seconds:
            self.schedule.change(self.interval, self.state.last_run_at, unix_ms(), running_ms())

    def _look_later(self) -> None:
        """And at no time that was said before."""
        self.looks += 1
        due = self.schedule.due_at
        if due is not None:
            wait = max(0.05, (due - running_ms()) / 1000)
            self.wakeupAfter(min(LOOK_EVERY, wait), LookWhetherRuleDue(self.looks))

    def receiveMsg_LookWhetherRuleDue(self, message: LookWhetherRuleDue, sender: ActorAddress) -> None:
        if message.number != self.looks:
            return
        if self.run_under_way is None and self.schedule.is_due(running_ms()):
            self._begin(self.known.trigger)
        else:
            self._look_later()

    def receiveMsg_ReportStanding(self, message: ReportStanding, sender: ActorAddress) -> None:
        if self.state is not None:
            self._stand()

    def _stand(self) -> None:
        assert self.state is not None
        self._look_later()
        if self.run_under_way is None:
            self.health = self.state.status if self.store_error is None else f"degraded: {self.store_error}"
        self.send(self.parent, RuleStands(self.state, self.schedule.due_at, self.stale))

    # Runs

    def receiveMsg_BeginRule(self, message: BeginRule, sender: ActorAddress) -> None:
        name = self.known.body.name
        if self.state is None and self.waiting is None:
            self.waiting = message
        elif self.state is None:
            failed = Failed("unavailable", f"The rule {name} has not been read yet")
            self._answer(message.requester, None, failed)
        elif self.run_under_way is not None:
            self._answer(message.requester, None, Failed("conflict", f"The rule {name} is running"))
        else:
            self._begin("manual", message.requester, message.dry_run)

    def _begin(self, trigger: Trigger, requester: ActorAddress | None = None, dry_run: bool = False) -> None:
        assert self.state is not None
        config, now = self.known, unix_ms()
        if self._runs_by_itself():
            self.schedule.ran(self.interval, running_ms())
        run = RunRow(
            uuid=stored.new_uuid(),
            rule_uuid=config.uuid,
            rule_name=config.body.name,
            protocol=config.body.protocol or "",
            trigger=trigger,
            started_at=now,
        )
        self.run_under_way = stored_run(run)
        self.requester = requester
        self.health = "running"
        before = self.state
        self.state = msgspec.structs.replace(
            before,
            status="running",
            last_run_at=now,
            next_run_at=self._next_at(),
            attempts=before.attempts + 1,
        )
        self.ask_store(
            "begin",
            stored.begin_run,
            self.run_under_way,
            self.state,
            then=lambda answer: self._begun(answer, run, before, dry_run),
        )

    def _next_at(self) -> int | None:
        return self.schedule.next_at(unix_ms(), running_ms())

    def _begun(self, answer: Transacted, run: RunRow, before: RuleState, dry_run: bool) -> None:
        if answer.error is not None:
            self.run_under_way = None
            result = {"found": 0, "saved": 0, "skipped": 0, "error": f"it cannot be stored: {answer.error}"}
            self.state = msgspec.structs.replace(before, status="error", last_result=result)
            if self._runs_by_itself():
                self.schedule.put_off(min(PUT_OFF_MS, self.interval), running_ms())
            self._tell_requester(None, Failed("unavailable", f"The run was not stored: {answer.error}"))
            self._stand()
            return
        config, body = self.known, self.known.body
        wanted = Wanted(
            protocols=None if body.protocol is None else (body.protocol,),
            options={} if body.protocol is None else {body.protocol: body.params_json or {}},
            validate=config.validate,
            path="params_json",
            single=True,
        )
        keep = Keep(config.owner, body.auto_enable, body.target_json, config.prune, dry_run)
        start = RunScan(
            run=run,
            wanted=wanted,
            endpoints=config.endpoints,
            store=config.store,
            watcher=self.myAddress,
            settings=config.settings,
            waits=True,
            keep=keep,
        )
        self.spawn(Scan, scan_name(), start)
        self._stand()

    def receiveMsg_ScanProgressed(self, message: ScanProgressed, sender: ActorAddress) -> None:
        row = message.run
        self.health = f"running: {row.probed} of {row.planned} probes, {row.found} found"
        self.send(self.parent, ScanProgressed(row))

    def receiveMsg_EndScan(self, message: EndScan, sender: ActorAddress) -> None:
        for scan in self.running_children():
            self.send(scan, message)

    def receiveMsg_ScanEnded(self, message: ScanEnded, sender: ActorAddress) -> None:
        if not self.running(sender):
            return
        self.stop_child(sender)
        self._ended(message.run, message.result, message.failed, message.seen)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        run = self.run_under_way
        if run is not None and not self.running_children():
            row = msgspec.structs.replace(
                run_row(run), status="error", error="the scan has crashed", finished_at=unix_ms()
            )
            self._ended(row, None, Failed("internal", "The scan has crashed"))

    def _ended(
        self, row: RunRow, result: Discovered | None, failed: Failed | None, seen: tuple[Seen, ...] = ()
    ) -> None:
        assert self.state is not None
        outcome: dict[str, Any] = {"found": row.found, "saved": row.saved, "skipped": row.skipped}
        if row.error is not None:
            outcome["error"] = row.error
        self.state = msgspec.structs.replace(
            self.state,
            status="ok" if row.status == "ok" else "error",
            next_run_at=self._next_at(),
            last_result=outcome,
            attempts=0,
        )
        if self.known.once:
            self.schedule.stop()
        self.run_under_way = None
        self.unsaved.append(Ended(stored_run(row), seen))
        self.send(self.parent, ScanProgressed(row))
        self._tell_requester(result, failed)
        self._save()

    def _tell_requester(self, result: Discovered | None, failed: Failed | None) -> None:
        requester, self.requester = self.requester, None
        if requester is not None:
            self._answer(requester, result, failed)

    def _answer(self, requester: ActorAddress, result: Discovered | None, failed: Failed | None) -> None:
        """By the parent, which knows how the rule stands: what is told it before this."""
        if self.state is not None:
            self._stand()
        self.send(self.parent, RuleHasRun(self.known.uuid, requester, result, failed))

    # Storing

    def receiveMsg_SaveRuns(self, message: SaveRuns, sender: ActorAddress) -> None:
        self._save()

    def _save(self) -> None:
        if self.unsaved and not self.is_asked("end"):
            first = self.unsaved[0]
            self.ask_store("end", stored.end_run, first.run, self.state, self.known.owner, first.seen)

    def _end_done(self, answer: Transacted) -> None:
        if answer.error is not None:
            log.warning("%s: its run cannot be stored: %s", self.known.body.name, answer.error)
            self.wakeupAfter(TRY_AGAIN, SaveRuns())
            return
        if self.unsaved.popleft().seen:  # else nobody has looked to the end
            self._tell_stale(tuple(answer.result or ()))
        self._stand()
        self._save()

    def _tell_stale(self, stale: tuple[str, ...]) -> None:
        if news := sorted(set(stale) - set(self.stale)):
            log.warning("%s: not found for a week: %s", self.known.body.name, ", ".join(news[:10]))
        self.stale = stale

    def stopped(self) -> None:
        """Who waits is told."""
        super().stopped()
        waiting = None if self.waiting is None else self.waiting.requester
        for requester in (self.requester, waiting):
            if requester is not None:
                self.send(requester, Failed("unavailable", "Interrupted: the rule was stopped meanwhile"))
