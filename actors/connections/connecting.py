"""An actor that keeps a connection by a driver: made, watched, made again."""

import logging
import time
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections import retry
from actors.publish import destinations
from actors.publish.destinations.driver import Driver, Identity, Permanent, Transient
from actors.system.actor import Actor
from actors.system.failure import Refusal

log = logging.getLogger(__name__)

STEADY = 10.0
"""Seconds after which a connection was one, whether it was of use or not."""

# Never the same twice in a process: what was meant for an earlier life finds nobody in the next one.
numbers = count(1)


class Connected(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no connection; see `Transient` and `Permanent`."""

    reason: str
    permanent: bool
    retry_after: float = 0.0


class ConnectFailed(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int
    trouble: Trouble


class Connect(msgspec.Struct, frozen=True):
    """To itself: try again after the attempt `number`."""

    number: int


class Lost(msgspec.Struct, frozen=True):
    """To itself: an established connection has ended; `number` is that of the driver."""

    number: int
    trouble: Trouble


class Expiring(msgspec.Struct, frozen=True):
    """To itself: the connection's credentials end soon; `number` is that of the driver."""

    number: int


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """To itself: acknowledged; `number` is that of the driver."""

    number: int
    seqs: list[int]


class Rejected(msgspec.Struct, frozen=True):
    """To itself: never to be delivered; `number` is that of the driver."""

    number: int
    seqs: list[int]
    reason: str


class Wanted(msgspec.Struct, frozen=True):
    """The connection that should be. `config` is that of a destination, in clear."""

    type: str
    config: dict[str, Any]
    identity: Identity


class Connecting(Actor):
    """Tries for ever, as often as `retry` says. `connection_made` and `connection_ended` say how it goes.

    A connection that ends soon and without having been of use (see `proven`) counts as none, so that a
    destination that only accepts connections is not tried without end five times a second.

    At most one driver at a time; each has a number, and so has each attempt, so that what an earlier one
    still has to say is told apart.
    """

    wanted: Wanted
    peer: str
    """What people call the other end."""
    proven: bool
    """Set it when the connection has been of use."""

    def __init__(self) -> None:
        super().__init__()
        self.driver: Driver | None = None
        self.driver_number = 0
        self.driver_for: Wanted | None = None
        self.attempt = 0
        self.connected = False
        self.lost: Trouble | None = None
        self.connected_at = 0.0
        self.proven = False
        self.down_since = monotonic()
        self.trouble: str | None = None
        self.last_attempt: int | None = None

    def connection_made(self) -> None:
        """Called when payloads can be sent."""

    def connection_ended(self) -> None:
        """Called when an established connection has ended by itself."""

    def in_trouble(self, reason: str) -> None:
        """Called whenever a connection ends or cannot be made."""

    def connect(self) -> None:
        """By the driver whose connection ended, or by a new one."""
        self.attempt = next(numbers)
        self.lost = None
        self.last_attempt = int(time.time() * 1000)
        if self.driver is None:
            try:
                self.driver = self._new_driver(self.wanted)
            except Refusal as refusal:
                self._away(Trouble(refusal.message, permanent=True))
                return
        self.run(_open(self.attempt, self.driver), then=_as_is)

    def _new_driver(self, wanted: Wanted) -> Driver:
        found = destinations.find(wanted.type)
        self.driver_number = next(numbers)
        self.driver_for = wanted
        listener = _Listener(self.driver_number, lambda message: self.send(self.myAddress, message))
        return found.driver(found.check(wanted.config), wanted.identity, listener)

    def disconnect(self) -> None:
        """Close the connection, if there is one, and forget its driver. It is not opened again."""
        self.connected = False
        self.attempt = self.driver_number = next(numbers)
        self.down_since = monotonic()
        if self.driver is not None:
            self.release(self.driver.close())
            self.driver = None

    def receiveMsg_Connected(self, message: Connected, sender: ActorAddress) -> None:
        if message.number != self.attempt:
            return
        self.connected = True
        self.connected_at = monotonic()
        self.proven = False
        self.trouble = None
        log.info("%s: connected", self.peer)
        if self.lost is not None:
            self._ended(self.lost)
        else:
            self.connection_made()

    def receiveMsg_ConnectFailed(self, message: ConnectFailed, sender: ActorAddress) -> None:
        if message.number == self.attempt:
            self._away(message.trouble)

    def receiveMsg_Lost(self, message: Lost, sender: ActorAddress) -> None:
        if message.number != self.driver_number:
            return
        if self.connected:
            self._ended(message.trouble)
        else:
            self.lost = message.trouble  # it is quicker than `Connected`

    def _ended(self, trouble: Trouble) -> None:
        self.connected = False
        now = monotonic()
        if self.proven or now - self.connected_at > STEADY:
            self.down_since = now
        self._away(trouble)
        self.connection_ended()

    def _away(self, trouble: Trouble) -> None:
        if self.trouble != trouble.reason:
            log.warning("%s: not connected: %s", self.peer, trouble.reason)
        self.trouble = trouble.reason
        self.in_trouble(trouble.reason)
        delay = retry.delay(monotonic() - self.down_since, trouble.permanent)
        self.wakeupAfter(max(delay, trouble.retry_after), Connect(self.attempt))

    def receiveMsg_Connect(self, message: Connect, sender: ActorAddress) -> None:
        if message.number == self.attempt and not self.connected:
            self.connect()

    def stopped(self) -> None:
        self.disconnect()


class _Listener:
    """Turns what a driver tells into messages of its actor to itself."""

    def __init__(self, number: int, tell: Callable[[Any], None]) -> None:
        self._number = number
        self._tell = tell

    def delivered(self, seqs: list[int]) -> None:
        self._tell(Delivered(self._number, seqs))

    def rejected(self, seqs: list[int], reason: str) -> None:
        self._tell(Rejected(self._number, seqs, reason))

    def lost(self, error: Transient | Permanent) -> None:
        self._tell(Lost(self._number, _trouble(error)))

    def expiring(self) -> None:
        self._tell(Expiring(self._number))


async def _open(number: int, driver: Driver) -> Connected | ConnectFailed:
    try:
        await driver.connect()
    except (Transient, Permanent) as error:
        return ConnectFailed(number, _trouble(error))
    return Connected(number)


def _trouble(error: Transient | Permanent) -> Trouble:
    if isinstance(error, Permanent):
        return Trouble(str(error), permanent=True)
    return Trouble(str(error), permanent=False, retry_after=error.retry_after)


def _as_is(outcome: Connected | ConnectFailed) -> Connected | ConnectFailed:
    return outcome
