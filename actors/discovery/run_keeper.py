"""The part of the discovery supervisor that knows of runs, and has scans run that somebody asks for."""

import logging
from abc import abstractmethod
from collections import deque
from typing import Final

import msgspec
from thespian.actors import ActorAddress, ChildActorExited

from actors.discovery.messages import (
    CancelRun,
    Discover,
    FollowRuns,
    ListRuns,
    RunCancelled,
    RunRow,
    RunsListed,
    RunsProgressed,
    UnfollowRuns,
)
from actors.discovery.planning import Wanted, named
from actors.discovery.rule import scan_name
from actors.discovery.run_rows import run_row
from actors.discovery.saving import Keep
from actors.discovery.scan import Scan
from actors.discovery.scan_messages import EndScan, RunScan, ScanEnded, ScanProgressed
from actors.discovery.unasked import Unasked
from actors.state.keeper import Keeper
from actors.state.messages import Transacted
from actors.system.failure import Failed, Refusal
from actors.system.masks import refuse_masks
from conf.settings import Settings
from storage import discovery as stored
from storage.discovery import Run
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

MANUAL: Final = 8
"""Scans at once that somebody has asked for."""
REMEMBERED: Final = 20
"""Of those, that are known when they have ended."""
TELL_EVERY = 0.5  # seconds between two reports to who follows
_LATEST: Final = 2**63  # of a run that has no number yet
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


class TellOfRuns(msgspec.Struct, frozen=True):
    """To itself."""


class RunKeeper(Keeper):
    """Scans go on while it restarts."""

    config: RunDiscovery

    def __init__(self) -> None:
        super().__init__()
        self.opened = False
        self.under_way: dict[str, tuple[RunRow, ActorAddress]] = {}
        """By uuid, each with who has told of it."""
        self.ended: deque[RunRow] = deque(maxlen=REMEMBERED)
        self.counted: dict[str, RunRow] = {}
        """Runs of rules that have ended, by uuid: what they have counted is not stored."""
        self.follower: ActorAddress | None = None
        self.news: dict[str, RunRow] = {}
        self.telling = False

    @abstractmethod
    def knows(self, rule_uuid: str) -> bool:
        """Whether there is such a rule."""

    def receiveMsg_DiscoveryOpened(self, message: DiscoveryOpened, sender: ActorAddress) -> None:
        self.opened = True
        self.follower = message.follower

    # Scans that somebody asks for

    def receiveMsg_Discover(self, message: Discover, sender: ActorAddress) -> None:
        try:
            wanted = Wanted(message.protocols, message.overrides, message.validate)
            protocols = named(wanted)
            refuse_masks(message.overrides, "overrides")
            if message.within is not None and not 1 <= message.within <= LONGEST:
                raise Refusal(f"within must be 1 to {LONGEST:g} s, not {message.within:g}", "within")
            scans = [one for one in self.running_children() if isinstance(self.start_of(one), RunScan)]
            if len(scans) >= MANUAL:
                raise Refusal(f"{MANUAL} scans are under way; try again", kind="unavailable")
        except Refusal as refusal:
            self.send(sender, refusal.failed())
            return
        if message.protocols is not None:
            wanted = msgspec.structs.replace(wanted, protocols=protocols)
        run = RunRow(
            uuid=stored.new_uuid(),
            rule_uuid=None,
            rule_name=None,
            protocol=",".join(wanted.protocols or ()),
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
        refused = message.failed is not None and message.failed.kind == "invalid"
        if not refused:
            self.ended.append(message.run)
        if not refused or message.run.uuid in self.under_way:
            self.progressed(message.run, sender)
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
                self.progressed(crashed, teller)

    def receiveMsg_CancelRun(self, message: CancelRun, sender: ActorAddress) -> None:
        found = self.under_way.get(message.uuid)
        if found is None:
            self.send(sender, Failed("not_found", f"No such run is under way: {message.uuid}"))
            return
        self.send(found[1], EndScan("cancelled"))
        self.send(sender, RunCancelled())

    # Progress

    def receiveMsg_ScanProgressed(self, message: ScanProgressed, sender: ActorAddress) -> None:
        self.progressed(message.run, sender)

    def progressed(self, row: RunRow, teller: ActorAddress) -> None:
        if row.status == "running":
            self.under_way[row.uuid] = row, teller
        else:
            self.under_way.pop(row.uuid, None)
            self._count(row)
        if self.follower is not None:
            self.news[row.uuid] = row
            self._tell_soon()

    def _count(self, row: RunRow) -> None:
        if row.rule_uuid is not None:
            self.counted[row.uuid] = row
            if len(self.counted) > MOST_RUNS:
                del self.counted[next(iter(self.counted))]

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
        if wanted is not None and not self.knows(wanted):
            raise Refusal(f"Discovery rule not found: {wanted}", kind="not_found")

        def listed(found: list[Run]) -> RunsListed:
            rows = {run.uuid: self._with_counts(run_row(run)) for run in found}
            for live in (*(row for row, _ in self.under_way.values()), *self.ended):
                if wanted in (None, live.rule_uuid):
                    known = rows.get(live.uuid)
                    rows[live.uuid] = msgspec.structs.replace(live, id=None if known is None else known.id)
            # By number where all have one, for the clock may have been set.
            numbered = wanted is not None

            def age(row: RunRow) -> int:
                return row.started_at if not numbered else row.id or _LATEST

            return RunsListed(sorted(rows.values(), key=age, reverse=True)[:limit])

        self.look_up(sender, listed, stored.runs, wanted, limit)

    def _with_counts(self, row: RunRow) -> RunRow:
        known = self.counted.get(row.uuid)
        if known is None:
            return row
        return msgspec.structs.replace(
            row, planned=known.planned, probed=known.probed, troubles=known.troubles
        )

    def no_longer(self, rule_uuid: str, reason: str) -> None:
        """What is known of a run of that rule ends with it."""
        for row, _ in list(self.under_way.values()):
            if row.rule_uuid == rule_uuid:
                ended = msgspec.structs.replace(row, status="error", error=reason, finished_at=unix_ms())
                self.progressed(ended, self.myAddress)
