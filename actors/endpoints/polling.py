"""How an endpoint is read that answers when it is asked: one poll in flight at a time."""

from time import monotonic, perf_counter
from typing import TYPE_CHECKING, cast

import msgspec

from actors.connections.connecting import Trouble, beyond, trouble_of
from actors.connections.connection import NoConnection
from actors.endpoints.image import OFFLINE
from actors.endpoints.protocol import PolledSession, PollResult
from actors.readings.batch import Batch
from storage.timestamps import unix_ms

if TYPE_CHECKING:
    from actors.endpoints.endpoint import Endpoint

SOON = 1.0  # seconds: a device that is back is read at once, unless its next poll comes as soon as this
SELDOM = 10.0  # seconds of an interval from which on a tick is too late to notice a poll that hangs


class PollDone(msgspec.Struct, frozen=True, gc=False):
    """To the endpoint itself: the device answered; `timestamp` Unix ms, `duration` ms.

    `number`, here and below, is that of the connection.
    """

    number: int
    reading: PollResult
    timestamp: int
    duration: float


class PollFailed(msgspec.Struct, frozen=True):
    """To the endpoint itself: the device did not answer."""

    number: int
    trouble: Trouble
    timestamp: int
    duration: float


class PollLate(msgspec.Struct, frozen=True):
    """To the endpoint itself: time to look whether the poll that began then (monotonic seconds) has ended."""

    began: float


class Polling:
    """A tick during a poll is skipped and counted.

    While the device is away every tick gives a BAD batch, and attempts to reach it again go by times of their
    own; what one of them found out is the code of the next tick's batch.
    """

    def __init__(self, endpoint: "Endpoint") -> None:
        self.endpoint = endpoint
        self.busy = False
        self._began = 0.0
        self._probing = False
        self._found: str | None = None

    def tick(self, now: float) -> None:
        endpoint = self.endpoint
        if self.busy:
            self._poll_in_flight(now)
        elif endpoint.connected:
            self._poll(now)
        elif endpoint.failures:
            self._offline()
        elif not endpoint.begin():
            endpoint.own.record.skipped += 1

    def _poll_in_flight(self, now: float) -> None:
        if not self._look_at_poll(now):
            return
        if self.endpoint.failures:
            self._offline()
        else:
            self.endpoint.own.record.skipped += 1

    def _offline(self) -> None:
        """A tick while the device is away: no poll, but a reading."""
        self.endpoint.look_at_clock()
        code, self._found = self._found or OFFLINE, None
        self.endpoint.missed(unix_ms(), None, code, None)

    # Polling

    def _poll(self, now: float, probing: bool = False) -> None:
        endpoint = self.endpoint
        if endpoint.finishing is not None:
            return
        session = cast(PolledSession, endpoint.connection)
        self.busy = True
        self._began = now
        self._probing = probing
        patience = session.patience
        interval = endpoint.schedule.interval
        poll = _poll(endpoint.number, session, len(endpoint.own.source.points), interval)
        endpoint.run(poll, then=_as_is, within=beyond(patience))
        if interval > SELDOM and interval > patience:
            endpoint.wakeupAfter(patience, PollLate(now))

    def polled(self, message: PollDone) -> None:
        endpoint = self.endpoint
        self.busy = False
        if not endpoint.proven:
            endpoint.arrived()
            self._found = None
        reading, own = message.reading, endpoint.own
        own.record.success(message.timestamp, message.duration, reading)
        if reading.values:
            batch = Batch(
                own.source,
                message.timestamp,
                reading.values,
                reading.qualities,
                {},
                None,
                None,
                reading.times,
            )
            endpoint.send(endpoint.config.router, batch)

    def failed(self, message: PollFailed) -> None:
        self._failed(message.trouble, message.timestamp, message.duration, self._probing)
        self.endpoint.lose(message.trouble)

    def late(self, message: PollLate) -> None:
        now = monotonic()
        if self.busy and self._began == message.began and self._look_at_poll(now):
            assert self.endpoint.connection is not None
            self.endpoint.wakeupAfter(self.endpoint.connection.patience - (now - message.began), message)

    def _look_at_poll(self, now: float) -> bool:
        """Whether the poll in flight may go on; one that hangs has failed."""
        endpoint = self.endpoint
        assert endpoint.connection is not None
        duration, patience = now - self._began, endpoint.connection.patience
        if duration < patience:
            return True
        hung = endpoint.hung(patience)
        self._failed(hung.trouble, unix_ms(), 1000 * duration, self._probing)
        endpoint.lose(hung.trouble, hung=True)
        return False

    def _failed(self, trouble: Trouble, timestamp: int, duration: float, between: bool) -> None:
        """The device did not answer; `between` ticks, when it was asked to see whether it is back."""
        code = self.endpoint.code_of(trouble)
        if between:
            self._found = code
            self.endpoint.own.record.attempt_failed(timestamp, duration, code, trouble.reason)
        else:
            self._found = None
            self.endpoint.missed(timestamp, duration, code, trouble.reason)

    # The connection

    def connecting(self) -> None:
        """Nothing is told before there is a connection."""

    def connection_made(self) -> None:
        """The first poll was due when connecting began. Later a reading comes at once, unless its time comes
        soon anyway."""
        now = monotonic()
        if not self.endpoint.failures or self.endpoint.schedule.remaining(now) > SOON:
            self._poll(now, probing=self.endpoint.failures > 0)

    def attempt_failed(self, trouble: Trouble, duration: float) -> None:
        self._failed(trouble, unix_ms(), duration, between=self.endpoint.failures > 1)

    def connection_ended(self, trouble: Trouble) -> None:
        if self.endpoint.own.record.connected:  # a write has found out
            self.endpoint.own.record.lost(trouble.reason)
            self._found = self.endpoint.code_of(trouble)
        self.busy = False


async def _poll(number: int, session: PolledSession, points: int, within: float) -> PollDone | PollFailed:
    began = perf_counter()
    try:
        reading = await session.read(within)
    except NoConnection as error:
        duration = 1000 * (perf_counter() - began)
        return PollFailed(number, trouble_of(error), unix_ms(), duration)
    codes, times = reading.qualities, reading.times
    if (
        len(reading.values) != points
        or (codes is not None and len(codes) != points)
        or (times is not None and len(times) != points)
    ):
        # Further on it would be taken for another point's, or crash whoever follows the readings.
        raise ValueError(f"the session returned {len(reading.values)} values of {points} points")
    return PollDone(number, reading, unix_ms(), 1000 * (perf_counter() - began))


def _as_is(message: PollDone | PollFailed) -> PollDone | PollFailed:
    return message
