"""A destination: its connection, its outbox, its in-flight window."""

import asyncio
import logging
import random
import time
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.messages import Transact, Transacted
from actors.publish import destinations
from actors.publish.destinations.driver import Driver, Permanent, Transient
from actors.publish.messages import OutboxReport
from actors.publish.outbox import Limits, Outbox
from actors.publish.subscription import Flush, Flushed, Publish, RunSubscription, Subscription
from actors.system.actor import Actor
from actors.system.asyncio_base import child_address
from storage import outbox as stored

log = logging.getLogger(__name__)

RETRY_SHARE = 0.05  # of the time it has been away: how long to wait before the next attempt
RETRY_MIN = 0.2
RETRY_MAX = 30.0
RETRY_PERMANENT = 5.0
REPORT_INTERVAL = 1.0
DRAIN_TIME = 2.0  # seconds that acknowledgements under way are waited for before a connection is closed
STORE_PATIENCE = 30.0  # seconds until an unanswered commit is taken for failed
EPISODE = 60.0  # seconds without a drop that end an episode of drops


class RunDestination(msgspec.Struct, frozen=True):
    """Start, and again whenever configuration or subscriptions change. `config` is checked, in clear."""

    id: int
    name: str
    type: str
    config: dict[str, Any]
    subscriptions: tuple[RunSubscription, ...]
    limits: Limits
    window: int
    agent_uuid: str
    store: ActorAddress


class Retire(msgspec.Struct, frozen=True):
    """To the destination: bring everything to safety and let go; answered by `Retired`."""


class Retired(msgspec.Struct, frozen=True):
    id: int


class Reported(msgspec.Struct, frozen=True):
    """To the parent, at most once a second: the outbox and the connection as they are."""

    report: OutboxReport


class Connected(msgspec.Struct, frozen=True):
    """To itself; `number` tells connections apart."""

    number: int


class ConnectFailed(msgspec.Struct, frozen=True):
    """To itself."""

    number: int
    reason: str
    permanent: bool


class Lost(msgspec.Struct, frozen=True):
    """To itself: an established connection has ended."""

    number: int
    reason: str


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """To itself: acknowledged."""

    number: int
    seqs: list[int]


class Connect(msgspec.Struct, frozen=True):
    """To itself: try (again)."""

    number: int


class Tick(msgspec.Struct, frozen=True):
    """To itself: time to look at age, quota and commit."""


class DrainOver(msgspec.Struct, frozen=True):
    """To itself: acknowledgements have been waited for long enough."""

    number: int


class Destination(Actor):
    """At least once, in order; see `outbox`. While the broker is away it retries, for ever."""

    def __init__(self) -> None:
        self.config: RunDestination | None = None
        self.outbox: Outbox | None = None
        self.early: list[Publish] = []
        self.driver: Driver | None = None
        self.connected = False
        self.draining = False
        self.retire_to: ActorAddress | None = None
        self.flushing: set[int] = set()
        self.number = 0
        self.down_since = monotonic()
        self.last_error: str | None = None
        self.last_attempt: int | None = None
        self.last_success: int | None = None
        self.commit_began = 0.0
        self.dropped_at = 0.0
        self.reported: OutboxReport | None = None
        self.report_at = 0.0

    # Beginning and changing

    def receiveMsg_RunDestination(self, message: RunDestination, sender: ActorAddress) -> None:
        before, self.config = self.config, message
        self.parent = sender
        self.retire_to = None
        self._run_subscriptions(before, message)
        if before is None:
            self._tell_store("summary", stored.summary, message.id)
        else:
            assert self.outbox is None or before.limits == message.limits
        if before is None or (before.type, before.config) != (message.type, message.config):
            self._drain()
        elif self.draining and self.connected:
            self.draining = False

    def _run_subscriptions(self, before: RunDestination | None, now: RunDestination) -> None:
        wanted = {f"subscription-{start.id}": start for start in now.subscriptions}
        running = {f"subscription-{start.id}": start for start in (before.subscriptions if before else ())}
        for name in running.keys() - wanted.keys():
            self.stop_child(child_address(self.myAddress, name))
        for name, start in wanted.items():
            address = child_address(self.myAddress, name)
            if not self.running(address):
                self.spawn(Subscription, name, start)
            elif start != running.get(name):
                self.restate(address, start)

    def _tell_store(self, token: str, call: Any, *args: Any) -> None:
        assert self.config is not None
        self.send(self.config.store, Transact(token, call, args))

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        if message.error is not None:
            self._storing_failed(message.error)
        getattr(self, f"_{message.token}_done")(message)

    def _storing_failed(self, error: Exception) -> None:
        text = f"outbox cannot be stored: {error}"
        if self.last_error != text:
            log.error("%s: %s", self._name, text)
        self._note_error(text)

    def _summary_done(self, message: Transacted) -> None:
        assert self.config is not None
        if message.error is not None:
            self._tell_store("summary", stored.summary, self.config.id)
            return
        self.outbox = Outbox(self.config.limits, message.result)
        early, self.early = self.early, []
        for publish in early:
            self.receiveMsg_Publish(publish, self.myAddress)
        self.receiveMsg_Tick(Tick(), self.myAddress)

    # The way of a payload

    def receiveMsg_Publish(self, message: Publish, sender: ActorAddress) -> None:
        outbox = self.outbox
        if outbox is None:
            self.early.append(message)
            return
        now_ms = int(time.time() * 1000)
        now = monotonic()
        for payload in message.payloads:
            outbox.add(message.topic, payload, now_ms, now)
        if outbox.limits.strict:
            self._commit()
        self._pump()

    def _pump(self) -> None:
        """Send what the window admits; read back what has only been on disk."""
        outbox = self.outbox
        assert outbox is not None
        assert self.config is not None
        if self.connected and not self.draining:
            assert self.driver is not None
            for entry in outbox.take(self.config.window - outbox.in_flight):
                self.driver.send(entry.seq, entry.topic, entry.payload)
        wanted = outbox.read(self.connected)
        if wanted is not None:
            self._tell_store("read", stored.load, self.config.id, *wanted)

    def _read_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        self.outbox.was_read(message.result if message.error is None else None, monotonic())
        if message.error is None:
            self._pump()

    def receiveMsg_Delivered(self, message: Delivered, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        self.outbox.delivered(message.seqs)
        self.last_success = int(time.time() * 1000)
        if self.draining:
            self._drained()
        else:
            self._pump()

    def _commit(self, force: bool = False) -> None:
        assert self.outbox is not None
        assert self.config is not None
        now = monotonic()
        if self.outbox.committing and now - self.commit_began > STORE_PATIENCE:
            self.outbox.committed(ok=False)
        commit = self.outbox.commit(now, force)
        if commit is not None:
            self.commit_began = now
            self._tell_store("commit", stored.commit, self.config.id, commit.rows(), commit.done)

    def _commit_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        self.outbox.committed(message.error is None)
        if message.error is None:
            if self.retire_to is not None and not self.draining:
                self._secure()
                return
            if self.outbox.limits.strict:
                self._commit()
            self._pump()

    def receiveMsg_Tick(self, message: Tick, sender: ActorAddress) -> None:
        outbox = self.outbox
        assert outbox is not None
        now = monotonic()
        dropped = outbox.enforce(int(time.time() * 1000)) + (outbox.shed() if outbox.overfull() else 0)
        if dropped:
            if now - self.dropped_at > EPISODE:
                log.warning("%s: outbox is over its limits, the oldest readings are dropped", self._name)
            self.dropped_at = now
        self._commit(force=self.retire_to is not None)
        self._pump()
        if now >= self.report_at:
            self.report_at = now + REPORT_INTERVAL
            self._report()
        self.wakeupAfter(outbox.limits.hold, Tick())

    # The connection

    def _connect(self) -> None:
        assert self.config is not None
        self.number += 1
        number = self.number
        self.last_attempt = int(time.time() * 1000)
        self.run(self._open(number, self.config), then=lambda outcome: outcome)

    async def _open(self, number: int, config: RunDestination) -> Connected | ConnectFailed:
        found = await asyncio.to_thread(destinations.find, config.type)
        if self.driver is None:
            self.driver = found.driver(
                found.check(config.config),
                f"{config.agent_uuid}-{config.id}",
                partial(self._tell_delivered),
                partial(self._tell_lost),
            )
        try:
            await self.driver.connect()
        except (Transient, Permanent) as error:
            return ConnectFailed(number, str(error), isinstance(error, Permanent))
        return Connected(number)

    def _tell_delivered(self, seqs: list[int]) -> None:
        self.send(self.myAddress, Delivered(self.number, seqs))

    def _tell_lost(self, reason: str) -> None:
        self.send(self.myAddress, Lost(self.number, reason))

    def receiveMsg_Connected(self, message: Connected, sender: ActorAddress) -> None:
        if message.number != self.number:
            return
        self.connected = True
        self.draining = False
        self.health = "connected"
        self.last_error = None
        log.info("%s: connected", self._name)
        if self.outbox is not None:
            self._pump()

    def receiveMsg_ConnectFailed(self, message: ConnectFailed, sender: ActorAddress) -> None:
        if message.number == self.number:
            self._away(message.reason, message.permanent)

    def receiveMsg_Lost(self, message: Lost, sender: ActorAddress) -> None:
        if message.number != self.number or not self.connected:
            return
        self.connected = False
        self.down_since = monotonic()
        if self.outbox is not None:
            self.outbox.disconnected()
        if self.draining:
            self._drained()
        else:
            self._away(message.reason, permanent=False)

    def _away(self, reason: str, permanent: bool) -> None:
        """Try again after a twentieth of the time it has been away: soon after a short outage, and never
        later than that much of a long one."""
        if self.last_error != reason:
            log.warning("%s: not connected: %s", self._name, reason)
        self._note_error(reason)
        self.health = f"disconnected: {reason}"
        delay = min(max(RETRY_SHARE * (monotonic() - self.down_since), RETRY_MIN), RETRY_MAX)
        if permanent:
            delay = max(delay, RETRY_PERMANENT)
        self.wakeupAfter(delay * random.uniform(0.75, 1.25), Connect(self.number))

    def receiveMsg_Connect(self, message: Connect, sender: ActorAddress) -> None:
        if message.number == self.number and not self.connected and not self.draining:
            self._connect()

    # Letting go

    def receiveMsg_Retire(self, message: Retire, sender: ActorAddress) -> None:
        assert self.config is not None
        self.retire_to = sender
        self.flushing = {start.id for start in self.config.subscriptions}
        for id in self.flushing:
            self.send(child_address(self.myAddress, f"subscription-{id}"), Flush())
        self._drain()

    def receiveMsg_Flushed(self, message: Flushed, sender: ActorAddress) -> None:
        self.flushing.discard(message.id)
        self._drained()

    def _drain(self) -> None:
        """Close the connection, but for acknowledgements under way; what comes after is `_drained`'s."""
        self.draining = True
        if self.connected:
            self.wakeupAfter(DRAIN_TIME, DrainOver(self.number))
        self._drained()

    def receiveMsg_DrainOver(self, message: DrainOver, sender: ActorAddress) -> None:
        if message.number == self.number and self.draining:
            self.flushing.clear()
            self._let_go()

    def _drained(self) -> None:
        busy = self.connected and self.outbox is not None and self.outbox.in_flight
        if self.draining and not busy and not self.flushing:
            self._let_go()

    def _let_go(self) -> None:
        self.draining = False
        self.connected = False
        if self.outbox is not None:
            self.outbox.disconnected()
        if self.driver is not None:
            self.release(self.driver.close())
            self.driver = None
        if self.retire_to is None:
            self.down_since = monotonic()
            self._connect()
        else:
            self.number += 1
            self._secure()

    def _secure(self) -> None:
        """Put everything on disk, then say that it is there."""
        assert self.config is not None
        assert self.retire_to is not None
        if self.outbox is not None:
            self._commit(force=True)
            if self.outbox.committing:
                return
            self._report()
        self.health = "retired"
        self.send(self.retire_to, Retired(self.config.id))

    def stopped(self) -> None:
        if self.driver is not None:
            self.release(self.driver.close())

    # Reporting

    @property
    def _name(self) -> str:
        return self.config.name if self.config is not None else "destination"

    def _note_error(self, text: str) -> None:
        self.last_error = text
        self.report_at = 0.0

    def _report(self) -> None:
        assert self.outbox is not None
        assert self.config is not None
        outbox = self.outbox
        report = OutboxReport(
            destination_id=self.config.id,
            destination=self.config.name,
            connected=self.connected,
            rows=outbox.rows,
            bytes=outbox.bytes,
            oldest=outbox.oldest,
            delivered=outbox.acknowledged,
            dropped_quota=outbox.drops.quota,
            dropped_expired=outbox.drops.expired,
            last_flush_attempt=self.last_attempt,
            last_flush_success=self.last_success,
            last_error=self.last_error,
        )
        if report != self.reported:
            self.reported = report
            self.send(self.parent, Reported(report))
