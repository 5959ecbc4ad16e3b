import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from storage import outbox, target_state
from storage.database import open_database
from storage.errors import StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "agent.sqlite"


def filled(path: Path) -> None:
    """A database of some 100 pages, all of them in the main file."""
    database = open_database(path)
    row = target_state.insert(database, "destination", "broker", {})
    rows = [outbox.OutboxRow(seq, "t", bytes(3000), 0) for seq in range(100)]
    outbox.commit(database, row.id, rows, [])
    database.close()


def damage_target_state(path: Path) -> None:
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'target_state'"
    (page,) = connection.execute(query).fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 30 * 4096 + 100])


def test_new_database_has_the_promised_settings(path: Path) -> None:
    database = open_database(path, busy_timeout_ms=1234)

    def pragma(name: str) -> object:
        return database.db.execute(f"PRAGMA {name}").fetchone()[0]

    assert database.set_aside is None
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("auto_vacuum") == 2
    assert pragma("secure_delete") == 2
    assert pragma("busy_timeout") == 1234
    assert database.db.conn.isolation_level is None
    database.close()


def test_close_empties_the_log_and_may_be_repeated(path: Path) -> None:
    filled(path)
    files = {file.name for file in path.parent.iterdir() if file.suffix != ".lock"}
    assert files == {"agent.sqlite", ".master.key"}

    database = open_database(path)
    database.close()
    database.close()


def test_rows_are_there_after_reopening(path: Path) -> None:
    filled(path)
    database = open_database(path)
    assert [row.name for row in target_state.load(database)] == ["broker"]
    assert database.set_aside is None
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        damage_target_state,
        lambda path: path.write_bytes(b"garbage"),
        lambda path: path.write_bytes(b"not a database at all" * 1000),
        lambda path: path.write_bytes(bytes(8192)),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
    ],
    ids=["truncated", "damaged page", "short garbage", "long garbage", "zeros", "header only"],
)
def test_damaged_database_is_set_aside(
    path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    filled(path)
    damage(path)
    damaged = path.read_bytes()

    database = open_database(path)

    assert database.set_aside is not None
    assert database.set_aside.name.startswith("agent.sqlite.corrupt-")
    assert len(database.set_aside.read_bytes()) == len(damaged)
    assert target_state.load(database) == []
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert str(database.set_aside) in caplog.text
    database.close()

    again = open_database(path)
    assert again.set_aside is None
    again.close()


def test_index_that_contradicts_its_table_is_damage(path: Path) -> None:
    filled(path)
    content = path.read_bytes()
    with sqlite3.connect(path) as connection:
        (uuid,) = connection.execute("SELECT uuid FROM target_state").fetchone()
    connection.close()
    places = [at for at in range(len(content)) if content.startswith(uuid.encode(), at)]
    assert len(places) == 2, "the uuid stands in the table and in its index"
    altered = bytearray(content)
    altered[places[1]] ^= 1
    path.write_bytes(altered)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()

    database = open_database(path)

    assert database.set_aside is not None
    database.close()


def test_setting_aside_takes_the_log_along_and_never_overwrites(path: Path) -> None:
    kept: set[Path] = set()
    for number in range(3):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"garbage %d" % number)
        path.with_name("agent.sqlite-wal").write_bytes(b"log %d" % number)
        database = open_database(path)
        assert database.set_aside is not None
        kept.add(database.set_aside)
        database.close()

    assert len(kept) == 3
    assert {file.read_bytes() for file in kept} == {b"garbage 0", b"garbage 1", b"garbage 2"}
    logs = {file.with_name(f"{file.name}-wal") for file in kept}
    assert {file.read_bytes() for file in logs} == {b"log 0", b"log 1", b"log 2"}


def test_empty_file_is_a_new_database(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    database = open_database(path)
    assert database.set_aside is None
    database.close()


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["gone", "empty"])
def test_log_of_a_database_that_is_lost_is_kept_and_told(path: Path, lose: Callable[[Path], object]) -> None:
    database = open_database(path)
    target_state.insert(database, "destination", "broker", {})
    log = path.with_name("agent.sqlite-wal")
    committed = log.read_bytes()
    database.close()
    lose(path)
    log.write_bytes(committed)

    with closing(open_database(path)) as database:
        assert database.set_aside is not None
        assert database.notes
        assert database.set_aside.with_name(f"{database.set_aside.name}-wal").read_bytes() == committed
        assert target_state.load(database) == []


def test_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('callboard', '9999_tomorrow', '')"
        )
    connection.close()

    with pytest.raises(StorageError, match="9999_tomorrow") as caught:
        open_database(path)

    assert caught.value.kind == "newer"
    assert str(path) in str(caught.value)
    assert not list(path.parent.glob("*.corrupt-*"))


def test_second_agent_is_refused_while_the_first_runs(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from storage.database import open_database\n"
        "database = open_database(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"

        with pytest.raises(StorageError, match=f"another agent .process {first.pid}") as caught:
            open_database(path)

        assert caught.value.kind == "locked"
        first.stdin.close()
    assert not list(path.parent.glob("*.corrupt-*"))
    open_database(path).close()


def test_second_agent_is_refused_when_only_the_database_is_shared(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "agent.sqlite"
    first = open_database(shared, data_dir=tmp_path / "one")
    with pytest.raises(StorageError, match="another agent"):
        open_database(shared, data_dir=tmp_path / "two")
    first.close()
    open_database(shared, data_dir=tmp_path / "two").close()


def test_database_in_the_folder_of_a_running_agent_is_refused_to_another(tmp_path: Path) -> None:
    used = tmp_path / "one" / "agent.sqlite"
    other = tmp_path / "two"
    other.mkdir()
    link = other / "agent.sqlite"
    link.symlink_to(used)
    first = open_database(used)
    for name in (used, link):
        with pytest.raises(StorageError, match="another agent") as caught:
            open_database(name, data_dir=other)
        assert caught.value.kind == "locked"
    first.close()
    open_database(link, data_dir=other).close()


def test_key_and_lock_live_in_the_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    open_database(tmp_path / "elsewhere" / "x.db", data_dir=data).close()
    assert {file.name for file in data.iterdir()} == {".master.key", "agent.lock"}
    assert {file.name for file in (tmp_path / "elsewhere").iterdir()} == {"x.db", "x.db.lock"}


def test_database_locked_by_another_program_is_not_taken_for_damaged(path: Path) -> None:
    filled(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM outbox WHERE seq = 1")

    with pytest.raises(StorageError, match="database is locked") as caught:
        open_database(path, busy_timeout_ms=10)

    other.execute("ROLLBACK")
    other.close()
    assert caught.value.kind == "busy"
    assert str(path) in str(caught.value)
    database = open_database(path)
    assert database.set_aside is None
    database.close()


def test_folder_that_cannot_be_made_is_named_and_the_lock_let_go(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")

    with pytest.raises(StorageError) as caught:
        open_database(path)

    assert caught.value.kind == "unusable"
    assert str(path) in str(caught.value)
    path.parent.unlink()
    open_database(path).close()


def test_folder_in_the_place_of_the_database_is_an_error(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="is not a file; move it away") as caught:
        open_database(path)
    assert caught.value.kind == "unusable"
    assert {file.name for file in path.parent.iterdir() if file.suffix != ".lock"} == {"agent.sqlite"}
    path.rmdir()
    open_database(path).close()


@pytest.mark.parametrize("limit", [0, 4096, 16384])
def test_disk_that_takes_no_more_at_open_is_an_error_naming_the_path(path: Path, limit: int) -> None:
    script = (
        "import json, resource, sys; from pathlib import Path\n"
        "from storage.database import open_database; from storage.errors import StorageError\n"
        "limit = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "try: open_database(Path(sys.argv[1]))\n"
        "except StorageError as error: print(json.dumps(str(error)))\n"
    )
    child = subprocess.run(
        [sys.executable, "-B", "-c", script, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(path) in json.loads(child.stdout)
    assert not list(path.parent.glob("*.corrupt-*"))
    open_database(path).close()


@pytest.mark.parametrize(("given", "wanted"), [(None, 0o600), (0o644, 0o640), (0o600, 0o600)])
def test_others_may_not_read_it_whatever_the_umask(path, given, wanted):
    """It has hashes of passwords, which anybody with an account on the machine could try out else."""
    before = os.umask(0o022)
    try:
        if given is not None:
            filled(path)
            path.chmod(given)
        database = open_database(path)
        target_state.insert(database, "destination", "another", {})
        files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.glob("agent.sqlite*")}
        database.close()
    finally:
        os.umask(before)
    assert {"agent.sqlite", "agent.sqlite-wal", "agent.sqlite-shm"} <= files.keys()
    assert {name: mode for name, mode in files.items() if mode != wanted and not name.endswith("lock")} == {}
