"""An actor that asks the store things, and asks again what is not answered."""

from itertools import count
from time import monotonic
from typing import Any

from thespian.actors import ActorAddress

from actors.state.messages import Transact, Transacted
from actors.system.actor import Actor
from storage.errors import StorageError

PATIENCE = 30.0  # seconds until what the store does not answer is taken for failed

# Never the same twice in a process: what was meant for an earlier life finds nobody in the next one.
_numbers = count(1)


class StoreClient(Actor):
    """Questions have kinds, one of a kind at a time; the answer comes to `_<kind>_done(transacted)`.

    `store_error` is what the latest answer said was wrong; `storing_failed(error)` sets it.
    """

    store: ActorAddress

    def __init__(self) -> None:
        super().__init__()
        self.store_error: str | None = None
        self._asked: dict[str, tuple[int, float]] = {}

    def ask_store(self, kind: str, call: Any, *args: Any) -> None:
        """Have the store run `call(database, *args)`."""
        number = next(_numbers)
        self._asked[kind] = number, monotonic()
        self.send(self.store, Transact((kind, number), call, args))

    def is_asked(self, kind: str) -> bool:
        """Whether an answer of that kind is awaited."""
        return kind in self._asked

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        kind, number = message.token
        if self._asked.get(kind, (0, 0.0))[0] != number:
            return  # given up meanwhile, or asked in an earlier life
        del self._asked[kind]
        if message.error is None:
            self.store_error = None
        else:
            self.storing_failed(message.error)
        getattr(self, f"_{kind}_done")(message)

    def give_up_waiting(self, now: float) -> None:
        """Take for failed what has waited too long; `now` is monotonic seconds."""
        for kind, (number, since) in list(self._asked.items()):
            if now - since > PATIENCE:
                unanswered = Transacted((kind, number), error=StorageError("the store does not answer"))
                self.receiveMsg_Transacted(unanswered, self.myAddress)

    def storing_failed(self, error: Exception) -> None:
        self.store_error = str(error)
