"""A destination: its connection, its outbox, its in-flight window."""

import logging
import math
import time
from collections import deque
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Connecting, Delivered, Expiring, Rejected, Wanted, numbers
from actors.publish import suspicion
from actors.publish.destinations.driver import Identity
from actors.publish.messages import OutboxReport
from actors.publish.outbox import Limits, Outbox
from actors.publish.rows import lag
from actors.publish.subscription import Flush, Flushed, Publish, RunSubscription, Subscription
from actors.publish.suspicion import Suspicion
from actors.readings.messages import Observe, ReportRouting, RoutingReported, Unobserve
from actors.state.client import StoreClient
from actors.state.messages import Transact, Transacted
from actors.system.addresses import child_address
from actors.system.supervision import Restart
from storage import outbox as stored
from storage.errors import MissingParent

log = logging.getLogger(__name__)

REPORT_INTERVAL = 1.0
DRAIN_TIME = 2.0  # seconds that acknowledgements under way are waited for before a connection is closed
EARLY = 2000  # messages held until the outbox is known
EPISODE = 60.0  # seconds without a drop that end an episode of drops


class Retire(msgspec.Struct, frozen=True):
    """To the destination: bring everything to safety and let go; answered by `Retired`. A later
    `RunDestination` takes it back."""

    number: int


class RunDestination(msgspec.Struct, frozen=True):
    """Start, and again whenever configuration or subscriptions change. `config` is checked, in clear,
    fallbacks included.

    `Retire`s up to number `retained` do not count any more, even if they come later: who restarts begins with
    the newest `RunDestination`."""

    id: int
    name: str
    type: str
    config: dict[str, Any]
    subscriptions: tuple[RunSubscription, ...]
    limits: Limits
    window: int
    identity: Identity
    store: ActorAddress
    router: ActorAddress
    retained: int = 0


class Retired(msgspec.Struct, frozen=True):
    """`number` is that of the `Retire`."""

    id: int
    number: int


class ForgetDeadLetters(msgspec.Struct, frozen=True):
    """To the destination: its dead-letter table has been emptied."""


class Reported(msgspec.Struct, frozen=True):
    """To the parent, at most once a second: the outbox and the connection as they are."""

    report: OutboxReport


class Tick(msgspec.Struct, frozen=True):
    """To itself: time to look at age, quota and commit; `number` is that of the life."""

    number: int


class DrainOver(msgspec.Struct, frozen=True):
    """To itself: acknowledgements have been waited for long enough."""

    number: int


class Spilled(msgspec.Struct, frozen=True):
    """Token of a transaction that stores payloads while the destination is away."""

    count: int


class Destination(StoreClient, Connecting):
    """At least once, in order; see `outbox`. While the broker is away it retries, for ever."""

    RESTART = Restart(max_restarts=None, keep_children=True)
    """It never gives up: there would be nobody to keep its readings."""
    SPILLS = (Publish,)

    def __init__(self) -> None:
        super().__init__()
        self.life = next(numbers)
        self.config: RunDestination | None = None
        self.outbox: Outbox | None = None
        self.early: deque[Publish] = deque()
        self.early_dropped = 0
        # payloads that a destination closes the connection over
        self.suspicion = Suspicion()
        self.oldest_since = 0.0
        self.idle_until = 0.0
        # letting go
        self.draining = False
        self.drain = 0
        self.retire: Retire | None = None
        self.flush = 0
        self.flushing: set[int] = set()
        self.leaving: dict[int, int] = {}
        # reporting
        self.last_success: int | None = None
        self.latest_error: tuple[str, int] | None = None
        self.dead_letters = 0
        self.dropped_at = -math.inf
        self.reported: OutboxReport | None = None
        self.report_at = 0.0

    # Beginning and changing

    def receiveMsg_RunDestination(self, message: RunDestination, sender: ActorAddress) -> None:
        before, self.config = self.config, message
        self.peer = message.name
        self.wanted = Wanted(message.type, message.config, message.identity)
        self.parent = sender
        self.store = message.store
        self.reported, self.report_at = None, 0.0  # a parent that has restarted knows nothing yet
        self._run_subscriptions(before, message)
        self.retire = None
        if before is None:
            self.ask_store("summary", stored.summary, self._id)
            self.wakeupAfter(message.limits.hold, Tick(self.life))
            self.connect()
        elif self.driver is None:
            self.connect()
        elif self.driver_for != self.wanted:
            self._drain()
        else:
            self.draining = False
            self._pump()

    def _run_subscriptions(self, before: RunDestination | None, now: RunDestination) -> None:
        running = {start.id: start for start in (before.subscriptions if before else ())}
        wanted = {start.id: start for start in now.subscriptions}
        if before is None:
            self.keep_only(self._subscription(id) for id in wanted)
        for id in running.keys() - wanted.keys():
            # It goes when it has published what it still holds.
            self.leaving[id] = next(numbers)
            self.send(now.router, Unobserve(self._subscription(id)))
            self.send(self._subscription(id), Flush(self.leaving[id]))
        for id, start in wanted.items():
            returned = self.leaving.pop(id, None) is not None
            address, known = self._subscription(id), running.get(id)
            if not self.running(address):
                self.spawn(Subscription, f"subscription-{id}", start)
            elif returned or (start is not known and start != known):
                self.restate(address, start)
            elif self.retire is None:
                continue
            route = start.route
            self.send(now.router, Observe(address, route.interest, route.events, delivers=True))

    def _subscription(self, id: int) -> ActorAddress:
        return child_address(self.myAddress, f"subscription-{id}")

    def _summary_done(self, message: Transacted) -> None:
        assert self.config is not None
        if message.error is not None:
            return  # the next tick asks again
        self.outbox = Outbox(self.config.limits, message.result)
        self.dead_letters = message.result.dead_letters if message.result else 0
        self.outbox.drops.quota += self.early_dropped
        early, self.early = self.early, deque()
        for publish in early:
            self.receiveMsg_Publish(publish, self.myAddress)
        self._look_after(monotonic())
        if self.retire is not None and not self.draining:
            self._secure()

    # The way of a payload

    def receiveMsg_Publish(self, message: Publish, sender: ActorAddress) -> None:
        outbox = self.outbox
        if outbox is None:
            self._wait_for_outbox(message)
            return
        now_ms = int(time.time() * 1000)
        now = monotonic()
        for payload in message.payloads:
            outbox.add(message.topic, payload, now_ms, now)
        if outbox.limits.strict:
            self._commit()
        self._pump()

    def _wait_for_outbox(self, message: Publish) -> None:
        """Hold a payload until the store has said what is already on disk; the oldest give way."""
        if len(self.early) == EARLY:
            self.early_dropped += len(self.early.popleft().payloads)
        self.early.append(message)

    def _pump(self) -> None:
        """Send what the window admits; read back what has only been on disk."""
        outbox = self.outbox
        if outbox is None:
            return
        assert self.config is not None
        if self.connected and not self.draining:
            self._send(outbox, self.config.window)
        wanted = outbox.read(self.connected)
        if wanted is not None:
            self.ask_store("read", stored.load, self._id, *wanted)

    def _send(self, outbox: Outbox, window: int) -> None:
        """A suspect goes alone, and on a connection that has stood for a while."""
        assert self.driver is not None
        now = monotonic()
        if now < self.idle_until:
            return
        if not outbox.in_flight:
            self.oldest_since = now
        window = self.driver.window or window
        if self.suspicion.suspected is not None:
            window = 1
        for entry in outbox.take(window - outbox.in_flight):
            self.driver.send(entry.seq, entry.topic, entry.payload)

    def _read_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        lost = self.outbox.was_read(message.result if message.error is None else None, monotonic())
        if lost:
            log.error("%s: %d stored readings are gone from the database", self.peer, lost)
        if message.error is None:
            self._enforce(monotonic())
            self._pump()

    def receiveMsg_Delivered(self, message: Delivered, sender: ActorAddress) -> None:
        if message.number != self.driver_number or self.outbox is None:
            return
        self.proven = True
        self.oldest_since = monotonic()
        self.suspicion.delivered()
        self.outbox.delivered(message.seqs)
        self.last_success = int(time.time() * 1000)
        self._go_on()

    def _go_on(self) -> None:
        """The window has room again."""
        if self.draining:
            self._drained()
        else:
            self._pump()

    def receiveMsg_Rejected(self, message: Rejected, sender: ActorAddress) -> None:
        if message.number != self.driver_number or self.outbox is None:
            return
        self._reject(self.outbox, message.seqs, message.reason)
        self._go_on()

    def _reject(self, outbox: Outbox, seqs: list[int], reason: str) -> None:
        count = outbox.rejected(seqs, reason, int(time.time() * 1000))
        if count:
            log.warning("%s: %d payloads are rejected for good: %s", self.peer, count, reason)
            self._note(f"rejected: {reason}")

    def receiveMsg_ForgetDeadLetters(self, message: ForgetDeadLetters, sender: ActorAddress) -> None:
        self.dead_letters = 0
        self.report_at = 0.0

    def _commit(self, force: bool = False) -> None:
        assert self.outbox is not None
        commit = self.outbox.commit(monotonic(), force)
        if commit is not None:
            self.ask_store("commit", stored.commit, self._id, commit.rows(), commit.done, commit.dead)

    def _commit_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        self.outbox.committed(message.error is None)
        if message.error is not None:
            return  # the next tick tries again
        # The store counts them when there are new ones only.
        self.dead_letters = message.result or self.dead_letters
        if self.retire is not None and not self.draining:
            self._secure()
            return
        if self.outbox.limits.strict:
            self._commit()
        self._pump()

    def receiveMsg_Tick(self, message: Tick, sender: ActorAddress) -> None:
        assert self.config is not None
        if message.number != self.life:
            return
        now = monotonic()
        if self.outbox is not None:
            self._look_after(now)
        elif not self.is_asked("summary"):
            self.ask_store("summary", stored.summary, self._id)
        self.wakeupAfter(self.config.limits.hold, message)

    def _look_after(self, now: float) -> None:
        self._enforce(now)
        self._commit(force=self.retire is not None)
        self._pump()
        if now >= self.report_at:
            self.report_at = now + REPORT_INTERVAL
            self._report()

    def _enforce(self, now: float) -> None:
        assert self.outbox is not None
        if self.outbox.enforce(int(time.time() * 1000)) + self.outbox.shed():
            if now - self.dropped_at > EPISODE:
                log.warning("%s: outbox is over its limits, the oldest readings are dropped", self.peer)
            self.dropped_at = now

    # The connection

    def connection_made(self) -> None:
        self.idle_until = monotonic() + suspicion.IDLE if self.suspicion.suspected is not None else 0.0
        self._say()
        self._pump()

    def connection_ended(self) -> None:
        if self.outbox is not None:
            if self.driver is not None and self.driver.refuses_by_closing:
                self._suspect(self.outbox)
            self.outbox.disconnected()
        self._drained()

    def _suspect(self, outbox: Outbox) -> None:
        convicted = self.suspicion.ended(outbox.first_in_flight, monotonic() - self.oldest_since)
        if convicted is not None:
            self._reject(outbox, [convicted], "the connection was closed whenever it was sent")

    def in_trouble(self, reason: str) -> None:
        self._note(reason)
        self._say()

    def receiveMsg_Expiring(self, message: Expiring, sender: ActorAddress) -> None:
        """Credentials are renewed by a new connection, which repeats nothing."""
        if message.number == self.driver_number and self.connected and not self.draining:
            self._drain()

    # Letting go

    def receiveMsg_Retire(self, message: Retire, sender: ActorAddress) -> None:
        assert self.config is not None
        if message.number <= self.config.retained:
            return
        self.retire = message
        self.remember(message)
        for start in self.config.subscriptions:
            self.send(self.config.router, Unobserve(self._subscription(start.id)))
        self.flush = next(numbers)
        self.flushing = {start.id for start in self.config.subscriptions} | self.leaving.keys()
        self._drain()
        self.send(self.config.router, ReportRouting())

    def receiveMsg_RoutingReported(self, message: RoutingReported, sender: ActorAddress) -> None:
        """The router has sent on what it had: subscriptions can publish the last of it."""
        if self.retire is not None:
            for id in self.flushing:
                self.send(self._subscription(id), Flush(self.flush))

    def receiveMsg_Flushed(self, message: Flushed, sender: ActorAddress) -> None:
        if self.leaving.get(message.id) == message.number:
            del self.leaving[message.id]
            self.stop_child(sender)
        elif message.number != self.flush:
            return
        self.flushing.discard(message.id)
        self._drained()

    def _drain(self) -> None:
        """Close the connection, but for acknowledgements and subscriptions' last payloads under way."""
        self.draining = True
        self.drain = next(numbers)
        self.wakeupAfter(DRAIN_TIME, DrainOver(self.drain))
        self._drained()

    def receiveMsg_DrainOver(self, message: DrainOver, sender: ActorAddress) -> None:
        if message.number == self.drain and self.draining:
            self._let_go()

    def _drained(self) -> None:
        busy = self.connected and self.outbox is not None and self.outbox.in_flight
        if self.draining and not busy and not self.flushing:
            self._let_go()

    def _let_go(self) -> None:
        """Close the connection; open the next, or if there is to be none, bring the outbox to disk."""
        self.draining = False
        self.flushing.clear()
        if self.outbox is not None:
            self.outbox.disconnected()
        self.abandon()
        self.disconnect()
        if self.retire is None:
            self.connect()
        else:
            self.health = "retiring"
            self._secure()

    def _secure(self) -> None:
        """Put everything on disk, then say that it is there; until then it is called again."""
        assert self.config is not None
        assert self.retire is not None
        if self.outbox is None:
            return
        self._commit(force=True)
        if not self.outbox.committing:
            self._report()
            self.health = "retired"
            self.send(self.parent, Retired(self.config.id, self.retire.number))

    # While it is away

    @classmethod
    def spill(cls, start: RunDestination, waiting: list[Publish]) -> tuple[ActorAddress, Any]:
        """To disk, behind all others."""
        now = int(time.time() * 1000)
        payloads = [(one.topic, payload, now) for one in waiting for payload in one.payloads]
        limits = start.limits
        call = (start.id, payloads, limits.max_rows, limits.max_bytes)
        return start.store, Transact(Spilled(len(payloads)), stored.append, call)

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        if not isinstance(message.token, Spilled):
            super().receiveMsg_Transacted(message, sender)
        elif message.error is not None:
            self.storing_failed(message.error)
            self._dropped(message.token.count)
        else:
            self._dropped(message.result)

    def _dropped(self, count: int) -> None:
        if self.outbox is None:
            self.early_dropped += count
        else:
            self.outbox.drops.quota += count

    # Reporting

    def storing_failed(self, error: Exception) -> None:
        if isinstance(error, MissingParent):
            return  # the destination has just been removed; its end is on its way here
        text = f"outbox cannot be stored: {error}"
        if self.store_error != text:
            log.error("%s: %s", self.peer, text)
        self.store_error = text
        self._note(text)

    @property
    def _id(self) -> int:
        assert self.config is not None
        return self.config.id

    def _note(self, error: str) -> None:
        self.latest_error = error, int(time.time() * 1000)
        self.report_at = 0.0

    def _say(self) -> None:
        """Health for the tree: the connection, and how far behind the destination is."""
        state = "connected" if self.connected else f"disconnected: {self.trouble}"
        self.health = state + (lag(self.outbox, self.dead_letters) if self.outbox is not None else "")

    def _report(self) -> None:
        assert self.outbox is not None
        assert self.config is not None
        outbox = self.outbox
        error, error_at = self.latest_error or (None, None)
        if self.retire is None:
            self._say()
        report = OutboxReport(
            destination_id=self.config.id,
            destination=self.config.name,
            connected=self.connected,
            rows=outbox.rows,
            bytes=outbox.bytes,
            oldest=outbox.oldest,
            delivered=outbox.acknowledged,
            rejected=self.dead_letters,
            dropped_quota=outbox.drops.quota,
            dropped_expired=outbox.drops.expired,
            last_flush_attempt=self.last_attempt,
            last_flush_success=self.last_success,
            last_error=self.trouble or self.store_error,
            latest_error=error,
            latest_error_at=error_at,
        )
        if report != self.reported:
            self.reported = report
            self.send(self.parent, Reported(report))
