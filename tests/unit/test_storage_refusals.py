"""What cannot be opened is refused with what to do about it, and left as it is; what was lost is noted."""

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import connection as storage_connection
from storage import endpoints, migrations, outbox, target_state
from storage.database import open_database
from storage.errors import StorageError
from storage.outbox import OutboxRow

Contents = dict[str, bytes]


def filled(path: Path) -> None:
    database = open_database(path)
    endpoints.add_endpoint(database, "plc", {"enabled": True}, "1", "modbus")
    row = target_state.insert(database, "destination", "broker", {"password": "x"})
    outbox.commit(database, row.id, [OutboxRow(1, "t", b"payload", 0)], [])
    database.close()


def contents(folder: Path) -> Contents:
    """Every file but the lock; and but an empty log and its index, without which SQLite cannot read."""
    files = {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and file.suffix != ".lock" and not file.name.endswith("-shm")
    }
    return {name: content for name, content in files.items() if content or not name.endswith("-wal")}


# A newer version


def written_by_a_newer_version(path: Path, in_log: bool) -> None:
    filled(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('callboard', '0099_x', '')"
    )
    connection.execute("CREATE TABLE of_tomorrow (x)")
    if in_log:
        copies = {name: path.with_name(name).read_bytes() for name in ("agent.sqlite", "agent.sqlite-wal")}
        connection.close()
        for name, content in copies.items():
            path.with_name(name).write_bytes(content)
        assert b"0099_x" not in path.read_bytes()
    else:
        connection.close()


@pytest.mark.parametrize("in_log", [False, True], ids=["in the file", "in the log beside it"])
def test_not_a_byte_of_a_newer_database_changes(path: Path, in_log: bool) -> None:
    written_by_a_newer_version(path, in_log)
    (path.parent / ".master.key").unlink()
    before = contents(path.parent)
    assert in_log == ("agent.sqlite-wal" in before)

    for _ in range(2):
        with pytest.raises(StorageError, match=r"0099_x.*install that version") as caught:
            open_database(path)
        assert caught.value.kind == "newer"

    assert contents(path.parent) == before


def test_newer_database_is_refused_even_if_damage_is_suspected(path: Path) -> None:
    written_by_a_newer_version(path, in_log=True)
    path.with_name("agent.sqlite.check").touch()
    before = contents(path.parent)
    with pytest.raises(StorageError, match="0099_x"):
        open_database(path)
    assert contents(path.parent) == before


def test_newer_database_stays_usable_for_its_agent_and_unlocked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_by_a_newer_version(path, in_log=True)
    with pytest.raises(StorageError, match="0099_x"):
        open_database(path)
    monkeypatch.setattr(migrations, "unknown", lambda _: [])
    database = open_database(path)
    assert [row.name for row in target_state.load(database)] == ["plc", "broker"]
    assert database.db["of_tomorrow"].exists()
    database.close()


def test_running_agent_is_named_before_the_database_is_looked_at(path: Path) -> None:
    filled(path)
    database = open_database(path)
    before = contents(path.parent)
    with pytest.raises(StorageError, match="another agent"):
        open_database(path)
    assert contents(path.parent) == before
    database.close()


# What cannot be read or written


CHILD = """
import json, os, sys
from pathlib import Path
import storage.writer
from storage.database import open_database
from storage.errors import StorageError
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    open_database(Path(sys.argv[1])).close()
except StorageError as error:
    print(json.dumps([error.kind, str(error)]))
else:
    print(json.dumps(None))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that the user of the child can get to; permissions do not hold root up."""
    folder = Path(tempfile.mkdtemp(prefix="callboard-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def opened_by_somebody(path: Path) -> list[str] | None:
    """Kind and text of the error, if another user than root opens the database."""
    child = subprocess.run(
        [sys.executable, "-B", "-c", CHILD, str(path)], capture_output=True, text=True, check=True
    )
    answer: list[str] | None = json.loads(child.stdout)
    return answer


def give_away(*files: Path) -> None:
    if os.geteuid() == 0:
        for file in files:
            os.chown(file, 65534, 65534)


def test_folder_that_cannot_be_written_is_named(shared: Path) -> None:
    folder = shared / "data"
    folder.mkdir()
    give_away(folder)
    folder.chmod(0o555)
    answer = opened_by_somebody(folder / "agent.sqlite")
    assert answer is not None
    assert answer[0] == "unusable"
    assert str(folder / "agent.sqlite") in answer[1]
    assert "must be able to write this file and its folder" in answer[1]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["agent.sqlite", "agent.sqlite-wal", "agent.sqlite-shm"])
def test_file_that_cannot_be_written_is_named_before_any_job_fails(shared: Path, name: str) -> None:
    """Such as what root left behind who had looked into the database."""
    filled(shared / "agent.sqlite")
    (shared / name).touch()
    give_away(shared, *shared.iterdir())
    (shared / name).chmod(0o444)
    before = contents(shared)
    answer = opened_by_somebody(shared / "agent.sqlite")
    assert answer is not None
    assert answer[0] == "unusable"
    assert f"{shared / name}: cannot be written; give it to the user that runs the agent" in answer[1]
    assert contents(shared) == before


def test_key_that_cannot_be_read_is_named_and_no_other_is_made(shared: Path) -> None:
    filled(shared / "agent.sqlite")
    give_away(shared, *shared.iterdir())
    key = shared / ".master.key"
    key.chmod(0o000)
    before = contents(shared) if os.geteuid() == 0 else None
    answer = opened_by_somebody(shared / "agent.sqlite")
    assert answer is not None
    assert answer[0] == "unusable"
    assert f"the key file {key} cannot be read (Permission denied)" in answer[1]
    key.chmod(0o600)
    assert before in (None, contents(shared))
    assert opened_by_somebody(shared / "agent.sqlite") is None


@pytest.mark.parametrize("name", ["agent.sqlite", "agent.sqlite-wal", "agent.sqlite-journal", ".master.key"])
def test_folder_in_the_place_of_a_file_is_named(path: Path, name: str) -> None:
    if name != "agent.sqlite":
        filled(path)
    (path.parent / name).unlink(missing_ok=True)
    (path.parent / name).mkdir()
    before = contents(path.parent)
    with pytest.raises(StorageError, match=r"is not a file.*move it away") as caught:
        open_database(path)
    assert caught.value.kind == "unusable"
    assert str(path.parent / name) in str(caught.value)
    assert contents(path.parent) == before
    assert (path.parent / name).is_dir()


def test_full_disk_at_open_is_an_error_that_says_so_and_nothing_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    dump = list(sqlite3.connect(path).iterdump())
    connect = storage_connection.connect

    def without_room(path: Path, busy_timeout_ms: int, create: bool) -> sqlite3.Connection:
        connection = connect(path, busy_timeout_ms, create)
        used = storage_connection.setting(connection, "page_count")
        connection.execute(f"PRAGMA max_page_count={used}").fetchall()
        return connection

    with monkeypatch.context() as patch:
        patch.setattr("storage.guard.connect", without_room)
        patch.setattr(
            migrations.migrations,
            "apply",
            lambda db: db.execute("CREATE TABLE more AS SELECT randomblob(100000) AS x"),
        )
        with pytest.raises(StorageError, match="disk is full; make room on the disk") as caught:
            open_database(path)
    assert caught.value.kind == "full"
    assert str(path) in str(caught.value)
    assert list(sqlite3.connect(path).iterdump()) == dump
    open_database(path).close()


def test_full_disk_for_the_key_is_an_error_and_no_half_key_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("storage.secrets.os.fsync", full)
        with pytest.raises(StorageError, match=r"No space left.*make room on the disk") as caught:
            open_database(path)
    assert caught.value.kind == "full"
    assert not (path.parent / ".master.key").exists()
    open_database(path).close()


# Notes


def test_database_in_order_has_no_notes(path: Path) -> None:
    filled(path)
    database = open_database(path)
    assert database.notes == ()
    database.close()


def test_lost_key_is_noted_with_what_to_do(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(path)
    key = path.parent / ".master.key"
    old = key.read_bytes()
    key.unlink()

    database = open_database(path)

    (note,) = database.notes
    assert note.startswith("2 stored rows cannot be read (destination: 1, endpoint: 1)")
    assert f"restore {key} from the backup" in note
    assert "delete them over the API" in note
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [note]
    target_state.insert(database, "endpoint", "made meanwhile", {})
    database.close()

    # The old key again: now it is the row of the key between that cannot be read.
    key.write_bytes(old)
    again = open_database(path)
    (note,) = again.notes
    assert note.startswith("1 stored rows cannot be read (endpoint: 1)")
    assert [row.name for row in target_state.load(again) if row.error] == ["made meanwhile"]
    target_state.delete(again, [row.id for row in target_state.load(again) if row.error])
    again.close()
    healed = open_database(path)
    assert healed.notes == ()
    healed.close()


def test_file_without_key_and_what_it_meant_are_both_noted(path: Path) -> None:
    filled(path)
    key = path.parent / ".master.key"
    key.write_bytes(b"half a ke")
    database = open_database(path)
    first, second = database.notes
    (kept,) = path.parent.glob(".master.key.corrupt-*")
    assert kept.read_bytes() == b"half a ke"
    assert str(key) in first
    assert str(kept) in first
    assert second.startswith("2 stored rows cannot be read")
    database.close()


def test_damaged_database_is_noted_and_its_rows_are_not_missed(path: Path) -> None:
    filled(path)
    path.write_bytes(b"garbage")
    database = open_database(path)
    (note,) = database.notes
    assert str(database.set_aside) in note
    assert "Restore a backup" in note
    database.close()
