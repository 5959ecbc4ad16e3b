"""Back to the database of before an upgrade, with what waits for destinations."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from storage import copies, target_state
from storage.database import open_database
from storage.errors import StorageError
from storage.going_back import go_back
from storage.lock import Lock

TOMORROW = "9999_of_tomorrow"
MARK = (
    "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES"
    f" ('callboard', '{TOMORROW}', '2030-01-01 00:00:00')"
)
ROW = "INSERT INTO outbox (destination_id, seq, created_at, topic, payload) VALUES (?, ?, 1, 't', x'31')"


def sealed(path: Path, kind: str, name: str) -> int:
    database = open_database(path)
    row = target_state.insert(database, kind, name, {})
    database.close()
    return row.id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One that a newer version has upgraded. Before: destination `first` with rows 1 and 2. Since: row 1 was
    delivered and row 3 came, `second` was added, with a row of its own."""
    path = tmp_path / "agent.sqlite"
    first = sealed(path, "destination", "first")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executemany(ROW, [(first, 1), (first, 2)])
    copies.copy_before_update(path, TOMORROW)
    second = sealed(path, "destination", "second")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE tomorrow (id INTEGER PRIMARY KEY)")
        connection.execute("ALTER TABLE outbox ADD COLUMN priority INTEGER NOT NULL DEFAULT 0")
        connection.execute("DELETE FROM outbox WHERE seq = 1")
        connection.executemany(ROW, [(first, 3), (second, 9)])
        connection.execute(MARK)
    with pytest.raises(StorageError, match="newer version"):
        open_database(path)
    return path


def contents(path: Path) -> tuple[list[str | None], list[int], list[tuple[int, int]]]:
    database = open_database(path)
    names = [row.name for row in target_state.load(database)]
    rows = [seq for (seq,) in database.db.execute("SELECT seq FROM outbox ORDER BY seq")]
    counts = database.db.execute("SELECT rows, last_seq FROM outbox_counts").fetchall()
    database.close()
    return names, rows, counts


def test_what_waits_comes_along_and_what_was_configured_since_does_not(path):
    said = go_back(path, path.parent)
    assert said.endswith(f"with what waited for destinations; the newer one is agent.sqlite.newer-{TOMORROW}")
    assert contents(path) == (["first"], [2, 3], [(2, 3)])
    with closing(sqlite3.connect(path.with_name(f"agent.sqlite.newer-{TOMORROW}"))) as newer:
        assert newer.execute("SELECT count(*) FROM target_state").fetchone() == (2,)


def test_it_is_done_once(path):
    go_back(path, path.parent)
    assert go_back(path, path.parent) is None
    assert contents(path)[0] == ["first"]


def test_a_database_that_this_version_knows_is_left_alone(tmp_path):
    path = tmp_path / "agent.sqlite"
    sealed(path, "destination", "first")
    before = path.read_bytes()
    assert go_back(path, tmp_path) is None
    assert path.read_bytes() == before
    assert go_back(tmp_path / "none" / "agent.sqlite", tmp_path) is None


def test_without_a_copy_nothing_is_changed(path, caplog):
    path.with_name(f"agent.sqlite.before-{TOMORROW}").unlink()
    assert go_back(path, path.parent) is None
    assert "no copy" in caplog.text
    with pytest.raises(StorageError, match="newer version"):
        open_database(path)


def test_outboxes_that_this_version_cannot_read_stay_in_the_newer_database(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE outbox RENAME COLUMN topic TO subject")
    assert "without what came to its outboxes since" in go_back(path, path.parent)
    assert contents(path) == (["first"], [1, 2], [(2, 2)])


def test_another_agent_on_it_is_not_disturbed(path):
    lock = Lock(path.parent / "agent.lock")
    with pytest.raises(StorageError, match="in use by another agent"):
        go_back(path, path.parent)
    lock.release()


class Cut(BaseException):
    """The power goes."""


@pytest.mark.parametrize("operations", range(9))
def test_a_power_cut_at_any_moment_is_gone_on_from(path, monkeypatch, operations):
    done = 0

    def counted(call: Any) -> Any:
        def operation(*arguments: Any, **keywords: Any) -> Any:
            nonlocal done
            if done >= operations:
                raise Cut
            done += 1
            return call(*arguments, **keywords)

        return operation

    with monkeypatch.context() as patch, suppress(Cut):
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(os, "fsync", counted(os.fsync))
        go_back(path, path.parent)
    go_back(path, path.parent)
    assert contents(path) == (["first"], [2, 3], [(2, 3)])
