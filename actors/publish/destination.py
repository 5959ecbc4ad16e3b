"""A destination: the way of a payload from its subscriptions through the outbox to its acknowledgement."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.connections.connecting import Trouble, numbers
from actors.connections.retry import ByAbsence
from actors.publish import destinations
from actors.publish.destinations.driver import Driver, Identity
from actors.publish.driver_events import Delivered, Expiring, Rejected, RejectedPart, Teller
from actors.publish.entries import Limits
from actors.publish.keeping import Keeping
from actors.publish.messages import OutboxReport
from actors.publish.outbox import Outbox
from actors.publish.pace import Flow
from actors.publish.retiring import Retire, Retiring
from actors.publish.sending import Sending
from actors.publish.subscription import Again, RunSubscription
from actors.system.supervision import Restart
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


class Destination(Keeping, Retiring):
    """At least once, in order; see `outbox`. While the broker is away it retries, for ever."""

    RESTART = Restart(max_restarts=None, keep_children=True)
    """It never gives up: there would be nobody to keep its readings."""

    retry: ByAbsence

    def __init__(self) -> None:
        super().__init__()
        self.life = next(numbers)
        self.config: RunDestination | None = None
        self.wanted: Wanted | None = None
        self.connection_for: Wanted | None = None
        self.expiring = False
        self.sending = Sending()

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
            self.remember(Again())
            self.find_outbox()
            self.wakeupAfter(message.limits.hold, Tick(self.life))
            self.connect()
        elif self.connection is None:
            self.connect()
        elif self.connection_for != self.wanted or self.expiring:
            self.drain()
        else:
            self.pump()
        self.send(sender, DestinationStarted(self.id, message.retained))

    # The way of a payload

    def pump(self) -> None:
        """Send what the window admits; read back what has only been on disk."""
        outbox = self.outbox
        if outbox is None:
            return
        assert self.config is not None
        if self.connected and (not self.draining or self._last_chance):
            self._send(outbox, self.config.flow)
        self.read_back(outbox, self.connected)

    def _send(self, outbox: Outbox, flow: Flow) -> None:
        driver = self.connection
        assert driver is not None
        if driver.window is not None:
            flow = msgspec.structs.replace(flow, window=driver.window)
        outbox.clock_set(self.clock.shift)
        now_ms = unix_ms()
        for entry, taken in self.sending.due(outbox, flow, monotonic()):
            if taken:
                entry.age_ms = outbox.ages.age_ms(entry.seq, entry.created_at, now_ms)
                driver.send(entry)
            else:
                self._reject(outbox, [entry.seq], "its topic is not taken")

    def receiveMsg_Delivered(self, message: Delivered, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        self.proved()
        self.sending.delivered(self.outbox, message.seqs)
        self.reporting.delivered()
        self._go_on()

    def _go_on(self) -> None:
        """The window has room again."""
        self.tell_safe()
        if not self.draining or self._last_chance:
            self.pump()
        if self.draining:
            self.drained()

    def receiveMsg_Rejected(self, message: Rejected, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        self._reject(self.outbox, message.seqs, message.reason)
        self._go_on()

    def receiveMsg_RejectedPart(self, message: RejectedPart, sender: ActorAddress) -> None:
        if message.number != self.number or self.outbox is None:
            return
        if self.outbox.rejected_part(message.seq, message.payload, message.reason, unix_ms()):
            self._tell_rejected(1, "parts of payloads", message.reason)

    def _reject(self, outbox: Outbox, seqs: list[int], reason: str) -> None:
        self._tell_rejected(outbox.rejected(seqs, reason, unix_ms()), "payloads", reason)

    def _tell_rejected(self, count: int, what: str, reason: str) -> None:
        told = self.reporting.rejected(count, reason, monotonic())
        if told:
            log.warning("%s: %d %s are rejected for good: %s", self.peer, told, what, reason)

    def hurry(self) -> None:
        """What is connected is mostly delivered sooner than it would be on disk."""
        if self.outbox is not None and not self.connected:
            self.commit(force=True)

    def tell_safe(self) -> None:
        if self.safety and self.outbox is not None:
            for secured in self.safety.safe(self.outbox.first_unsafe):
                self.send(self.router, secured)

    # Looking after it

    @property
    def limits(self) -> Limits:
        assert self.config is not None
        return self.config.limits

    def committed(self) -> None:
        self.tell_safe()
        if self.safety and not self.unstorable:
            self.hurry()
        if self.unstorable:
            self._go_on()  # the next tick tries again
        elif self.securing:
            self.secure()
        else:
            if self.limits.strict:
                self.commit()
            self._go_on()

    def receiveMsg_Tick(self, message: Tick, sender: ActorAddress) -> None:
        assert self.config is not None
        if message.number != self.life:
            return
        self.look_at_clock()
        self.find_outbox()
        if self.outbox is not None:
            self.look_after(self.outbox, monotonic())
        self.wakeupAfter(self.config.limits.hold, message)

    def look_after(self, outbox: Outbox, now: float) -> None:
        super().look_after(outbox, now)
        if self.securing:
            self.secure()
        else:
            self.commit(force=self.retire is not None)
        self.pump()
        self.tell_safe()
        if self.reporting.due(now):
            self._report()

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
        self.pump()

    def attempt_failed(self, trouble: Trouble, news: bool) -> None:
        self._in_trouble(trouble, news)

    def connection_ended(self, trouble: Trouble, news: bool) -> None:
        self._in_trouble(trouble, news=True)
        put_off = trouble.put_off and self.sending.put_off()
        if self.outbox is not None:
            if not put_off:
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

    def receiveMsg_Retire(self, message: Retire, sender: ActorAddress) -> None:
        if self.outbox is not None:
            self.commit(force=True)
        super().receiveMsg_Retire(message, sender)

    @property
    def _last_chance(self) -> bool:
        """It is to let go for good, and nothing is stored: what can still be sent is not lost."""
        return self.retire is not None and self.unstorable

    def awaits(self) -> bool:
        if self.outbox is None:
            return False
        unsent = self._last_chance and self.outbox.rows > 0
        return self.outbox.in_flight > 0 or unsent or self.outbox.committing

    def unsent(self) -> None:
        if self.outbox is None:
            return
        self.outbox.disconnected()
        if self.retire is not None:
            self.store_marks(self.outbox, self.outbox.ages.last(monotonic()))

    def stopped(self) -> None:
        """It may have to end before the disk takes anything again."""
        if self.retire is not None and self.unstorable and self.outbox is not None and self.outbox.unsaved:
            log.error("%s: %d payloads could not be stored and are lost", self.peer, self.outbox.unsaved)
        super().stopped()

    def secured(self) -> bool:
        if self.outbox is None:
            return False
        self.commit(force=True)
        if self.outbox.committing or not self.store_answers():
            return False
        self._report()
        return True
