"""The life of an actor: created, and ended for good."""

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from time import perf_counter
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
)
from thespian.system.messages.status import Thespian_ActorStatus
from thespian.system.utilis import actualActorClass, checkActorCapabilities, withPossibleInitArgs

from actors.system.addresses import child_address
from actors.system.mailboxes import Cell, Ended
from actors.system.status import actor_status
from actors.system.supervision import Crashes, Restart
from actors.system.tasks import Tasks

log = logging.getLogger(__name__)


class Lifecycle(Tasks):
    """Creates and ends actors, Thespian's plain ones and supervised ones."""

    def __init__(self, capabilities: dict[str, Any], mailbox_size: int) -> None:
        super().__init__()
        self.capabilities = capabilities
        self.mailbox_size = mailbox_size
        self.globals: dict[str, ActorAddress] = {}
        self._endings: dict[str, asyncio.Future[None]] = {}

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
        address = self._fresh(f"{parent.address.addressDetails}~")
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
        if parent is not None:
            self.forget_lost(parent, address.addressDetails)
        cell = Cell(self, address, parent, actor_class, label or name)
        cell.start = start
        if restart is None:
            restart = getattr(actor_class, "RESTART", Restart())
        cell.crashes = Crashes(restart)
        self._register(cell, None)
        self._begin(cell)
        return cell.address

    def _begin(self, cell: Cell) -> None:
        """Give the cell a fresh instance; first it gets its start and what an earlier life left it."""
        try:
            cell.instance = self._instantiate(cell, None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a constructor that raises is a crash like any other
            self.crash(cell, error)
            return
        cell.started = perf_counter()
        if cell.mailbox is None:
            cell.mailbox = deque()
        if cell.note is not None:
            cell.mailbox.appendleft((cell.note, cell.address))
        cell.mailbox.appendleft((cell.start, self.starter(cell)))
        if not cell.scheduled:
            cell.scheduled = True
            self.schedule(cell)

    def starter(self, cell: Cell) -> ActorAddress:
        """Who a start message comes from."""
        return cell.parent.address if cell.parent else self.address

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

    # Ending

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
        self.forget_lost(cell)
        self.blockages.pop(cell.address.addressDetails, None)
        self.dropped_at.pop(cell.address.addressDetails, None)
        cell.spill()
        for message, sender in cell.mailbox or ():
            self.dead_letter(cell.address, message, sender)
        cell.mailbox = None
        if cell.parent is not None:
            if cell.parent.children:
                cell.parent.children.pop(cell.address.addressDetails, None)
            self.deliver(cell.parent.address, ChildActorExited(cell.address), self.address)

    def _end_instance(self, cell: Cell) -> None:
        instance, cell.instance = cell.instance, None
        self._end_work(cell)
        stopped = getattr(instance, "stopped", None)
        if stopped is not None:
            try:
                stopped()
            except KeyboardInterrupt:
                raise
            except BaseException:
                log.exception("%s failed in stopped()", cell.address.addressDetails)
            self._end_work(cell)  # what it began in there has nobody to come back to
        if instance is not None and cell.crashes is not None:
            instance._myRef = Ended(cell)

    def _end_work(self, cell: Cell) -> None:
        self.watch(cell, None)
        for timer in cell.timers or ():
            timer.cancel()
        cell.timers = None
        self.abandon(cell)

    def forget_lost(self, parent: Cell, path: str | None = None) -> None:
        """A child that gave up, or all of them if `path` is None, is not to come back by itself."""
        for lost in [path] if path is not None else list(parent.lost or ()):
            if parent.lost is not None and lost in parent.lost:
                parent.lost.pop(lost).forget()

    def _stop_children(self, cell: Cell) -> None:
        """Supervised children end at once, the latest first; Thespian's plain ones get the exit request they
        expect."""
        self.forget_lost(cell)
        for child in reversed(list((cell.children or {}).values())):
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

    def update_capability(self, name: str, value: Any) -> None:
        """Set, or with None remove, a capability; actors whose requirements it breaks are asked to exit."""
        if value is None:
            self.capabilities.pop(name, None)
        else:
            self.capabilities[name] = value
        for box in list(self.mailboxes.values()):
            if isinstance(box, Cell) and not checkActorCapabilities(box.actor_class, self.capabilities):
                self.deliver(box.address, ActorExitRequest(), self.address)

    def status_of(self, cell: Cell) -> Thespian_ActorStatus:
        return actor_status(cell)

    @abstractmethod
    def poison(self, cell: Cell, message: Any, sender: ActorAddress, error: BaseException) -> None: ...

    @abstractmethod
    def leave(self, cell: Cell, sender: ActorAddress | None = None, recursive: bool = True) -> None: ...

    @abstractmethod
    def shutdown(self) -> None: ...


def _actor_class(actor_class: type[Actor] | str) -> type[Actor]:
    found = actualActorClass(actor_class)
    if not isinstance(found, type):
        raise InvalidActorSpecification(actor_class)
    return found
