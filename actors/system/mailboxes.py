"""Everything that an address can stand for, behind one method: `put(message, sender)`.

All of it runs on the loop's thread.
"""

import asyncio
import logging
import queue
from collections import deque
from time import perf_counter
from typing import Any, Protocol

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    ThespianWatch,
)
from thespian.system import isInternalActorSystemMessage
from thespian.system.messages.status import Thespian_StatusReq

from actors.system.failure import Failed
from actors.system.supervision import Crashes

log = logging.getLogger(__name__)

ATTEMPTS = 2  # Thespian hands a message to a failing actor a second time before it calls it poison
TURN = 32  # messages an actor may handle before the next actor has its turn
BLOCKING = 0.5  # seconds in one handler from which on it is said to have held the loop up

_LIFECYCLE = frozenset({ActorExitRequest, ChildActorExited, Thespian_StatusReq})


class System(Protocol):
    """What a cell asks of the system that it belongs to."""

    loop: asyncio.AbstractEventLoop
    address: ActorAddress
    lag: float
    lag_max: float
    lags: deque[float]
    dead_letters: int
    restarts: int
    dropped: int
    blockages: dict[str, Any]
    dropped_at: dict[str, float]
    mailbox_size: int
    mailboxes: "dict[str, Mailbox]"

    def schedule(self, cell: "Cell") -> None: ...

    def dead_letter(self, to: ActorAddress, message: Any, sender: ActorAddress) -> None: ...

    def deliver(self, to: ActorAddress, message: Any, sender: ActorAddress) -> None: ...

    def wakeup(self, cell: "Cell", period: Any, payload: Any) -> None: ...

    def watch(self, cell: "Cell", filenos: list[int] | None) -> None: ...

    def waits(self, cell: "Cell") -> float: ...

    def blocked(self, cell: "Cell", message: Any, seconds: float) -> None: ...

    def create_child(
        self,
        parent: "Cell",
        actor_class: type[Actor] | str,
        requirements: dict[str, Any] | None,
        global_name: str | None,
    ) -> ActorAddress: ...

    def poison(self, cell: "Cell", message: Any, sender: ActorAddress, error: BaseException) -> None: ...

    def crash(self, cell: "Cell", error: BaseException) -> None: ...

    def leave(self, cell: "Cell", sender: ActorAddress | None = None, recursive: bool = True) -> None: ...

    def status_of(self, cell: "Cell") -> Any: ...

    def update_capability(self, name: str, value: Any) -> None: ...

    def _handleDeadLetters(self, address: ActorAddress, enable: bool) -> None: ...

    def shutdown(self) -> None: ...


class Cell:
    """One actor: its instance, mailbox, children, timers and tasks; Thespian's `_myRef`.

    The cell outlives its instance: a supervised actor that crashes keeps cell, address and mailbox.
    """

    __slots__ = (
        "actor_class",
        "address",
        "busy",
        "busy_max",
        "children",
        "crashes",
        "dropped",
        "globalName",
        "handled",
        "high",
        "instance",
        "last_error",
        "lost",
        "mailbox",
        "name",
        "note",
        "parent",
        "scheduled",
        "start",
        "started",
        "system",
        "tasks",
        "timers",
        "watched",
    )

    def __init__(
        self,
        system: System,
        address: ActorAddress,
        parent: "Cell | None",
        actor_class: type[Actor],
        name: str = "",
    ) -> None:
        self.system = system
        self.address = address
        self.parent = parent
        self.actor_class = actor_class
        self.name = name
        self.instance: Actor | None = None
        self.globalName: str | None = None
        self.children: dict[str, Cell] | None = None
        self.mailbox: deque[tuple[Any, ActorAddress]] | None = None
        self.scheduled = False
        self.start: Any = None
        self.note: Any = None
        self.lost: dict[str, Lost] | None = None
        self.crashes: Crashes | None = None
        self.tasks: dict[asyncio.Task[None], tuple[Any, ActorAddress | None]] | None = None
        self.timers: set[asyncio.TimerHandle] | None = None
        self.watched: list[int] | None = None
        self.started = perf_counter()
        self.handled = 0
        self.busy = 0.0
        self.busy_max = 0.0
        self.high = 0
        self.dropped = 0
        self.last_error: str | None = None

    # What Thespian's Actor calls on `_myRef`

    def createActor(
        self,
        actor_class: type[Actor] | str,
        requirements: dict[str, Any] | None,
        global_name: str | None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        return self.system.create_child(self, actor_class, requirements, global_name)

    def actor_send(self, to: ActorAddress, message: Any) -> None:
        target = self.system.mailboxes.get(to._aaddr)
        if target is None:
            self.system.dead_letter(to, message, self.address)
        else:
            target.put(message, self.address)

    def wakeupAfter(self, period: Any, payload: Any) -> None:
        self.system.wakeup(self, period, payload)

    def handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        self.system._handleDeadLetters(address, enable)

    def updateCapability(self, name: str, value: Any) -> None:
        self.system.update_capability(name, value)

    def actorSystemShutdown(self) -> None:
        self.system.shutdown()

    def notifyOnSystemRegistrationChanges(self, address: ActorAddress, enable: bool) -> None:
        """One system has no convention whose members could change."""

    # Delivery

    def put(self, message: Any, sender: ActorAddress) -> None:
        """Append to the mailbox, within its bound, and see that the actor gets its turn.

        A full mailbox drops its oldest telemetry (message classes with a true `TELEMETRY`) to admit
        telemetry, and refuses with `Failed` what was asked from outside the tree. What actors tell one
        another beyond that is bounded by the requests that caused it, and is always admitted.
        """
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.mailbox = deque()
        depth = len(mailbox)
        if depth >= self.system.mailbox_size and self.crashes is not None:
            if self.instance is None and self.spill():
                depth = len(mailbox)
            elif not self._make_room(mailbox, message, sender):
                return
        mailbox.append((message, sender))
        if depth >= self.high:
            self.high = depth + 1
        if not self.scheduled and self.instance is not None:
            self.scheduled = True
            self.system.schedule(self)

    def _make_room(
        self, mailbox: deque[tuple[Any, ActorAddress]], message: Any, sender: ActorAddress
    ) -> bool:
        if getattr(message, "TELEMETRY", False):
            self.count_dropped()
            for position, (queued, _) in enumerate(mailbox):
                if getattr(queued, "TELEMETRY", False):
                    del mailbox[position]
                    return True
            return False
        asker = self.system.mailboxes.get(sender._aaddr)
        if not isinstance(asker, Asker | Collector | External) or type(message) in _LIFECYCLE:
            return True
        self.count_dropped()
        asker.put(Failed("unavailable", f"mailbox of {self.name or self.address} is full"), self.address)
        return False

    def count_dropped(self, messages: int = 1) -> None:
        self.dropped += messages
        self.system.dropped += messages
        self.system.dropped_at[self.address.addressDetails] = self.system.loop.time()

    def spill(self) -> bool:
        """Bring to safety what may not be lost while the actor is away (see `Actor.spill`); whether there was
        anything. What cannot be is left where it is, and is no failure of whose message did not fit."""
        types: tuple[type, ...] = getattr(self.actor_class, "SPILLS", ())
        waiting = [message for message, _ in self.mailbox or () if isinstance(message, types)]
        if not waiting:
            return False
        try:
            safe = self.actor_class.spill(self.start, waiting)
        except Exception:
            log.exception("%s: %d messages cannot be spilled", self.address.addressDetails, len(waiting))
            return False
        if safe is None or safe[0]._aaddr not in self.system.mailboxes:  # there may be later
            return False
        self.take(types)
        self.system.deliver(safe[0], safe[1], self.address)
        return True

    def take(self, kinds: tuple[type, ...]) -> list[tuple[Any, ActorAddress]]:
        """Remove the messages of these classes, with their senders, the oldest first."""
        mailbox = self.mailbox
        if mailbox is None:
            return []
        taken = [mail for mail in mailbox if isinstance(mail[0], kinds)]
        if taken:  # in place: the turn that this may happen in goes on with the same mailbox
            kept = [mail for mail in mailbox if not isinstance(mail[0], kinds)]
            mailbox.clear()
            mailbox.extend(kept)
        return taken

    def turn(self, now: float, until: float) -> float:
        """Handle up to TURN messages, none after `until`; times and the result are `perf_counter` seconds."""
        mailbox = self.mailbox
        instance = self.instance
        message: Any = None
        spent = 0.0
        try:
            for _ in range(TURN):
                if not mailbox or instance is None or now >= until:
                    break
                message, sender = mailbox.popleft()
                self.handled += 1
                if type(message) in _LIFECYCLE:
                    self._lifecycle(instance, message, sender)
                else:
                    self._handle(instance, message, sender)
                after = perf_counter()
                spent = after - now
                self.busy += spent
                if spent > self.busy_max:
                    self.busy_max = spent
                now = after
                instance = self.instance
            if spent > BLOCKING:  # only the last can have taken that long: `until` was over after it
                self.system.blocked(self, message, spent)
        finally:  # whatever came out of a handler: who has mail has another turn
            if self.mailbox and self.instance is not None:
                self.system.schedule(self)
            else:
                self.scheduled = False
        return now

    def _handle(self, instance: Actor, message: Any, sender: ActorAddress) -> None:
        try:
            result = instance.receiveMessage(message, sender)
            if self.watched is not None or type(result) is ThespianWatch:
                self.system.watch(self, getattr(result, "filenos", None))
        except SystemExit:
            self.system.leave(self)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - its supervisor's business
            self._failed(instance, message, sender, error)

    def _failed(self, instance: Actor, message: Any, sender: ActorAddress, error: BaseException) -> None:
        if self.crashes is not None:
            self.system.poison(self, message, sender, error)
            if self.instance is instance:  # else it has ended over what it did, and has been counted
                self.system.crash(self, error)
            return
        for _ in range(ATTEMPTS - 1):
            try:
                instance.receiveMessage(message, sender)
            except SystemExit:
                self.system.leave(self)
                return
            except KeyboardInterrupt:
                raise
            except BaseException as again:  # noqa: BLE001 - as above
                error = again
            else:
                return
        self.system.poison(self, message, sender, error)

    def _lifecycle(self, instance: Actor, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Thespian_StatusReq):
            self.actor_send(sender, self.system.status_of(self))
            return
        self._handle(instance, message, sender)
        if isinstance(message, ActorExitRequest) and self.instance is instance:
            self.system.leave(self, sender, message.isRecursive)


class Lost:
    """A child that gave up, as it was at its end; `timer` is for its return, None when it has none."""

    __slots__ = ("cell", "timer")

    def __init__(self, cell: Cell, timer: asyncio.TimerHandle | None) -> None:
        self.cell = cell
        self.timer = timer

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Ended:
    """The `_myRef` of a supervised instance that has ended: what its leftovers still say is not heard,
    for the next instance has the same address and knows nothing of it."""

    __slots__ = ("address", "globalName", "system")

    def __init__(self, cell: Cell) -> None:
        self.address = cell.address
        self.globalName = cell.globalName
        self.system = cell.system

    def actor_send(self, to: ActorAddress, message: Any) -> None:
        pass

    def wakeupAfter(self, period: Any, payload: Any) -> None:
        pass


class Asker:
    """A one-shot reply address: the first message to it resolves the future."""

    __slots__ = ("future",)

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.future = future

    def put(self, message: Any, sender: ActorAddress) -> None:
        if not self.future.done():
            self.future.set_result(message)


class Collector:
    """The reply address of one question to many, by their addresses: the first message of each counts; when
    all have come the future is resolved."""

    __slots__ = ("awaited", "future", "replies")

    def __init__(self, future: "asyncio.Future[None]", awaited: set[str]) -> None:
        self.future = future
        self.awaited = awaited
        self.replies: dict[str, Any] = {}

    def put(self, message: Any, sender: ActorAddress) -> None:
        address = sender.addressDetails
        if address in self.awaited:
            self.awaited.discard(address)
            self.replies[address] = message
            if not self.awaited and not self.future.done():
                self.future.set_result(None)


class External:
    """A thread outside the system; it picks its messages up with `listen`."""

    __slots__ = ("address", "arrived")

    def __init__(self, address: ActorAddress) -> None:
        self.address = address
        self.arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, message: Any, sender: ActorAddress) -> None:
        if not isInternalActorSystemMessage(message):
            self.arrived.put(message)


class Mailbox(Protocol):
    """What an address stands for."""

    def put(self, message: Any, sender: ActorAddress) -> None: ...
