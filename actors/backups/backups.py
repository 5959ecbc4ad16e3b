"""The actor that makes backups, and has them restored."""

import logging
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from thespian.actors import ActorAddress

from actors.backups.attempts import attempt
from actors.backups.changing import Changing
from actors.backups.messages import (
    AcceptUpload,
    BackupDeleted,
    BackupFound,
    BackupMade,
    BackupsListed,
    DeleteBackup,
    FindBackup,
    FindUploadPlace,
    ListBackups,
    MakeBackup,
    UploadPlaced,
    VerifyBackup,
)
from actors.backups.one_at_a_time import AttemptEnded, RunBackups, make
from actors.backups.scheduling import LoadSchedule, Scheduling
from actors.state.messages import Transacted
from actors.subsystems.messages import (
    CheckSubsystem,
    StopSubsystem,
    SubsystemChecked,
    SubsystemStopped,
)
from actors.system.clock import running_ms
from actors.system.failure import Failed
from storage import backup_files, backups, outcomes, restoring
from storage.backups import Site
from storage.outcomes import Outcome
from storage.timestamps import iso, unix_ms

log = logging.getLogger(__name__)

TOLD = 3600.0  # seconds for which health tells of a restore that has failed


class Backups(Changing, Scheduling):
    """Makes, checks, lists, hands out and takes in backups, and has them restored."""

    def __init__(self) -> None:
        super().__init__()
        self.began = monotonic()

    def receiveMsg_RunBackups(self, message: RunBackups, sender: ActorAddress) -> None:
        first = not hasattr(self, "start")
        self.start, self.store, self.parent = message, message.store, sender
        if first:
            self._work("starting", partial(_look_around, message.site), self._looked_around)

    def _looked_around(self, last: Any) -> None:
        self.last = None if isinstance(last, Failed) else last
        if self.last is not None and self.last.ok is None:
            self.ask_store("outcome", outcomes.is_done, self.last.token)
        self.receiveMsg_LoadSchedule(LoadSchedule(), self.myAddress)

    def _outcome_done(self, answer: Transacted) -> None:
        """Of one that was cut off, only the database knows."""
        assert self.last is not None
        if answer.error is None:
            error = None if answer.result else outcomes.CUT_OFF
            finish = partial(_settle, self.start.site.folder, self.last, error)
            self.run(attempt(finish), then=lambda result: AttemptEnded(result, self.settled))

    # Making and keeping them

    def receiveMsg_MakeBackup(self, message: MakeBackup, sender: ActorAddress) -> None:
        if not self._is_busy(sender):
            call = partial(make, self.start.site, message.trigger, message.passphrase, self._is_ended)
            self._work("a backup", call, lambda made: self._made(made, sender), sender)

    def _made(self, made: Any, requester: ActorAddress) -> None:
        if isinstance(made, Failed):
            log.error("no backup was made: %s", made.message)
            self.send(requester, made)
        else:
            log.info("backup %s was made (%s, %d bytes)", made.file, made.trigger, made.size_bytes)
            self.send(requester, BackupMade(made))

    def receiveMsg_ListBackups(self, message: ListBackups, sender: ActorAddress) -> None:
        call, last = partial(backup_files.listed, self.start.site.folder), self.last
        self._look_up(call, lambda found: BackupsListed(found, last), sender)

    def receiveMsg_VerifyBackup(self, message: VerifyBackup, sender: ActorAddress) -> None:
        if not self._is_busy(sender):
            verify = partial(backups.verify, self.start.site, message.file, self._is_ended)
            self._work("a check", verify, partial(self._answer, sender, lambda verified: verified), sender)

    def receiveMsg_FindBackup(self, message: FindBackup, sender: ActorAddress) -> None:
        self._look_up(partial(backup_files.found, self.start.site.folder, message.file), BackupFound, sender)

    def receiveMsg_DeleteBackup(self, message: DeleteBackup, sender: ActorAddress) -> None:
        if not self._is_busy(sender):
            delete = partial(_delete, self.start.site.folder, message.file)
            self._work("a deletion", delete, partial(self._answer, sender, lambda _: BackupDeleted()), sender)

    def receiveMsg_FindUploadPlace(self, message: FindUploadPlace, sender: ActorAddress) -> None:
        call = partial(_place, self.start.site.folder, message.size or 0)
        self._look_up(call, lambda found: UploadPlaced(*found), sender)

    def receiveMsg_AcceptUpload(self, message: AcceptUpload, sender: ActorAddress) -> None:
        if not self._is_busy(sender):
            accept = partial(backups.accept, self.start.site, message.path, self._is_ended)
            self._work("an upload", accept, lambda made: self._accepted(made, sender), sender)

    def _accepted(self, made: Any, requester: ActorAddress) -> None:
        """What somebody sends is not the agent's trouble."""
        if isinstance(made, Failed) and made.kind == "conflict":
            log.warning("an upload was refused: %s", made.message)
            self.send(requester, Failed("invalid", made.message))
        else:
            self._made(made, requester)

    # As a subsystem

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        error = f"no scheduled backup was made: {self.last_error}" if self.last_error else None
        last = self.last
        if last is not None and last.ok is False and monotonic() - self.began < TOLD:
            error = f"{last.what} failed: {last.error}"
        upcoming = self.timetable.next_at(unix_ms(), running_ms())
        said = f"the next one is made at {iso(upcoming)}" if upcoming is not None else None
        self.send(sender, SubsystemChecked(error, said))

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        """What is under way is given up: nobody waits for a backup while the agent stops."""
        self.ended.set()
        self.send(sender, SubsystemStopped())


def _look_around(site: Site) -> Outcome | None:
    last = outcomes.last(site.folder)
    under_way = last is not None and last.ok is None  # as far as is known
    backup_files.sweep(site.folder, restoring.READY if under_way else None)
    return last


def _settle(folder: Path, outcome: Outcome, error: str | None) -> Outcome:
    (folder / restoring.READY).unlink(missing_ok=True)
    return outcomes.finish(folder, outcome, error)


def _delete(folder: Path, file: str) -> None:
    backup_files.remove(backup_files.found(folder, file))


def _place(folder: Path, size: int) -> tuple[Path, int]:
    backup_files.make_folder(folder)
    backup_files.need_room(folder, size)
    return backup_files.draft(folder, "upload"), backup_files.room(folder)
