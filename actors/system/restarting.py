"""Failing: an instance ends, the next one is built, or the actor gives up."""

import logging
import traceback
from collections import deque
from typing import Any
from urllib.parse import unquote

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    PoisonMessage,
    WakeupMessage,
)

from actors.system.failure import described
from actors.system.lifecycle import Lifecycle
from actors.system.mailboxes import Cell, Lost
from actors.system.supervision import ChildGaveUp, Crashes

log = logging.getLogger(__name__)


class Restarting(Lifecycle):
    """Supervises as OTP does; see `Restart`."""

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
        cell.last_error = described(error)
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
        if self.mailboxes.get(cell.address.addressDetails) is not cell:
            return  # it has been ended meanwhile, for good
        delay = crashes.next_delay(self.loop.time())
        if delay is None:
            log.error("%s %s and is not restarted", cell.address.addressDetails, how, exc_info=error)
            self._give_up(cell, crashes)
            return
        log.error("%s %s and restarts in %.1f s", cell.address.addressDetails, how, delay, exc_info=error)
        self.restarts += 1
        self._end_instance(cell)
        if not crashes.policy.keep_children:
            self._stop_children(cell)
        self._forget_outdated(cell)
        timers = cell.timers = set()

        def again() -> None:
            timers.clear()
            self._begin(cell)

        timers.add(self.loop.call_later(delay, again))

    def _forget_outdated(self, cell: Cell) -> None:
        """Fired timers, results of tasks and notes to itself end with the instance they were for; a start
        message that it had not come to is older than the one that the next instance begins with."""
        starter = self.starter(cell)
        cell.mailbox = deque(
            (message, sender)
            for message, sender in cell.mailbox or ()
            if isinstance(message, ActorExitRequest)
            or (sender != cell.address and not (sender == starter and type(message) is type(cell.start)))
        )

    def _give_up(self, cell: Cell, crashes: Crashes) -> None:
        parent = cell.parent
        self.terminate(cell)
        if parent is None or parent.crashes is None:
            return
        policy, path = crashes.policy, cell.address.addressDetails
        timer = None
        if policy.policy != "temporary" and not policy.escalate and policy.rest is not None:
            timer = self.loop.call_later(policy.rest, self._return, parent, cell)
        if parent.lost is None:
            parent.lost = {}
        parent.lost[path] = Lost(cell, timer)
        if policy.escalate:
            self.crash(parent, ChildGaveUp(f"{cell.name} gave up: {cell.last_error}"))

    def _return(self, parent: Cell, cell: Cell) -> None:
        """A child that gave up is tried anew, as its parent last wanted it."""
        assert cell.crashes is not None
        log.info("%s had given up and is tried again", cell.address.addressDetails)
        name = unquote(cell.address.addressDetails.rpartition("/")[2])
        self.spawn(parent, cell.actor_class, name, cell.start, cell.crashes.policy, cell.name)
        returned = self.mailboxes.get(cell.address.addressDetails)
        if isinstance(returned, Cell) and returned.crashes is not None:
            returned.crashes.restarts += cell.crashes.restarts + 1
            returned.last_error = cell.last_error


def _is_parent(sender: ActorAddress | None, cell: Cell) -> bool:
    """Whether the sender decides over the actor: its parent or the system; over a root, all but itself."""
    if sender is None or cell.parent is None:
        return sender is not None and bool(sender != cell.address)
    return sender in (cell.parent.address, cell.system.address)
