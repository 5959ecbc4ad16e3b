"""An actor that owns rows of the target state."""

import logging
import time
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorAddress

from actors.state.messages import Transact, Transacted
from actors.system.actor import Actor
from actors.system.failure import Failed, Refusal
from storage.errors import Duplicate, MissingParent, MissingRow, StorageError

log = logging.getLogger(__name__)


class Keeper(Actor):
    """Changes go to disk first: only what `Transacted` confirms is applied to memory and answered.

    So a change that cannot be stored (full disk, name taken meanwhile) changes nothing and says so.
    """

    store: ActorAddress

    def __init__(self) -> None:
        self._pending: dict[tuple[int, int], tuple[ActorAddress, Callable[[Any], Any]]] = {}
        self._life = time.monotonic_ns()
        self._latest = 0

    def transact(self, requester: ActorAddress, apply: Callable[[Any], Any], call: Any, *args: Any) -> None:
        """Store; then `apply(result)` changes the state and returns the reply to `requester`."""
        self._latest += 1
        token = (self._life, self._latest)
        self._pending[token] = (requester, apply)
        self.send(self.store, Transact(token, call, args))

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        if message.token not in self._pending:
            log.warning(
                "a change that this actor had asked for before it crashed takes effect at the next start"
            )
            return
        requester, apply = self._pending.pop(message.token)
        if message.error is not None:
            self.send(requester, _refusal(message.error))
            return
        try:
            self.send(requester, apply(message.result))
        except Refusal as refusal:
            self.send(requester, refusal.failed())
        except Exception:
            self.send(requester, Failed("internal", "stored, but it could not be put into effect"))
            raise

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        """A handler refuses by raising `Refusal`: nothing was changed, the sender gets `Failed`."""
        try:
            return super().receiveMessage(message, sender)
        except Refusal as refusal:
            self.send(sender, refusal.failed())
            return None


def _refusal(error: Exception) -> Failed:
    match error:
        case Duplicate():
            what = error.row_kind.capitalize()
            return Failed("conflict", f"{what} already exists: {error.name}", error.field)
        case MissingRow():
            return Failed("not_found", "It was removed meanwhile")
        case MissingParent():
            return Failed("not_found", str(error))
        case StorageError():
            return Failed("unavailable", str(error))
    log.error("a transaction failed", exc_info=error)
    return Failed("internal", str(error))
