"""An actor that owns rows of the target state."""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from thespian.actors import ActorAddress

from actors.state.client import StoreClient
from actors.state.messages import Transacted
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import CheckSubsystem, SubsystemChecked, SubsystemStarted
from actors.system.failure import Failed, Refusal
from storage.errors import Duplicate, MissingParent, MissingRow, StorageError, Unreadable

log = logging.getLogger(__name__)

RELOAD = 1.0  # seconds until the store is asked again for rows that it did not give
WAITING = 1000
"""Requests that wait for the rows, or for the change before them; more are refused."""


class Reload(msgspec.Struct, frozen=True):
    """To itself: ask the store for the rows."""


class Keeper(SubsystemActor, StoreClient):
    """What is on disk is true: each life begins by loading the rows, and a change goes to disk first; only
    what the store confirms is applied to memory and answered. So a change that cannot be stored (full disk,
    name taken meanwhile) changes nothing and says so, and one that was under way in a crash is found by the
    next life, stored or not.

    One change at a time: each is checked against, and merged into, what the one before it has left.
    """

    CHANGES: ClassVar[tuple[type, ...]]
    """Requests that are answered one after the other; all others are answered at once."""
    REQUESTS: ClassVar[tuple[type, ...]]
    """Those that need the rows, and wait until they are there."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = False
        self._changing: ActorAddress | None = None
        self._waiting: deque[tuple[Any, ActorAddress]] = deque()
        self._looking_up: list[ActorAddress] = []

    # Rows

    @abstractmethod
    def load(self) -> tuple[Any, ...]:
        """What to ask the store for: `call, *args`."""

    @abstractmethod
    def take(self, stored: Any) -> None:
        """Begin with what the store has given, and bring the tree in line with it. What cannot be understood
        is for the keeper to list; nothing in a row may raise."""

    def in_line(self) -> None:
        """The tree is in line with the rows. Who has to wait for its children calls it later."""
        self.send(self._parent, SubsystemStarted())

    def begin(self) -> None:
        """Load the rows; requests wait for them."""
        self.loaded = False
        self.ask_store("load", *self.load())

    def receiveMsg_Reload(self, message: Reload, sender: ActorAddress) -> None:
        self.begin()

    def _load_done(self, message: Transacted) -> None:
        if message.error is not None:
            self.health = f"degraded: {message.error}"
            self._refuse_waiting(_refusal(message.error))
            self.wakeupAfter(RELOAD, Reload())
            return
        self.health = None
        self.loaded = True
        self.take(message.result)
        self.in_line()
        self._next()

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        self.send(sender, self.checked() if self.loaded else SubsystemChecked("its rows are not loaded yet"))

    def checked(self) -> SubsystemChecked:
        """How it is once its rows are loaded."""
        return SubsystemChecked()

    # Requests

    @property
    def _parent(self) -> ActorAddress:
        return self._myRef.system.starter(self._myRef)

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        """A handler refuses a request by raising `Refusal`: nothing was changed, the sender gets `Failed`."""
        if not isinstance(message, self.REQUESTS):
            return super().receiveMessage(message, sender)
        if not self.loaded or (self._changing is not None and isinstance(message, self.CHANGES)):
            if len(self._waiting) >= WAITING:
                self.send(sender, Failed("unavailable", "Too many changes are under way"))
            else:
                self._waiting.append((message, sender))
            return None
        try:
            return super().receiveMessage(message, sender)
        except Refusal as refusal:
            self.send(sender, refusal.failed())
            return None

    def _next(self) -> None:
        """What waited for the rows, or for the change that has ended. Who has left meanwhile was told that it
        failed: that is to stay true."""
        while self._waiting and self.loaded:
            message, requester = self._waiting[0]
            if self._changing is not None and isinstance(message, self.CHANGES):
                return
            self._waiting.popleft()
            if self.exists(requester):
                self.receiveMessage(message, requester)

    def transact(self, requester: ActorAddress, apply: Callable[[Any], Any], call: Any, *args: Any) -> None:
        """Store a change; then `apply(result)` changes the state and returns the reply to `requester`."""
        self._changing = requester
        self.ask_store("change", call, *args, then=lambda message: self._change_done(message, apply))

    def _change_done(self, message: Transacted, apply: Callable[[Any], Any]) -> None:
        requester, self._changing = self._changing, None
        assert requester is not None
        if message.error is None:
            try:
                self.send(requester, apply(message.result))
            except Exception:
                self.send(requester, Failed("internal", "stored, but it could not be put into effect"))
                raise
        elif isinstance(message.error, StorageError) and message.error.kind == "silent":
            self.send(requester, Failed("unavailable", f"{message.error}: look whether it was stored"))
            self.begin()  # that is for the store to say
        else:
            self.send(requester, _refusal(message.error))
        self._next()

    def look_up(self, requester: ActorAddress, reply: Callable[[Any], Any], call: Any, *args: Any) -> None:
        """Answer `requester` with `reply(result)` of something that changes nothing."""

        def found(message: Transacted) -> None:
            self._looking_up.remove(requester)
            error = message.error
            self.send(requester, reply(message.result) if error is None else _refusal(error))

        self._looking_up.append(requester)
        self.ask_store("look-up", call, *args, then=found)

    def _refuse_waiting(self, failed: Failed) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, requester in waiting:
            self.send(requester, failed)

    def stopped(self) -> None:
        """Who waits is told; a change that the store has been handed may yet be stored."""
        super().stopped()
        if self._changing is not None:
            self.send(self._changing, Failed("unavailable", "Interrupted: look whether it was stored"))
        for requester in self._looking_up:
            self.send(requester, Failed("unavailable", "Interrupted"))
        self._refuse_waiting(Failed("unavailable", "Interrupted: nothing was changed"))


def _refusal(error: Exception) -> Failed:
    match error:
        case Duplicate():
            what = error.row_kind.capitalize()
            return Failed("conflict", f"{what} already exists: {error.name}", error.field)
        case MissingRow():
            return Failed("not_found", "It was removed meanwhile")
        case MissingParent():
            return Failed("not_found", str(error))
        case Unreadable():
            return Failed("conflict", str(error))
        case StorageError():
            return Failed("unavailable", str(error))
    log.error("a transaction failed", exc_info=error)
    return Failed("internal", str(error))
