"""Damage in what the look at open leaves out, and what that look costs."""

import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from storage import damage, dead_letters, outbox, target_state
from storage.database import Database, open_database
from storage.dead_letters import DeadLetter
from storage.errors import StorageError
from storage.outbox import OutboxRow
from storage.writer import Writer

SECONDS = 10


def filled(path: Path) -> None:
    """A destination with 200 payloads and as many dead letters, all of them in the main file."""
    database = open_database(path)
    row = target_state.insert(database, "destination", "broker", {})
    rows = [OutboxRow(seq, "t", bytes(3000), 0) for seq in range(1, 201)]
    dead = [DeadLetter(seq, "t", bytes(3000), "no", 0, seq) for seq in range(1, 201)]
    outbox.commit(database, row.id, rows, [], dead)
    database.close()


def spoil(path: Path, table: str) -> None:
    """Overwrite a leaf in the middle of the table."""
    connection = sqlite3.connect(path)
    query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
    pages = [page for (page,) in connection.execute(query, [table])]
    connection.close()
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * 4096)
        file.write(b"\xa5" * 4096)


def marker(path: Path) -> Path:
    return path.with_name("agent.sqlite.check")


def read_all(database: Database) -> int:
    return len(outbox.load(database, 1, 0, 1000, 10_000_000).rows)


def read_dead(database: Database) -> int:
    return len(dead_letters.newest(database, 1, 1000))


@pytest.mark.parametrize(("table", "read"), [("outbox", read_all), ("dead_letters", read_dead)])
def test_damage_that_a_job_meets_is_set_aside_at_the_next_open(
    path: Path, table: str, read: Callable[[Database], int]
) -> None:
    filled(path)
    spoil(path, table)
    writer = Writer(partial(open_database, path))
    assert writer.start().set_aside is None
    assert not marker(path).exists()

    with pytest.raises(StorageError, match="malformed") as caught:
        writer.submit(read).result(SECONDS)

    assert caught.value.kind == "corrupt"
    assert marker(path).exists()
    assert writer.submit(target_state.load).result(SECONDS)[0].name == "broker"
    writer.close()

    database = open_database(path)
    assert database.set_aside is not None
    assert target_state.load(database) == []
    assert not marker(path).exists()
    database.close()
    again = open_database(path)
    assert (again.set_aside, again.notes) == (None, ())
    again.close()


def test_marker_is_there_before_the_job_is_answered(path: Path) -> None:
    filled(path)
    spoil(path, "outbox")
    writer = Writer(partial(open_database, path))
    writer.start()
    seen: list[bool] = []
    answered = threading.Event()
    future = writer.submit(read_all)
    future.add_done_callback(lambda _: (seen.append(marker(path).exists()), answered.set()))
    assert answered.wait(SECONDS)
    assert seen == [True]
    writer.close()


def test_suspicion_that_is_not_confirmed_is_forgotten(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(path)
    damage.suspect(path, "something odd")
    damage.suspect(path, "something else")
    assert marker(path).read_text() == "something odd\n"
    assert caplog.text.count("it is checked in full") == 1
    database = open_database(path)
    assert database.set_aside is None
    assert not marker(path).exists()
    assert read_all(database) == 200
    database.close()


def test_suspicion_goes_with_the_database(path: Path) -> None:
    filled(path)
    damage.suspect(path, "something odd")
    path.unlink()
    open_database(path).close()
    assert not marker(path).exists()


@pytest.mark.parametrize("table", ["target_state", "devices", "outbox_counts", "drift_events", "agent"])
def test_damage_of_a_small_table_is_found_at_open(path: Path, table: str) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    database = open_database(path)
    assert database.set_aside is not None
    assert target_state.load(database) == []
    database.close()


def test_damage_that_only_an_upgrade_meets_is_set_aside_at_once(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TABLE outbox_counts")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0003_outbox_counts'")
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            connection.execute(f"DROP TRIGGER {trigger}")
    connection.close()
    spoil(path, "outbox")

    database = open_database(path)

    assert database.set_aside is not None
    assert target_state.load(database) == []
    assert not marker(path).exists()
    database.close()


def test_look_at_open_reads_a_fraction_of_a_big_outbox(path: Path) -> None:
    """Counted in pages read, for time depends on the machine."""
    filled(path)

    def pages_read(thorough: bool) -> int:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        before = read_calls()
        assert damage._damage(connection, path, thorough) == ""
        connection.close()
        return read_calls() - before

    assert pages_read(thorough=False) < 60
    assert pages_read(thorough=True) > 400


def read_calls() -> int:
    """Read calls of this process so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["syscr"])
