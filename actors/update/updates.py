"""The updater: takes commands, has a version prepared and switched to, and confirms itself when it is new."""

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec
from thespian.actors import ActorAddress

from actors.backups.messages import BackupMade, MakeBackup
from actors.subsystems.messages import (
    CheckSubsystem,
    LifecycleChanged,
    ReportState,
    StateReported,
    StopSubsystem,
    SubsystemChecked,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.system.failure import Failed, Refusal
from actors.update import startup, steps
from actors.update.history import Order
from actors.update.journal import Journal
from actors.update.layout import version_in
from actors.update.messages import ReportUpdate, UpdateAgent, UpdateAnswered, UpdateReported, UpdateState
from actors.update.rules import Declined, order, version_of
from actors.update.steps import Judged, PreparationOver, SwitchOver, TrialOver, UpdatesFound
from actors.update.updater import Prepared, Updater
from actors.update.versions import is_same
from actors.update.watch import Watch, failing
from conf.settings import Settings
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between two looks at how a version on trial is."""

SCHEDULE_LOOK: Final = 30.0
"""Seconds between two looks at the clock, which may be set."""

BACKUP_PATIENCE: Final = 600.0
"""Seconds that a backup may take."""

_STATES: Final[dict[str, UpdateState]] = {
    "update_completed": "completed",
    "update_failed": "failed",
    "update_failed_verified": "rolled_back",
    "update_skipped": "skipped",
}


class RunUpdates(msgspec.Struct, frozen=True):
    """Start."""

    settings: Settings
    version: str
    agent: ActorAddress
    backups: ActorAddress


class BackupOverdue(msgspec.Struct, frozen=True):
    """To itself: the backup before the switch to that version should have been made."""

    name: str


class StopNoted(msgspec.Struct, frozen=True):
    """To itself: how the version on trial was stopped is written."""

    to: ActorAddress


class LookAtTrial(msgspec.Struct, frozen=True):
    """To itself: how is the version on trial?"""


class LookAtUpdateSchedule(msgspec.Struct, frozen=True):
    """To itself: is it time?"""


class Updates(Journal):
    """One update at a time. What happens is logged, and kept in `updates/history.json`."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.updater: Updater | None = None
        self.unable: str | None = "it has not been looked at yet"
        self.state: UpdateState = "idle"
        self.origin: str | None = None
        self.target: str | None = None
        self.reason: str | None = None
        self.busy = False
        self.forced = False
        self.prepared: Prepared | None = None
        self.trial: Watch | None = None
        self.lifecycle = "BOOT"
        self.switching = False
        self.stop_to: ActorAddress | None = None
        self.leaving = False
        self.untold = False
        """A version was taken back, and that is not in the history yet."""

    def receiveMsg_RunUpdates(self, message: RunUpdates, sender: ActorAddress) -> None:
        self.config, self.parent = message, sender
        self.settings = message.settings.update
        data_dir = message.settings.storage.data_dir
        self.file = data_dir / "updates" / "history.json"
        self.files = self.settings.files or data_dir / "updates"
        if not self.begun:
            self.begun = True
            looking = asyncio.to_thread(steps.look_around, message.settings, self.file)
            self.run(looking, then=lambda found: found)

    def receiveMsg_UpdatesFound(self, message: UpdatesFound, sender: ActorAddress) -> None:
        self.updater, self.unable, self.history = message.updater, message.unable, message.history
        if message.updater is None:
            self.state, self.reason = "unavailable", message.unable
        else:
            self._recall(message)
        self.send(self.parent, SubsystemStarted())

    def _recall(self, found: UpdatesFound) -> None:
        """Say what became of the latest update."""
        if found.taken_back is not None:
            self.untold = True
            event = "update_failed_verified" if found.taken_back.blamed else "update_failed"
            self.tell(event, version_in(found.taken_back.failed), found.taken_back.reason)
        if found.trial is not None:
            self.trial = Watch(found.trial, self.settings.healthy_ms / 1000, self.lifecycle)
            self.state = "trial"
            self.origin, self.target = version_in(found.trial.origin), version_in(found.trial.to)
            log.warning("%s is on trial: it replaces %s if it stays well", self.target, self.origin)
            self.wakeupAfter(LOOK, LookAtTrial())
            return
        self._close()
        last = self.history.last(*_STATES)
        if last is not None:
            self.state, self.target, self.reason = _STATES[last.event], last.version, last.detail
        if self.history.scheduled is not None:
            self.state, self.target = "scheduled", self.history.scheduled.version
            self.wakeupAfter(LOOK, LookAtUpdateSchedule())

    def _close(self) -> None:
        """Of an update that was cut off it is not told yet how it ended."""
        last = self.history.last(*_STATES, "update_started", "update_switched")
        if last is None or last.event in _STATES:
            return
        if last.event == "update_started":
            self.tell("update_failed", last.version, "the agent was ended while it prepared the update")
        elif is_same(last.version, self.config.version):
            self.tell("update_completed", last.version, last.detail)
        else:
            self.tell("update_failed", last.version, f"{self.config.version} was started instead")

    @property
    def able(self) -> Updater:
        """The updater, where there is one."""
        assert self.updater is not None
        return self.updater

    # Commands

    def receiveMsg_UpdateAgent(self, message: UpdateAgent, sender: ActorAddress) -> None:
        version = message.command.version.strip()
        try:
            version = version_of(message.command)
            if self.updater is None:
                raise Declined("unavailable", "Agent updater not available", self.unable)
            wanted = order(message.command, self.settings.secret, self.history, unix_ms())
            self._refuse_when_busy()
        except Refusal as refusal:
            self.send(sender, refusal.failed())
        except Declined as declined:
            self.send(sender, UpdateAnswered(declined.outcome, version, declined.message, declined.hint))
            if self.updater is not None:
                self.tell("update_rejected", version, declined.message)
        else:
            if wanted.issued is not None:  # a signed command is good for once
                self.change(latest_issued=wanted.issued)
            self._judge(wanted, sender)

    def _refuse_when_busy(self) -> None:
        hint = "Wait until GET /v1/update/status says what has become of it"
        if self.trial is not None:
            raise Declined("conflict", f"{self.target}, which runs, is itself on trial", hint)
        if self.busy:
            raise Declined("conflict", f"An update to {self.target or 'another version'} is under way", hint)

    def _judge(self, wanted: Order, sender: ActorAddress | None) -> None:
        self.busy = True
        judging = asyncio.to_thread(steps.judge, self.able, wanted, self._standing())
        self.run(judging, then=lambda judged: msgspec.structs.replace(judged, sender=sender))

    def _standing(self) -> steps.Standing:
        hours = self.settings.min_interval_hours
        return steps.Standing(self.config.version, self.history, hours, self.files)

    def receiveMsg_Judged(self, message: Judged, sender: ActorAddress) -> None:
        self.busy = False
        if message.sender is not None:
            self.send(message.sender, message.answer)
        wanted, answer = message.order, message.answer
        if isinstance(answer, Failed):
            return
        if wanted is None:
            event = "update_skipped" if answer.outcome == "skipped" else "preflight_failed"
            self.tell(event, answer.version, answer.message)
        elif wanted.at is not None:
            self._schedule(wanted)
        else:
            self._schedule(None)
            self._begin(wanted, message.wheel)

    def _begin(self, wanted: Order, wheel: Path | None) -> None:
        self.busy, self.state, self.forced = True, "preparing", wanted.force
        self.origin, self.target, self.reason = self.config.version, wanted.version, None
        self.tell("update_started", wanted.version, f"from {self.config.version}")
        preparing = steps.prepare(self.able, wanted, wheel, self._standing())
        self.run(preparing, then=lambda done: done, within=None)

    def receiveMsg_PreparationOver(self, message: PreparationOver, sender: ActorAddress) -> None:
        self.target = message.version
        if message.prepared is None:
            event = "update_skipped" if message.skipped else "update_failed"
            self._finish(event, message.version, message.why)
            return
        self.prepared, self.state = message.prepared, "switching"
        if self.exists(self.config.backups):
            self.send(self.config.backups, MakeBackup("before-update"))
            self.wakeupAfter(BACKUP_PATIENCE, BackupOverdue(message.prepared.name))
        else:
            self.send(self.config.agent, ReportState())

    def receiveMsg_BackupMade(self, message: BackupMade, sender: ActorAddress) -> None:
        self.send(self.config.agent, ReportState())

    def receiveMsg_BackupOverdue(self, message: BackupOverdue, sender: ActorAddress) -> None:
        if self.prepared is not None and self.prepared.name == message.name:
            self._without_backup("it has not been made in time")

    def receiveMsg_Failed(self, message: Failed, sender: ActorAddress) -> None:
        if sender == self.config.backups and self.prepared is not None:
            self._without_backup(message.message)

    def _without_backup(self, why: str) -> None:
        """No switch without one, unless it is forced."""
        assert self.prepared is not None
        if self.forced:
            log.warning("no backup was made before the update: %s", why)
            self.send(self.config.agent, ReportState())
            return
        prepared, self.prepared = self.prepared, None
        self.run(asyncio.to_thread(self.able.discard, prepared))
        self._finish("update_failed", prepared.version, f"no backup could be made: {why}")

    def receiveMsg_StateReported(self, message: StateReported, sender: ActorAddress) -> None:
        if self.trial is not None:
            self._look_at(self.trial, message)
        elif self.prepared is not None:
            prepared, self.prepared = self.prepared, None
            self.switching = True
            switching = asyncio.to_thread(steps.switch, self.able, prepared, failing(message))
            self.run(switching, then=lambda done: done, within=None)

    def receiveMsg_SwitchOver(self, message: SwitchOver, sender: ActorAddress) -> None:
        self.switching = False
        if message.why is not None:
            self._finish("update_failed", message.version, message.why)
        else:
            self.leaving = True
            self.tell("update_switched", message.version, f"from {self.config.version}")
        if self.stop_to is not None:
            self.send(self.stop_to, SubsystemStopped())

    def _finish(self, event: str, version: str, detail: str | None) -> None:
        self.busy = False
        self.state, self.reason = _STATES[event], detail
        self.tell(event, version, detail)

    # Later

    def _schedule(self, wanted: Order | None) -> None:
        before = self.history.scheduled
        if wanted is before is None:
            return
        self.change(scheduled=wanted)
        if wanted is not None:
            self.state, self.target, self.reason = "scheduled", wanted.version, None
            self.tell("update_rescheduled" if before else "update_scheduled", wanted.version)
            if before is None:
                self.wakeupAfter(LOOK, LookAtUpdateSchedule())

    def receiveMsg_LookAtUpdateSchedule(self, message: LookAtUpdateSchedule, sender: ActorAddress) -> None:
        wanted = self.history.scheduled
        if wanted is None or self.updater is None:
            return
        left = (wanted.at or 0) - unix_ms()
        if left > 0 or self.busy or self.lifecycle != "RUNNING":
            self.wakeupAfter(max(LOOK, min(left / 1000, SCHEDULE_LOOK)), LookAtUpdateSchedule())
            return
        self._schedule(None)
        self.state = "idle"
        self._judge(msgspec.structs.replace(wanted, at=None), None)

    # On trial

    def receiveMsg_LifecycleChanged(self, message: LifecycleChanged, sender: ActorAddress) -> None:
        self.lifecycle = message.state
        if self.trial is not None:
            self.trial.entered(message.state)

    def receiveMsg_LookAtTrial(self, message: LookAtTrial, sender: ActorAddress) -> None:
        if self.trial is not None:
            self.send(self.config.agent, ReportState())
            self.wakeupAfter(LOOK, LookAtTrial())

    def _look_at(self, trial: Watch, report: StateReported) -> None:
        before = trial.ailment
        confirmed = trial.look(report, self._myRef.system.loop.time())
        if trial.ailment != before and trial.ailment is not None:
            log.warning("%s, which is on trial, is not well: %s", self.target, trial.ailment)
            self.run(asyncio.to_thread(steps.quietly, self.able.ail, f"not well: {trial.ailment}"))
        if confirmed and not self.busy:
            self.busy = True
            confirming = asyncio.to_thread(steps.confirm, self.able, trial.trial)
            self.run(confirming, then=lambda done: done, within=None)

    def receiveMsg_TrialOver(self, message: TrialOver, sender: ActorAddress) -> None:
        self.busy = False
        if message.why is not None:
            log.error("%s could not be confirmed: %s", self.target, message.why)  # it is tried again
            return
        self.trial = None
        if message.confirmed:
            self._finish("update_completed", self.config.version, f"from {self.origin}")
        else:
            self.state, self.reason = "rolled_back", "the next start goes back to the version before"

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        if self.switching:
            self.stop_to = sender  # a thread cannot be called back
            return
        self.abandon()
        if self.trial is None:
            self.send(sender, SubsystemStopped())
            return
        noting = asyncio.to_thread(steps.quietly, self.able.stop, self.trial.trial, self.trial.was_well)
        self.run(noting, then=lambda _: StopNoted(sender))

    def receiveMsg_StopNoted(self, message: StopNoted, sender: ActorAddress) -> None:
        self.send(message.to, SubsystemStopped())

    # Telling

    def receiveMsg_ReportUpdate(self, message: ReportUpdate, sender: ActorAddress) -> None:
        self.send(
            sender,
            UpdateReported(
                self.state, self.config.version, self.origin, self.target, self.reason, self.history.events
            ),
        )

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        about = f"{self.state} {self.target}" if self.target else self.state
        said = f"{about}: {self.reason}" if self.reason else about
        self.send(sender, SubsystemChecked(description=None if self.state == "idle" else said))

    def saved(self, done: bool) -> None:
        """What the next version is to know is known before it begins."""
        if self.untold and done:
            self.untold = False
            self.run(asyncio.to_thread(steps.quietly, self.able.forget_taken_back))
        if self.leaving:
            self.leaving = False
            startup.hand_over_to(self.able.launcher)
