"""A destination: the way of a payload from its subscriptions through the outbox to its acknowledgement."""

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Trouble, numbers
from actors.connections.retry import ByAbsence
from actors.publish import destinations
from actors.publish.ages import Ages
from actors.publish.destinations.driver import Driver, Identity
from actors.publish.driver_events import Delivered, Expiring, Rejected, RejectedPart, Teller
from actors.publish.messages import OutboxReport
from actors.publish.outbox import HARD_BOUND, Limits, Outbox
from actors.publish.pace import Flow
from actors.publish.reporting import Reporting
from actors.publish.retiring import Retiring
from actors.publish.sending import Sending
from actors.publish.subscription import Publish, RunSubscription
from actors.state.client import StoreClient
from actors.state.messages import Transact, Transacted
from actors.system.supervision import Restart
from storage import dead_letters, outbox_marks
from storage import outbox as stored
from storage.errors import MissingParent
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)


class RunDestination(msgspec.Struct, frozen=True):
    """Start, and again whenever configuration or subscriptions change. `config` is checked, in clear,
    fallbacks included.

    `Retire`s up to number `retained` do not count any more, even if they come later: who restarts begins with
    the newest `RunDestination`. It is the start's own number, too."""

    id: int
    name: str
    type: str
    config: dict[str, Any]
    subscriptions: tuple[RunSubscription, ...]
    limits: Limits
    flow: Flow
    identity: Identity
    store: ActorAddress
    router: ActorAddress
    retained: int = 0


class ForgetDeadLetters(msgspec.Struct, frozen=True):
    """To the destination: its dead-letter table has been emptied."""


class Reported(msgspec.Struct, frozen=True):
    """To the parent, at most once a second: the outbox and the connection as they are."""

    report: OutboxReport


class DestinationStarted(msgspec.Struct, frozen=True):
    """To the parent: readings reach its subscriptions from now on; `number` is that of the start."""

    id: int
    number: int


class Tick(msgspec.Struct, frozen=True):
    """To itself: time to look at age, quota and commit; `number` is that of the life."""

    number: int


class Wanted(msgspec.Struct, frozen=True):
    """The connection that should be. `config` is that of a destination, in clear."""

    type: str
    config: dict[str, Any]
    identity: Identity


class Spilled(msgspec.Struct, frozen=True):
    """Token of a transaction that stores payloads while the destination is away."""

    count: int


class Destination(StoreClient, Retiring):
    """At least once, in order; see `outbox`. While the broker is away it retries, for ever."""

    RESTART = Restart(max_restarts=None, keep_children=True)
    """It never gives up: there would be nobody to keep its readings."""
    SPILLS = (Publish,)

    retry: ByAbsence

    def __init__(self) -> None:
        super().__init__()
        self.life = next(numbers)
        self.config: RunDestination | None = None
        self.wanted: Wanted | None = None
        self.connection_for: Wanted | None = None
        self.expiring = False
        self.outbox: Outbox | None = None
        self.early: deque[Publish] = deque()
        self.early_bytes = 0
        self.early_dropped = 0
        self.sending = Sending()
        self.reporting = Reporting()

    # Beginning and changing

    def receiveMsg_RunDestination(self, message: RunDestination, sender: ActorAddress) -> None:
        before, self.config = self.config, message
        self.id = message.id
        self.peer = message.name
        self.wanted = Wanted(message.type, message.config, message.identity)
        self.parent = sender
        self.store = message.store
        self.retry = ByAbsence(message.flow.attempts_per_minute)
        self.reporting.start_over()
        self.retained = message.retained
        self.subscribe(message.subscriptions, message.router)
        self.retire = None
        self.draining = False
        if before is None:
            self.ask_store("summary", outbox_marks.found, self.id)
            self.wakeupAfter(message.limits.hold, Tick(self.life))
            self.connect()
        elif self.connection is None:
            self.connect()
        elif self.connection_for != self.wanted or self.expiring:
            self.drain()
        else:
            self._pump()
        self.send(sender, DestinationStarted(self.id, message.retained))

    def _summary_done(self, message: Transacted) -> None:
        assert self.config is not None
        if message.error is not None:
            return  # the next tick asks again
        found, limits = message.result.summary, self.config.limits
        ages = Ages(limits.ttl_ms, message.result.marks, found.last_seq if found else 0, monotonic())
        self.outbox = Outbox(limits, found, ages)
        self.reporting.dead_letters = found.dead_letters if found else 0
        self.outbox.drops.quota += self.early_dropped
        early, self.early, self.early_bytes = self.early, deque(), 0
        for publish in early:
            self.receiveMsg_Publish(publish, self.myAddress)
        self._look_after(monotonic())

    # The way of a payload

    def receiveMsg_Publish(self, message: Publish, sender: ActorAddress) -> None:
        outbox = self.outbox
        if outbox is None:
            self._wait_for_outbox(message)
            return
        outbox.clock_set(self.clock.shift)
        now_ms = unix_ms()
        now = monotonic()
        for payload in message.payloads:
            outbox.add(message.topic, payload, now_ms, now, message.qos, message.retain)
        if outbox.limits.strict:
            self._commit()
        self._pump()

    def _wait_for_outbox(self, message: Publish) -> None:
        """Hold it until the store has said what is already on disk; as much as while the disk fails, then the
        oldest give way."""
        assert self.config is not None
        self.early.append(message)
        self.early_bytes += _size(message)
        while self.early_bytes > HARD_BOUND * self.config.limits.memory_bytes and len(self.early) > 1:
            dropped = self.early.popleft()
            self.early_bytes -= _size(dropped)
            self.early_dropped += len(dropped.payloads)

    def _pump(self) -> None:
        """Send what the window admits; read back what has only been on disk."""
        outbox = self.outbox
        if outbox is None:
            return
        assert self.config is not None
        if self.connected and not self.draining:
            self._send(outbox, self.config.flow)
        wanted = outbox.read(self.connected)
        if wanted is not None:
            self.ask_store("read", stored.load, self.id, *wanted)

    def _send(self, outbox: Outbox, flow: Flow) -> None:
        driver = self.connection
        assert driver is not None
        if driver.window is not None:
            flow = msgspec.structs.replace(flow, window=driver.window)
        for entry, taken in self.sending.due(outbox, flow, monotonic()):
            if taken:
                driver.send(entry)
            else:
                self._reject(outbox, [entry.seq], "its topic is not taken")

    def _read_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        if message.error is None:
            lost = self.outbox.was_read(message.result.rows, monotonic(), message.result.lost)
        else:
            lost = self.outbox.was_read(None, monotonic())
        if lost:
            log.error("%s: %d stored readings are gone from the database", self.peer, lost)
            self.reporting.note(f"{lost} stored readings are gone from the database")
        if message.error is None:
            self._enforce(monotonic())
            self._pump()

    def receiveMsg_Delivered(self, message: Delivered, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        self.proved()
        self.sending.delivered(self.outbox, message.seqs)
        self.reporting.delivered()
        self._go_on()

    def _go_on(self) -> None:
        """The window has room again."""
        if self.draining:
            self.drained()
        else:
            self._pump()

    def receiveMsg_Rejected(self, message: Rejected, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        self._reject(self.outbox, message.seqs, message.reason)
        self._go_on()

    def receiveMsg_RejectedPart(self, message: RejectedPart, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        if self.outbox.rejected_part(message.seq, message.payload, message.reason, unix_ms()):
            log.warning("%s: part of a payload is rejected for good: %s", self.peer, message.reason)
            self.reporting.note(f"rejected: {message.reason}")

    def _reject(self, outbox: Outbox, seqs: list[int], reason: str) -> None:
        count = outbox.rejected(seqs, reason, unix_ms())
        if count:
            log.warning("%s: %d payloads are rejected for good: %s", self.peer, count, reason)
            self.reporting.note(f"rejected: {reason}")

    def receiveMsg_ForgetDeadLetters(self, message: ForgetDeadLetters, sender: ActorAddress) -> None:
        """Since it was emptied there may be new ones."""
        self.ask_store("count", dead_letters.count, self.id)

    def _count_done(self, message: Transacted) -> None:
        if message.error is None:
            self.reporting.count_dead_letters(message.result)

    def _commit(self, force: bool = False) -> None:
        assert self.outbox is not None
        commit = self.outbox.commit(monotonic(), force) if self.store_answers() else None
        if commit is not None:
            what = (commit.rows(), commit.done, commit.dead, self.outbox.limits.disk_percent)
            self.ask_store("commit", stored.commit, self.id, *what)

    def _commit_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        self.outbox.committed(message.error is None, message.result)
        if message.error is not None:
            return  # the next tick tries again
        self.reporting.dead_letters = message.result.dead_letters
        if self.securing:
            self.secure()
            return
        if self.outbox.limits.strict:
            self._commit()
        self._pump()

    def storing_failed(self, error: Exception) -> None:
        if isinstance(error, MissingParent):
            return  # the destination has just been removed; its end is on its way here
        text = f"outbox cannot be stored: {error}"
        if self.store_error != text:
            log.error("%s: %s", self.peer, text)
        self.store_error = text
        self.reporting.note(text)

    # Looking after it

    def receiveMsg_Tick(self, message: Tick, sender: ActorAddress) -> None:
        assert self.config is not None
        if message.number != self.life:
            return
        now = monotonic()
        self.look_at_clock()
        if self.outbox is not None:
            self._look_after(now)
        elif not self.is_asked("summary"):
            self.ask_store("summary", outbox_marks.found, self.id)
        self.wakeupAfter(self.config.limits.hold, message)

    def _look_after(self, now: float) -> None:
        assert self.outbox is not None
        self.outbox.clock_set(self.clock.shift)
        self._enforce(now)
        self._save_marks(self.outbox, now)
        if self.securing:
            self.secure()
        else:
            self._commit(force=self.retire is not None)
        self._pump()
        if self.reporting.due(now):
            self._report()

    def _enforce(self, now: float) -> None:
        assert self.outbox is not None
        dropped = self.outbox.enforce(now) + self.outbox.shed()
        if dropped and self.reporting.dropped(now):
            what = "share of the disk" if self.outbox.short_of_disk else "limits"
            log.warning("%s: outbox is over its %s, the oldest readings are dropped", self.peer, what)

    def _save_marks(self, outbox: Outbox, now: float) -> None:
        """While something waits: how long it has, for the next run."""
        marks = outbox.ages.due(now)
        if marks is not None and outbox.rows and self.store_answers():
            self.ask_store("marks", outbox_marks.save, self.id, marks)

    def _marks_done(self, message: Transacted) -> None:
        """If they were not stored, others will be."""

    def _report(self) -> None:
        assert self.outbox is not None
        if self.retire is None:
            self._say()
        report = self.reporting.report(
            self.id,
            self.peer,
            self.outbox,
            connected=self.connected,
            last_attempt=self.last_attempt,
            last_error=(self._reason if self.retire is None else None) or self.store_error,
        )
        if report is not None:
            self.send(self.parent, Reported(report))

    def _say(self) -> None:
        self.health = self.reporting.health(self.connected, self._reason, self.outbox)

    @property
    def _reason(self) -> str | None:
        return None if self.trouble is None else self.trouble.reason

    # The connection

    def builder(self, number: int) -> tuple[str, Callable[[], Driver]]:
        wanted = self.connection_for = self.wanted
        assert wanted is not None
        listener = Teller(number, lambda message: self.send(self.myAddress, message))

        def build() -> Driver:
            found = destinations.find(wanted.type)
            return found.driver(found.check(wanted.config), wanted.identity, listener)

        return wanted.type, build

    def connection_made(self) -> None:
        log.info("%s: connected", self.peer)
        self.expiring = False
        self.sending.connected()
        self._say()
        self._pump()

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        self._in_trouble(trouble, news)

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        self._in_trouble(trouble, news=True)
        if self.outbox is not None:
            self._blame(self.outbox, trouble.reason)
            self.outbox.disconnected()
        self.drained()

    def _in_trouble(self, trouble: Trouble, news: bool) -> None:
        if news:
            log.warning("%s: not connected: %s", self.peer, trouble.reason)
        self.reporting.note(trouble.reason)
        self._say()

    def _blame(self, outbox: Outbox, reason: str) -> None:
        verdict = self.sending.ended(outbox, monotonic())
        if verdict is None:
            return
        self._reject(outbox, [verdict.entry.seq], f"whenever it is sent: {reason}")
        if verdict.quarantine:
            topic, seconds = verdict.entry.topic, verdict.quarantine
            log.warning("%s: topic %r is not taken: rejected for %d s", self.peer, topic, seconds)

    def receiveMsg_Expiring(self, message: Expiring, sender: ActorAddress) -> None:
        """Credentials are renewed by a new connection, which repeats nothing."""
        if message.number == self.number and self.connected:
            self.expiring = True
            if not self.draining:
                self.drain()

    # Letting go

    def awaits(self) -> bool:
        return self.outbox is not None and self.outbox.in_flight > 0

    def unsent(self) -> None:
        if self.outbox is not None:
            self.outbox.disconnected()

    def secured(self) -> bool:
        if self.outbox is None:
            return False
        self._commit(force=True)
        if self.outbox.committing or not self.store_answers():
            return False
        self._report()
        return True

    # While it is away

    @classmethod
    def spill(cls, start: RunDestination, waiting: list[Publish]) -> tuple[ActorAddress, Any]:
        """To disk, behind all others."""
        now = unix_ms()
        payloads = [
            stored.Payload(one.topic, payload, now, one.qos, one.retain)
            for one in waiting
            for payload in one.payloads
        ]
        limits = start.limits
        call = (start.id, payloads, limits.max_rows, limits.max_bytes, limits.disk_percent)
        return start.store, Transact(Spilled(len(payloads)), stored.append, call)

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        if not isinstance(message.token, Spilled):
            super().receiveMsg_Transacted(message, sender)
        elif message.error is not None:
            self.storing_failed(message.error)
            self._gave_up(message.token.count)
        else:
            self._gave_up(message.result)

    def _gave_up(self, count: int) -> None:
        """Count payloads that were too many, or that could not be stored."""
        if self.outbox is None:
            self.early_dropped += count
        else:
            self.outbox.drops.quota += count


def _size(message: Publish) -> int:
    return sum(len(payload) for payload in message.payloads)
