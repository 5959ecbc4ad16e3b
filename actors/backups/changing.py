"""Restore and reset: prepared here, done by the store while nobody else uses the database."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.backups.attempts import Throttle, attempt
from actors.backups.messages import ChangeBegun, PassphrasesThrottled, ResetEverything, RestoreBackup
from actors.backups.one_at_a_time import GIVEN_UP, AttemptEnded, OneAtATime, make
from actors.state.messages import ChangeDatabase
from actors.subsystems.messages import PrepareReset, ResetPrepared, RestartAgent, RestartBegun
from actors.system.failure import Failed
from storage import outcomes, resetting, restoring
from storage.backup_files import Ended
from storage.backups import Site
from storage.outcomes import Outcome

log = logging.getLogger(__name__)

PREPARED_WITHIN = 30.0  # seconds that subsystems have to make ready for a reset


class StopWaiting(msgspec.Struct, frozen=True):
    """To itself: whoever is not prepared for a reset by now is not waited for."""


class _Change(msgspec.Struct):
    """A restore or a reset that waits for others."""

    requester: ActorAddress
    change: Callable[[Outcome], ChangeDatabase]
    outcome: Outcome | None = None
    unprepared: set[str] = set()


class Changing(OneAtATime):
    """Who asks is answered once the agent restarts; what comes of it, `last` says afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Outcome | None = None
        self.throttle = Throttle()
        self.change: _Change | None = None

    def receiveMsg_RestoreBackup(self, message: RestoreBackup, sender: ActorAddress) -> None:
        if self._is_busy(sender):
            return
        wait = self.throttle.left(monotonic())
        if message.passphrase is not None and wait > 0:
            self.send(sender, PassphrasesThrottled(int(wait) + 1))
            return
        prepare = partial(_prepare_restore, self.start.site, message.file, message.passphrase, self._is_ended)
        then = partial(self._restore_prepared, message=message, requester=sender)
        self._work("a restore", prepare, then, sender)

    def _restore_prepared(self, found: Any, message: RestoreBackup, requester: ActorAddress) -> None:
        if isinstance(found, Failed):
            if message.passphrase is not None and found.field == "passphrase":
                self.throttle.was_wrong(monotonic())
            level = logging.ERROR if found.kind == "unavailable" else logging.WARNING
            log.log(level, "%r is not restored: %s", message.file, found.message)
            self.send(requester, found)
            return
        self.throttle.was_right()
        ready, own = found
        identity = own if message.keep_identity is None else not message.keep_identity

        def change(outcome: Outcome) -> ChangeDatabase:
            args = (ready, identity, outcome.token, message.users)
            return ChangeDatabase(restoring.replace, args, self.start.site.folder, outcome, ready)

        self.change = _Change(requester, change)
        self._begin("restore", message.file)

    def receiveMsg_ResetEverything(self, message: ResetEverything, sender: ActorAddress) -> None:
        if self._is_busy(sender):
            return
        if not message.backup:
            self._reset(None, sender)
            return
        call = partial(make, self.start.site, "before-reset", None, self._is_ended)
        self._work("a backup", call, lambda made: self._reset(made, sender), sender)

    def _reset(self, made: Any, requester: ActorAddress) -> None:
        if isinstance(made, Failed):
            text = f"No backup could be made, so that nothing was deleted: {made.message}"
            self.send(requester, Failed(made.kind, text))
            return

        def change(outcome: Outcome) -> ChangeDatabase:
            return ChangeDatabase(resetting.empty, (outcome.token,), self.start.site.folder, outcome)

        self.change = _Change(requester, change)
        self.change.unprepared = {one.addressDetails for one in self.start.prepare if self.exists(one)}
        if not self.change.unprepared:
            self._begin("factory-reset", None)
            return
        self.busy = "a factory-reset"
        for one in self.start.prepare:
            self.send(one, PrepareReset())
        self.wakeupAfter(PREPARED_WITHIN, StopWaiting())

    def receiveMsg_ResetPrepared(self, message: ResetPrepared, sender: ActorAddress) -> None:
        if self.change is not None and sender.addressDetails in self.change.unprepared:
            self.change.unprepared.discard(sender.addressDetails)
            if not self.change.unprepared:
                self._begin("factory-reset", None)

    def receiveMsg_StopWaiting(self, message: StopWaiting, sender: ActorAddress) -> None:
        if self.change is not None and self.change.unprepared:
            log.error("not prepared for the reset in time: %s", ", ".join(sorted(self.change.unprepared)))
            self.change.unprepared = set()
            self._begin("factory-reset", None)

    def settled(self, result: Any) -> None:
        """How the last one went is known now."""
        if isinstance(result, Outcome):
            self.last = result

    def _begin(self, what: outcomes.What, file: str | None) -> None:
        """Leave a note of it, which is there whatever happens, and have the agent restarted."""
        self._work(f"a {what}", partial(outcomes.begin, self.start.site.folder, what, file), self._begun)

    def _begun(self, outcome: Any) -> None:
        assert self.change is not None
        if isinstance(outcome, Failed):
            self._not_begun(outcome)
            return
        self.busy = f"a {outcome.what}"
        self.last = self.change.outcome = outcome
        self.send(self.start.agent, RestartAgent(store=self.change.change(outcome)))

    def receiveMsg_RestartBegun(self, message: RestartBegun, sender: ActorAddress) -> None:
        if self.change is not None and self.change.outcome is not None:
            log.warning("%s: the agent restarts", self.change.outcome.what)
            self.send(self.change.requester, ChangeBegun(self.change.outcome.token))
            self.change = None

    def receiveMsg_Failed(self, message: Failed, sender: ActorAddress) -> None:
        """The agent does not restart, for it stops or starts already; or a subsystem knows no resets."""
        if sender == self.start.agent and self.change is not None and self.change.outcome is not None:
            finish = partial(outcomes.finish, self.start.site.folder, self.change.outcome, message.message)
            self.run(attempt(finish), then=lambda result: AttemptEnded(result, self.settled))
            self._not_begun(message)
        else:
            self.receiveMsg_ResetPrepared(ResetPrepared(), sender)

    def stopped(self) -> None:
        super().stopped()
        if self.change is not None:
            self.send(self.change.requester, GIVEN_UP)

    def _not_begun(self, failed: Failed) -> None:
        change, self.change, self.busy = self.change, None, None
        if change is not None:
            self.send(change.requester, failed)


def _prepare_restore(site: Site, file: str, passphrase: str | None, ended: Ended) -> tuple[Path, bool]:
    prepared = restoring.prepare(site, file, passphrase, ended)
    make(site, "before-restore", None, ended, spare=file)
    return prepared
