"""The outbox against a model of the store, the broker and the clock."""

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.publish import outbox as module
from actors.publish.entries import Commit, Entry, Limits
from actors.publish.outbox import HARD_BOUND, Outbox
from storage.dead_letters import DeadLetter
from storage.outbox import Committed, OutboxRow, OutboxSummary

HOLD = 0.1
NOW_MS = 1_700_000_000_000
LARGEST = 120


def limits(**changes: Any) -> Limits:
    values = dict(
        max_rows=10_000, max_bytes=10_000_000, ttl_ms=3_600_000, memory_bytes=400, hold=HOLD, strict=False
    )
    return Limits(**(values | changes))  # type: ignore[arg-type]


def payload_of(number: int, size: int = 20) -> bytes:
    return b"%08d" % number + b"." * (size - 8)


def number_of(payload: bytes) -> int:
    return int(payload[:8])


class Disk:
    """What `storage.outbox` does, on a dict."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboxRow] = {}
        self.dead: dict[tuple[int, int], DeadLetter] = {}

    def commit(
        self, rows: Sequence[OutboxRow], done: Sequence[int], dead: Sequence[DeadLetter] = ()
    ) -> Committed:
        for seq in done:
            self.rows.pop(seq, None)
        for row in rows:
            if row.seq not in set(done):
                self.rows.setdefault(row.seq, row)
        for letter in dead:
            self.dead.setdefault((letter.rejected_at, letter.seq), letter)
        return Committed(len(self.rows), sum(len(row.payload) for row in self.rows.values()), len(self.dead))

    def load(self, after: int, max_rows: int, max_bytes: int) -> list[OutboxRow]:
        found: list[OutboxRow] = []
        size = 0
        for seq in sorted(self.rows):
            if seq > after:
                size += len(self.rows[seq].payload)
                if len(found) == max(max_rows, 1) or (found and size > max_bytes):
                    break
                found.append(self.rows[seq])
        return found

    def summary(self) -> OutboxSummary | None:
        if not self.rows:
            return None
        rows = self.rows.values()
        return OutboxSummary(
            rows=len(rows),
            bytes=sum(len(row.payload) for row in rows),
            oldest=min(row.created_at for row in rows),
            last_seq=max(self.rows),
        )

    @property
    def numbers(self) -> list[int]:
        return [number_of(self.rows[seq].payload) for seq in sorted(self.rows)]


class Desk:
    """An outbox and a disk with nothing between them; for examples."""

    def __init__(self, **changes: Any) -> None:
        self.disk = Disk()
        self.limits = limits(**changes)
        self.outbox = Outbox(self.limits)
        self.now = 0.0
        self.added = 0

    def add(self, count: int = 1, size: int = 20, created_at: int = NOW_MS) -> None:
        for _ in range(count):
            self.added += 1
            self.outbox.add("t", payload_of(self.added, size), created_at, self.now)

    def commit(self, force: bool = True) -> bool:
        commit = self.outbox.commit(self.now, force)
        if commit is None:
            return False
        self.disk.commit(commit.rows(), commit.done, commit.dead)
        self.outbox.committed(True)
        return True

    def read(self, connected: bool = True) -> bool:
        wanted = self.outbox.read(connected)
        if wanted is None:
            return False
        self.outbox.was_read(self.disk.load(*wanted), self.now)
        return True

    def take(self, room: int = 1000) -> list[int]:
        return [number_of(entry.payload) for entry in self.outbox.take(room)]

    def acknowledge_all(self) -> None:
        self.outbox.delivered(list(self.outbox._inflight))

    def deliver_everything(self) -> list[int]:
        delivered: list[int] = []
        while self.outbox.rows:
            taken = self.take(7)
            delivered += taken
            self.acknowledge_all()
            progress = self.commit() | self.read() | bool(taken)
            assert progress
        while self.commit():
            pass
        return delivered

    def crash(self) -> None:
        self.outbox = Outbox(self.limits, self.disk.summary())


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_ROWS", 6)
    monkeypatch.setattr(module, "COMMIT_ROWS", 5)


# Examples


def test_what_is_acknowledged_within_the_hold_is_never_written() -> None:
    desk = Desk()
    desk.add(3)
    assert desk.take() == [1, 2, 3]
    desk.now = HOLD / 2
    assert desk.outbox.commit(desk.now) is None
    desk.acknowledge_all()
    desk.now = 10.0
    assert desk.outbox.commit(desk.now) is None
    assert desk.disk.rows == {}


def test_what_is_older_than_the_hold_is_due() -> None:
    desk = Desk()
    desk.add(2)
    desk.now = HOLD
    desk.add()
    commit = desk.outbox.commit(desk.now)
    assert commit is not None
    assert [number_of(row.payload) for row in commit.rows()] == [1, 2]


def test_a_window_bounds_what_is_taken() -> None:
    desk = Desk()
    desk.add(5)
    assert desk.take(2) == [1, 2]
    assert desk.take(2) == [3, 4]
    assert desk.outbox.in_flight == 4


def test_bytes_in_flight_are_bounded_but_a_single_payload_always_goes() -> None:
    desk = Desk(memory_bytes=100)
    desk.add(3, size=40)
    assert desk.take() == [1]
    desk.acknowledge_all()
    desk.add(1, size=5000)
    assert desk.take() == [2]
    desk.acknowledge_all()
    assert desk.take() == [3]
    desk.acknowledge_all()
    assert desk.take() == [4]


def test_a_disconnect_makes_room_in_flight() -> None:
    desk = Desk(memory_bytes=100)
    desk.add(4, size=25)
    assert desk.take() == [1, 2]
    desk.outbox.disconnected()
    assert desk.take() == [1, 2]


def test_after_a_disconnect_what_was_in_flight_comes_first_and_in_order() -> None:
    desk = Desk()
    desk.add(5)
    desk.take(3)
    desk.outbox.delivered([2])
    desk.outbox.disconnected()
    assert desk.take() == [1, 3, 4, 5]


def test_acknowledgements_of_what_is_not_in_flight_change_nothing() -> None:
    desk = Desk()
    desk.add(2)
    desk.outbox.delivered([1, 99])
    assert (desk.outbox.rows, desk.outbox.acknowledged) == (2, 0)


def test_what_is_rejected_becomes_a_dead_letter_and_leaves_the_outbox() -> None:
    desk = Desk()
    desk.add(3)
    desk.commit()
    desk.take()
    assert desk.outbox.rejected([2, 2, 99], "not a number", NOW_MS + 5) == 1
    assert (desk.outbox.rows, desk.outbox.in_flight) == (2, 2)
    desk.commit()
    assert list(desk.disk.dead.values()) == [
        DeadLetter(2, "t", payload_of(2), "not a number", NOW_MS, NOW_MS + 5)
    ]
    assert desk.disk.numbers == [1, 3]
    assert desk.outbox.memory == desk.outbox.bytes


def test_a_rejected_part_becomes_a_dead_letter_and_the_rest_stays_in_flight() -> None:
    desk = Desk()
    desk.add(2)
    desk.take()
    assert desk.outbox.rejected_part(2, b"a part", "not a number", NOW_MS + 5)
    assert not desk.outbox.rejected_part(3, b"a part", "not a number", NOW_MS + 5)
    assert (desk.outbox.rows, desk.outbox.in_flight) == (2, 2)
    desk.outbox.delivered([2])
    desk.commit()
    assert list(desk.disk.dead.values()) == [
        DeadLetter(2, "t", b"a part", "not a number", NOW_MS, NOW_MS + 5)
    ]
    assert desk.outbox.memory == desk.outbox.bytes


def test_a_dead_letter_is_due_again_when_its_commit_failed() -> None:
    desk = Desk()
    desk.add()
    desk.take()
    desk.outbox.rejected([1], "no", NOW_MS)
    assert desk.outbox.commit(desk.now) is not None
    desk.outbox.committed(False)
    assert desk.commit()
    assert len(desk.disk.dead) == 1
    assert desk.outbox.memory == 0


def test_dead_letters_give_way_first_while_the_disk_fails() -> None:
    desk = Desk(memory_bytes=1024)
    desk.add(size=1000)
    desk.take()
    desk.outbox.rejected([1], "no", NOW_MS)
    desk.add(HARD_BOUND, size=1024)
    assert desk.outbox.shed() == 0
    assert desk.outbox.rows == HARD_BOUND


def test_what_is_in_memory_only_is_counted() -> None:
    outbox = Outbox(limits(memory_bytes=10_000))
    for number in range(3):
        outbox.add("t", payload_of(number), NOW_MS, 0.0)
    assert outbox.unsaved == 3
    assert outbox.commit(0.0, force=True) is not None
    assert outbox.unsaved == 3
    outbox.committed(ok=False)
    assert outbox.unsaved == 3
    outbox.delivered([entry.seq for entry in outbox.take(1)])
    assert outbox.unsaved == 2
    assert outbox.commit(0.0, force=True) is not None
    outbox.committed(ok=True)
    assert outbox.unsaved == 0


def test_a_failed_commit_is_due_again_as_a_whole() -> None:
    desk = Desk()
    desk.add(3)
    first = desk.outbox.commit(desk.now, force=True)
    assert first is not None
    assert desk.outbox.commit(desk.now, force=True) is None
    desk.outbox.committed(False)
    again = desk.outbox.commit(desk.now, force=True)
    assert again is not None
    assert [row.seq for row in again.rows()] == [row.seq for row in first.rows()]


def test_after_a_failed_commit_the_oldest_are_written_first() -> None:
    desk = Desk()
    desk.add(8)
    assert desk.outbox.commit(desk.now, force=True) is not None
    desk.outbox.committed(False)
    desk.commit()
    assert desk.disk.numbers == [1, 2, 3, 4, 5]


def test_what_a_failed_commit_was_to_delete_is_deleted_by_the_next_one() -> None:
    desk = Desk()
    desk.add(2)
    desk.commit()
    desk.take()
    desk.acknowledge_all()
    assert desk.outbox.commit(desk.now) is not None
    desk.outbox.committed(False)
    desk.commit()
    assert desk.disk.rows == {}


def test_what_was_acknowledged_during_its_commit_is_deleted_by_the_next_one() -> None:
    desk = Desk()
    desk.add(2)
    desk.take()
    commit = desk.outbox.commit(desk.now, force=True)
    assert commit is not None
    desk.acknowledge_all()
    desk.disk.commit(commit.rows(), commit.done)
    desk.outbox.committed(True)
    assert len(desk.disk.rows) == 2
    assert desk.commit()
    assert desk.disk.rows == {}


def test_a_commit_in_doubt_leaves_nothing_behind_when_it_was_written_after_all() -> None:
    desk = Desk()
    desk.add(2)
    desk.take()
    doubtful = desk.outbox.commit(desk.now, force=True)
    assert doubtful is not None
    desk.outbox.committed(False)
    desk.acknowledge_all()
    desk.disk.commit(doubtful.rows(), doubtful.done)
    desk.commit()
    assert desk.disk.rows == {}


def test_a_long_outage_leaves_the_rest_to_the_disk_and_reads_it_back_in_order() -> None:
    desk = Desk(memory_bytes=200)
    for _ in range(60):
        desk.add()
        desk.commit()
    assert desk.outbox.memory <= 200
    assert desk.outbox.rows == 60
    assert desk.deliver_everything() == list(range(1, 61))
    assert desk.disk.rows == {}


def test_newcomers_follow_what_is_on_disk() -> None:
    desk = Desk(memory_bytes=200)
    desk.add(30)
    while desk.commit():
        pass
    desk.add(3)
    assert desk.deliver_everything() == list(range(1, 34))


def test_out_of_order_acknowledgements_do_not_come_back_from_disk() -> None:
    desk = Desk(memory_bytes=700)
    desk.add(40)
    while desk.commit():
        pass
    taken = desk.take(5)
    assert taken == [1, 2, 3, 4, 5]
    desk.outbox.delivered([5, 3])
    desk.outbox.disconnected()
    desk.outbox._unread()
    assert desk.read()
    delivered = desk.deliver_everything()
    assert delivered == [1, 2, 4, *range(6, 41)]
    assert (desk.outbox.rows, desk.outbox.bytes, desk.outbox.memory) == (0, 0, 0)


def test_a_read_that_memory_has_moved_away_from_is_not_used() -> None:
    desk = Desk(memory_bytes=200)
    desk.add(40)
    while desk.commit():
        pass
    while desk.read(connected=False):
        pass
    desk.take(3)
    desk.acknowledge_all()
    wanted = desk.outbox.read(connected=True)
    assert wanted is not None
    rows = desk.disk.load(*wanted)
    desk.outbox._unread()
    desk.outbox.was_read(rows, desk.now)
    assert desk.deliver_everything() == list(range(4, 41))


def test_a_read_that_fails_is_tried_again() -> None:
    desk = Desk()
    desk.add(3)
    desk.commit()
    desk.crash()
    assert desk.outbox.read(True) is not None
    assert desk.outbox.read(True) is None
    desk.outbox.was_read(None, desk.now)
    assert desk.deliver_everything() == [1, 2, 3]


def test_rows_that_the_disk_has_lost_are_told_and_no_longer_counted() -> None:
    desk = Desk()
    desk.add(4)
    desk.commit()
    desk.crash()
    desk.add(2)
    desk.disk.rows.clear()
    wanted = desk.outbox.read(True)
    assert wanted is not None
    assert desk.outbox.was_read(desk.disk.load(*wanted), desk.now) == 4
    assert (desk.outbox.rows, desk.outbox.bytes) == (2, 40)
    assert desk.deliver_everything() == [5, 6]


def test_rows_of_newcomers_do_not_stand_in_for_rows_that_the_disk_has_lost() -> None:
    desk = Desk()
    desk.add(4)
    desk.commit()
    desk.crash()
    desk.add(2)
    desk.disk.rows.clear()
    commit = desk.outbox.commit(desk.now, force=True)
    assert commit is not None
    desk.disk.commit(commit.rows(), commit.done)
    wanted = desk.outbox.read(True)
    assert wanted is not None
    assert desk.outbox.was_read(desk.disk.load(*wanted), desk.now) == 4
    desk.outbox.committed(True)
    assert desk.deliver_everything() == [5, 6]


def test_the_next_run_goes_on_where_the_last_one_ended() -> None:
    desk = Desk()
    desk.add(5, created_at=NOW_MS - 5)
    desk.commit()
    desk.crash()
    assert (desk.outbox.rows, desk.outbox.bytes, desk.outbox.memory) == (5, 100, 0)
    assert desk.outbox.oldest == NOW_MS - 5
    desk.add(2)
    assert desk.deliver_everything() == list(range(1, 8))


def test_oldest_is_when_the_oldest_held_was_created_wherever_it_is() -> None:
    desk = Desk(memory_bytes=100)
    assert desk.outbox.oldest is None
    for number in range(30):
        desk.add(created_at=NOW_MS + number)
    assert desk.outbox.oldest == NOW_MS
    while desk.commit():
        pass
    assert desk.outbox.oldest == NOW_MS
    held = desk.take()
    assert desk.outbox.oldest == NOW_MS
    desk.acknowledge_all()
    desk.outbox._unread()
    assert desk.outbox.oldest == NOW_MS + len(held)


# Limits


def test_rows_over_quota_are_dropped_oldest_first_and_counted() -> None:
    desk = Desk(max_rows=10)
    desk.add(13)
    assert desk.outbox.enforce(desk.now) == 3
    assert desk.outbox.drops.quota == 3
    assert desk.deliver_everything() == list(range(4, 14))


def test_bytes_over_quota_are_dropped_oldest_first_and_counted() -> None:
    desk = Desk(max_bytes=100)
    desk.add(6, size=30)
    assert desk.outbox.enforce(desk.now) == 3
    assert desk.outbox.bytes == 90
    assert desk.deliver_everything() == [4, 5, 6]


def test_quota_reaches_what_is_only_on_disk() -> None:
    desk = Desk(memory_bytes=100, max_rows=20)
    dropped = 0
    for _ in range(60):
        desk.add()
        while desk.commit():
            pass
        dropped += desk.outbox.enforce(desk.now)
        while desk.outbox.rows > 20:
            assert desk.read(connected=False)
            dropped += desk.outbox.enforce(desk.now)
    assert (dropped, desk.outbox.drops.quota) == (40, 40)
    assert desk.deliver_everything() == list(range(41, 61))
    assert desk.disk.rows == {}


def test_what_is_in_flight_is_not_dropped() -> None:
    desk = Desk(max_rows=2, ttl_ms=1000)
    desk.add(4)
    desk.take()
    assert desk.outbox.enforce(0.02) == 0
    assert desk.outbox.enforce(5.0) == 0
    desk.outbox.disconnected()
    assert desk.outbox.enforce(5.0) == 4


def test_what_is_past_its_time_to_live_is_dropped_and_counted_as_expired() -> None:
    desk = Desk(ttl_ms=1000)
    desk.add(3)
    assert desk.outbox.enforce(0.02) == 0
    desk.add(2)
    assert desk.outbox.enforce(0.92) == 0
    assert desk.outbox.enforce(1.02) == 0
    assert desk.outbox.enforce(1.021) == 3
    assert (desk.outbox.drops.expired, desk.outbox.drops.quota) == (3, 0)
    assert desk.deliver_everything() == [4, 5]


@pytest.mark.parametrize("stamp", [0, 50_000, NOW_MS - 10**12, NOW_MS + 10**12])
def test_what_the_clock_said_does_not_make_a_payload_expire_or_live_for_ever(stamp: int) -> None:
    desk = Desk(ttl_ms=1000)
    desk.add(2, created_at=stamp)
    desk.commit()
    desk.crash()
    assert desk.outbox.enforce(0.0) == 0
    desk.read()
    assert desk.outbox.enforce(0.9) == 0
    assert desk.outbox.enforce(1.1) == 2


def test_the_age_of_the_oldest_is_right_though_the_clock_is_set() -> None:
    desk = Desk()
    desk.add(created_at=NOW_MS)
    desk.outbox.clock_set(-3_600_000)
    assert desk.outbox.oldest == NOW_MS - 3_600_000
    desk.add(created_at=NOW_MS - 3_590_000)
    desk.outbox.clock_set(0)
    assert desk.outbox.oldest == NOW_MS
    desk.take(1)
    desk.acknowledge_all()
    assert desk.outbox.oldest == NOW_MS + 10_000


def test_while_the_disk_fails_nothing_is_given_up_within_the_hard_bound() -> None:
    desk = Desk(memory_bytes=200)
    desk.add(HARD_BOUND * 200 // 20)
    assert desk.outbox.commit(desk.now, force=True) is not None
    desk.outbox.committed(False)
    assert desk.outbox.shed() == 0
    desk.add(3)
    assert desk.outbox.shed() == 3
    assert desk.outbox.drops.quota == 3
    assert desk.outbox.memory <= HARD_BOUND * 200
    assert desk.deliver_everything() == list(range(4, HARD_BOUND * 10 + 4))


def test_what_the_failing_disk_already_has_is_left_to_it_instead_of_given_up() -> None:
    desk = Desk(memory_bytes=200)
    desk.add(10)
    while desk.commit():
        pass
    unsaved = HARD_BOUND * 10 - 5
    desk.add(unsaved)
    assert desk.outbox.memory == HARD_BOUND * 200 + 100
    assert desk.outbox.shed() == 0
    assert desk.outbox.memory == unsaved * 20
    desk.add(10)
    assert desk.outbox.shed() == 5
    assert desk.deliver_everything() == [*range(1, 11), *range(16, unsaved + 21)]


# Strict durability


def test_strict_hands_out_only_what_is_on_disk() -> None:
    desk = Desk(strict=True)
    desk.add(3)
    assert desk.take() == []
    assert desk.commit(force=False)
    assert desk.take() == [1, 2, 3]
    desk.add()
    assert desk.take() == []


def test_strict_does_not_wait_for_the_hold() -> None:
    desk = Desk(strict=True)
    desk.add()
    assert desk.outbox.commit(desk.now) is not None


# Any interleaving


class Asked:
    """A request to the store: waiting, then executed, then answered; given up when nobody waits."""

    def __init__(self, request: Commit | tuple[int, int, int]) -> None:
        self.request = request
        self.rows = request.rows() if isinstance(request, Commit) else []
        self.executed = False
        self.failed = False
        self.given_up = False
        self.result: list[OutboxRow] | Committed | None = None


TOPICS = ("a", "b", "c")


class World:
    """The store answers whenever it likes, in order; the broker comes, acknowledges in any order, and
    goes; the process is killed. Nothing reaches a limit, so nothing may be lost but by a crash.

    Each step takes a number that decides what it leaves open, and does nothing when it cannot be.
    """

    STEPS = (
        *("add",) * 6,
        *("pass_time",) * 2,
        *("commit",) * 6,
        *("read",) * 5,
        *("send",) * 6,
        *("send_other",) * 2,
        *("execute",) * 5,
        *("answer",) * 5,
        *("acknowledge",) * 5,
        "reject",
        *("connect",) * 3,
        "disconnect",
        *("leave_to_disk",) * 3,
        "catch_up",
        "give_up_waiting",
        "crash",
    )

    def __init__(self, memory: int, strict: bool) -> None:
        self.limits = limits(strict=strict, memory_bytes=memory)
        self.outbox = Outbox(self.limits)
        self.disk = Disk()
        self.store: deque[Asked] = deque()
        self.now = 0.0
        self.added = 0
        self.size_of: dict[int, int] = {}
        self.acknowledged: set[int] = set()
        self.rejected: set[int] = set()
        self.lost: set[int] = set()
        self.rejections = 0
        self.first_sent = dict.fromkeys(TOPICS, 0)
        self.sent: list[int] = []
        self.connected = False

    def step(self, name: str, number: int) -> None:
        getattr(self, name)(number)
        self.check_counters()

    # What the destination does

    def add(self, number: int) -> None:
        size = LARGEST if number % 16 == 0 else 8 + number % 24
        if self.outbox.memory + size > HARD_BOUND * self.limits.memory_bytes:
            return
        self.added += 1
        self.size_of[self.added] = size
        topic = TOPICS[self.added % 7 % len(TOPICS)]
        self.outbox.add(topic, payload_of(self.added, size), NOW_MS, self.now)

    def pass_time(self, number: int) -> None:
        self.now += (number % 4) * HOLD / 2

    def commit(self, number: int) -> None:
        commit = self.outbox.commit(self.now, force=number % 2 == 0)
        if commit is not None:
            self.store.append(Asked(commit))

    def read(self, number: int) -> None:
        wanted = self.outbox.read(self.connected)
        if wanted is not None:
            self.store.append(Asked(wanted))

    def send(self, number: int) -> None:
        if self.connected:
            for entry in self.outbox.take(1 + number % 8 - self.outbox.in_flight):
                self._sent(entry)

    def send_other(self, number: int) -> None:
        if self.connected and not self.outbox.in_flight:
            entry = self.outbox.take_other(TOPICS[: number % len(TOPICS)], None)
            if entry is not None:
                self._sent(entry)

    def _sent(self, entry: Entry) -> None:
        number = number_of(entry.payload)
        assert len(entry.payload) == self.size_of[number]
        assert number not in self.acknowledged
        assert number not in self.sent, "sent twice on one connection"
        topic = TOPICS[number % 7 % len(TOPICS)]
        assert entry.topic == topic
        of_topic = {other for other in range(1, self.added + 1) if TOPICS[other % 7 % len(TOPICS)] == topic}
        assert not [other for other in self.sent if other > number and other in of_topic], "out of order"
        if number > self.first_sent[topic]:
            before = set(range(self.first_sent[topic] + 1, number)) & of_topic
            assert not before - self.lost, "overtaken"
            self.first_sent[topic] = number
        if self.limits.strict:
            assert entry.seq in self.disk.rows
        self.sent.append(number)

    def leave_to_disk(self, number: int) -> None:
        self.outbox._unread()

    # What the broker does

    def connect(self, number: int) -> None:
        if not self.connected:
            self.connected = True
            self.sent = []

    def disconnect(self, number: int) -> None:
        if self.connected:
            self.connected = False
            self.outbox.disconnected()

    def acknowledge(self, number: int) -> None:
        """All of what is in flight, or some of it."""
        chosen = [
            seq
            for position, seq in enumerate(self.outbox._inflight)
            if number % 3 == 0 or number >> position % 16 & 1
        ]
        self.acknowledged |= {number_of(self.outbox._inflight[seq].payload) for seq in chosen}
        self.outbox.delivered(chosen)

    def reject(self, number: int) -> None:
        """One of what is in flight."""
        inflight = list(self.outbox._inflight)
        if inflight:
            seq = inflight[number % len(inflight)]
            self.rejected.add(number_of(self.outbox._inflight[seq].payload))
            self.rejections += 1
            assert self.outbox.rejected([seq], "no", self.rejections) == 1

    # What the store does

    def execute(self, number: int) -> None:
        """The oldest request that waits; one in four fails."""
        asked = next((asked for asked in self.store if not asked.executed), None)
        if asked is None:
            return
        asked.executed = True
        asked.failed = number % 4 == 1
        if asked.failed:
            return
        if isinstance(asked.request, Commit):
            asked.result = self.disk.commit(asked.rows, asked.request.done, asked.request.dead)
        else:
            asked.result = self.disk.load(*asked.request)

    def answer(self, number: int) -> None:
        if not self.store or not self.store[0].executed:
            return
        asked = self.store.popleft()
        if asked.given_up:
            return
        if isinstance(asked.request, Commit):
            self.outbox.committed(not asked.failed, asked.result)
        else:
            assert self.outbox.was_read(None if asked.failed else asked.result, self.now) == 0

    def give_up_waiting(self, number: int) -> None:
        for asked in self.store:
            if not asked.given_up:
                asked.given_up = True
                if isinstance(asked.request, Commit):
                    self.outbox.committed(False)
                else:
                    self.outbox.was_read(None, self.now)

    def catch_up(self, number: int) -> None:
        """The store does all that is asked of it, until nothing is."""
        while True:
            self.commit(0)
            if not self.store:
                break
            while self.store:
                self.execute(0)
                self.answer(0)
        assert not self.outbox._unsaved
        assert self.outbox.memory <= 2 * self.limits.memory_bytes + 2 * LARGEST
        assert set(self.disk.numbers) == self.held
        assert self.outbox.bytes == sum(self.size_of[number] for number in self.held)

    # The end of the process

    def crash(self, number: int) -> None:
        """Some of what was asked of the store is still done."""
        saved = set(self.disk.numbers)
        for _ in range(number % (len(self.store) + 1)):
            self.execute(0)
        self.store.clear()
        kept = set(self.disk.numbers)
        gone = self.held - kept
        assert not gone & saved
        self.lost |= gone
        # Deleting comes after the acknowledgement: what was not deleted yet is sent again.
        self.acknowledged -= kept
        buried = {number_of(letter.payload) for letter in self.disk.dead.values()}
        forgotten = self.rejected - buried - kept
        assert not forgotten & saved
        self.lost |= forgotten
        self.rejected -= forgotten | kept
        self.outbox = Outbox(self.limits, self.disk.summary())
        self.connected = False

    # What must hold

    @property
    def held(self) -> set[int]:
        return set(range(1, self.added + 1)) - self.acknowledged - self.rejected - self.lost

    def check_counters(self) -> None:
        outbox, held = self.outbox, self.held
        assert outbox.rows == len(held)
        assert outbox.bytes > 0 if held else outbox.bytes == 0
        memory = [*outbox._inflight.values(), *outbox._ready, *outbox._tail]
        dead = outbox._dead + (outbox._committing.dead if outbox._committing else [])
        assert outbox.memory == sum(len(held.payload) for held in [*memory, *dead])
        assert outbox._inflight_bytes == sum(len(entry.payload) for entry in outbox._inflight.values())
        numbers = [number_of(entry.payload) for entry in memory]
        assert len(numbers) == len(set(numbers))
        assert set(numbers) <= held
        assert outbox._on_disk == len(held) - len(numbers)

    def end(self) -> None:
        """Everything that was not lost is delivered, and then nothing is left anywhere."""
        self.connect(0)
        for _ in range(10 * self.added + 10):
            if not self.held:
                break
            self.send(7)
            self.acknowledge(0)
            self.catch_up(0)
            self.read(0)
            self.catch_up(0)
            self.check_counters()
        assert self.held == set()
        self.catch_up(0)
        assert self.disk.rows == {}
        assert self.rejected <= {number_of(letter.payload) for letter in self.disk.dead.values()}


def live(world: World, steps: Iterable[tuple[str, int]]) -> None:
    for name, number in steps:
        world.step(name, number)
    world.end()


def test_what_was_sent_before_its_turn_is_not_read_back_from_disk() -> None:
    world = World(150, strict=False)
    live_steps = ["add"] * 30 + [
        "catch_up",
        "connect",
        "read",
        "catch_up",
        "send_other",
        "leave_to_disk",
        "read",
    ]
    for name in [*live_steps, "catch_up"]:
        world.step(name, 1)
    assert world.outbox.in_flight == 1
    world.end()


@given(
    memory=st.sampled_from([150, 400, 1200]),
    strict=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(World.STEPS), st.integers(0, 65535)), max_size=150),
)
@settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_no_interleaving_loses_overtakes_or_repeats_a_payload(
    memory: int, strict: bool, steps: list[tuple[str, int]]
) -> None:
    live(World(memory, strict), steps)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("memory", [150, 400, 1200])
def test_no_long_run_loses_overtakes_or_repeats_a_payload(memory: int, strict: bool) -> None:
    """What hypothesis seldom reaches: long lives, in which crashes are rare enough for a backlog."""
    for seed in range(300):
        chance = random.Random(seed)
        rare = chance.sample(["crash", "give_up_waiting", "leave_to_disk", "disconnect", "connect"], 2)
        names = [name for name in World.STEPS if name not in rare or chance.random() < 0.2]
        live(World(memory, strict), [(chance.choice(names), chance.getrandbits(16)) for _ in range(250)])


Steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "take", "acknowledge", "disconnect", "commit", "read"]),
        st.integers(1, 6),
    ),
    max_size=80,
)


@given(steps=Steps, max_rows=st.integers(1, 30), memory=st.sampled_from([60, 200, 1000]))
@settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_dropped_is_counted_and_was_older_than_what_is_kept(
    steps: list[tuple[str, int]], max_rows: int, memory: int
) -> None:
    desk = Desk(max_rows=max_rows, memory_bytes=memory)
    acknowledged: set[int] = set()
    for step, count in steps:
        match step:
            case "add":
                desk.add(count)
            case "take":
                desk.take(count)
            case "acknowledge":
                acknowledged |= {number_of(entry.payload) for entry in desk.outbox._inflight.values()}
                desk.acknowledge_all()
            case "disconnect":
                desk.outbox.disconnected()
            case "commit":
                desk.commit()
            case "read":
                desk.read()
        desk.outbox.enforce(desk.now)
        desk.outbox.shed()
        assert desk.outbox.memory <= HARD_BOUND * memory + desk.outbox._inflight_bytes
    desk.outbox.disconnected()
    dropped = desk.outbox.drops.quota
    rest = desk.deliver_everything()
    assert rest == sorted(set(rest))
    assert not acknowledged & set(rest)
    assert len(acknowledged) + len(rest) + dropped == desk.added
    assert desk.disk.rows == {}


@given(
    waits=st.lists(st.floats(0.0, 0.3), max_size=60),
    acknowledge=st.lists(st.booleans(), min_size=60, max_size=60),
)
@settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_crash_costs_nothing_older_than_a_commit_interval(
    waits: list[float], acknowledge: list[bool]
) -> None:
    """`hold` is half of the interval, and so are ticks apart."""
    desk = Desk(memory_bytes=300)
    added_at: dict[int, float] = {}
    acknowledged: set[int] = set()
    next_tick = HOLD
    for wait, yes in zip(waits, acknowledge, strict=False):
        until = desk.now + wait
        while next_tick <= until:
            desk.now = next_tick
            next_tick += HOLD
            while desk.commit(force=False):
                pass
        desk.now = until
        desk.add()
        added_at[desk.added] = desk.now
        desk.take()
        if yes:
            acknowledged |= {number_of(entry.payload) for entry in desk.outbox._inflight.values()}
            desk.acknowledge_all()
        missing = added_at.keys() - acknowledged - set(desk.disk.numbers)
        assert all(desk.now - added_at[number] < 2 * HOLD + 1e-9 for number in missing)


# What is on disk is not as large as it is in memory


def test_bytes_are_those_on_disk_as_the_store_says() -> None:
    desk = Desk(memory_bytes=100)
    desk.add(5)
    assert desk.outbox.bytes == 100
    commit = desk.outbox.commit(0.0, force=True)
    assert commit is not None
    desk.disk.commit(commit.rows(), commit.done)
    desk.add(1)
    desk.outbox.committed(True, Committed(rows=5, bytes=30, dead_letters=0))
    assert desk.outbox.bytes == 30 + 20
    desk.take(2)
    desk.acknowledge_all()
    assert desk.outbox.bytes == 18 + 20, "each of them has an equal part"


def test_nothing_is_counted_of_what_is_still_to_be_removed_from_the_disk() -> None:
    desk = Desk()
    desk.add(2)
    commit = desk.outbox.commit(0.0, force=True)
    desk.take()
    desk.acknowledge_all()
    assert commit is not None
    desk.outbox.committed(True, Committed(rows=2, bytes=30, dead_letters=0))
    assert (desk.outbox.rows, desk.outbox.bytes) == (0, 0)


def test_oldest_give_way_to_the_share_of_the_disk_when_it_is_smaller_than_the_quota() -> None:
    desk = Desk(max_bytes=1000)
    desk.add(5)
    commit = desk.outbox.commit(0.0, force=True)
    assert commit is not None
    desk.disk.commit(commit.rows(), commit.done)
    desk.outbox.committed(True, Committed(rows=5, bytes=50, dead_letters=0, room=35))
    assert desk.outbox.short_of_disk
    assert desk.outbox.enforce(0.0) == 2
    assert desk.outbox.drops.quota == 2
    assert desk.take() == [3, 4, 5]
    assert desk.outbox.commit(0.0, force=True) is not None
    desk.outbox.committed(True, Committed(rows=3, bytes=30, dead_letters=0, room=5000))
    assert not desk.outbox.short_of_disk


def test_damaged_rows_are_not_waited_for() -> None:
    desk = Desk()
    desk.add(50)
    while desk.commit():
        pass
    on_disk = desk.outbox._on_disk
    desk.take()
    desk.acknowledge_all()
    wanted = desk.outbox.read(True)
    assert wanted is not None
    found = desk.disk.load(*wanted)
    for lost in found[:2]:
        del desk.disk.rows[lost.seq]
    assert desk.outbox.was_read(found[2:], 0.0, damaged=2) == 2
    assert desk.outbox._on_disk == on_disk - len(found)
    delivered = desk.deliver_everything()
    assert len(delivered) == on_disk - 2
    assert desk.outbox.bytes == 0
