"""What the parts of `backups` share: one thing at a time, in a thread."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from thespian.actors import ActorAddress

from actors.backups.attempts import attempt
from actors.state.client import StoreClient
from actors.system.failure import Failed
from actors.system.tasks import WITHIN
from storage import backup_files, backups
from storage.backup_files import Backup, Ended, Trigger
from storage.backups import Site


class RunBackups(msgspec.Struct, frozen=True):
    """Start. `prepare` are subsystems that are told before everything is deleted."""

    store: ActorAddress
    agent: ActorAddress
    site: Site
    prepare: tuple[ActorAddress, ...] = ()


class AttemptEnded(msgspec.Struct, frozen=True):
    """What was under way has ended; `then(result)` goes on with it."""

    result: Any
    then: Callable[[Any], None]


GIVEN_UP: Final = Failed("unavailable", "It was given up, for the agent stops or restarts: ask again")


class OneAtATime(StoreClient):
    """Does one thing at a time; whoever comes meanwhile is told so. Who asked is answered even when this ends
    before it is done."""

    start: RunBackups

    def __init__(self) -> None:
        super().__init__()
        self.busy: str | None = None
        self.unanswered: list[ActorAddress] = []
        self.ended = threading.Event()

    def _work(
        self,
        what: str,
        call: Callable[[], Any],
        then: Callable[[Any], None],
        requester: ActorAddress | None = None,
    ) -> None:
        """Do it in a thread; what comes of it, or `Failed`, goes to `then`, which answers who asked."""
        self.busy = what

        def ended(result: Any) -> None:
            self.busy = None
            then(result)

        self._in_thread(call, ended, requester, None)

    def _look_up(self, call: Callable[[], Any], wrap: Callable[[Any], Any], requester: ActorAddress) -> None:
        """In a thread, beside what is under way; answers who asked."""
        self._in_thread(call, partial(self._answer, requester, wrap), requester, WITHIN)

    def _in_thread(
        self,
        call: Callable[[], Any],
        then: Callable[[Any], None],
        requester: ActorAddress | None,
        within: float | None,
    ) -> None:
        if requester is not None:
            self.unanswered.append(requester)

        def ended(result: Any) -> None:
            if requester is not None:
                self.unanswered.remove(requester)
            then(result)

        self.run(attempt(call), then=lambda result: AttemptEnded(result, ended), within=within)

    def receiveMsg_AttemptEnded(self, message: AttemptEnded, sender: ActorAddress) -> None:
        message.then(message.result)

    def _is_busy(self, requester: ActorAddress) -> bool:
        if self.busy is not None:
            self.send(requester, Failed("conflict", f"Try again later: {self.busy} is under way"))
        return self.busy is not None

    def _is_ended(self) -> bool:
        return self.ended.is_set()

    def stopped(self) -> None:
        self.ended.set()
        for requester in self.unanswered:
            self.send(requester, GIVEN_UP)

    def _answer(self, requester: ActorAddress, wrap: Callable[[Any], Any], result: Any) -> None:
        self.send(requester, result if isinstance(result, Failed) else wrap(result))


def make(
    site: Site, trigger: Trigger, passphrase: str | None, ended: Ended, spare: str | None = None
) -> Backup:
    """Those of before something are kept in small numbers, besides `spare`."""
    made = backups.create(site, trigger, passphrase, ended)
    if trigger.startswith("before-"):
        backup_files.prune(site.folder, trigger, backup_files.KEPT_BEFORE, spare)
    return made
