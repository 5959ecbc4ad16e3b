"""The share of the disk that outboxes may take, and how they share it."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import disk, outbox, target_state
from storage.database import Database
from storage.disk import fair_part
from storage.outbox import OutboxRow, Payload


class Statvfs:
    """Says that so many bytes are free."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked = 0
        self.broken = False

    def __call__(self, path: Path) -> SimpleNamespace:
        self.asked += 1
        if self.broken:
            raise OSError(5, "Input/output error")
        return SimpleNamespace(f_bavail=self.free // 4096, f_frsize=4096)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Statvfs:
    statvfs = Statvfs(1_000_000)
    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(disk, "FRESH", 0.0)
    return statvfs


def destination(database: Database) -> int:
    return target_state.insert(database, "destination", None, {}).id


def rows(first: int, count: int) -> list[OutboxRow]:
    return [OutboxRow(seq, "t", bytes(1000), seq) for seq in range(first, first + count)]


def files(database: Database) -> int:
    return sum(os.path.getsize(f"{database.path}{suffix}") for suffix in ("", "-wal"))


# Sharing


def test_who_needs_less_than_an_equal_part_leaves_the_rest_to_the_others() -> None:
    assert fair_part([10, 20, 30], 60) is None
    assert fair_part([10, 20, 30], 59) == 29
    assert fair_part([10, 20, 30], 30) == 10
    assert fair_part([0, 100, 100], 100) == 50
    assert fair_part([5], 0) == 0
    assert fair_part([], 0) is None


@given(st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 5000))
def test_parts_fill_the_whole_and_are_as_large_as_they_can_be(held: list[int], total: int) -> None:
    part = fair_part(held, total)
    if part is None:
        assert sum(held) <= total
        return
    assert sum(min(one, part) for one in held) <= total
    assert sum(min(one, part + 1) for one in held) > total


# Room


def test_no_limit_while_all_together_keep_within_the_share(database: Database, free: Statvfs) -> None:
    first, second = destination(database), destination(database)
    outbox.commit(database, first, rows(1, 100), [], (), 50)
    found = outbox.commit(database, second, rows(1, 100), [], (), 50)
    assert (found.bytes, found.room) == (100_000, None)


def test_share_is_of_what_is_free_and_what_the_database_has(database: Database, free: Statvfs) -> None:
    id = destination(database)
    outbox.commit(database, id, rows(1, 300), [], (), 100)
    free.free = 409_600
    most = (409_600 + files(database)) // 10
    assert outbox.commit(database, id, [], [], (), 10).room == most


def test_other_programs_that_fill_the_disk_make_the_share_smaller(database: Database, free: Statvfs) -> None:
    id = destination(database)
    outbox.commit(database, id, rows(1, 500), [], (), 50)
    assert outbox.commit(database, id, [], [], (), 50).room is None
    free.free = 0
    room = outbox.commit(database, id, [], [], (), 50).room
    assert room == files(database) // 2


def test_one_with_little_keeps_it_and_those_with_much_have_the_same(
    database: Database, free: Statvfs
) -> None:
    little, much, more = (destination(database) for _ in range(3))
    outbox.commit(database, little, rows(1, 10), [])
    outbox.commit(database, much, rows(1, 300), [])
    outbox.commit(database, more, rows(1, 600), [])
    free.free = 0
    allowed = files(database) * 30 // 100
    room = outbox.commit(database, more, [], [], (), 30).room
    assert room == (allowed - 10_000) // 2
    assert outbox.commit(database, little, [], [], (), 30).room == room


def test_what_is_appended_for_who_is_away_keeps_the_share(database: Database, free: Statvfs) -> None:
    id = destination(database)
    outbox.append(database, id, [Payload("t", bytes(1000), 1)] * 400, 10_000, 10**9)
    free.free = 0
    dropped = outbox.append(database, id, [Payload("t", b"new", 2)], 10_000, 10**9, 20)
    found = outbox.summary(database, id)
    assert found is not None
    assert dropped > 0
    assert found.bytes <= files(database) // 5
    assert found.last_seq == 401
    assert outbox.load(database, id, 400, 10, 1000).rows[0].payload == b"new"


def test_hundred_percent_is_no_limit_and_looks_at_nothing(database: Database, free: Statvfs) -> None:
    free.free = 0
    id = destination(database)
    assert outbox.commit(database, id, rows(1, 100), []).room is None
    assert free.asked == 0


def test_disk_is_looked_at_once_a_second_at_most(
    database: Database, free: Statvfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(disk, "FRESH", 1.0)
    monkeypatch.setattr(disk, "monotonic", lambda: now)
    id = destination(database)
    for step in range(40):
        now = 100.0 + step / 20
        outbox.commit(database, id, [], [], (), 50)
    assert free.asked == 2


def test_disk_that_cannot_be_asked_is_no_limit(database: Database, free: Statvfs) -> None:
    id = destination(database)
    outbox.commit(database, id, rows(1, 100), [], (), 1)
    free.broken = True
    assert outbox.commit(database, id, [], [], (), 1).room is None
