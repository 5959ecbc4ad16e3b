"""An actor that owns rows of the target state."""

import logging
from collections.abc import Callable
from typing import Any

from thespian.actors import ActorAddress

from actors.failure import Failed, Refusal
from actors.messages import Transact, Transacted
from actors.system.actor import Actor
from storage.errors import Duplicate, MissingParent, MissingRow, StorageError

log = logging.getLogger(__name__)


class Keeper(Actor):
    """Changes go to disk first: only what `Transacted` confirms is applied to memory and answered.

    So a change that cannot be stored (full disk, name taken meanwhile) changes nothing and says so.
    """

    store: ActorAddress

    def __init__(self) -> None:
        self._pending: dict[int, tuple[ActorAddress, Callable[[Any], Any]]] = {}
        self._token = 0

    def transact(self, requester: ActorAddress, apply: Callable[[Any], Any], call: Any, *args: Any) -> None:
        """Store; then `apply(result)` changes the state and returns the reply to `requester`."""
        self._token += 1
        self._pending[self._token] = (requester, apply)
        self.send(self.store, Transact(self._token, call, args))

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        requester, apply = self._pending.pop(message.token)
        if message.error is None:
            self.send(requester, apply(message.result))
        else:
            self.send(requester, _refusal(message.error))

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
            return Failed("conflict", str(error), error.field)
        case MissingParent() | MissingRow():
            return Failed("not_found", str(error))
        case StorageError():
            return Failed("unavailable", str(error))
    log.error("a transaction failed", exc_info=error)
    return Failed("internal", str(error))
