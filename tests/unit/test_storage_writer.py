import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from storage import outbox, target_state
from storage.database import Database, open_database
from storage.errors import Duplicate, StorageError
from storage.outbox import OutboxRow
from storage.writer import MAX_GROUP, Writer

SECONDS = 10


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(partial(open_database, path, 50))
    writer.start()
    yield writer
    writer.close()


@pytest.fixture
def destination(writer: Writer) -> int:
    return writer.submit(target_state.insert, "destination", "broker", {}).result(SECONDS).id


class Gate:
    """A job that keeps the writer busy until `open` is called, so that others pile up behind it."""

    def __init__(self, writer: Writer) -> None:
        self._open = threading.Event()
        entered = threading.Event()

        def hold(_database: Database) -> None:
            entered.set()
            assert self._open.wait(SECONDS)

        self.future = writer.submit(hold)
        assert entered.wait(SECONDS)

    def open(self) -> None:
        self._open.set()


def add(database: Database, name: str) -> int:
    return target_state.insert(database, "endpoint", name, {}).id


def names(database: Database) -> list[str | None]:
    return [row.name for row in target_state.load(database)]


def names_on_disk(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM target_state ORDER BY id")]
    finally:
        connection.close()


def test_job_runs_on_the_writers_thread_and_its_result_comes_back(writer: Writer) -> None:
    assert writer.submit(lambda _: threading.current_thread().name).result(SECONDS) == "store"
    assert writer.submit(add, "one").result(SECONDS) == 1
    assert writer.submit(names).result(SECONDS) == ["one"]


def test_waiting_jobs_share_a_commit_and_run_in_order(writer: Writer) -> None:
    gate = Gate(writer)
    before = (writer.jobs, writer.commits)
    resolved: list[int] = []
    futures = [writer.submit(add, f"n{number}") for number in range(20)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: resolved.append(number))  # type: ignore[misc]

    gate.open()
    wait(futures, SECONDS)

    assert [future.result() for future in futures] == list(range(1, 21))
    assert resolved == list(range(20))
    assert (writer.jobs, writer.commits) == (before[0] + 21, before[1] + 2)


def test_group_is_bounded(writer: Writer) -> None:
    gate = Gate(writer)
    futures = [writer.submit(lambda _: None) for _ in range(MAX_GROUP + 1)]
    gate.open()
    wait(futures, SECONDS)
    assert writer.submit(lambda _: writer.commits).result(SECONDS) == 3


def test_future_is_resolved_only_when_the_group_is_on_disk(writer: Writer, path: Path) -> None:
    first_gate = Gate(writer)
    seen: list[list[str]] = []
    early = writer.submit(add, "early")
    early.add_done_callback(lambda _: seen.append(names_on_disk(path)))
    second_gate_entered, second_gate = threading.Event(), threading.Event()

    def hold(_database: Database) -> bool:
        second_gate_entered.set()
        return second_gate.wait(SECONDS)

    late = writer.submit(hold)
    first_gate.open()
    assert second_gate_entered.wait(SECONDS)
    assert not early.done()
    assert names_on_disk(path) == []

    second_gate.set()

    assert late.result(SECONDS)
    assert early.result(SECONDS) == 1
    assert seen == [["early"]]


def test_failing_job_is_undone_alone(writer: Writer) -> None:
    def add_and_fail(database: Database) -> None:
        add(database, "bad")
        raise ValueError("after the insert")

    gate = Gate(writer)
    good = writer.submit(add, "good")
    bad = writer.submit(add_and_fail)
    duplicate = writer.submit(add, "good")
    also_good = writer.submit(add, "also good")
    gate.open()

    assert good.result(SECONDS)
    assert also_good.result(SECONDS)
    with pytest.raises(ValueError, match="after the insert"):
        bad.result(SECONDS)
    with pytest.raises(Duplicate):
        duplicate.result(SECONDS)
    assert writer.submit(names).result(SECONDS) == ["good", "also good"]


def test_errors_of_sqlite_arrive_as_storage_errors(writer: Writer) -> None:
    future = writer.submit(lambda database: database.db.execute("SELECT nonsense"))
    with pytest.raises(StorageError, match="no such column: nonsense") as caught:
        future.result(SECONDS)
    assert caught.value.kind == "failed"
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def break_commit(database: Database) -> None:
    """What only COMMIT notices: a reference to nothing, checked late."""
    database.db.execute("PRAGMA defer_foreign_keys=ON")
    database.db.execute("UPDATE target_state SET parent_id = 12345")


def test_failed_commit_fails_the_whole_group_and_the_next_one_works(writer: Writer, path: Path) -> None:
    writer.submit(add, "before").result(SECONDS)
    gate = Gate(writer)
    futures: list[Future[Any]] = [writer.submit(add, "one"), writer.submit(break_commit)]
    futures.append(writer.submit(add, "one"))
    gate.open()

    for future in futures[:2]:
        with pytest.raises(StorageError, match="FOREIGN KEY constraint failed"):
            future.result(SECONDS)
    with pytest.raises(Duplicate):
        futures[2].result(SECONDS)
    assert futures[0].exception() is not futures[1].exception()
    assert names_on_disk(path) == ["before"]
    assert writer.submit(add, "one").result(SECONDS)


def test_job_that_loses_the_transaction_is_undone_alone_too(writer: Writer) -> None:
    def lose(database: Database) -> None:
        database.db.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    gate = Gate(writer)
    before = writer.submit(add, "a")
    lost = writer.submit(lose)
    duplicate = writer.submit(add, "a")
    after = writer.submit(add, "b")
    gate.open()

    with pytest.raises(StorageError, match="disk I/O error"):
        lost.result(SECONDS)
    with pytest.raises(Duplicate):
        duplicate.result(SECONDS)
    assert before.result(SECONDS) < after.result(SECONDS)
    assert writer.submit(names).result(SECONDS) == ["a", "b"]


def limit_pages(database: Database, more: int | None) -> None:
    used = database.db.execute("PRAGMA page_count").fetchone()[0]
    database.db.execute(f"PRAGMA max_page_count={2**30 if more is None else used + more}")


def test_full_disk_fails_the_job_and_spares_its_neighbours_and_what_is_delivered_makes_room(
    writer: Writer, destination: int
) -> None:
    writer.submit(limit_pages, 20).result(SECONDS)
    gate = Gate(writer)
    small = writer.submit(add, "small")
    big_rows = [OutboxRow(seq, "t", bytes(3000), 0) for seq in range(100)]
    big = writer.submit(outbox.commit, destination, big_rows, [])
    after = writer.submit(add, "after")
    gate.open()

    with pytest.raises(StorageError, match="database or disk is full") as caught:
        big.result(SECONDS)
    assert caught.value.kind == "full"
    assert small.result(SECONDS)
    assert after.result(SECONDS)
    assert writer.submit(outbox.summaries).result(SECONDS) == {}

    writer.submit(limit_pages, None).result(SECONDS)
    writer.submit(outbox.commit, destination, big_rows, []).result(SECONDS)
    writer.submit(limit_pages, 5).result(SECONDS)
    new_rows = [OutboxRow(100 + seq, "t", bytes(3000), 0) for seq in range(100)]
    writer.submit(outbox.commit, destination, new_rows, range(100)).result(SECONDS)
    assert writer.submit(outbox.summaries).result(SECONDS)[destination].rows == 100


def test_database_held_by_another_program_fails_the_group_and_the_next_one_works(
    writer: Writer, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError) as caught:
        writer.submit(add, "one").result(SECONDS)
    assert caught.value.kind == "busy"
    other.execute("ROLLBACK")
    other.close()
    assert writer.submit(add, "one").result(SECONDS)


def test_cancelled_job_does_not_run(writer: Writer) -> None:
    gate = Gate(writer)
    cancelled = writer.submit(add, "cancelled")
    kept = writer.submit(add, "kept")
    assert cancelled.cancel()
    gate.open()
    kept.result(SECONDS)
    assert not gate.future.cancel()
    assert writer.submit(names).result(SECONDS) == ["kept"]


def test_close_runs_what_was_submitted_and_refuses_what_comes_later(writer: Writer, path: Path) -> None:
    gate = Gate(writer)
    futures = [writer.submit(add, f"n{number}") for number in range(MAX_GROUP + 10)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    gate.open()
    closing.join(SECONDS)

    assert all(future.result(0) for future in futures)
    assert not path.with_name("agent.sqlite-wal").exists()
    with pytest.raises(StorageError) as caught:
        writer.submit(add, "late").result(SECONDS)
    assert caught.value.kind == "closed"
    writer.close()


def test_start_raises_what_opening_raised_and_waiting_jobs_are_refused(path: Path) -> None:
    path.mkdir()
    writer = Writer(partial(open_database, path))
    early = writer.submit(add, "early")
    with pytest.raises(StorageError, match="is not a file"):
        writer.start()
    for future in (early, writer.submit(add, "late")):
        with pytest.raises(StorageError, match="closed"):
            future.result(SECONDS)
    writer.close()


def test_writer_closed_before_its_start_refuses_both(path: Path) -> None:
    writer = Writer(partial(open_database, path))
    early = writer.submit(add, "early")
    writer.close()
    with pytest.raises(StorageError, match="closed"):
        early.result(SECONDS)
    with pytest.raises(StorageError, match="closed"):
        writer.start()


def test_second_writer_gets_the_database_once_the_first_is_closed(writer: Writer, path: Path) -> None:
    second = Writer(partial(open_database, path))
    with pytest.raises(StorageError, match="another agent"):
        second.start()
    writer.close()
    third = Writer(partial(open_database, path))
    assert third.start().set_aside is None
    third.close()


KILLED = """
import sys
from functools import partial
from pathlib import Path
from storage import outbox, target_state
from storage.database import open_database
from storage.outbox import OutboxRow
from storage.writer import Writer

writer = Writer(partial(open_database, Path(sys.argv[1])))
writer.start()
destination = writer.submit(target_state.insert, "destination", "broker", {}).result().id
seq = 0
while True:
    futures = []
    for _ in range(20):
        seq += 1
        row = OutboxRow(seq, "t", seq.to_bytes(4, "big") * 700, seq)
        future = writer.submit(outbox.commit, destination, [row], [])
        future.add_done_callback(lambda future, seq=seq: print(seq, future.exception(), flush=True))
        futures.append(future)
    futures[-1].result()
"""


def test_killed_process_keeps_every_row_whose_future_was_resolved(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(500)]
        child.kill()
        lines += [line for line in child.stdout if line.endswith("\n")]
    acknowledged = [int(line.split()[0]) for line in lines]
    assert {line.split()[1] for line in lines} == {"None"}
    assert acknowledged == list(range(1, len(lines) + 1))

    database = open_database(path)

    assert database.set_aside is None
    rows = outbox.load(database, 1, 0, 1_000_000, 1_000_000_000).rows
    assert [row.seq for row in rows][: len(acknowledged)] == acknowledged
    assert all(row.payload == row.seq.to_bytes(4, "big") * 700 for row in rows)
    database.close()
