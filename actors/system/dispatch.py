"""Delivery: mail to mailboxes, turns to actors, timers, watched files. All on the loop's thread."""

import asyncio
import itertools
import logging
import math
import time
from collections import deque
from time import perf_counter
from typing import Any, NamedTuple

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.timing import timePeriodSeconds

from actors.system.clock import Clock
from actors.system.failure import Failed, Kind
from actors.system.mailboxes import Asker, Cell, Mailbox

log = logging.getLogger(__name__)

SLICE = 0.005  # seconds of actor turns before the loop looks at its sockets again
LAG_INTERVAL = 0.5  # seconds between two looks at the loop's lag
LAGS = 120  # looks that are remembered: those of the last minute


class Blockage(NamedTuple):
    """An actor held the loop up for `seconds`, until `at` (loop time), with a message of class `message`."""

    seconds: float
    at: float
    message: str


class Dispatch:
    """What every address stands for, and who is to have a turn. `loop` is set by who inherits."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.address = ActorAddress("/ActorSys")
        self.mailboxes: dict[str, Mailbox] = {}
        self.clock = Clock()
        self.lag = self.lag_max = 0.0
        self.lags: deque[float] = deque(maxlen=LAGS)
        """Of the last minute, in seconds."""
        self.beats = 0
        """How often the loop has been looked at: it stands still while this does."""
        self.blockages: dict[str, Blockage] = {}
        """The latest of each actor that held the loop up, by address."""
        self.dropped_at: dict[str, float] = {}
        """When each actor that lost mail lost the latest (loop time), by address."""
        self.dead_letters = self.restarts = self.dropped = 0
        self._dead_letter_handler: ActorAddress | None = None
        self._ready: deque[Cell] = deque()
        self._draining = False
        self._numbers = itertools.count(1)
        self._down = False

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

    def blocked(self, cell: Cell, message: Any, seconds: float) -> None:
        """Note that nothing else could run for that long."""
        name = type(message).__name__
        self.blockages[cell.address.addressDetails] = Blockage(seconds, self.loop.time(), name)
        log.warning("%s held the loop up for %.1f s with %s", cell.address.addressDetails, seconds, name)

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

    def _handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        """The latest handler is the only one; when it goes there is none."""
        if enable:
            self._dead_letter_handler = address
        elif self._dead_letter_handler == address:
            self._dead_letter_handler = None

    def _excuse(self, requester: ActorAddress | None, kind: Kind, message: str) -> None:
        """Answer whoever waits at a one-shot address for what will never come; nobody else waits."""
        box = None if requester is None else self.mailboxes.get(requester.addressDetails)
        if isinstance(box, Asker):
            box.put(Failed(kind, message), self.address)

    def _fresh(self, prefix: str) -> ActorAddress:
        return ActorAddress(f"{prefix}{next(self._numbers)}")

    def _look_at_lag(self, due: float) -> None:
        self.beats += 1
        self.clock.look()
        self.lag = max(0.0, self.loop.time() - due)
        self.lag_max = max(self.lag, self.lag_max)
        self.lags.append(self.lag)
        if not self._down:
            self.loop.call_later(LAG_INTERVAL, self._look_at_lag, self.loop.time() + LAG_INTERVAL)
