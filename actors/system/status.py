"""Thespian's own status messages."""

from datetime import timedelta
from typing import Any, Protocol

from thespian.actors import ActorAddress
from thespian.system.messages.status import Thespian_ActorStatus, Thespian_StatusReq, Thespian_SystemStatus
from thespian.system.timing import ExpirationTimer

from actors.system.mailboxes import Cell, System


class Reported(System, Protocol):
    """What a system says of itself."""

    capabilities: dict[str, Any]
    globals: dict[str, Any]
    _down: bool
    _dead_letter_handler: ActorAddress | None


def actor_status(cell: Cell) -> Thespian_ActorStatus:
    status = Thespian_ActorStatus(cell.address, cell.actor_class.__name__, cell.system.address)
    for child in (cell.children or {}).values():
        status.addChild(child.address)
    status.addWakeups(
        [
            (cell.address, ExpirationTimer(timedelta(seconds=max(0.0, t.when() - cell.system.loop.time()))))
            for t in cell.timers or ()
        ]
    )
    for message, sender in cell.mailbox or ():
        status.addReceivedMessage(sender, cell.address, message)
    status.addReceived(cell.handled)
    return status


def system_status(system: Reported) -> Thespian_SystemStatus:
    status = Thespian_SystemStatus(system.address, capabilities=system.capabilities, inShutdown=system._down)
    for box in system.mailboxes.values():
        if isinstance(box, Cell) and box.parent is None:
            status.addChild(box.address)
    for name, address in system.globals.items():
        status.addGlobalActor(name, address)
    if system._dead_letter_handler is not None:
        status.setDeadLetterHandler(system._dead_letter_handler)
    return status


class SystemAddress:
    """The system's own address: answers status requests, ignores the rest."""

    __slots__ = ("system",)

    def __init__(self, system: Reported) -> None:
        self.system = system

    def put(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, Thespian_StatusReq):
            self.system.deliver(sender, system_status(self.system), self.system.address)
