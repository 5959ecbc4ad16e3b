"""Coroutines of actors: their outcome comes back as a message, and they end with their actor."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, NamedTuple

from thespian.actors import ActorAddress

from actors.system.dispatch import LAG_INTERVAL, Dispatch
from actors.system.failure import Refusal
from actors.system.mailboxes import Cell
from actors.system.whose import context_of

log = logging.getLogger(__name__)

WITHIN = 120.0
"""Seconds that a coroutine of an actor may take unless it is started with another limit."""
RELEASE_WITHIN = 15.0
"""Seconds that closing what an actor left behind may take, likewise."""


class Overdue(Exception):
    """A coroutine of an actor has taken longer than it may: the actor's crash."""


class Due(NamedTuple):
    """By when a task is to end, and since when it runs (loop time); `cell` is None when its actor is gone."""

    by: float
    since: float
    cell: Cell | None


class Tasks(Dispatch, ABC):
    """I/O on behalf of actors. `crash` is supervision's.

    Limits of time are looked at twice a second, for all tasks together: a timer for each would cost as much
    as handling a message.
    """

    def __init__(self) -> None:
        super().__init__()
        self._releases: set[asyncio.Task[Any]] = set()
        self._due: dict[asyncio.Task[Any], Due] = {}

    @abstractmethod
    def crash(self, cell: Cell, error: BaseException) -> None: ...

    def run(
        self,
        cell: Cell,
        coroutine: Any,
        then: Callable[[Any], Any] | None,
        reply_to: ActorAddress | None,
        within: float | None = WITHIN,
    ) -> None:
        """Run a coroutine for an actor; its result, through `then`, comes back as a message, or goes to
        `reply_to`, as does a `Refusal` that it raises.

        Any other exception in it is a crash of the actor, and so is taking longer than `within` seconds; the
        task dies with the actor's instance.
        """
        if cell.tasks is None:
            cell.tasks = {}
        own: list[asyncio.Task[None]] = []  # asking for the current task costs more than handing it over
        carried = self._carry(cell, cell.tasks, own, coroutine, then, reply_to)
        task = self.loop.create_task(carried, context=context_of(cell))
        own.append(task)
        cell.tasks[task] = (coroutine, reply_to)
        if within is not None:
            now = self.loop.time()
            self._due[task] = Due(now + within, now, cell)

    def waits(self, cell: Cell) -> float:
        """For how many seconds the actor's longest coroutine has been running; of those without a limit
        nothing is said."""
        since = [self._due[task].since for task in cell.tasks or () if task in self._due]
        return self.loop.time() - min(since) if since else 0.0

    def abandon(self, cell: Cell) -> None:
        """Cancel what an actor has running: neither results nor a crash come of it."""
        tasks, cell.tasks = cell.tasks, None
        for task, (coroutine, reply_to) in tuple((tasks or {}).items()):
            task.cancel()
            self._await_release(task)
            if task in self._due:
                self._give_time(task)
            carrying: Any = task.get_coro()
            if getcoroutinestate(carrying) == CORO_CREATED:  # it never got to what it carries
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
        error: BaseException | None = None
        result: Any = None
        try:
            result = await coroutine
        except asyncio.CancelledError:
            self._due.pop(own[0], None)
            self._excuse(reply_to, "unavailable", f"{cell.name} was stopped meanwhile")
            if tasks.pop(own[0], None) is not None:
                # Not by us: something that it shared with another task was cancelled under it.
                self.crash(cell, RuntimeError("a task was cancelled from outside"))
            raise
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as raised:  # noqa: BLE001 - a crash of the actor, or its refusal
            # A panic in a library written in Rust is no `Exception`.
            error = raised
        self._due.pop(own[0], None)
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

    def release(
        self,
        coroutine: Any,
        reply_to: ActorAddress | None = None,
        sender: ActorAddress | None = None,
        within: float | None = RELEASE_WITHIN,
    ) -> None:
        """Run what outlives its actor (closing a connection), until `released`; see `Actor.release`."""
        if reply_to is not None:
            coroutine = self._answer(coroutine, reply_to, sender or self.address)
        cell = None if sender is None else self.mailboxes.get(sender.addressDetails)
        context = context_of(cell) if isinstance(cell, Cell) else None
        task = self.loop.create_task(coroutine, context=context)
        self._await_release(task)
        if within is not None:
            self._give_time(task, within)

    def _give_time(self, task: asyncio.Task[Any], seconds: float | None = None) -> None:
        """To end by itself; `RELEASE_WITHIN` unless more is said."""
        now = self.loop.time()
        self._due[task] = Due(now + (RELEASE_WITHIN if seconds is None else seconds), now, None)

    async def _answer(self, coroutine: Any, reply_to: ActorAddress, sender: ActorAddress) -> None:
        try:
            self.deliver(reply_to, await coroutine, sender)
        except asyncio.CancelledError:
            self._excuse(reply_to, "unavailable", "it took too long")
            raise
        except Exception as error:
            name = sender.addressDetails.rpartition("/")[2]
            self._excuse(reply_to, "internal", f"{name} failed: {type(error).__name__}")
            raise

    def _await_release(self, task: asyncio.Task[Any]) -> None:
        self._releases.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._releases.discard(task)
            self._due.pop(task, None)
            if not task.cancelled() and task.exception() is not None:
                log.warning("release after an actor's end failed", exc_info=task.exception())

        task.add_done_callback(done)

    async def released(self) -> None:
        """Wait until what stopped actors left behind (tasks to unwind, connections to close) is gone; what
        does not end when it is cancelled is left."""
        while self._releases:
            await asyncio.wait(self._releases, timeout=LAG_INTERVAL)
            self._end_overdue()

    def _look_at_lag(self, due: float) -> None:
        late = self.loop.time() - due
        if late > LAG_INTERVAL:
            self._forgive(late)
        self._end_overdue()
        super()._look_at_lag(due)

    def _forgive(self, seconds: float) -> None:
        """Nothing can come while the loop stands still, or the process: such time does not count."""
        for task, due in self._due.items():
            self._due[task] = due._replace(by=due.by + seconds, since=due.since + seconds)

    def _end_overdue(self) -> None:
        now = self.loop.time()
        for task in [task for task, due in self._due.items() if due.by < now]:
            due = self._due[task]
            if due.by < now:  # else the crash over another of the same actor has ended it
                self._end(task, due)

    def _end(self, task: asyncio.Task[Any], due: Due) -> None:
        del self._due[task]
        if due.cell is not None:
            (due.cell.tasks or {}).pop(task, None)
            task.cancel()
            self._await_release(task)
            self._give_time(task)
            self.crash(due.cell, Overdue("what it waited for did not come in time"))
        elif task.cancelling():
            log.error("what an actor left behind does not end and is given up")
            self._releases.discard(task)
        else:
            log.warning("closing what an actor left behind took too long and is cancelled")
            task.cancel()
            self._give_time(task)
