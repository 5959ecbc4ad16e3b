"""Files of an open database are deleted, moved, replaced and overwritten: what is answered as stored is what
the next start finds, and nothing that somebody has put there is touched."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from storage import guard, outbox, rescue, target_state
from storage.database import Database, open_database, ping
from storage.errors import StorageError
from storage.lock import Lock
from storage.outbox import OutboxRow
from storage.writer import Writer

SECONDS = 10
Names = list[str | None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "agent.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(partial(open_database, path, 50))
    writer.start()
    for name in ("one", "two"):
        add(writer, name)
    yield writer
    writer.close()


def add(writer: Writer, name: str) -> None:
    writer.submit(target_state.insert, "endpoint", name, {"secret": name}).result(SECONDS)


def names(database: Database) -> Names:
    assert all(row.error is None for row in target_state.load(database))
    return [row.name for row in target_state.load(database)]


def found_by_the_next(path: Path) -> Names:
    """What an agent finds that starts when this one has ended, also when it is killed."""
    database = open_database(path)
    try:
        assert database.set_aside is None
        assert database.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return names(database)
    finally:
        database.close()


def as_after_a_kill(path: Path, where: Path) -> Path:
    """The files as they are now, in another folder."""
    shutil.copytree(path.parent, where, symlinks=True)
    return where / path.name


def with_suffixes(path: Path, *suffixes: str) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in suffixes]


def delete(*suffixes: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        for file in with_suffixes(path, *suffixes):
            file.unlink()

    return act


def delete_all_in_the_folder(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def delete_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def delete_and_make_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


def move_away(path: Path) -> None:
    path.rename(path.with_name("agent.sqlite.old"))


def open_and_close_by_another_program(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()
    path.with_name(f"{path.name}-wal").touch()


DELETED = {
    "database": delete(""),
    "database and log": delete("", "-wal"),
    "database, log and index": delete("", "-wal", "-shm"),
    "log": delete("-wal"),
    "index": delete("-shm"),
    "log and index": delete("-wal", "-shm"),
    "log, and an empty one made": open_and_close_by_another_program,
    "everything": delete_all_in_the_folder,
    "the folder": delete_the_folder,
    "the folder, and an empty one made": delete_and_make_the_folder,
    "moved in its folder": move_away,
}


@pytest.mark.parametrize("act", DELETED.values(), ids=DELETED.keys())
def test_what_was_deleted_is_written_anew_before_anything_is_answered_as_stored(
    writer: Writer, path: Path, tmp_path: Path, act: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    act(path)
    add(writer, "three")

    assert found_by_the_next(as_after_a_kill(path, tmp_path / "killed")) == ["one", "two", "three"]
    standing = writer.submit(ping).result(SECONDS)
    assert standing.trouble is None
    assert "written anew" in standing.written_anew
    add(writer, "four")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    writer.close()
    assert found_by_the_next(path) == ["one", "two", "three", "four"]


@pytest.mark.parametrize("act", [*DELETED.values()], ids=DELETED.keys())
def test_a_check_writes_anew_too(writer: Writer, path: Path, act: Callable[[Path], None]) -> None:
    act(path)
    assert writer.submit(ping).result(SECONDS).trouble is None
    writer.close()
    assert found_by_the_next(path) == ["one", "two"]


@pytest.mark.parametrize("act", DELETED.values(), ids=DELETED.keys())
def test_an_orderly_end_writes_anew_what_nobody_has_noticed(
    writer: Writer, path: Path, act: Callable[[Path], None]
) -> None:
    act(path)
    writer.close()
    assert found_by_the_next(path) == ["one", "two"]


def test_it_may_happen_over_and_over(writer: Writer, path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        [*DELETED.values()][number % len(DELETED)](path)
        add(writer, f"n{number}")
    assert len(os.listdir("/proc/self/fd")) == before
    writer.close()
    assert len(found_by_the_next(path)) == 32


def test_key_and_locks_are_written_anew_by_themselves(writer: Writer, path: Path) -> None:
    for file in (".master.key", "agent.lock", "agent.sqlite.lock"):
        path.with_name(file).unlink()
        add(writer, file)
    with pytest.raises(StorageError, match="another agent"):
        open_database(path)
    assert path.with_name(".master.key").stat().st_mode & 0o777 == 0o600
    writer.close()
    assert found_by_the_next(path) == ["one", "two", ".master.key", "agent.lock", "agent.sqlite.lock"]


def test_permissions_stay(writer: Writer, path: Path) -> None:
    path.parent.chmod(0o700)
    path.chmod(0o640)
    delete_the_folder(path)
    add(writer, "three")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o640


# Somebody else's file


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of the same agent, of a moment before."""
    folder = tmp_path / "backup"
    database = open_database(folder / "agent.sqlite")
    target_state.insert(database, "endpoint", "restored", {})
    database.close()
    return folder / "agent.sqlite"


def restore_by_renaming(backup: Path, path: Path) -> None:
    shutil.copy(backup, path.with_name("restored"))
    path.with_name("restored").rename(path)


def restore_after_deleting(backup: Path, path: Path) -> None:
    delete("", "-wal", "-shm")(path)
    shutil.copy(backup, path)


def restore_over_it(backup: Path, path: Path) -> None:
    shutil.copyfile(backup, path)


def restore_the_folder(backup: Path, path: Path) -> None:
    shutil.rmtree(path.parent)
    shutil.copytree(backup.parent, path.parent)


RESTORES = [restore_by_renaming, restore_after_deleting, restore_over_it, restore_the_folder]


@pytest.mark.parametrize("restore", RESTORES)
def test_a_restored_copy_is_left_as_it_is_and_found_by_the_next_start(
    writer: Writer, path: Path, backup: Path, tmp_path: Path, restore: Callable[[Path, Path], None]
) -> None:
    if restore is not restore_the_folder:
        shutil.copy(path.with_name(".master.key"), backup.with_name(".master.key"))
    restore(backup, path)
    wanted = path.read_bytes()

    for _ in range(2):
        with pytest.raises(StorageError, match="started anew, which then takes what is there") as caught:
            add(writer, "three")
        assert caught.value.kind == "unusable"
    assert path.read_bytes() == wanted
    writer.close()

    assert path.read_bytes() == wanted
    connection = sqlite3.connect(as_after_a_kill(path, tmp_path / "killed"))
    assert connection.execute("SELECT name FROM target_state").fetchall() == [("restored",)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("restore", RESTORES)
def test_a_restored_copy_is_told_once_in_the_log(
    writer: Writer,
    path: Path,
    backup: Path,
    restore: Callable[[Path, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    restore(backup, path)
    for _ in range(5):
        with pytest.raises(StorageError):
            add(writer, "three")
    told = [record.message for record in caplog.records if "nothing is stored until" in record.message]
    assert len(told) == 1
    assert str(path) in told[0]


def test_what_is_in_a_database_that_was_replaced_can_still_be_read(
    writer: Writer, path: Path, backup: Path
) -> None:
    destination = writer.submit(target_state.insert, "destination", "broker", {}).result(SECONDS).id
    writer.submit(outbox.commit, destination, [OutboxRow(1, "t", b"payload", 0)], []).result(SECONDS)
    restore_by_renaming(backup, path)
    rows = writer.submit(outbox.load, destination, 0, 10, 1000).result(SECONDS).rows
    assert [row.payload for row in rows] == [b"payload"]
    with pytest.raises(StorageError):
        writer.submit(outbox.commit, destination, [], [1]).result(SECONDS)


def test_a_database_of_other_content_is_not_read(writer: Writer, path: Path, backup: Path) -> None:
    restore_over_it(backup, path)
    with pytest.raises(StorageError, match="was overwritten"):
        writer.submit(names).result(SECONDS)


class OtherProgram:
    """Another process that opens the database, runs a statement and stays until it is closed."""

    SCRIPT = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "print(connection.execute(sys.argv[2]).fetchall(), flush=True)\n"
        "sys.stdin.read(); connection.close()\n"
    )

    def __init__(self, path: Path, statement: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, str(path), statement],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.said = self._process.stdout.readline()

    def close(self) -> None:
        self._process.communicate()


@pytest.mark.parametrize("stays", [True, False])
def test_another_program_that_has_read_the_database_without_its_log_costs_nothing(
    writer: Writer, path: Path, tmp_path: Path, stays: bool
) -> None:
    delete("-wal", "-shm")(path)
    other = OtherProgram(path, "SELECT 1")
    if not stays:
        other.close()
    for name in ("three", "four"):
        add(writer, name)
    assert found_by_the_next(as_after_a_kill(path, tmp_path / "killed")) == ["one", "two", "three", "four"]
    if stays:
        other.close()
    add(writer, "five")
    writer.close()
    assert found_by_the_next(path) == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize("stays", [True, False])
def test_another_program_that_has_written_the_database_without_its_log_is_not_overwritten(
    writer: Writer, path: Path, tmp_path: Path, stays: bool
) -> None:
    writer.submit(lambda database: None).result(SECONDS)
    Path(f"{path}-wal").touch()
    other = OtherProgram(path, "PRAGMA wal_checkpoint(TRUNCATE)")  # so that it sees what there is
    other.close()
    delete("-wal", "-shm")(path)
    other = OtherProgram(path, "UPDATE target_state SET name = 'theirs' WHERE name = 'one' RETURNING name")
    assert "theirs" in other.said
    if not stays:
        other.close()
    with pytest.raises(StorageError, match="nothing is stored until the agent is ended and started anew"):
        add(writer, "three")
    if stays:
        other.close()
    writer.close()
    assert found_by_the_next(as_after_a_kill(path, tmp_path / "killed")) == ["theirs", "two"]


def test_a_log_that_is_left_of_a_deleted_database_is_no_part_of_the_new_one(
    writer: Writer, path: Path, tmp_path: Path
) -> None:
    path.unlink()
    killed = as_after_a_kill(path, tmp_path / "killed")
    database = open_database(killed)
    assert names(database) == []
    assert database.set_aside is not None
    database.close()


@pytest.mark.parametrize("size", [0, 4096])
def test_a_database_or_a_log_that_was_cut_short_is_noticed(writer: Writer, path: Path, size: int) -> None:
    log = path.with_name(f"{path.name}-wal")
    os.truncate(log, size)
    with pytest.raises(StorageError, match="was overwritten"):
        add(writer, "three")


def test_a_database_that_was_emptied_is_set_aside_with_its_log_by_the_next_start(
    writer: Writer, path: Path
) -> None:
    os.truncate(path, 0)
    with pytest.raises(StorageError, match="was overwritten"):
        add(writer, "three")
    writer.close()
    with closing(open_database(path)) as database:
        assert database.set_aside is not None
        assert database.notes


def test_to_touch_it_changes_nothing(writer: Writer, path: Path) -> None:
    for number in range(3):
        os.utime(path, (number, number))
        add(writer, f"n{number}")


def test_a_file_that_comes_while_a_new_one_is_written_is_left_as_it_is(
    writer: Writer, path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(made: Path, target: Path) -> None:
        shutil.copy(backup, path)
        link(made, target)

    monkeypatch.setattr("storage.rescue.os.link", late)
    path.unlink()
    for _ in range(2):
        with pytest.raises(StorageError, match="takes what is there"):
            add(writer, "three")
        monkeypatch.undo()
    assert path.read_bytes() == backup.read_bytes()
    assert not list(path.parent.glob("*.rescued*"))


def test_a_file_system_without_links_is_served_too(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(made: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("storage.rescue.os.link", refuse)
    for act in (delete(""), delete("-wal")):
        act(path)
        add(writer, f"after {act}")
    writer.close()
    assert len(found_by_the_next(path)) == 4


def test_another_key_is_told_and_nothing_is_encrypted_with_the_one_that_is_lost(
    writer: Writer, path: Path
) -> None:
    key = path.with_name(".master.key")
    ours = key.read_bytes()
    key.write_bytes(bytes(32))
    with pytest.raises(StorageError, match=r"\.master\.key: was replaced"):
        add(writer, "three")
    key.write_bytes(ours)
    add(writer, "three")


# Away


def test_a_folder_that_was_moved_is_waited_for(
    writer: Writer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    for _ in range(3):
        with pytest.raises(StorageError, match="its folder was moved, or its disk unmounted"):
            add(writer, "three")
    assert not path.parent.exists()
    moved.rename(path.parent)
    add(writer, "four")
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    writer.close()
    assert found_by_the_next(path) == ["one", "two", "four"]


def test_an_empty_folder_in_the_place_of_one_that_was_moved_stays_empty(writer: Writer, path: Path) -> None:
    """As below a disk that was unmounted."""
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    path.parent.mkdir()
    with pytest.raises(StorageError, match="unmounted"):
        add(writer, "three")
    assert not list(path.parent.iterdir())
    writer.close()
    assert not list(path.parent.iterdir())
    assert found_by_the_next(moved / path.name) == ["one", "two"]


@pytest.mark.parametrize("linked", ["database", "folder"])
@pytest.mark.parametrize("to", ["another", "nothing"])
def test_a_link_that_leads_elsewhere_is_not_followed(tmp_path: Path, linked: str, to: str) -> None:
    real = tmp_path / "disk" / "agent.sqlite"
    real.parent.mkdir()
    path = tmp_path / "data" / "agent.sqlite"
    link, target = (path, real) if linked == "database" else (path.parent, real.parent)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    other = tmp_path / "other" / real.name
    if to == "another":
        open_database(other).close()
        content = other.read_bytes()
    writer = Writer(partial(open_database, path, 50))
    writer.start()
    add(writer, "one")
    link.unlink()
    link.symlink_to(other if linked == "database" else other.parent)
    with pytest.raises(StorageError, match="nothing is stored until"):
        add(writer, "two")
    assert other.read_bytes() == content if to == "another" else not other.exists()
    link.unlink()
    link.symlink_to(target)
    add(writer, "three")
    writer.close()
    assert found_by_the_next(path) == ["one", "three"]


def test_a_disk_that_has_become_read_only_is_told_and_can_be_read(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(guard, "TRY_DISK", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("storage.files.os.utime", refuse)
        while (trouble := writer.submit(ping).result(SECONDS).trouble) is None:
            pass
        assert "its disk takes nothing (Read-only file system)" in trouble.what
        assert not trouble.restart
        with pytest.raises(StorageError, match="its disk takes nothing"):
            add(writer, "three")
        assert writer.submit(names).result(SECONDS) == ["one", "two"]
    add(writer, "three")


# What cannot be mended now


def test_a_disk_without_room_for_a_new_file_is_tried_again(
    writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RETRY", 0.0)
    monkeypatch.setattr(rescue, "ROOM", 1 << 60)
    path.unlink()
    with pytest.raises(StorageError, match=r"cannot be written anew: .*must be free on its disk"):
        add(writer, "three")
    assert writer.submit(names).result(SECONDS) == ["one", "two"]
    assert not path.exists()
    monkeypatch.setattr(rescue, "ROOM", 0)
    while writer.submit(ping).result(SECONDS).trouble is not None:
        pass
    add(writer, "four")
    writer.close()
    assert found_by_the_next(path) == ["one", "two", "four"]


def test_a_try_is_not_repeated_at_once(writer: Writer, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fail(*_: object) -> None:
        tries.append(1)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rescue, "write_database", fail)
    path.unlink()
    for _ in range(5):
        with pytest.raises(StorageError, match="Input/output error"):
            add(writer, "three")
    assert len(tries) == 1
    monkeypatch.undo()
    writer.close()
    assert found_by_the_next(path) == ["one", "two"]


def test_another_agent_that_has_taken_the_folder_keeps_it(writer: Writer, path: Path) -> None:
    delete_all_in_the_folder(path)
    lock = Lock(path.with_name("agent.lock"))
    with pytest.raises(StorageError, match="in use by another agent"):
        add(writer, "three")
    assert not path.exists()
    lock.release()


def test_what_is_committed_in_the_moment_of_a_loss_is_not_said_to_be_stored(
    writer: Writer, path: Path, backup: Path
) -> None:
    def add_and_replace(database: Database) -> None:
        target_state.insert(database, "endpoint", "three", {})
        restore_by_renaming(backup, path)

    with pytest.raises(StorageError) as caught:
        writer.submit(add_and_replace).result(SECONDS)
    assert caught.value.kind == "silent"


def test_what_is_committed_in_the_moment_of_a_deletion_is_in_the_new_file(
    writer: Writer, path: Path, tmp_path: Path
) -> None:
    def add_and_delete(database: Database) -> None:
        target_state.insert(database, "endpoint", "three", {})
        delete_all_in_the_folder(path)

    writer.submit(add_and_delete).result(SECONDS)
    assert found_by_the_next(as_after_a_kill(path, tmp_path / "killed")) == ["one", "two", "three"]


def test_a_copy_that_was_not_finished_is_removed_by_the_next_start(path: Path) -> None:
    path.parent.mkdir()
    for file in with_suffixes(path, ".rescued.part", "-wal.part"):
        file.write_bytes(b"half")
    assert found_by_the_next(path) == []
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize("at", ["storage.rescue._clear_log", "storage.rescue._put"])
def test_a_kill_while_a_new_file_is_written_loses_nothing_once_it_is_whole(path: Path, at: str) -> None:
    script = (
        "import os, sys, unittest.mock; from pathlib import Path\n"
        "from storage import target_state; from storage.database import open_database\n"
        "path = Path(sys.argv[1]); database = open_database(path)\n"
        "target_state.insert(database, 'endpoint', 'one', {})\n"
        "path.unlink()\n"
        "with unittest.mock.patch(sys.argv[2], lambda *_: os._exit(9)): database.look()\n"
    )
    child = subprocess.run([sys.executable, "-c", script, str(path), at], check=False)
    assert child.returncode == 9
    assert not path.exists()
    assert found_by_the_next(path) == ["one"]
    assert not list(path.parent.glob("*.rescued*"))


def test_thousands_of_commits_and_checkpoints_are_no_damage(writer: Writer, path: Path) -> None:
    destination = writer.submit(target_state.insert, "destination", "broker", {}).result(SECONDS).id
    other = sqlite3.connect(path, isolation_level=None)
    for seq in range(1, 600):
        rows = [OutboxRow(seq, "t", bytes(20_000), 0)]
        writer.submit(outbox.commit, destination, rows, [seq - 50]).result(SECONDS)
        if seq % 50 == 0:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.execute("UPDATE target_state SET updated_at = ? WHERE id = 1", [str(seq)])
    other.close()
