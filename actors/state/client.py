"""An actor that asks the store things."""

import logging
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.state.messages import Transact, Transacted
from actors.system.actor import Actor
from storage import database
from storage.errors import StorageError

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds until what the store does not answer is taken for failed

# Never the same twice in a process: what was meant for an earlier life finds nobody in the next one.
_numbers = count(1)


class StoreSilent(msgspec.Struct, frozen=True):
    """To itself: time to look at what the store has not answered."""


class Asked(msgspec.Struct, frozen=True):
    """A question that waits; `since` is monotonic seconds."""

    kind: str
    since: float
    then: Callable[[Transacted], Any]


class StoreClient(Actor):
    """Every question is answered once: by the store, or after `PATIENCE` by an error in its name.

    `store_error` is what the latest answer said was wrong; `storing_failed(error)` sets it.
    """

    store: ActorAddress

    def __init__(self) -> None:
        super().__init__()
        self.store_error: str | None = None
        self._asked: dict[int, Asked] = {}
        self._looking = False
        self._silent = False

    def ask_store(
        self, kind: str, call: Any, *args: Any, then: Callable[[Transacted], Any] | None = None
    ) -> None:
        """Have the store run `call(database, *args)`; the answer goes to `then`, else to `_<kind>_done`."""
        number = next(_numbers)
        self._asked[number] = Asked(kind, monotonic(), then or getattr(self, f"_{kind}_done"))
        self.send(self.store, Transact(number, call, args))
        if not self._looking:
            self._looking = True
            self.wakeupAfter(PATIENCE, StoreSilent())

    def is_asked(self, kind: str) -> bool:
        """Whether an answer of that kind is awaited."""
        return any(asked.kind == kind for asked in self._asked.values())

    def store_answers(self) -> bool:
        """Whether to hand the store what is large: not after a question that it has not answered, for what it
        is handed piles up there. Then it is asked for a sign of life."""
        if self._silent and not self.is_asked("ping"):
            self.ask_store("ping", database.ping, then=lambda _: None)
        return not self._silent

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        self._silent = False
        self._answered(message)

    def _answered(self, message: Transacted) -> None:
        asked = self._asked.pop(message.token, None)
        if asked is None:
            return  # given up meanwhile, or asked in an earlier life
        if message.error is None:
            self.store_error = None
        else:
            self.storing_failed(message.error)
        asked.then(message)

    def receiveMsg_StoreSilent(self, message: StoreSilent, sender: ActorAddress) -> None:
        self._looking = False
        now = monotonic()
        for number, asked in list(self._asked.items()):
            if now - asked.since >= PATIENCE:
                unanswered = Transacted(number, error=StorageError("the store does not answer", "silent"))
                self._silent = True
                self._answered(unanswered)
        if self._asked and not self._looking:
            self._looking = True
            oldest = min(asked.since for asked in self._asked.values())
            self.wakeupAfter(max(0.0, oldest + PATIENCE - now), StoreSilent())

    def storing_failed(self, error: Exception) -> None:
        self.store_error = str(error)
