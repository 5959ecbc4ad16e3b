"""A Thespian system base that keeps all actors in one asyncio loop.

The contract is Thespian's (its shipped test-suite runs against this base); what it adds is `ask` as an
awaitable on the loop's own thread, supervised children, and a tree dump.
"""

import asyncio
import itertools
import logging
import math
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from inspect import CORO_CREATED, getcoroutinestate
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import quote

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    PoisonMessage,
    ThespianGeneration,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.messages.status import Thespian_ActorStatus, Thespian_SystemStatus
from thespian.system.timing import ExpirationTimer, timePeriodSeconds
from thespian.system.utilis import actualActorClass, checkActorCapabilities, withPossibleInitArgs

from actors.failure import Failed, Kind, Refusal
from actors.system.mailboxes import Asker, Cell, Ended, External, Mailbox, SystemAddress
from actors.system.supervision import Crashes, Restart

log = logging.getLogger(__name__)

T = TypeVar("T")

SLICE = 0.005  # seconds of actor turns before the loop looks at its sockets again
LAG_INTERVAL = 0.5  # seconds between two looks at the loop's lag
THREAD_CALL_TIMEOUT = 60.0  # seconds another thread waits for the loop


class AsyncioSystemBase:
    """`ActorSystem(systemBase=AsyncioSystemBase(...))`.

    Constructed on a running loop it lives on that loop; elsewhere it starts a loop of its own in a
    daemon thread. `capabilities` are Thespian's; the standard ones are added. `mailbox_size` bounds the
    mailboxes of supervised actors (see `Cell.put`).
    """

    def __init__(self, capabilities: dict[str, Any] | None = None, mailbox_size: int = 1000) -> None:
        self.mailbox_size = mailbox_size
        self.address = ActorAddress("/ActorSys")
        self.capabilities = capabilities if capabilities is not None else {}
        self.capabilities.update(
            {
                "Python Version": tuple(sys.version_info),
                "Thespian Generation": ThespianGeneration,
                "Thespian Version": str(int(time.time() * 1000)),
                "Thespian ActorSystem Name": "asyncio",
                "Thespian ActorSystem Version": 1,
                "Thespian Watch Supported": True,
                "AllowRemoteActorSources": "No",
            }
        )
        self.mailboxes: dict[str, Mailbox] = {self.address.addressDetails: SystemAddress(self)}
        self.globals: dict[str, ActorAddress] = {}
        self.lag = self.lag_max = 0.0
        self.dead_letters = 0
        self._dead_letter_handler: ActorAddress | None = None
        self._ready: deque[Cell] = deque()
        self._draining = False
        self._numbers = itertools.count(1)
        self._endings: dict[str, asyncio.Future[None]] = {}
        self._releases: set[asyncio.Task[Any]] = set()
        self._down = False
        self._thread: threading.Thread | None = None
        try:
            self.loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
            self._look_at_lag(self.loop.time())
        except RuntimeError:
            self._start_thread()
        self._main = self._external()

    def _start_thread(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="actors", daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        self._thread_id = self._thread.ident
        self.loop.call_soon_threadsafe(self._look_at_lag, self.loop.time())

    def _look_at_lag(self, due: float) -> None:
        self.lag = max(0.0, self.loop.time() - due)
        self.lag_max = max(self.lag, self.lag_max)
        if not self._down:
            self.loop.call_later(LAG_INTERVAL, self._look_at_lag, self.loop.time() + LAG_INTERVAL)

    # Thespian's interface to a system base

    def newPrimaryActor(
        self,
        actor_class: type[Actor] | str,
        requirements: dict[str, Any] | None,
        global_name: str | None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        return self._on_loop(lambda: self._create_primary(actor_class, requirements, global_name))

    def tell(self, address: ActorAddress, message: Any) -> None:
        self._tell(address, message, self._main.address)

    def ask(self, address: ActorAddress, message: Any, timeout: Any = None) -> Any:
        """The reply, or None after `timeout` (seconds or timedelta).

        On the loop's own thread the result is an awaitable and the reply goes to a one-shot address;
        on other threads the call blocks, as Thespian's does.
        """
        if threading.get_ident() == self._thread_id:
            return self._ask(address, message, timeout)
        self.tell(address, message)
        return self.listen(timeout)

    def listen(self, timeout: Any = None) -> Any:
        return _take(self._main, timeout)

    def external_clone(self) -> "PrivateRequester":
        return PrivateRequester(self, self._external())

    def updateCapability(self, name: str, value: Any = None) -> None:
        self._on_loop(lambda: self._update_capability(name, value))

    def loadActorSource(self, fname: Any) -> None:
        raise NotSupported("loadable actor sources")

    def unloadActorSource(self, source_hash: str) -> None:
        raise NotSupported("loadable actor sources")

    def shutdown(self) -> None:
        """Stop every actor; a loop of the base's own ends with them."""
        if not self._down:
            self._on_loop(self._stop_all)
        thread = self._thread
        if thread is not None and threading.get_ident() != self._thread_id:
            self._thread = None
            asyncio.run_coroutine_threadsafe(self.released(), self.loop).result(THREAD_CALL_TIMEOUT)
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join()
            self.loop.close()

    async def released(self) -> None:
        """Wait until what stopped actors left behind (tasks to unwind, connections to close) is gone."""
        while self._releases:
            await asyncio.gather(*self._releases, return_exceptions=True)

    def _handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        """The latest handler is the only one; when it goes there is none."""
        if enable:
            self._dead_letter_handler = address
        elif self._dead_letter_handler == address:
            self._dead_letter_handler = None

    # Threads

    def _on_loop(self, call: Callable[[], T]) -> T:
        if threading.get_ident() == self._thread_id:
            return call()
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(call())
            except Exception as error:  # noqa: BLE001 - raised again in the calling thread
                outcome.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return outcome.result(THREAD_CALL_TIMEOUT)

    def _tell(self, address: ActorAddress, message: Any, sender: ActorAddress) -> None:
        if threading.get_ident() == self._thread_id:
            self.deliver(address, message, sender)
        else:
            self.loop.call_soon_threadsafe(self.deliver, address, message, sender)

    def _external(self) -> External:
        external = External(self._fresh("System:ExternalRequester:"))
        self.mailboxes[external.address.addressDetails] = external
        return external

    async def _ask(self, address: ActorAddress, message: Any, within: Any) -> Any:
        reply_to = self._fresh("System:Ask:")
        future: asyncio.Future[Any] = self.loop.create_future()
        self.mailboxes[reply_to.addressDetails] = Asker(future)
        try:
            self.deliver(address, message, reply_to)
            async with asyncio.timeout(_seconds(within)):
                return await future
        except TimeoutError:
            return None
        finally:
            del self.mailboxes[reply_to.addressDetails]

    def _fresh(self, prefix: str) -> ActorAddress:
        return ActorAddress(f"{prefix}{next(self._numbers)}")

    # Creating

    def _create_primary(
        self, actor_class: type[Actor] | str, requirements: dict[str, Any] | None, global_name: str | None
    ) -> ActorAddress:
        if global_name and global_name in self.globals:
            return self.globals[global_name]
        found = _actor_class(actor_class)
        if not checkActorCapabilities(found, self.capabilities, requirements):
            raise NoCompatibleSystemForActor(found, "No compatible ActorSystem")
        cell = Cell(self, self._fresh("/A"), None, found)
        cell.instance = self._instantiate(cell, requirements)
        self._register(cell, global_name)
        return cell.address

    def create_child(
        self,
        parent: Cell,
        actor_class: type[Actor] | str,
        requirements: dict[str, Any] | None,
        global_name: str | None,
    ) -> ActorAddress:
        """Thespian's `createActor` of an actor: failure to create is a `ChildActorExited`."""
        if global_name and global_name in self.globals:
            return self.globals[global_name]
        found = _actor_class(actor_class)
        parent.spawned += 1
        address = ActorAddress(f"{parent.address.addressDetails}~{parent.spawned}")
        cell = Cell(self, address, parent, found)
        try:
            if not checkActorCapabilities(found, self.capabilities, requirements):
                raise NoCompatibleSystemForActor(found, "No compatible ActorSystem")
            cell.instance = self._instantiate(cell, requirements)
        except Exception:
            log.warning("could not create %s", found.__name__, exc_info=True)
            self.deliver(parent.address, ChildActorExited(address), self.address)
            return address
        self._register(cell, global_name)
        return address

    def spawn(
        self,
        parent: Cell | None,
        actor_class: type[Actor],
        name: str,
        start: Any,
        restart: Restart | None = None,
        label: str | None = None,
    ) -> ActorAddress:
        """Create a supervised actor; its address is its path, so it is the same in every life.

        `start` is the first message of every instance; `label` is what people call it, `name` if None.
        Raises ValueError when the name is taken.
        """
        address = child_address(parent.address if parent else None, name)
        if address.addressDetails in self.mailboxes:
            raise ValueError(f"{address.addressDetails} is already running")
        cell = Cell(self, address, parent, actor_class, label or name)
        cell.start = start
        cell.crashes = Crashes(restart or Restart())
        cell.limit = self.mailbox_size
        self._register(cell, None)
        self._begin(cell)
        return cell.address

    def _begin(self, cell: Cell) -> None:
        """Give the cell a fresh instance whose first message is its start message."""
        try:
            cell.instance = self._instantiate(cell, None)
        except Exception as error:  # noqa: BLE001 - a constructor that raises is a crash like any other
            self.crash(cell, error)
            return
        cell.started = perf_counter()
        if cell.mailbox is None:
            cell.mailbox = deque()
        cell.mailbox.appendleft((cell.start, cell.parent.address if cell.parent else self.address))
        if not cell.scheduled:
            cell.scheduled = True
            self.schedule(cell)

    def _instantiate(self, cell: Cell, requirements: dict[str, Any] | None) -> Actor:
        instance: Actor = withPossibleInitArgs(
            capabilities=self.capabilities, requirements=requirements
        ).create(cell.actor_class)
        instance._myRef = cell
        return instance

    def _register(self, cell: Cell, global_name: str | None) -> None:
        self.mailboxes[cell.address.addressDetails] = cell
        if cell.parent is not None:
            if cell.parent.children is None:
                cell.parent.children = {}
            cell.parent.children[cell.address.addressDetails] = cell
        if global_name:
            cell.globalName = global_name
            self.globals[global_name] = cell.address

    # Delivering

    def deliver(self, to: ActorAddress, message: Any, sender: ActorAddress) -> None:
        target = self.mailboxes.get(to.addressDetails)
        if target is None:
            self.dead_letter(to, message, sender)
        else:
            target.put(message, sender)

    def dead_letter(self, to: ActorAddress, message: Any, sender: ActorAddress) -> None:
        """A message whose address stands for nothing goes to the dead-letter handler."""
        self.dead_letters += 1
        if isinstance(message, DeadEnvelope | ChildActorExited | ActorExitRequest):
            return  # these are about dead actors already
        self._excuse(sender, "unavailable", f"{to.addressDetails.rpartition('/')[2]} is not running")
        if self._dead_letter_handler is not None:
            self.deliver(self._dead_letter_handler, DeadEnvelope(to, message), sender)

    def schedule(self, cell: Cell) -> None:
        self._ready.append(cell)
        if not self._draining:
            self._draining = True
            self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Give the actors with mail their turns, for at most SLICE seconds."""
        ready = self._ready
        now = perf_counter()
        until = now + SLICE
        try:
            while ready and now < until:
                now = ready.popleft().turn(now, until)
        finally:
            if ready:
                self.loop.call_soon(self._drain)
            else:
                self._draining = False

    def put_now(self, cell: Cell, message: Any) -> None:
        """Deliver at the top of the stack (a timer, the end of a task) without another turn of the loop.

        A turn of the loop costs as much as handling several messages, and a poll has many of them.
        """
        if self._draining:
            cell.put(message, cell.address)
            return
        self._draining = True
        cell.put(message, cell.address)
        self._drain()

    def wakeup(self, cell: Cell, period: Any, payload: Any) -> None:
        delay = period if isinstance(period, float) else timePeriodSeconds(period)
        if delay > 0:
            # uvloop counts whole ms from a truncated now; so none fires early, and what is due together
            # fires together.
            now = 1000 * time.monotonic()
            delay = (math.ceil(now + 1000 * delay) - math.floor(now)) / 1000
        if cell.timers is None:
            cell.timers = set()
        timers = cell.timers

        def fire() -> None:
            timers.discard(handle)
            self.put_now(cell, WakeupMessage(period, payload))

        handle = self.loop.call_later(max(0.0, delay), fire)
        timers.add(handle)

    def watch(self, cell: Cell, filenos: list[int] | None) -> None:
        """Watch these files, and no others, until one is readable: then the actor gets a `WatchMessage`."""
        for fileno in cell.watched or ():
            self.loop.remove_reader(fileno)
        cell.watched = None
        for fileno in filenos or ():
            self.loop.add_reader(fileno, self._readable, cell, fileno)
            cell.watched = [*(cell.watched or ()), fileno]

    def _readable(self, cell: Cell, fileno: int) -> None:
        self.watch(cell, None)
        cell.put(WatchMessage([fileno]), cell.address)

    def run(
        self, cell: Cell, coroutine: Any, then: Callable[[Any], Any] | None, reply_to: ActorAddress | None
    ) -> None:
        """Run a coroutine for an actor; its result, through `then`, comes back as a message, or goes to
        `reply_to`, as does a `Refusal` that it raises.

        Any other exception in it is a crash of the actor; the task dies with the actor's instance.
        """
        if cell.tasks is None:
            cell.tasks = {}
        own: list[asyncio.Task[None]] = []  # asking for the current task costs more than handing it over
        task = self.loop.create_task(self._carry(cell, cell.tasks, own, coroutine, then, reply_to))
        own.append(task)
        cell.tasks[task] = (coroutine, reply_to)

    def abandon(self, cell: Cell) -> None:
        """Cancel what an actor has running: neither results nor a crash come of it."""
        tasks, cell.tasks = cell.tasks, None
        for task, (coroutine, reply_to) in tuple((tasks or {}).items()):
            task.cancel()
            self._await_release(task)
            if getcoroutinestate(coroutine) == CORO_CREATED:  # its task never got to it
                coroutine.close()
                self._excuse(reply_to, "unavailable", f"{cell.name} was stopped meanwhile")
        if tasks is not None:
            tasks.clear()

    async def _carry(
        self,
        cell: Cell,
        tasks: dict[asyncio.Task[None], tuple[Any, ActorAddress | None]],
        own: list[asyncio.Task[None]],
        coroutine: Any,
        then: Callable[[Any], Any] | None,
        reply_to: ActorAddress | None,
    ) -> None:
        """Hands the outcome over within the task's last step: a done callback would cost a turn of the
        loop more."""
        error: Exception | None = None
        result: Any = None
        try:
            result = await coroutine
        except asyncio.CancelledError:
            self._excuse(reply_to, "unavailable", f"{cell.name} was stopped meanwhile")
            if tasks.pop(own[0], None) is not None:
                # Not by us: something that it shared with another task was cancelled under it.
                self.crash(cell, RuntimeError("a task was cancelled from outside"))
            raise
        except Exception as raised:  # noqa: BLE001 - a crash of the actor, or its refusal
            error = raised
        if tasks.pop(own[0], None) is None:
            return  # the instance ended meanwhile
        if error is None:
            if then is not None:
                self._conclude(cell, then, result)
            elif reply_to is not None:
                self.deliver(reply_to, result, cell.address)
        elif isinstance(error, Refusal) and reply_to is not None:
            self.deliver(reply_to, error.failed(), cell.address)
        else:
            self._excuse(reply_to, "internal", f"{cell.name} failed: {type(error).__name__}")
            self.crash(cell, error)

    def _conclude(self, cell: Cell, then: Callable[[Any], Any], result: Any) -> None:
        try:
            message = then(result)
        except Exception as error:  # noqa: BLE001 - the actor's own code: its crash
            self.crash(cell, error)
        else:
            self.put_now(cell, message)

    def _excuse(self, requester: ActorAddress | None, kind: Kind, message: str) -> None:
        """Answer whoever waits at a one-shot address for what will never come; nobody else waits."""
        box = None if requester is None else self.mailboxes.get(requester.addressDetails)
        if isinstance(box, Asker):
            box.put(Failed(kind, message), self.address)

    def release(
        self, coroutine: Any, reply_to: ActorAddress | None = None, sender: ActorAddress | None = None
    ) -> None:
        """Run what outlives its actor (closing a connection), until `released`; see `Actor.release`."""
        if reply_to is not None:
            coroutine = self._answer(coroutine, reply_to, sender or self.address)
        self._await_release(self.loop.create_task(coroutine))

    async def _answer(self, coroutine: Any, reply_to: ActorAddress, sender: ActorAddress) -> None:
        self.deliver(reply_to, await coroutine, sender)

    def _await_release(self, task: asyncio.Task[Any]) -> None:
        self._releases.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._releases.discard(task)
            if not task.cancelled() and task.exception() is not None:
                log.warning("release after an actor's end failed", exc_info=task.exception())

        task.add_done_callback(done)

    # Failing and ending

    def poison(self, cell: Cell, message: Any, sender: ActorAddress, error: BaseException) -> None:
        """Tell the sender which message an actor choked on."""
        if cell.crashes is None:
            log.warning(
                "%s failed on %s", cell.address.addressDetails, type(message).__name__, exc_info=error
            )
        if not isinstance(message, PoisonMessage | ChildActorExited | ActorExitRequest | WakeupMessage):
            details = "".join(traceback.format_exception(error))
            self.deliver(sender, PoisonMessage(message, details), cell.address)

    def crash(self, cell: Cell, error: BaseException) -> None:
        """End the instance; keep address and mailbox for the next one, or give up (see `Restart`)."""
        if cell.crashes is None:
            log.error("%s: task failed", cell.address.addressDetails, exc_info=error)
            return
        cell.last_error = f"{type(error).__name__}: {error}"
        self._live_again(cell, cell.crashes, "crashed", error)

    def leave(self, cell: Cell, sender: ActorAddress | None = None, recursive: bool = True) -> None:
        """An actor exits, of its own accord or because `sender` asked it to; a permanent one comes back,
        unless it was its parent who asked."""
        crashes = cell.crashes
        if crashes is None or crashes.policy.policy != "permanent" or _is_parent(sender, cell):
            self.terminate(cell, recursive)
            return
        cell.last_error = "exited"
        self._live_again(cell, crashes, "exited", None)

    def _live_again(self, cell: Cell, crashes: Crashes, how: str, error: BaseException | None) -> None:
        delay = crashes.next_delay(self.loop.time())
        if delay is None:
            log.error("%s %s and is not restarted", cell.address.addressDetails, how, exc_info=error)
            self.terminate(cell)
            return
        log.error("%s %s and restarts in %.1f s", cell.address.addressDetails, how, delay, exc_info=error)
        self._end_instance(cell)
        self._stop_children(cell)
        self._forget_notes(cell)
        timers = cell.timers = set()

        def again() -> None:
            timers.clear()
            self._begin(cell)

        timers.add(self.loop.call_later(delay, again))

    async def ended(self, address: ActorAddress) -> None:
        """Wait until the actor at `address` has exited for good."""
        if address.addressDetails in self.mailboxes:
            ending = self._endings.setdefault(address.addressDetails, self.loop.create_future())
            await asyncio.shield(ending)

    def terminate(self, cell: Cell, recursive: bool = True) -> None:
        """Remove an actor: its mail becomes dead letters and its parent gets `ChildActorExited`."""
        if self.mailboxes.get(cell.address.addressDetails) is not cell:
            return
        self._end_instance(cell)
        del self.mailboxes[cell.address.addressDetails]
        ending = self._endings.pop(cell.address.addressDetails, None)
        if ending is not None and not ending.done():
            ending.set_result(None)
        if recursive:
            self._stop_children(cell)
        if cell.globalName:
            self.globals.pop(cell.globalName, None)
        self._handleDeadLetters(cell.address, False)
        for message, sender in cell.mailbox or ():
            self.dead_letter(cell.address, message, sender)
        cell.mailbox = None
        if cell.parent is not None:
            if cell.parent.children:
                cell.parent.children.pop(cell.address.addressDetails, None)
            self.deliver(cell.parent.address, ChildActorExited(cell.address), self.address)

    def _end_instance(self, cell: Cell) -> None:
        instance, cell.instance = cell.instance, None
        self.watch(cell, None)
        for timer in cell.timers or ():
            timer.cancel()
        cell.timers = None
        self.abandon(cell)
        stopped = getattr(instance, "stopped", None)
        if stopped is not None:
            try:
                stopped()
            except Exception:
                log.exception("%s failed in stopped()", cell.address.addressDetails)
        if instance is not None and cell.crashes is not None:
            instance._myRef = Ended(cell)

    def _forget_notes(self, cell: Cell) -> None:
        """Fired timers, results of tasks and notes to itself end with the instance they were for."""
        cell.mailbox = deque(
            (message, sender)
            for message, sender in cell.mailbox or ()
            if sender != cell.address or isinstance(message, ActorExitRequest)
        )

    def _stop_children(self, cell: Cell) -> None:
        """Supervised children end at once; Thespian's plain ones get the exit request they expect."""
        for child in list((cell.children or {}).values()):
            if child.crashes is not None:
                child.parent = None
                self.terminate(child)
            else:
                self.deliver(child.address, ActorExitRequest(), cell.address)
        if cell.children:
            cell.children = {k: c for k, c in cell.children.items() if c.crashes is None}

    def _stop_all(self) -> None:
        self._down = True
        for box in list(self.mailboxes.values()):
            if isinstance(box, Cell) and box.parent is None:
                if box.crashes is None and box.instance is not None:
                    box._handle(box.instance, ActorExitRequest(), self.address)
                self.terminate(box)

    # Looking

    def _update_capability(self, name: str, value: Any) -> None:
        if value is None:
            self.capabilities.pop(name, None)
        else:
            self.capabilities[name] = value
        for box in list(self.mailboxes.values()):
            if isinstance(box, Cell) and not checkActorCapabilities(box.actor_class, self.capabilities):
                self.deliver(box.address, ActorExitRequest(), self.address)

    def actor_status(self, cell: Cell) -> Thespian_ActorStatus:
        status = Thespian_ActorStatus(cell.address, cell.actor_class.__name__, self.address)
        for child in (cell.children or {}).values():
            status.addChild(child.address)
        status.addWakeups(
            [
                (cell.address, ExpirationTimer(timedelta(seconds=max(0.0, t.when() - self.loop.time()))))
                for t in cell.timers or ()
            ]
        )
        for message, sender in cell.mailbox or ():
            status.addReceivedMessage(sender, cell.address, message)
        status.addReceived(cell.handled)
        return status

    def system_status(self) -> Thespian_SystemStatus:
        status = Thespian_SystemStatus(self.address, capabilities=self.capabilities, inShutdown=self._down)
        for box in self.mailboxes.values():
            if isinstance(box, Cell) and box.parent is None:
                status.addChild(box.address)
        for name, address in self.globals.items():
            status.addGlobalActor(name, address)
        if self._dead_letter_handler is not None:
            status.setDeadLetterHandler(self._dead_letter_handler)
        return status


def child_address(parent: ActorAddress | None, name: str) -> ActorAddress:
    """The address of the supervised actor `name` under `parent` (None: of a root), running or not."""
    return ActorAddress(f"{parent.addressDetails if parent else ''}/{quote(name, safe='')}")


class NotSupported(NotImplementedError):
    """A part of Thespian that a single in-process system has no use for."""


class PrivateRequester:
    """`ActorSystem.private()`: an external endpoint of one thread's own."""

    def __init__(self, base: AsyncioSystemBase, external: External) -> None:
        self._base = base
        self._external = external

    def tell(self, address: ActorAddress, message: Any) -> None:
        self._base._tell(address, message, self._external.address)

    def listen(self, timeout: Any = None) -> Any:
        return _take(self._external, timeout)

    def ask(self, address: ActorAddress, message: Any, timeout: Any = None) -> Any:
        self.tell(address, message)
        return self.listen(timeout)

    def newPrimaryActor(self, *args: Any) -> ActorAddress:
        return self._base.newPrimaryActor(*args)

    def exit_context(self) -> None:
        self._base.mailboxes.pop(self._external.address.addressDetails, None)


def _is_parent(sender: ActorAddress | None, cell: Cell) -> bool:
    """Whether the sender decides over the actor: its parent or the system; over a root, all but itself."""
    if sender is None or cell.parent is None:
        return sender is not None and bool(sender != cell.address)
    return sender in (cell.parent.address, cell.system.address)


def _take(external: External, timeout: Any) -> Any:
    try:
        return external.arrived.get(timeout=_seconds(timeout))
    except queue.Empty:
        return None


def _seconds(timeout: Any) -> float | None:
    return None if timeout is None else max(0.0, float(timePeriodSeconds(timeout)))


def _actor_class(actor_class: type[Actor] | str) -> type[Actor]:
    found = actualActorClass(actor_class)
    if not isinstance(found, type):
        raise InvalidActorSpecification(actor_class)
    return found


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
