"""An actor that keeps a connection up: made, watched, made again."""

from abc import abstractmethod
from collections.abc import Callable
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Generic, TypeVar

import msgspec
from thespian.actors import ActorAddress

from actors.connections import deadlines
from actors.connections.building import build
from actors.connections.connection import Connection, NoConnection, Permanent
from actors.connections.retry import Retry, honoured
from actors.system.actor import Actor
from actors.system.failure import Refusal
from actors.system.tasks import WITHIN
from storage.timestamps import unix_ms

C = TypeVar("C", bound=Connection)

BUILD_SECONDS = 60.0
TIMEOUT = "TIMEOUT"
HURRIED = 0.2  # seconds until an attempt is made again that has failed while the clock was set
HURRY_APART = 10.0  # seconds between two times that a clock which is set all the time hurries anybody

# Never the same twice in a process: what was meant for an earlier life finds nobody in the next one.
numbers = count(1)


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no connection; see `NoConnection`."""

    reason: str
    permanent: bool
    retry_after: float = 0.0
    code: str | None = None
    retry_within: float | None = None
    put_off: bool = False


class Built(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int
    connection: Any


class Connected(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int


class ConnectFailed(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt. `useless`: its connection is not to be tried again."""

    number: int
    trouble: Trouble
    useless: bool = False


class Connect(msgspec.Struct, frozen=True):
    """To itself: try again after the attempt `number`."""

    number: int


class Lost(msgspec.Struct, frozen=True):
    """To itself: an established connection has ended, or a call on it has not (`hung`); `number` is that of
    the connection."""

    number: int
    trouble: Trouble
    hung: bool = False


class Connecting(Actor, Generic[C]):
    """Tries for ever, as often as `retry` says. Who inherits says what to open (`builder`) and is told how it
    goes (`connection_made`, `attempt_failed`, `connection_ended`).

    When the clock is set (`look_at_clock`), what waits for its next attempt makes it at once: the clock may
    be all that was wrong.

    A connection that ends soon and without having been of use (see `proved`) counts as a failure: what only
    accepts connections is tried less and less, as is what refuses them.

    At most one connection at a time; each has a number, and so has each attempt, so that what an earlier one
    still has to say is told apart.
    """

    peer: str
    """What people call the other end."""
    retry: Retry

    def __init__(self) -> None:
        super().__init__()
        self.connection: C | None = None
        self.number = 0
        self.attempt = 0
        self.attempt_began = 0.0
        self.last_attempt: int | None = None  # Unix ms
        self.connected = False
        self.connected_at = 0.0
        self.proven = False
        self.failures = 0
        self.down_since = monotonic()
        self.trouble: Trouble | None = None
        self._lost: Lost | None = None
        self._said: str | None = None
        self._waiting = False
        self._hurry = False
        self._leaps: int | None = None
        self._hurried_at = -inf

    # For who inherits

    @abstractmethod
    def builder(self, number: int) -> tuple[str, Callable[[], C]]:
        """The kind of connection, and what builds one; run in a thread. It may raise `Refusal`. What the
        connection says of itself says it with `number`."""

    def connection_made(self) -> None:
        """Called when the connection can be used."""

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        """Called when the connection could not be made; `news` when the reason is another than before."""

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        """Called when an established connection has ended by itself."""

    def connection_dropped(self) -> None:
        """Called when all that was under way on the connection, if there was one, was abandoned."""

    def clock_was_set(self) -> None:
        """Called when the clock was set, or the machine has slept, since the last `look_at_clock`."""
        if self._waiting:
            since = monotonic() - self.attempt_began
            self.wakeupAfter(max(0.0, self.retry.least - since), Connect(self.attempt))
        elif not self.connected:
            self._hurry = True

    def look_at_clock(self) -> None:
        """To be called now and then."""
        leaps, now = self.clock.leaps, monotonic()
        if leaps != self._leaps and now - self._hurried_at >= HURRY_APART:
            self._leaps, self._hurried_at = leaps, now
            self.clock_was_set()

    def proved(self) -> None:
        """To be called when the connection has been of use, at least for the first time."""
        self.proven = True
        self.failures = 0

    # Making

    def connect(self) -> None:
        """By the connection that ended, or by a new one."""
        self.attempt = next(numbers)
        self.attempt_began = monotonic()
        self.last_attempt = unix_ms()
        self._lost = None
        self._waiting = self._hurry = False
        if self._leaps is None:
            self._leaps = self.clock.leaps
        if self.connection is None:
            self.number = next(numbers)
            self.run(_build(self.attempt, *self.builder(self.number)), then=_as_is)
        else:
            self._open(self.connection)

    def _open(self, connection: C) -> None:
        self.run(_open(self.attempt, connection), then=_as_is, within=beyond(connection.patience))

    def receiveMsg_Built(self, message: Built, sender: ActorAddress) -> None:
        if message.number != self.attempt:
            return  # it has touched no network: there is nothing to close
        self.connection = message.connection
        self._open(message.connection)

    def receiveMsg_Connected(self, message: Connected, sender: ActorAddress) -> None:
        if message.number != self.attempt:
            return
        self.connected = True
        self._hurry = False
        self.connected_at = monotonic()
        self.proven = False
        self.trouble = None
        if self._lost is not None:
            self.lose(self._lost.trouble, self._lost.hung)
        else:
            self.connection_made()

    def receiveMsg_ConnectFailed(self, message: ConnectFailed, sender: ActorAddress) -> None:
        if message.number != self.attempt:
            return
        if message.useless:
            self._drop()
        self.attempt_failed(message.trouble, self._away(message.trouble))

    def receiveMsg_Connect(self, message: Connect, sender: ActorAddress) -> None:
        if message.number == self.attempt and not self.connected:
            self.connect()

    # Losing

    def receiveMsg_Lost(self, message: Lost, sender: ActorAddress) -> None:
        if message.number != self.number:
            return
        if self.connected:
            self.lose(message.trouble, message.hung)
        else:
            self._lost = message  # it is quicker than `Connected`

    def lose(self, trouble: Trouble, hung: bool = False) -> None:
        """The established connection has ended; if `hung`, its state is not known, and it is closed."""
        self.connected = False
        now = monotonic()
        if self.proven or now - self.connected_at > self.retry.steady:
            self.down_since = now
            self.failures = 0
        if hung:
            self._drop()
        self.connection_ended(trouble, self._away(trouble))

    def hung(self, seconds: float) -> Lost:
        """What to send to itself when a call on the connection has not ended within `seconds`."""
        return Lost(self.number, _hung(f"no answer within {seconds:g} s"), hung=True)

    def _away(self, trouble: Trouble) -> bool:
        """See that it is tried again; returns whether the reason is another than before."""
        delay = self.retry.delay(self.failures, monotonic() - self.down_since, trouble.permanent)
        if trouble.retry_within is not None:
            delay = min(delay, trouble.retry_within)
        delay = max(HURRIED, self.retry.least) if self._hurry else max(delay, honoured(trouble.retry_after))
        self.wakeupAfter(delay, Connect(self.attempt))
        self._waiting, self._hurry = True, False
        self.failures += 1
        self.trouble = trouble
        news = self._said != trouble.reason
        self._said = trouble.reason
        return news

    def disconnect(self) -> None:
        """Close the connection, if there is one, and forget it. It is not opened again by itself."""
        self._drop()
        self.connected = self._waiting = False
        self.attempt = next(numbers)
        self.failures = 0
        self.down_since = monotonic()
        self._said = None

    def _drop(self) -> None:
        """Nothing comes of what is under way on the connection, and nothing that it says is heard."""
        self.abandon()
        self.number = next(numbers)
        if self.connection is not None:
            self.release(deadlines.close(self.connection, self.peer))
            self.connection = None
        self.connection_dropped()

    def stopped(self) -> None:
        self.disconnect()


async def _build(number: int, kind: str, make: Callable[[], Connection]) -> Built | ConnectFailed:
    try:
        return Built(number, await deadlines.bounded(build(kind, make), BUILD_SECONDS))
    except Refusal as refusal:
        return ConnectFailed(number, Trouble(refusal.message, permanent=True))
    except ImportError as error:
        return ConnectFailed(number, Trouble(f"not installed as it should be: {error}", permanent=True))
    except deadlines.Overdue:
        reason = f"the library for {kind} does not load within {BUILD_SECONDS:g} s"
        return ConnectFailed(number, _hung(reason))


async def _open(number: int, connection: Connection) -> Connected | ConnectFailed:
    patience = connection.patience
    try:
        await deadlines.bounded(connection.connect(), patience)
    except NoConnection as error:
        return ConnectFailed(number, trouble_of(error), useless=error.anew)
    except deadlines.Overdue:
        return ConnectFailed(number, _hung(f"no connection within {patience:g} s"), useless=True)
    return Connected(number)


def beyond(patience: float) -> float:
    """Seconds for a task that waits for a call on a connection of that `patience`: what a connection may take
    is never its actor's crash, also when its patience grows meanwhile."""
    return max(WITHIN, 2 * patience)


def trouble_of(error: NoConnection) -> Trouble:
    permanent = isinstance(error, Permanent)
    return Trouble(str(error), permanent, error.retry_after, error.code, error.retry_within, error.put_off)


def _hung(reason: str) -> Trouble:
    return Trouble(reason, permanent=False, code=TIMEOUT)


def _as_is(outcome: Any) -> Any:
    return outcome
