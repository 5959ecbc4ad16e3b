"""The base class of all our actors."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, TypeVar

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    WakeupMessage,
)

from actors.system.clock import Clock
from actors.system.failure import Failed
from actors.system.supervision import Restart
from actors.system.tasks import RELEASE_WITHIN, WITHIN

T = TypeVar("T")

_handlers: dict[tuple[type, type], Callable[..., Any] | None] = {}

_SILENT = (ActorExitRequest, ChildActorExited, DeadEnvelope, Failed, PoisonMessage)


class Actor(ActorTypeDispatcher):  # type: ignore[misc]
    """A supervised actor: `receiveMsg_<Class>(message, sender)` per message class.

    State changes in these methods only. I/O is a coroutine handed to `run`; timers are `wakeupAfter`
    with a message as payload, which is handled like any other message. An exception that leaves a
    handler or a task ends the instance, and its supervisor builds the next (see `Restart`).
    """

    RESTART: ClassVar[Restart] = Restart()
    """How it is restarted, unless who spawns it says otherwise."""

    SPILLS: ClassVar[tuple[type, ...]] = ()
    """Messages that may not be lost: those that wait when the actor is away and its mailbox full, or when it
    ends, go through `spill`."""

    health: str | None = None
    """What the actor says of itself in the tree dump; state of its own that others may only read."""

    @property
    def clock(self) -> Clock:
        """The wall clock, and whether it was set."""
        found: Clock = self._myRef.system.clock
        return found

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        key = (self.__class__, message.__class__)
        try:
            handler = _handlers[key]
        except KeyError:
            handler = _handlers[key] = _find_handler(*key)
        if handler is not None:
            return handler(self, message, sender)
        if not isinstance(message, _SILENT):
            name = message.__class__.__name__
            self.send(sender, Failed("unsupported", f"{self.__class__.__name__} does not understand {name}"))
        return None

    def spawn(
        self,
        actor_class: type["Actor"],
        name: str,
        start: Any,
        restart: Restart | None = None,
        label: str | None = None,
    ) -> ActorAddress:
        """Create a supervised child; `start` is the first message of each of its lives.

        Its address is the path of names, so it is the same in every life; `label` is what people call
        it, where that may change. Raises ValueError when a child of that name is running.
        """
        address: ActorAddress = self._myRef.system.spawn(
            self._myRef, actor_class, name, start, restart, label
        )
        return address

    def restate(self, child: ActorAddress, start: Any, label: str | None = None) -> None:
        """Give a running child a new start message: now, as a message, and in each life to come. The start is
        the parent's alone to say; earlier ones that the child has not come to when it restarts are void."""
        cell = self._myRef.system.mailboxes[child.addressDetails]
        cell.start = start
        if label is not None:
            cell.name = label
        if cell.instance is not None:
            self.send(child, start)

    def running(self, child: ActorAddress) -> bool:
        """Whether this actor has a child at that address."""
        return child.addressDetails in (self._myRef.children or {})

    def running_children(self) -> list[ActorAddress]:
        """The addresses of those there are."""
        return [ActorAddress(path) for path in self._myRef.children or {}]

    def start_of(self, child: ActorAddress) -> Any:
        """The start message of the child at that address; None when there is none."""
        cell = (self._myRef.children or {}).get(child.addressDetails)
        return None if cell is None else cell.start

    def exists(self, address: ActorAddress) -> bool:
        """Whether anybody has that address, if only to come back to it."""
        return address.addressDetails in self._myRef.system.mailboxes

    def keep_only(self, wanted: Iterable[ActorAddress]) -> None:
        """End every child but these; of those that gave up, the others do not come back."""
        paths = {address.addressDetails for address in wanted}
        for path in (self._myRef.lost or {}).keys() - paths:
            self._myRef.system.forget_lost(self._myRef, path)
        for path in list(self._myRef.children or {}):
            if path not in paths:
                self.stop_child(ActorAddress(path))

    def stop_child(self, address: ActorAddress) -> None:
        """End a child and its children now; what they had to say they have said. One that gave up does not
        come back."""
        self._myRef.system.forget_lost(self._myRef, address.addressDetails)
        cell = (self._myRef.children or {}).get(address.addressDetails)
        if cell is not None:
            cell.parent = None
            self._myRef.children.pop(address.addressDetails)
            self._myRef.system.terminate(cell)

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        then: Callable[[T], Any] | None = None,
        reply_to: ActorAddress | None = None,
        within: float | None = WITHIN,
    ) -> None:
        """Run I/O: `then(result)` comes back as a message, or the result goes to `reply_to`, as does a
        `Refusal` that it raises. It dies with this instance, and taking longer than `within` seconds (None:
        no limit) is a crash."""
        self._myRef.system.run(self._myRef, coroutine, then, reply_to, within)

    def abandon(self) -> None:
        """Cancel everything that `run` has started and that has not ended: nothing comes of it."""
        self._myRef.system.abandon(self._myRef)

    def remember(self, note: Any) -> None:
        """Leave a message to each life to come, which gets it right after its start; None takes it back."""
        self._myRef.note = note

    def release(
        self,
        coroutine: Coroutine[Any, Any, Any],
        reply_to: ActorAddress | None = None,
        within: float | None = RELEASE_WITHIN,
    ) -> None:
        """Run something that outlives this instance, such as closing a connection; its result goes to
        `reply_to`, if given, whatever has become of this actor by then. After `within` seconds (None: never)
        it is cancelled."""
        self._myRef.system.release(coroutine, reply_to, self.myAddress, within)

    def unread(self, *kinds: type) -> list[tuple[Any, ActorAddress]]:
        """Take the messages of these classes, with their senders, out of the mailbox, the oldest first: for
        `stopped`, where they must not wait for the next life, or for nobody."""
        taken: list[tuple[Any, ActorAddress]] = self._myRef.take(kinds)
        return taken

    def stopped(self) -> None:
        """Called once when the instance ends, whether by exit or crash; nothing can be sent any more
        that would need an answer. Override to `release` what the instance holds."""

    @classmethod
    def spill(cls, start: Any, waiting: list[Any]) -> tuple[ActorAddress, Any] | None:
        """Whom to send what, so that the messages in `waiting`, oldest first, are safe, if that can be done;
        `start` is the start message of the actor, which is away or has ended. Override with SPILLS."""
        return None

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: ActorAddress) -> Any:
        if message.payload is not None:
            return self.receiveMessage(message.payload, sender)
        return None


def _find_handler(actor_class: type, message_class: type) -> Callable[..., Any] | None:
    for base in message_class.__mro__:
        found = getattr(actor_class, f"receiveMsg_{base.__name__}", None)
        if found is not None:
            handler: Callable[..., Any] = found
            return handler
    return None
