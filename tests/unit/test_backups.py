import errno
import json
import os
import resource
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from storage import backup_files, backups, identity, outbox, passphrases, restoring, target_state
from storage.backups import Site, create, verify
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.passphrases import WrongPassphrase

SECRET = "swordfish-of-the-broker"
PASSPHRASE = "correct horse battery"


def site(folder: Path) -> Site:
    return Site(folder / "agent.sqlite", folder, folder / "backups", "1.2.3")


@pytest.fixture
def here(tmp_path: Path) -> Site:
    return site(tmp_path / "here")


def filled(where: Site, name: str = "plc") -> Database:
    database = open_database(where.database)
    with database.db.atomic():
        identity.load_or_create(database, None, f"agent of {name}", None)
        target_state.insert(database, "endpoint", name, {"connection": {"host": "plc.example"}})
        broker = target_state.insert(database, "destination", "broker", {"password": SECRET})
        outbox.commit(database, broker.id, [outbox.OutboxRow(1, "t", b"payload-that-waits", 1)], [])
        database.db.execute(
            "INSERT INTO users VALUES (1, 'ann', 'hash', 'admin', 1, 0, '2026-01-01', '2026-01-01')"
        )
        database.db.execute(
            "INSERT INTO admin_sessions VALUES (1, x'aa', 1, 0, 99999999999999, '127.0.0.1', 'curl')"
        )
    return database


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, as another program sees them."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for name in backups.tables(connection)
        }


def names(database: Database) -> list[str | None]:
    return [row.name for row in target_state.load(database)]


def test_a_backup_has_everything_but_what_waits_and_who_is_signed_in(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    before, inside = contents(here.database), contents(here.folder / made.file)
    assert inside.keys() == before.keys() | {backups.INFO}
    for table, rows in before.items():
        assert inside[table] == ([] if table in backups.STAYS else rows), table
    assert before["outbox"]
    assert before["admin_sessions"]
    assert b"payload-that-waits" not in (here.folder / made.file).read_bytes()
    assert verify(here, made.file) == backups.Verified(made.file, [])
    database.close()


def test_what_has_only_the_write_ahead_log_is_in_it(here: Site) -> None:
    # home-assistant and others: the file was copied, and its log was not
    database = filled(here)
    database.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    target_state.insert(database, "endpoint", "latest", {})
    made = create(here, "manual")
    found = contents(here.folder / made.file)["target_state"]
    assert "latest" in [row[3] for row in found]
    database.close()


def test_files_are_closed_to_others_and_stand_alone(here: Site) -> None:
    database = filled(here)
    here.folder.mkdir(mode=0o755)
    made = create(here, "manual", PASSPHRASE)
    assert here.folder.stat().st_mode & 0o777 == 0o700
    found = sorted(file.name for file in here.folder.iterdir())
    assert found == [made.file, f"{made.file}.meta.json"]
    assert {file.stat().st_mode & 0o777 for file in here.folder.iterdir()} == {0o600}
    key = here.key_file.read_bytes()
    for file in here.folder.iterdir():
        assert key not in file.read_bytes()
        assert key.hex().encode() not in file.read_bytes().lower()
        assert SECRET.encode() not in file.read_bytes()
        assert PASSPHRASE.encode() not in file.read_bytes()
    database.close()


def test_the_folder_may_be_on_another_disk_and_that_may_be_away(here: Site, tmp_path: Path) -> None:
    database = filled(here)
    here.folder.symlink_to(tmp_path / "stick")
    with pytest.raises(OSError, match="backups"):
        create(here, "scheduled")
    assert backup_files.listed(here.folder) == []
    (tmp_path / "stick").mkdir()
    made = create(here, "scheduled")
    assert verify(here, made.file).ok
    assert (tmp_path / "stick" / made.file).exists()
    database.close()


def test_the_sidecar_says_what_the_list_says(here: Site) -> None:
    database = filled(here)
    made = create(here, "before-update")
    beside = json.loads((here.folder / f"{made.file}.meta.json").read_text())
    assert beside["sha256"] == made.sha256 == backup_files.checksum(here.folder / made.file)
    assert beside["size_bytes"] == made.size_bytes == (here.folder / made.file).stat().st_size
    assert beside["trigger"] == made.trigger == "before-update"
    assert beside["contents"]["version"] == made.version == "1.2.3"
    assert backup_files.listed(here.folder) == [made]
    database.close()


def test_the_list_goes_by_number_whatever_the_clock_said(here: Site, wall_clock: Any) -> None:
    database = filled(here)
    first = create(here, "manual")
    wall_clock.jump(-86_400)
    second = create(here, "manual")
    assert [one.file for one in backup_files.listed(here.folder)] == [second.file, first.file]
    database.close()


@pytest.mark.parametrize(
    "name",
    [
        "../agent.sqlite",
        "agent.sqlite",
        "..",
        "",
        "/etc/passwd",
        ".restore-ready.sqlite",
        "callboard-20260101T000000Z-1.sqlite/../../.master.key",
        "callboard-20260101T000000Z-1.sqlite\n",
    ],
)
def test_no_name_leads_out_of_the_folder(here: Site, name: str) -> None:
    filled(here).close()
    here.folder.mkdir()
    with pytest.raises(StorageError) as caught:
        backup_files.found(here.folder, name)
    assert caught.value.kind == "missing"


def test_a_link_is_no_backup(here: Site) -> None:
    filled(here).close()
    here.folder.mkdir()
    link = here.folder / "callboard-20260101T000000Z-1.sqlite"
    link.symlink_to(here.key_file)
    assert backup_files.listed(here.folder) == []
    with pytest.raises(StorageError):
        backup_files.found(here.folder, link.name)


def test_a_changed_byte_is_found(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    path = here.folder / made.file
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    assert verify(here, made.file).problems[0].startswith("It was changed since it was made")
    with pytest.raises(StorageError):
        restoring.prepare(here, made.file, None)
    database.close()


def test_what_was_cut_short_or_has_no_sidecar_is_shown_as_such(here: Site) -> None:
    # a tool that kept incomplete files and counted them as backups (backwpup 118, mythtv 1185)
    database = filled(here)
    cut, bare, bad, empty = (create(here, "scheduled") for _ in range(4))
    os.truncate(here.folder / cut.file, 4096)
    (here.folder / f"{bare.file}.meta.json").unlink()
    (here.folder / f"{bad.file}.meta.json").write_text('{"sha256": 1')
    os.truncate(here.folder / empty.file, 0)
    found = {one.file: one.error or "" for one in backup_files.listed(here.folder)}
    assert "instead of" in found[cut.file]
    assert "no checksum" in found[bare.file]
    assert "cannot be read" in found[bad.file]
    for file in found:
        assert not verify(here, file).ok
        with pytest.raises(StorageError):
            restoring.prepare(here, file, None)
    database.close()


def test_what_is_damaged_neither_counts_nor_goes(here: Site) -> None:
    database = filled(here)
    made = [create(here, "scheduled") for _ in range(5)]
    mine = create(here, "manual")
    for one in made[3:]:
        os.truncate(here.folder / one.file, 0)
    assert backup_files.prune(here.folder, "scheduled", 2) == [made[0].file]
    left = {one.file for one in backup_files.listed(here.folder)}
    assert left == {mine.file, *(one.file for one in made[1:])}
    backup_files.prune(here.folder, "scheduled", 0)
    assert made[2].file in {one.file for one in backup_files.listed(here.folder)}
    database.close()


def test_a_full_disk_costs_no_backup_and_leaves_nothing(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # uptime-kuma 1412
    database = filled(here)
    made = create(here, "scheduled")
    monkeypatch.setattr(backup_files, "room", lambda folder: 1000)
    with pytest.raises(OSError, match="MB are needed") as caught:
        create(here, "scheduled")
    assert caught.value.errno == errno.ENOSPC
    assert sorted(file.name for file in here.folder.iterdir()) == [made.file, f"{made.file}.meta.json"]
    database.close()


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    database = filled(here)
    create(here, "scheduled")
    before = sorted(here.folder.iterdir())
    for call in ("fsync", "rename"):

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os if call == "fsync" else Path, call, full)
            with pytest.raises(OSError, match="No space"):
                create(here, "scheduled")
        assert sorted(here.folder.iterdir()) == before
    database.close()


def test_leftovers_of_an_agent_that_was_ended_are_swept(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    (here.folder / ".backup-0.part").write_text("half")
    (here.folder / "callboard-20260101T000000Z-9.sqlite.meta.json").write_text("{}")
    (here.folder / "notes.txt").write_text("of the operator")
    backup_files.sweep(here.folder)
    found = sorted(file.name for file in here.folder.iterdir())
    assert found == [made.file, f"{made.file}.meta.json", "notes.txt"]
    database.close()


def test_a_stop_gives_it_up(here: Site) -> None:
    database = filled(here)
    with database.db.atomic():
        for number in range(200):
            target_state.insert(database, "endpoint", f"e{number}", {"filling": "x" * 1000})
    with pytest.raises(backup_files.GivenUp):
        create(here, "manual", ended=lambda: True)
    assert list(here.folder.iterdir()) == []
    database.close()


def test_rows_without_parent_do_not_keep_it_from_being_made(here: Site) -> None:
    database = filled(here)
    database.db.execute("PRAGMA foreign_keys=OFF")
    target_state.insert(database, "subscription", None, {}, parent_id=4711)
    made = create(here, "manual")
    assert verify(here, made.file).ok
    database.close()


def test_only_its_passphrase_opens_the_key(here: Site) -> None:
    wrapped = passphrases.wrap(b"k" * 32, "schlüssel-wort")
    assert passphrases.unwrap(wrapped, "schlu\u0308ssel-wort") == b"k" * 32
    with pytest.raises(WrongPassphrase):
        passphrases.unwrap(wrapped, "schlussel-wort")


@pytest.mark.parametrize("cost", [0, 1, 3, 2**18, 2**40, -2])
def test_who_uploads_a_backup_does_not_say_what_it_costs(cost: int) -> None:
    with pytest.raises(StorageError, match="not known"):
        passphrases.unwrap(passphrases.Wrapped(b"salt", cost, b""), PASSPHRASE)


def test_another_agents_backup_needs_its_key(here: Site, tmp_path: Path) -> None:
    # octopus 173, opentranscribe 243: restored, and nothing encrypted could be read any more
    there = site(tmp_path / "there")
    databases = [filled(here), filled(there, "other")]
    with_key, without = create(there, "manual", PASSPHRASE), create(there, "manual")
    for made in (with_key, without):
        uploaded = backup_files.draft(_made(here.folder), "upload")
        uploaded.write_bytes((there.folder / made.file).read_bytes())
        taken = backups.accept(here, uploaded)
        assert taken.trigger == "uploaded"
        assert taken.created_at == made.created_at
        result = verify(here, taken.file)
        assert result.ok == made.has_key
        assert result.needs_passphrase == made.has_key
        with pytest.raises(StorageError, match="master key"):
            restoring.prepare(here, taken.file, None)
    for database in databases:
        database.close()


def _made(folder: Path) -> Path:
    backup_files.make_folder(folder)
    return folder


@pytest.mark.parametrize("what", [b"", b"hello", b"SQLite format 3\0" + b"x" * 5000])
def test_what_is_no_backup_is_not_taken(here: Site, what: bytes) -> None:
    filled(here).close()
    uploaded = backup_files.draft(_made(here.folder), "upload")
    uploaded.write_bytes(what)
    with pytest.raises(StorageError):
        backups.accept(here, uploaded)
    assert list(here.folder.iterdir()) == []


def test_a_database_that_is_no_backup_is_not_taken(here: Site) -> None:
    filled(here).close()
    uploaded = backup_files.draft(_made(here.folder), "upload")
    uploaded.write_bytes(here.database.read_bytes())
    with pytest.raises(StorageError, match="not a backup of this agent"):
        backups.accept(here, uploaded)


def test_one_of_a_newer_version_is_refused_by_name(here: Site) -> None:
    database = filled(here)
    database.db.execute("INSERT INTO _sqlite_migrations VALUES (99, 'callboard', '9999_later', '2030')")
    made = create(here, "manual")
    database.db.execute("DELETE FROM _sqlite_migrations WHERE name = '9999_later'")
    assert "9999_later" in verify(here, made.file).problems[0]
    with pytest.raises(StorageError, match="newer version"):
        restoring.prepare(here, made.file, None)
    database.close()


HUGE = "zeroblob(400000000)"


@pytest.mark.parametrize(
    "statements",
    [
        [f"DROP TABLE {backups.INFO}", f"CREATE TABLE {backups.INFO}(x, info BLOB AS ({HUGE}))"],
        [f"DROP TABLE {backups.INFO}", f"CREATE TABLE {backups.INFO}(info BLOB)"],
        [
            f"DROP TABLE {backups.INFO}",
            f"CREATE VIEW {backups.INFO} AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
            " SELECT max(n) AS info FROM r",
        ],
        [f"CREATE TABLE more(x CHECK (length({HUGE}) > x))"],
        [f"CREATE TABLE more(x, y AS (hex({HUGE})) NOT NULL)"],
        ["CREATE TABLE more(x)", f"CREATE INDEX of_more ON more(length({HUGE}))"],
        ["CREATE TABLE more(x)", "CREATE INDEX of_more ON more(x) WHERE x LIKE '%a%a%a%a%a%a%a%a%a%b'"],
        [
            "PRAGMA writable_schema=ON",
            "INSERT INTO sqlite_master VALUES"
            " ('table', 'more', 'more', 0, 'CREATE/**/VIRTUAL TABLE more USING fts5(x)')",
        ],
    ],
)
def test_a_schema_from_outside_makes_nothing_run_or_grow(here: Site, statements: list[str]) -> None:
    """A few kilobytes of it take hundreds of megabytes else, or all the time there is."""
    filled(here).close()
    made = here.folder / create(here, "manual").file
    uploaded = backup_files.draft(here.folder, "upload")
    uploaded.write_bytes(made.read_bytes())
    backup_files.remove(made)
    with closing(sqlite3.connect(uploaded, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        if "writable" not in statements[0]:
            last = backups.INFO if backups.INFO in statements[0] and "VIEW" not in statements[-1] else "more"
            with suppress(sqlite3.OperationalError):  # a view holds nothing
                value = b" " * (backups.LONGEST_INFO + 1) if last == backups.INFO else 1
                column = "info" if "info BLOB)" in statements[-1] else "x"
                connection.execute(f"INSERT INTO {last}({column}) VALUES (?)", [value])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StorageError, match="no backup that can be restored"):
        backups.accept(here, uploaded)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000
    assert list(here.folder.iterdir()) == []
