"""How a destination lets go of its connection: for the next one, or for good."""

from abc import abstractmethod

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Connecting, numbers
from actors.publish.destinations.driver import Driver
from actors.publish.subscribing import Subscribing

DRAIN_TIME = 2.0  # seconds that acknowledgements under way are waited for before a connection is closed


class Retire(msgspec.Struct, frozen=True):
    """To the destination: bring everything to safety and let go; answered by `Retired`. A later
    `RunDestination` takes it back."""

    number: int


class Retired(msgspec.Struct, frozen=True):
    """`number` is that of the `Retire`."""

    id: int
    number: int


class DrainOver(msgspec.Struct, frozen=True):
    """To itself: acknowledgements have been waited for long enough."""

    number: int


class Retiring(Subscribing, Connecting[Driver]):
    """Closes the connection when what is under way has come in: acknowledgements, the last payloads of
    subscriptions; then opens the next one, or when told to retire, brings everything to disk and says so."""

    id: int
    parent: ActorAddress

    def __init__(self) -> None:
        super().__init__()
        self.retained = 0
        self.draining = False
        self.drain_number = 0
        self.retire: Retire | None = None

    @abstractmethod
    def awaits(self) -> bool:
        """Whether acknowledgements may still come in on this connection."""

    @abstractmethod
    def unsent(self) -> None:
        """What was in flight is to be sent again."""

    @abstractmethod
    def secured(self) -> bool:
        """Bring everything to disk; whether it is there already. If not, `secure` is to be called again."""

    def receiveMsg_Retire(self, message: Retire, sender: ActorAddress) -> None:
        if message.number <= self.retained:
            return
        self.retire = message
        self.remember(message)
        self.withdraw()
        self.drain()

    def drain(self) -> None:
        """Close the connection, but for what is under way."""
        self.draining = True
        self.drain_number = next(numbers)
        self.wakeupAfter(DRAIN_TIME, DrainOver(self.drain_number))
        self.drained()

    def receiveMsg_DrainOver(self, message: DrainOver, sender: ActorAddress) -> None:
        if message.number == self.drain_number and self.draining:
            self._let_go()

    def flushed(self) -> None:
        self.drained()

    def drained(self) -> None:
        """To be called when something that draining waits for may have come in."""
        if self.draining and not (self.connected and self.awaits()) and not self.flushing:
            self._let_go()

    def _let_go(self) -> None:
        self.draining = False
        self.flushing.clear()
        self.unsent()
        self.disconnect()
        if self.retire is None:
            self.connect()
        else:
            self.health = "retiring"
            self.secure()

    @property
    def securing(self) -> bool:
        """Whether it has let go for good, and only brings to disk what there is."""
        return self.retire is not None and not self.draining

    def secure(self) -> None:
        """While `securing`: say that everything is on disk, once it is."""
        if self.retire is not None and self.secured():
            self.health = "retired"
            self.send(self.parent, Retired(self.id, self.retire.number))
