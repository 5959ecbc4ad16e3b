"""The endpoint actor: polls one device, owns its connection, its health and its last values."""

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import msgspec
from msgspec import Raw
from thespian.actors import ActorAddress

from actors.connections.connecting import Connecting, Lost, Trouble, beyond, trouble_of
from actors.connections.connection import NoConnection
from actors.connections.deadlines import Overdue, bounded
from actors.connections.retry import Doubling
from actors.endpoints import protocols
from actors.endpoints.health import PollRecord
from actors.endpoints.messages import (
    CountPolls,
    DescribeDevice,
    DeviceDescribed,
    HealthReported,
    MetricsSummarised,
    RegisterWritten,
    ReportHealth,
    SummariseMetrics,
    WriteRegister,
)
from actors.endpoints.protocol import CheckedEndpoint, PollResult, Reader
from actors.endpoints.schedule import Schedule, origin
from actors.endpoints.shared import Points, check
from actors.readings.batch import Batch, Source
from actors.readings.messages import ForgetSource
from actors.readings.source_topics import prefixes
from actors.system.failure import Failed, Refusal
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)

OFFLINE = "DEVICE_OFFLINE"
NOT_CONFIGURED = "DEVICE_NOT_CONFIGURED"
FIRST_POLL_WITHIN = 5.0  # seconds: an endpoint of a long interval does not wait for its place in it
SOON = 1.0  # seconds: a device that is back is read at once, unless its next poll comes as soon as this
SELDOM = 10.0  # seconds of an interval from which on a tick is too late to notice a poll that hangs


class RunEndpoint(msgspec.Struct, frozen=True):
    """Start, and again whenever the configuration changes. `connection` is JSON of an object, `data_points`
    of an array of objects or null. Intervals in ms; `phase` is where in the interval to poll, 0..1; `router`
    gets the batches."""

    uuid: str
    name: str
    protocol: str
    device_uuid: str
    device: str
    connection: Raw
    data_points: Raw
    poll_interval: int
    phase: float
    reconnect_min_ms: int
    reconnect_max_ms: int
    router: ActorAddress


class Poll(msgspec.Struct, frozen=True):
    """To itself: a tick of the schedule; `series` tells the ticks of an outdated schedule apart."""

    series: int


class Polled(msgspec.Struct, frozen=True, gc=False):
    """To itself: the device answered; `timestamp` Unix ms, `duration` ms.

    `number`, here and below, is that of the connection.
    """

    number: int
    reading: PollResult
    timestamp: int
    duration: float


class PollFailed(msgspec.Struct, frozen=True):
    """To itself: the device did not answer."""

    number: int
    trouble: Trouble
    timestamp: int
    duration: float


class PollLate(msgspec.Struct, frozen=True):
    """To itself: time to look whether the poll that began then (monotonic seconds) has ended."""

    began: float


class FinishPoll(msgspec.Struct, frozen=True):
    """To the endpoint, which is to end: begin no more polls. Answered by `PollFinished` when what the device
    was asked is answered and on its way; a new start takes it back."""


class PollFinished(msgspec.Struct, frozen=True):
    pass


class Endpoint(Connecting[Reader]):
    """One poll in flight at a time; a tick during it is skipped and counted.

    While the device is away every tick of the schedule gives a BAD batch, and attempts to reach it again go
    by times of their own; what one of them found out is the code of the next tick's batch.
    """

    config: RunEndpoint

    def __init__(self) -> None:
        super().__init__()
        self.series = 0
        self.scheduled = False
        self.begun = False
        self.polling = False
        self.poll_began = 0.0
        self.probing = False
        self.finishing: ActorAddress | None = None
        self.found: str | None = None
        self.misconfigured: str | None = None

    def receiveMsg_RunEndpoint(self, message: RunEndpoint, sender: ActorAddress) -> None:
        """Begin, or begin anew with a changed configuration; another interval alone keeps the connection."""
        self.finishing = None
        if self.scheduled and _same_device(message, self.config):
            self.config = message
            self._schedule()
            return
        self._forget()
        self.config = message
        self.peer = message.name
        self.state = PollRecord(message.device)
        self.misconfigured = None
        self.health = "connecting"
        try:
            self.protocol = protocols.find(message.protocol)
            self.endpoint, self.points = check(
                message.name, self.protocol, message.connection, message.data_points
            )
        except Refusal as refusal:
            self._misconfigured(refusal.message)
            return
        self.source = _source(message, self.points)
        if not self.endpoint.polled:
            self.health = "not polled: serves discovery only"
            return
        self.scheduled = True
        self._schedule()

    def _forget(self) -> None:
        """Let go of the device, and of what was known of it."""
        self.disconnect()
        if self.scheduled:
            self.send(self.config.router, ForgetSource(self.config.uuid))
        self.series += 1
        self.scheduled = self.begun = self.polling = False
        self.found = None

    # The schedule

    def _schedule(self) -> None:
        self.retry = _retry(self.config, self.endpoint)
        self.series += 1
        interval, phase, now = self.config.poll_interval / 1000, self.config.phase, monotonic()
        self.schedule = Schedule(interval, origin(now, interval, phase))
        if interval > FIRST_POLL_WITHIN:
            self.wakeupAfter(origin(now, FIRST_POLL_WITHIN, phase) - now, Poll(self.series))
        else:
            self.wakeupAfter(self.schedule.next_delay(now), Poll(self.series))

    def receiveMsg_Poll(self, message: Poll, sender: ActorAddress) -> None:
        if message.series != self.series:
            return
        now = monotonic()
        self.wakeupAfter(self.schedule.next_delay(now), message)
        if self.polling:
            self._poll_in_flight(now)
        elif self.connected:
            self._poll(now)
        elif self.failures:
            self._offline()
        elif not self.begun:
            # Not before the first tick: endpoints that start together do not connect together.
            self.begun = True
            self.connect()
        else:
            self.state.skipped += 1

    def _poll_in_flight(self, now: float) -> None:
        if not self._look_at_poll(now):
            return
        if self.failures:
            self._offline()
        else:
            self.state.skipped += 1

    def _offline(self) -> None:
        """A tick while the device is away: no poll, but a reading."""
        self.look_at_clock()
        now = unix_ms()
        code, self.found = self.found or OFFLINE, None
        self.state.failure(now, None, code, self.state.last_error or OFFLINE)
        self._emit_bad(now, code)

    # Polling

    def _poll(self, now: float, probing: bool = False) -> None:
        if self.finishing is not None:
            return
        assert self.connection is not None
        self.polling = True
        self.poll_began = now
        self.probing = probing
        patience = self.connection.patience
        poll = _poll(self.number, self.connection, len(self.source.points), self.schedule.interval)
        self.run(poll, then=_as_is, within=beyond(patience))
        if self.schedule.interval > SELDOM and self.schedule.interval > patience:
            self.wakeupAfter(patience, PollLate(now))

    def receiveMsg_Polled(self, message: Polled, sender: ActorAddress) -> None:
        if message.number != self.number:
            return
        self.polling = False
        if not self.proven:
            self.proved()
            log.info("%s: connected to %s", self.config.name, self.endpoint.address)
            self.health = "connected"
            self.found = None
        reading = message.reading
        self.state.success(message.timestamp, message.duration, reading)
        if reading.values:
            batch = Batch(self.source, message.timestamp, reading.values, reading.qualities, {})
            self.send(self.config.router, batch)
        self._finish()

    def receiveMsg_PollFailed(self, message: PollFailed, sender: ActorAddress) -> None:
        if message.number == self.number:
            self._failed(message.trouble, message.timestamp, message.duration, self.probing)
            self.lose(message.trouble)
            self._finish()

    def receiveMsg_FinishPoll(self, message: FinishPoll, sender: ActorAddress) -> None:
        self.finishing = sender
        self.series += 1  # no tick counts any more
        self._finish()

    def _finish(self) -> None:
        if self.finishing is not None and not self.polling:
            self.send(self.finishing, PollFinished())

    def receiveMsg_PollLate(self, message: PollLate, sender: ActorAddress) -> None:
        now = monotonic()
        if self.polling and self.poll_began == message.began and self._look_at_poll(now):
            assert self.connection is not None
            self.wakeupAfter(self.connection.patience - (now - message.began), message)

    def _look_at_poll(self, now: float) -> bool:
        """Whether the poll in flight may go on; one that hangs has failed."""
        assert self.connection is not None
        duration, patience = now - self.poll_began, self.connection.patience
        if duration < patience:
            return True
        hung = self.hung(patience)
        self._failed(hung.trouble, unix_ms(), 1000 * duration, self.probing)
        self.lose(hung.trouble, hung=True)
        return False

    def _failed(self, trouble: Trouble, timestamp: int, duration: float, between: bool) -> None:
        """The device did not answer; `between` ticks, when it was asked to see whether it is back."""
        code = _code(trouble)
        if between:
            self.found = code
            self.state.attempt_failed(timestamp, duration, code, trouble.reason)
        else:
            self.found = None
            self.state.failure(timestamp, duration, code, trouble.reason)
            self._emit_bad(timestamp, code)

    def _emit_bad(self, timestamp: int, code: str) -> None:
        count = len(self.source.points)
        if count:
            self.send(self.config.router, Batch(self.source, timestamp, [None] * count, [code] * count, {}))

    # The connection

    def builder(self, number: int) -> tuple[str, Callable[[], Reader]]:
        protocol, endpoint = self.protocol, self.endpoint
        return protocol.name, lambda: protocol.reader(endpoint)

    def connection_made(self) -> None:
        """The first poll was due when connecting began. Later a reading comes at once, unless its time comes
        soon anyway."""
        now = monotonic()
        if not self.failures or self.schedule.remaining(now) > SOON:
            self._poll(now, probing=self.failures > 0)

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        duration = 1000 * (monotonic() - self.attempt_began)
        self._failed(trouble, unix_ms(), duration, between=self.failures > 1)
        self._say(trouble, "cannot reach" if news else None)

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        if self.state.connected:  # a write has found out
            self.state.lost(trouble.reason)
            self.found = _code(trouble)
        self.polling = False
        self._say(trouble, "lost" if self.proven else "cannot reach" if news else None)

    def _say(self, trouble: Trouble, what: str | None) -> None:
        self.health = f"disconnected: {trouble.reason}"
        if what is not None:
            log.warning("%s: %s %s: %s", self.config.name, what, self.endpoint.address, trouble.reason)

    def _misconfigured(self, message: str) -> None:
        log.error("%s: %s", self.config.name, message)
        self.misconfigured = message
        self.health = f"misconfigured: {message}"
        self.state.last_error = message

    # Asking and writing

    def receiveMsg_ReportHealth(self, message: ReportHealth, sender: ActorAddress) -> None:
        self.send(sender, self._report())

    def receiveMsg_CountPolls(self, message: CountPolls, sender: ActorAddress) -> None:
        self.send(sender, self.state.counts())

    def _report(self) -> HealthReported:
        return self.state.report()

    def receiveMsg_DescribeDevice(self, message: DescribeDevice, sender: ActorAddress) -> None:
        registers: list[dict[str, Any]] = []
        if self.scheduled:
            addresses = [point.address_text for point in self.endpoint.points]
            registers = self.state.registers(self.source, addresses)
        identification = self.connection.identification if self.connection is not None else None
        self.send(sender, DeviceDescribed(self._report(), self.state.metrics(), registers, identification))

    def receiveMsg_SummariseMetrics(self, message: SummariseMetrics, sender: ActorAddress) -> None:
        self.send(sender, MetricsSummarised(self.config.device, self.state.summary()))

    def receiveMsg_WriteRegister(self, message: WriteRegister, sender: ActorAddress) -> None:
        try:
            self._write(message, sender)
        except Refusal as refusal:
            self.send(sender, refusal.failed())

    def _write(self, message: WriteRegister, requester: ActorAddress) -> None:
        """What can never be written is refused whether the device is there or not."""
        if self.misconfigured is not None:
            raise Refusal(f"{self.config.device} is misconfigured: {self.misconfigured}", kind="unavailable")
        prepared = self.protocol.prepare(self.endpoint, message.register, message.value)
        if self.connection is None or not self.state.connected:
            raise Refusal(f"Device not connected: {self.config.device}", kind="unavailable")
        patience = self.connection.patience
        hung = self.hung(patience)
        tell_hung = partial(self.send, self.myAddress, hung)
        self.run(
            _write(self.connection, message.register, prepared, hung, tell_hung),
            reply_to=requester,
            within=beyond(patience),
        )

    def stopped(self) -> None:
        self._forget()


async def _poll(number: int, reader: Reader, points: int, within: float) -> Polled | PollFailed:
    began = perf_counter()
    try:
        reading = await reader.read(within)
    except NoConnection as error:
        duration = 1000 * (perf_counter() - began)
        return PollFailed(number, trouble_of(error), unix_ms(), duration)
    if len(reading.values) != points or (reading.qualities and len(reading.qualities) != points):
        # Further on it would be taken for another point's, or crash whoever follows the readings.
        raise ValueError(f"the reader returned {len(reading.values)} values of {points} points")
    return Polled(number, reading, unix_ms(), 1000 * (perf_counter() - began))


async def _write(
    reader: Reader, register: str, prepared: Any, hung: Lost, tell_hung: Callable[[], None]
) -> RegisterWritten | Failed:
    try:
        value = await bounded(reader.write(prepared), reader.patience)
    except NoConnection as error:
        return Failed("unavailable", f"Device did not answer: {error}")
    except Overdue:
        tell_hung()
        return Failed("unavailable", f"Device did not answer: {hung.trouble.reason}")
    return RegisterWritten(register, value)


def _as_is(message: Any) -> Any:
    return message


def _code(trouble: Trouble) -> str:
    """The quality of readings that there are none of for that reason."""
    return trouble.code or (NOT_CONFIGURED if trouble.permanent else OFFLINE)


def _retry(config: RunEndpoint, endpoint: CheckedEndpoint) -> Doubling:
    longest = config.reconnect_max_ms / 1000
    return Doubling(min((endpoint.retry_ms or config.reconnect_min_ms) / 1000, longest), longest)


def _same_device(one: RunEndpoint, other: RunEndpoint) -> bool:
    """Whether they differ in nothing but when to poll and to reconnect."""
    return one == msgspec.structs.replace(
        other,
        poll_interval=one.poll_interval,
        phase=one.phase,
        reconnect_min_ms=one.reconnect_min_ms,
        reconnect_max_ms=one.reconnect_max_ms,
    )


def _source(config: RunEndpoint, points: Points) -> Source:
    return Source(
        endpoint_uuid=config.uuid,
        endpoint=config.name,
        protocol=config.protocol,
        device_uuid=config.device_uuid,
        device=config.device,
        points=points.shown,
        prefixes=prefixes(config.protocol, config.name, config.device),
    )
