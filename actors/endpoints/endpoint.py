"""The endpoint actor: polls one device, owns its reader, its health and its last values."""

import asyncio
import logging
import random
import time
from time import monotonic, perf_counter
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.health import Health
from actors.endpoints.messages import (
    DescribeDevice,
    DeviceDescribed,
    HealthReported,
    MetricsSummarised,
    RegisterWritten,
    ReportHealth,
    SummariseMetrics,
    WriteRegister,
)
from actors.endpoints.protocol import Endpoint as Checked
from actors.endpoints.protocol import Misconfigured, Reader, Reading, Unreachable
from actors.endpoints.schedule import Schedule, origin
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import ForgetSource
from actors.system.actor import Actor
from actors.system.failure import Failed, Refusal

log = logging.getLogger(__name__)

OFFLINE = "DEVICE_OFFLINE"
FIRST_POLL_WITHIN = 5.0  # seconds: an endpoint of a long interval does not wait for its place in it


class RunEndpoint(msgspec.Struct, frozen=True):
    """Start, and again whenever the configuration changes. Intervals in ms; `phase` is where in the
    interval to poll, 0..1; `router` gets the batches."""

    uuid: str
    name: str
    protocol: str
    device_uuid: str
    device: str
    connection: dict[str, Any]
    data_points: list[dict[str, Any]]
    poll_interval: int
    phase: float
    reconnect_min_ms: int
    reconnect_max_ms: int
    router: ActorAddress


class Poll(msgspec.Struct, frozen=True):
    """To itself: a tick of the schedule; `series` tells the ticks of an outdated schedule apart."""

    series: int


class ReaderReady(msgspec.Struct, frozen=True):
    """To itself: the protocol's library is loaded and the reader built."""

    epoch: int
    reader: Any


class Polled(msgspec.Struct, frozen=True, gc=False):
    """To itself: the device answered; `timestamp` Unix ms, `duration` ms.

    `epoch`, here and below, tells what came of an outdated reader apart.
    """

    epoch: int
    reading: Reading
    timestamp: int
    duration: float


class PollFailed(msgspec.Struct, frozen=True):
    """To itself: the device did not answer, or never will as configured (`permanent`)."""

    epoch: int
    code: str
    message: str
    timestamp: int
    duration: float
    permanent: bool = False


class Endpoint(Actor):
    """One poll in flight at a time; a tick during it is skipped and counted."""

    config: RunEndpoint

    def __init__(self) -> None:
        self.reader: Reader | None = None
        self.epoch = 0
        self.series = 0
        self.polling = False

    def receiveMsg_RunEndpoint(self, message: RunEndpoint, sender: ActorAddress) -> None:
        """Begin, or begin anew with a changed configuration; another interval alone keeps the connection."""
        if self.reader is not None and _same_device(message, self.config):
            self.config = message
            self._schedule()
            return
        self.abandon()
        self._close()
        self.config = message
        self.epoch += 1
        self.polling = False
        self.failures = 0
        self.retry_at = 0.0
        self.state = Health(message.device)
        self.health = "connecting"
        try:
            protocol = protocols.find(message.protocol)
            self.endpoint = protocol.check(message.connection, message.data_points)
        except Refusal as refusal:
            self._misconfigured(refusal.message)
            return
        self.source = _source(message, self.endpoint)
        if not self.endpoint.polled:
            self.health = "not polled: serves discovery only"
            return
        epoch = self.epoch
        self.run(
            asyncio.to_thread(protocol.reader, self.endpoint), then=lambda reader: ReaderReady(epoch, reader)
        )

    def receiveMsg_ReaderReady(self, message: ReaderReady, sender: ActorAddress) -> None:
        if message.epoch != self.epoch:
            self.release(message.reader.close())
            return
        self.reader = message.reader
        self._schedule()

    def _schedule(self) -> None:
        self.series += 1
        interval, phase, now = self.config.poll_interval / 1000, self.config.phase, monotonic()
        self.schedule = Schedule(interval, origin(now, interval, phase))
        if interval > FIRST_POLL_WITHIN:
            self.wakeupAfter(origin(now, FIRST_POLL_WITHIN, phase) - now, Poll(self.series))
        else:
            self._arm()

    def _arm(self) -> None:
        self.wakeupAfter(self.schedule.next_delay(monotonic()), Poll(self.series))

    def receiveMsg_Poll(self, message: Poll, sender: ActorAddress) -> None:
        if message.series != self.series or self.reader is None:
            return
        self._arm()
        lost = self.failures > 0
        if self.polling and not lost:
            self.state.skipped += 1
        elif not self.polling and (not lost or monotonic() >= self.retry_at):
            self.polling = True
            self.run(_poll(self.epoch, self.reader, connect=not self.state.connected), then=_as_is)
        else:
            now = int(time.time() * 1000)
            self.state.failure(now, None, OFFLINE, self.state.last_error or OFFLINE)
            self._emit_bad(now, OFFLINE)

    def receiveMsg_Polled(self, message: Polled, sender: ActorAddress) -> None:
        if message.epoch != self.epoch:
            return
        self.polling = False
        if not self.state.connected:
            log.info("%s: connected to %s", self.config.name, self.endpoint.address)
            self.health = "connected"
            self.failures = 0
        reading = message.reading
        self.state.success(message.timestamp, message.duration, reading)
        if reading.values:
            batch = Batch(self.source, message.timestamp, reading.values, reading.qualities, {})
            self.send(self.config.router, batch)

    def receiveMsg_PollFailed(self, message: PollFailed, sender: ActorAddress) -> None:
        if message.epoch != self.epoch:
            return
        self.polling = False
        if self.failures == 0:
            what = "lost" if self.state.connected else "cannot reach"
            log.warning("%s: %s %s: %s", self.config.name, what, self.endpoint.address, message.message)
        self.health = f"disconnected: {message.message}"
        self.retry_at = monotonic() + self._backoff(message.permanent)
        self.failures += 1
        self.state.failure(message.timestamp, message.duration, message.code, message.message)
        self._emit_bad(message.timestamp, message.code)

    def _backoff(self, permanent: bool) -> float:
        """Seconds until the next attempt, never more than the longest that is configured."""
        longest = self.config.reconnect_max_ms
        first = self.endpoint.retry_ms or self.config.reconnect_min_ms
        delay = longest if permanent else first * 2.0 ** min(self.failures, 32)
        return float(min(delay * random.uniform(0.75, 1.25), longest)) / 1000

    def _emit_bad(self, timestamp: int, code: str) -> None:
        count = len(self.source.points)
        if count:
            self.send(self.config.router, Batch(self.source, timestamp, [None] * count, [code] * count, {}))

    def _misconfigured(self, message: str) -> None:
        log.error("%s: %s", self.config.name, message)
        self.health = f"misconfigured: {message}"
        self.state.last_error = message

    def receiveMsg_ReportHealth(self, message: ReportHealth, sender: ActorAddress) -> None:
        self.send(sender, self._report())

    def _report(self) -> HealthReported:
        return self.state.report()

    def receiveMsg_DescribeDevice(self, message: DescribeDevice, sender: ActorAddress) -> None:
        registers: list[dict[str, Any]] = []
        if self.reader is not None:
            addresses = [point.address_text for point in self.endpoint.points]
            registers = self.state.registers(self.source, addresses)
        self.send(sender, DeviceDescribed(self._report(), self.state.metrics(), registers))

    def receiveMsg_SummariseMetrics(self, message: SummariseMetrics, sender: ActorAddress) -> None:
        self.send(sender, MetricsSummarised(self.config.device, self.state.summary()))

    def receiveMsg_WriteRegister(self, message: WriteRegister, sender: ActorAddress) -> None:
        if self.reader is None or not self.state.connected:
            self.send(sender, Failed("unavailable", f"Device not connected: {self.config.device}"))
            return
        self.run(_write(self.reader, message), reply_to=sender)

    def _close(self) -> None:
        if self.reader is not None:
            self.release(self.reader.close())
            self.reader = None
            self.send(self.config.router, ForgetSource(self.config.uuid))

    def stopped(self) -> None:
        self._close()


async def _poll(epoch: int, reader: Reader, connect: bool) -> Polled | PollFailed:
    began = perf_counter()
    try:
        if connect:
            await reader.connect()
        reading = await reader.read()
    except (Unreachable, Misconfigured) as error:
        return PollFailed(
            epoch=epoch,
            code=error.code if isinstance(error, Unreachable) else "DEVICE_NOT_CONFIGURED",
            message=str(error),
            timestamp=int(time.time() * 1000),
            duration=1000 * (perf_counter() - began),
            permanent=isinstance(error, Misconfigured),
        )
    return Polled(epoch, reading, int(time.time() * 1000), 1000 * (perf_counter() - began))


async def _write(reader: Reader, message: WriteRegister) -> RegisterWritten | Failed:
    try:
        return RegisterWritten(message.register, await reader.write(message.register, message.value))
    except Unreachable as error:
        return Failed("unavailable", f"Device did not answer: {error}")


def _as_is(message: Any) -> Any:
    return message


def _same_device(one: RunEndpoint, other: RunEndpoint) -> bool:
    """Whether they differ in nothing but when to poll and to reconnect."""
    return one == msgspec.structs.replace(
        other,
        poll_interval=one.poll_interval,
        phase=one.phase,
        reconnect_min_ms=one.reconnect_min_ms,
        reconnect_max_ms=one.reconnect_max_ms,
    )


def _source(config: RunEndpoint, endpoint: Checked) -> Source:
    points = tuple(Point(point.name, point.unit) for point in endpoint.points)
    return Source(
        endpoint_uuid=config.uuid,
        endpoint=config.name,
        protocol=config.protocol,
        device_uuid=config.device_uuid,
        device=config.device,
        points=points,
        topics=tuple(
            (
                f"{config.protocol}/{config.name}/{config.device}/{point.name}",
                f"sensors/{config.name}/{point.name}",
            )
            for point in points
        ),
    )
