"""What a destination has the store keep: the outbox, how long that has waited, and dead letters."""

import logging
from abc import abstractmethod
from collections import deque
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.publish.ages import Ages
from actors.publish.entries import Limits
from actors.publish.outbox import HARD_BOUND, Outbox
from actors.publish.reporting import Reporting
from actors.publish.safety import Safety
from actors.publish.subscription import Again, AwaitStored, Publish
from actors.state.client import StoreClient
from actors.state.messages import Transact, Transacted
from storage import dead_letters, outbox_marks
from storage import outbox as stored
from storage.errors import MissingParent
from storage.outbox_marks import Mark
from storage.timestamps import unix_ms

log = logging.getLogger(__name__)


class ForgetDeadLetters(msgspec.Struct, frozen=True):
    """To the destination: its dead-letter table has been emptied."""


class Spilled(msgspec.Struct, frozen=True):
    """Token of a transaction that stores payloads while the destination is away."""

    count: int


class Keeping(StoreClient):
    """Keeps `outbox` on disk as far as it must be; it is None until the store has said what is there already.
    Who inherits sends from it."""

    SPILLS = (Publish,)

    id: int
    peer: str

    def __init__(self) -> None:
        super().__init__()
        self.outbox: Outbox | None = None
        self.reporting = Reporting()
        self.unstorable = False
        """The latest commit has failed, or has not been answered in time."""
        self._early: deque[Publish] = deque()
        self._early_bytes = 0
        self.early_dropped = 0
        self.safety = Safety()

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """Of the outbox."""

    @abstractmethod
    def pump(self) -> None:
        """Send what can be sent, for there may be more."""

    @abstractmethod
    def committed(self) -> None:
        """Called when a commit is on disk, or, if `unstorable`, is not."""

    # Beginning

    def find_outbox(self) -> None:
        """Ask what is on disk, unless that is known or asked already."""
        if self.outbox is None and not self.is_asked("summary"):
            self.ask_store("summary", outbox_marks.found, self.id)

    def _summary_done(self, message: Transacted) -> None:
        if message.error is not None:
            return  # the next tick asks again
        found, limits = message.result.summary, self.limits
        ages = Ages(limits.ttl_ms, message.result.marks, found.last_seq if found else 0, monotonic())
        self.outbox = Outbox(limits, found, ages)
        self.reporting.dead_letters = found.dead_letters if found else 0
        self.outbox.drops.quota += self.early_dropped
        early, self._early, self._early_bytes = self._early, deque(), 0
        for publish in early:
            self.receiveMsg_Publish(publish, self.myAddress)
        self.safety.begin(self.outbox.newest)
        self.look_after(self.outbox, monotonic())

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
            self.commit()
        self.pump()

    def _wait_for_outbox(self, message: Publish) -> None:
        """Hold it until the store has said what is already on disk; as much as while the disk fails, then the
        oldest give way."""
        self._early.append(message)
        self._early_bytes += _size(message)
        while self._early_bytes > HARD_BOUND * self.limits.memory_bytes and len(self._early) > 1:
            dropped = self._early.popleft()
            self._early_bytes -= _size(dropped)
            self.early_dropped += len(dropped.payloads)

    # Who waits for it to be safe

    def receiveMsg_Again(self, message: Again, sender: ActorAddress) -> None:
        self.safety.doubt.reborn = True

    def receiveMsg_AwaitStored(self, message: AwaitStored, sender: ActorAddress) -> None:
        self.safety.wait(message, None if self.outbox is None else self.outbox.newest)
        self.hurry()
        self.tell_safe()

    @abstractmethod
    def hurry(self) -> None:
        """Somebody waits for what is here to be on disk, or delivered."""

    @abstractmethod
    def tell_safe(self) -> None:
        """To be called when something has been delivered, rejected, given up or stored: answer who has waited
        for it."""

    # Reading back and writing

    def read_back(self, outbox: Outbox, connected: bool) -> None:
        """What has only been on disk, if there is room for it."""
        wanted = outbox.read(connected)
        if wanted is not None:
            self.ask_store("read", stored.load, self.id, *wanted)

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
            self._enforce(self.outbox, monotonic())
            self.pump()

    def commit(self, force: bool = False) -> None:
        """Hand the store what is due; all, with `force`."""
        assert self.outbox is not None
        commit = self.outbox.commit(monotonic(), force) if self.store_answers() else None
        if commit is not None:
            what = (commit.rows(), commit.done, commit.dead, self.outbox.limits.disk_percent)
            self.ask_store("commit", stored.commit, self.id, *what)

    def _commit_done(self, message: Transacted) -> None:
        assert self.outbox is not None
        self.unstorable = message.error is not None
        self.outbox.committed(message.error is None, message.result)
        if message.error is None:  # else the next tick tries again
            self.reporting.dead_letters = message.result.dead_letters
        self.committed()

    def storing_failed(self, error: Exception) -> None:
        if isinstance(error, MissingParent):
            return  # the destination has just been removed; its end is on its way here
        text = f"outbox cannot be stored: {error}"
        if self.store_error != text:
            log.error("%s: %s", self.peer, text)
        self.store_error = text
        self.reporting.note(text)

    # Looking after it

    def look_after(self, outbox: Outbox, now: float) -> None:
        """Time to live, quota, and how long all that has waited."""
        outbox.clock_set(self.clock.shift)
        self._enforce(outbox, now)
        marks = outbox.ages.due(now)
        if marks is not None and self.store_answers():
            self.store_marks(outbox, marks)

    def store_marks(self, outbox: Outbox, marks: list[Mark]) -> None:
        """How long what waits has waited, for the next run."""
        if outbox.rows:
            self.ask_store("marks", outbox_marks.save, self.id, marks)

    def _marks_done(self, message: Transacted) -> None:
        """If they were not stored, others will be."""

    def _enforce(self, outbox: Outbox, now: float) -> None:
        dropped = outbox.enforce(now) + outbox.shed()
        if dropped and self.reporting.dropped(now):
            what = "share of the disk" if outbox.short_of_disk else "limits"
            log.warning("%s: outbox is over its %s, the oldest readings are dropped", self.peer, what)

    def receiveMsg_ForgetDeadLetters(self, message: ForgetDeadLetters, sender: ActorAddress) -> None:
        """Since it was emptied there may be new ones."""
        self.ask_store("count", dead_letters.count, self.id)

    def _count_done(self, message: Transacted) -> None:
        if message.error is None:
            self.reporting.count_dead_letters(message.result)

    # While it is away

    @classmethod
    def spill(cls, start: Any, waiting: list[Publish]) -> tuple[ActorAddress, Any]:
        """To disk, behind all others. `start` has `id`, `limits` and `store`."""
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
