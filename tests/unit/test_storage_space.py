"""Space goes back to the file system while the writer has nothing else to do."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from storage import outbox, space, target_state
from storage.connection import INCREMENTAL, REBUILT_BYTES, connect, make_shrinkable, setting
from storage.database import Database, open_database
from storage.outbox import OutboxRow
from storage.writer import Writer

SECONDS = 10
MB = 1_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(partial(open_database, path, 50))
    writer.start()
    yield writer
    writer.close()


def wait_for(predicate: Callable[[], bool], what: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not predicate():
        assert time.monotonic() < until, what()
        time.sleep(0.01)


def sizes(path: Path) -> tuple[int, int]:
    """Bytes of the database and of its log."""
    log = path.with_name("agent.sqlite-wal")
    return path.stat().st_size, log.stat().st_size if log.exists() else 0


def fill(writer: Writer, megabytes: int) -> tuple[int, range]:
    """A destination and the seqs that wait for it."""
    destination = writer.submit(target_state.insert, "destination", "broker", {}).result(SECONDS).id
    seqs = range(1, megabytes * 250)
    for start in range(0, len(seqs), 1000):
        rows = [OutboxRow(seq, "t", bytes(3900), 0) for seq in seqs[start : start + 1000]]
        writer.submit(outbox.commit, destination, rows, []).result(SECONDS)
    return destination, seqs


def deliver(writer: Writer, destination: int, seqs: range) -> None:
    for start in range(0, len(seqs), 1000):
        writer.submit(outbox.commit, destination, [], seqs[start : start + 1000]).result(SECONDS)


def test_space_of_what_was_delivered_goes_back_by_itself(writer: Writer, path: Path) -> None:
    destination, seqs = fill(writer, 20)
    assert sum(sizes(path)) > 20 * MB
    deliver(writer, destination, seqs)

    wait_for(lambda: sum(sizes(path)) < 4 * MB, lambda: sizes(path))

    assert writer.submit(outbox.summary, destination).result(SECONDS).rows == 0  # type: ignore[union-attr]
    writer.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_what_still_waits_is_moved_and_kept(writer: Writer, path: Path) -> None:
    destination, seqs = fill(writer, 20)
    deliver(writer, destination, seqs[:-400])

    wait_for(lambda: sum(sizes(path)) < 6 * MB, lambda: sizes(path))

    rows = writer.submit(outbox.load, destination, 0, 1000, 100 * MB).result(SECONDS).rows
    assert [row.seq for row in rows] == list(seqs[-400:])
    assert {row.payload for row in rows} == {bytes(3900)}


def test_jobs_go_first_and_are_as_safe_as_ever(writer: Writer, path: Path) -> None:
    """Between steps the settings are those of jobs."""
    destination, seqs = fill(writer, 20)
    deliver(writer, destination, seqs)
    jobs = 0

    def shrunk() -> bool:
        nonlocal jobs
        assert writer.submit(_settings).result(SECONDS) == (2, 1000, 50)
        jobs += 1
        return sum(sizes(path)) < 4 * MB

    wait_for(shrunk, lambda: sizes(path))
    assert jobs > 5, "it took several steps, and jobs came between them"


def _settings(database: Database) -> tuple[int, ...]:
    names = ("synchronous", "wal_autocheckpoint", "busy_timeout")
    return tuple(setting(database.db.conn, name) for name in names)


def test_writer_with_nothing_to_give_back_sleeps(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float | None] = []
    quiet = threading.Event()
    original = space.Space.pause

    def pause(self: space.Space) -> float | None:
        asked.append(original(self))
        if asked[-1] is None:
            quiet.set()
        return asked[-1]

    monkeypatch.setattr(space.Space, "pause", pause)
    destination, seqs = fill(writer, 4)
    deliver(writer, destination, seqs)
    quiet.clear()
    writer.submit(target_state.load).result(SECONDS)
    assert quiet.wait(SECONDS)
    assert asked[-1] is None
    assert any(asked)


def test_long_log_is_cut(writer: Writer, path: Path) -> None:
    fill(writer, 1)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outbox").fetchone()
    destination = 1
    # As long as somebody reads what was, the log cannot begin anew.
    for start in range(1000, 4000, 500):
        rows = [OutboxRow(seq, "t", bytes(3900), 0) for seq in range(start, start + 500)]
        writer.submit(outbox.commit, destination, rows, []).result(SECONDS)
    assert sizes(path)[1] > space.LOG_BYTES
    reader.execute("COMMIT")
    reader.close()

    wait_for(lambda: sizes(path)[1] == 0, lambda: sizes(path))


def test_reader_of_the_database_holds_up_no_job(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cannot be cut then: it is tried again, and never waited for."""
    tried = threading.Semaphore(0)
    cut = space.Space._cut_log

    def cut_and_tell(self: space.Space) -> None:
        cut(self)
        tried.release()

    monkeypatch.setattr(space.Space, "_cut_log", cut_and_tell)
    monkeypatch.setattr(space, "RETRY", 0.01)
    writer = Writer(partial(open_database, path, 60_000))
    writer.start()
    destination, seqs = fill(writer, 8)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outbox").fetchone()
    deliver(writer, destination, seqs)

    for _ in range(3):
        assert tried.acquire(timeout=SECONDS), "it waits for the reader, for a minute"
    assert writer.submit(_settings).result(SECONDS) == (2, 1000, 60_000)
    assert sizes(path)[0] + sizes(path)[1] > 4 * MB

    reader.execute("COMMIT")
    reader.close()
    wait_for(lambda: sum(sizes(path)) < 4 * MB, lambda: sizes(path))
    writer.close()


def test_program_that_writes_the_database_puts_the_giving_back_off(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(path, 60_000)
    destination = target_state.insert(database, "destination", "broker", {}).id
    rows = [OutboxRow(seq, "t", bytes(3900), 0) for seq in range(1, 2000)]
    outbox.commit(database, destination, rows, [])
    outbox.commit(database, destination, [], range(1, 2000))
    keeping_small = space.Space(database, pytest.fail)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    began = time.monotonic()
    for _ in range(3):
        keeping_small.step()
    assert time.monotonic() - began < SECONDS, "it waits for the other program, for a minute"
    assert len(caplog.records) == 1
    other.execute("COMMIT")
    other.close()

    assert (keeping_small.pause() or 0) > 0
    assert setting(database.db.conn, "busy_timeout") == 60_000
    while keeping_small.pause() is not None:
        keeping_small.step()
    assert sum(sizes(path)) < 4 * MB
    database.close()


def test_damage_that_giving_back_meets_is_told_like_that_which_a_job_meets(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(path)
    destination = target_state.insert(database, "destination", "broker", {}).id
    rows = [OutboxRow(seq, "t", bytes(3900), 0) for seq in range(1, 2000)]
    outbox.commit(database, destination, rows, [])
    outbox.commit(database, destination, [], range(1, 2000))
    database.close()
    monkeypatch.setattr(space, "RESERVE", 1_000_000)
    writer = Writer(partial(open_database, path, 50))
    writer.start()
    with path.open("r+b") as file:
        file.seek(32)  # where the header says which page the list of free pages begins with
        first = int.from_bytes(file.read(4), "big")
        file.seek((first - 1) * 4096)
        file.write(b"\xa5" * 4096)
    monkeypatch.setattr(space, "RESERVE", 768)
    writer.submit(_settings).result(SECONDS)

    wait_for(lambda: writer.damage is not None, lambda: "nothing was found")

    assert path.with_name("agent.sqlite.check").exists()
    writer.close()


def old_style(path: Path, megabytes: int) -> None:
    """As the agent made databases before it gave space back."""
    open_database(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA auto_vacuum=NONE")
    connection.execute("VACUUM")
    connection.execute("INSERT INTO target_state VALUES (1, 'destination', 'u', 'broker', NULL, x'', '', '')")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO outbox (destination_id, seq, created_at, topic, payload)"
        " VALUES (1, ?, 0, 't', zeroblob(3900))",
        [(seq,) for seq in range(1, megabytes * 250)],
    )
    connection.execute("COMMIT")
    assert setting(connection, "auto_vacuum") == 0
    connection.close()


def test_older_database_is_rebuilt_when_it_holds_little(path: Path) -> None:
    old_style(path, 8)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM outbox WHERE seq > 10")
    connection.close()
    assert path.stat().st_size > 8 * MB

    database = open_database(path)

    assert setting(database.db.conn, "auto_vacuum") == INCREMENTAL
    assert len(outbox.load(database, 1, 0, 100, MB).rows) == 10
    database.close()
    assert path.stat().st_size < MB


def test_older_database_that_holds_much_is_rebuilt_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_style(path, 8)
    monkeypatch.setattr("storage.connection.REBUILT_BYTES", 4 * MB)
    writer = Writer(partial(open_database, path))
    writer.start()
    deliver(writer, 1, range(1, 8 * 250))
    assert writer.submit(lambda database: setting(database.db.conn, "auto_vacuum")).result(SECONDS) == 0
    writer.close()
    assert path.stat().st_size > 8 * MB

    open_database(path).close()

    assert path.stat().st_size < MB
    assert REBUILT_BYTES > 4 * MB


def test_older_database_that_cannot_be_rebuilt_stays_as_it_is(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old_style(path, 4)
    connection = connect(path, 10)
    connection.execute("BEGIN")  # in which SQLite refuses to rebuild
    make_shrinkable(connection, path)
    connection.execute("COMMIT")
    assert f"{path}: could not be rebuilt" in caplog.text
    assert setting(connection, "auto_vacuum") == 0
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (999,)
    connection.close()
