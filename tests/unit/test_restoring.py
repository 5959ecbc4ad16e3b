"""What a restore and a reset leave, and that no crash leaves anything else."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from test_backups import PASSPHRASE, SECRET, contents, filled, names, site
from test_storage_migrations import KEY, STORED
from test_storage_migrations import restored as dumped

from storage import (
    backup_files,
    backups,
    identity,
    migrations,
    outbox,
    outcomes,
    resetting,
    restoring,
    target_state,
)
from storage.backups import Site, create
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.passphrases import WrongPassphrase, key_id

STAYS_AT_A_RESET = {"agent", migrations.TABLE}
TOKEN = 77


@pytest.fixture
def here(tmp_path: Path) -> Site:
    return site(tmp_path / "here")


def restore(where: Site, database: Database, file: str, passphrase: str | None = None) -> None:
    """As the agent does it."""
    ready, own = restoring.prepare(where, file, passphrase)
    with database.db.atomic():
        restoring.replace(database, ready, own, TOKEN)


def carried(source: Site, file: str, target: Site) -> str:
    """The backup in the folder of another agent."""
    backup_files.make_folder(target.folder)
    uploaded = backup_files.draft(target.folder, "upload")
    shutil.copyfile(source.folder / file, uploaded)
    return backups.accept(target, uploaded).file


def test_it_brings_back_what_there_was_and_takes_away_what_came(here: Site) -> None:
    database = filled(here)
    before = contents(here.database)
    made = create(here, "manual")
    target_state.delete(database, [target_state.load(database)[0].id])
    target_state.insert(database, "endpoint", "newer", {})
    target_state.insert(database, "destination", "newer", {})
    database.db.execute("DELETE FROM users")
    database.db.execute("UPDATE agent SET name = 'newer'")
    restore(here, database, made.file)
    after = contents(here.database)
    for table, rows in before.items():
        if table not in backups.STAYS:
            assert after[table] == rows, table
    assert target_state.load(database)[1].body == {"password": SECRET}
    assert outcomes.is_done(database, TOKEN)
    database.close()
    again = open_database(here.database)
    assert again.notes == ()
    again.close()


def test_nobody_is_signed_in_afterwards(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    assert contents(here.database)["admin_sessions"]
    restore(here, database, made.file)
    assert contents(here.database)["admin_sessions"] == []
    database.close()


def test_what_waits_is_still_delivered_and_what_was_delivered_is_not_again(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    broker = target_state.load(database)[1]
    row = outbox.OutboxRow(2, "t", b"came later", 2)
    outbox.commit(database, broker.id, [row], [1])
    later = target_state.insert(database, "destination", "later", {})
    outbox.commit(database, later.id, [row], [])
    target_state.update(database, broker.id, {}, name="renamed")
    restore(here, database, made.file)
    assert outbox.load(database, broker.id, 0, 10, 1000).rows == [row]
    found = outbox.summaries(database)
    assert found.keys() == {broker.id}
    assert (found[broker.id].rows, found[broker.id].last_seq) == (1, 2)
    assert names(database) == ["plc", "broker"]
    database.close()


def test_names_that_changed_hands_are_no_hindrance(here: Site) -> None:
    database = filled(here)
    broker = target_state.load(database)[1]
    other = target_state.insert(database, "destination", "other", {})
    made = create(here, "manual")
    target_state.update(database, broker.id, {}, name="x")
    target_state.update(database, other.id, {}, name="broker")
    target_state.update(database, broker.id, {}, name="other")
    restore(here, database, made.file)
    assert names(database) == ["plc", "broker", "other"]
    database.close()


def test_ids_of_what_was_removed_do_not_come_back(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    newer = target_state.insert(database, "destination", "newer", {})
    restore(here, database, made.file)
    assert target_state.insert(database, "destination", "newest", {}).id == newer.id + 1
    database.close()


def test_another_agents_backup_leaves_this_one_itself_with_the_others_configuration(
    here: Site, tmp_path: Path
) -> None:
    there = site(tmp_path / "there")
    database, other = filled(here), filled(there, "other")
    me = identity.load_or_create(database, None, None, None)
    file = carried(there, create(there, "manual", PASSPHRASE).file, here)
    restore(here, database, file, PASSPHRASE)
    assert identity.load_or_create(database, None, None, None) == me
    assert names(database) == ["other", "broker"]
    assert target_state.load(database)[1].body == {"password": SECRET}
    assert outbox.summaries(database) == {}
    for one in (database, other):
        one.close()
    again = open_database(here.database)
    assert again.notes == ()
    again.close()


def test_another_agents_backup_can_make_this_one_that_one(here: Site, tmp_path: Path) -> None:
    there = site(tmp_path / "there")
    database, other = filled(here), filled(there, "other")
    file = carried(there, create(there, "manual", PASSPHRASE).file, here)
    ready, own = restoring.prepare(here, file, PASSPHRASE)
    assert not own
    with database.db.atomic():
        restoring.replace(database, ready, True, TOKEN)
    found = [identity.load_or_create(one, None, None, None) for one in (database, other)]
    assert found[0] == found[1]
    for one in (database, other):
        one.close()


def test_an_agent_that_lost_its_database_is_itself_again(here: Site) -> None:
    database = filled(here)
    me = identity.load_or_create(database, None, None, None)
    made = create(here, "manual")
    database.close()
    here.database.unlink()
    database = open_database(here.database)
    assert identity.load_or_create(database, None, None, None).uuid != me.uuid
    restore(here, database, made.file)
    assert identity.load_or_create(database, None, None, None) == me
    database.close()


def test_a_wrong_passphrase_changes_nothing(here: Site, tmp_path: Path) -> None:
    there = site(tmp_path / "there")
    database, other = filled(here), filled(there, "other")
    file = carried(there, create(there, "manual", PASSPHRASE).file, here)
    before = contents(here.database)
    with pytest.raises(WrongPassphrase):
        restore(here, database, file, PASSPHRASE + "!")
    with pytest.raises(restoring.NeedsPassphrase):
        restore(here, database, file)
    assert contents(here.database) == before
    assert not [path for path in here.folder.iterdir() if path.name.startswith(".")]
    for one in (database, other):
        one.close()


def test_a_passphrase_that_nothing_was_made_with_is_refused(here: Site) -> None:
    database = filled(here)
    made = create(here, "manual")
    with pytest.raises(StorageError, match="without a passphrase"):
        restoring.prepare(here, made.file, PASSPHRASE)
    database.close()


@pytest.mark.parametrize("dump", sorted(file.stem for file in STORED.glob("*.sql")))
def test_backups_of_every_older_schema_are_restored(tmp_path: Path, here: Site, dump: str) -> None:
    old = tmp_path / "old"
    old.mkdir()
    path = dumped(old, dump)
    expected = open_database(path)
    rows = [(row.kind, row.name, row.body) for row in target_state.load(expected)]
    me = identity.load_or_create(expected, None, None, None)
    expected.close()
    for left in old.iterdir():
        left.unlink()
    path = dumped(old, dump)

    database = filled(here)
    here.key_file.write_bytes(KEY)
    database.close()
    database = open_database(here.database)
    info = backups.Info(
        backup_files.Contents(1, me.created_at, "manual", "0.1", dump, me.uuid, me.name, key_id(KEY), False),
        None,
    )
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {backups.INFO} (info BLOB NOT NULL)")
    connection.execute(f"INSERT INTO {backups.INFO} VALUES (?)", [msgspec.json.encode(info)])
    connection.commit()
    connection.close()
    file = carried(Site(path, old, old, ""), path.name, here)
    restore(here, database, file)
    assert [(row.kind, row.name, row.body) for row in target_state.load(database)] == rows
    assert identity.load_or_create(database, None, None, None).uuid == me.uuid
    database.close()


def test_nothing_in_a_backup_runs(here: Site) -> None:
    database = filled(here)
    views, triggers = create(here, "manual"), create(here, "manual")
    connection = sqlite3.connect(here.folder / views.file)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n"
    connection.executescript(f"CREATE VIEW endless AS {endless}")
    connection.close()
    with pytest.raises(StorageError, match="which no backup does"):
        carried(here, views.file, here)
    connection = sqlite3.connect(here.folder / triggers.file)
    connection.executescript(
        f"CREATE TRIGGER evil BEFORE UPDATE ON target_state BEGIN INSERT INTO users {endless}; END"
    )
    connection.close()
    file = carried(here, triggers.file, here)
    here.key_file.write_bytes(bytes(range(32)))
    with pytest.raises(StorageError):
        restoring.prepare(here, file, None)
    here.key_file.write_bytes(KEY)
    database.close()


# Factory reset


def test_a_reset_leaves_the_uuid_and_nothing_else(here: Site) -> None:
    database = filled(here)
    me = identity.load_or_create(database, None, None, None)
    with database.db.atomic():
        resetting.empty(database, TOKEN)
    for table, rows in contents(here.database).items():
        assert rows == [] or table in STAYS_AT_A_RESET, table
    found = identity.load_or_create(database, None, None, None)
    assert found.uuid == me.uuid
    assert found.name == f"agent-{me.uuid[:8]}"
    assert found.type == "standalone"
    assert found.created_at >= me.created_at
    assert target_state.insert(database, "endpoint", "plc", {}).id == 1
    assert outcomes.is_done(database, TOKEN)
    database.close()


def test_what_a_reset_deleted_is_not_left_in_the_file(here: Site) -> None:
    database = filled(here, "name-in-clear")
    database.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert b"payload-that-waits" in here.database.read_bytes()
    with database.db.atomic():
        resetting.empty(database, TOKEN)
    assert database.db.execute("PRAGMA secure_delete").fetchone()[0] == 2
    database.close()
    for file in here.data_dir.glob("agent.sqlite*"):
        content = file.read_bytes()
        for planted in (b"payload-that-waits", b"name-in-clear", b"$argon2", b"ann"):
            assert planted not in content, file


def test_a_backup_of_before_a_reset_brings_all_of_it_back(here: Site) -> None:
    database = filled(here)
    before = contents(here.database)
    made = create(here, "before-reset")
    with database.db.atomic():
        resetting.empty(database, TOKEN)
    identity.load_or_create(database, None, None, None)
    restore(here, database, made.file)
    after = contents(here.database)
    for table, rows in before.items():
        if table not in backups.STAYS:
            assert after[table] == rows, table
    database.close()


# Whenever it ends


def ends_at(step: int, where: Site, change: Callable[[Database], None]) -> bool:
    """Whether a process that is killed before its `step`th statement had got that far."""
    child = os.fork()
    if child == 0:
        left = step

        def count(_statement: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)

        try:
            database = open_database(where.database)
            database.db.conn.set_trace_callback(count)
            with database.db.atomic():
                change(database)
            os._exit(0)  # without closing, as when the power goes
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    return code == 9


@pytest.mark.parametrize("what", ["restore", "reset"])
def test_killed_at_any_step_it_is_all_of_the_one_or_all_of_the_other(here: Site, what: str) -> None:
    database = filled(here)
    made = create(here, "manual")
    target_state.insert(database, "endpoint", "newer", {})
    database.close()
    ready, own = restoring.prepare(here, made.file, None)
    old = contents(here.database)

    def change(database: Database) -> None:
        if what == "restore":
            restoring.replace(database, ready, own, TOKEN)
        else:
            resetting.empty(database, TOKEN)

    untouched = here.data_dir.with_name("untouched")
    shutil.copytree(here.data_dir, untouched)
    step, seen = 0, set()
    killed = True
    while killed:
        shutil.rmtree(here.data_dir)
        shutil.copytree(untouched, here.data_dir)
        killed = ends_at(step, here, change)
        database = open_database(here.database)
        assert database.notes == ()
        assert database.set_aside is None
        done = outcomes.is_done(database, TOKEN)
        seen.add(done)
        found = contents(here.database)
        assert done == (found != old)
        if done and what == "restore":
            assert names(database) == ["plc", "broker"]
        elif done:
            assert found["target_state"] == found["users"] == found["outbox"] == []
        database.close()
        step += 1
    assert seen == {False, True}
    assert step > 20
