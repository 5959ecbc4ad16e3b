import os
import re
import sqlite3
import time
from pathlib import Path

import pytest

import storage.copies
from storage import dead_letters, devices, discovery, identity, migrations, outbox, outbox_marks, target_state
from storage.database import Database, open_database
from storage.dead_letters import DeadLetter
from storage.outbox import OutboxRow, OutboxSummary
from storage.outbox_marks import Mark

STORED = Path(__file__).with_name("stored_databases")
KEY = bytes(range(32))
"""The key that every stored dump was encrypted with."""


def restored(folder: Path, dump: str) -> Path:
    """The dump as a database file, with its key."""
    path = folder / "agent.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript((STORED / f"{dump}.sql").read_text())
    connection.close()
    (folder / ".master.key").write_bytes(KEY)
    return path


def schema(database: Database) -> dict[tuple[str, str], str]:
    found = database.db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): re.sub(r"\s+", " ", sql) for kind, name, sql in found}


def test_every_migration_has_a_stored_database() -> None:
    assert sorted(file.stem for file in STORED.glob("*.sql")) == migrations.names()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [int(name[:4]) for name in migrations.names()] == list(range(1, len(migrations.names()) + 1))


@pytest.mark.parametrize("dump", migrations.names())
def test_stored_database_of_every_version_upgrades_to_the_current_schema(tmp_path: Path, dump: str) -> None:
    fresh = open_database(tmp_path / "fresh" / "agent.sqlite")
    upgraded = open_database(restored(tmp_path, dump))

    assert upgraded.set_aside is None
    assert schema(upgraded) == schema(fresh)
    assert [one.name for one in migrations.migrations.applied(upgraded.db)] == migrations.names()
    assert upgraded.db.execute("PRAGMA foreign_key_check").fetchall() == []
    fresh.close()
    upgraded.close()


def test_version_1_keeps_its_rows(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0001_first_tables"))

    endpoint, destination, subscription = target_state.load(database)
    assert endpoint.name == "plc-line-1"
    assert endpoint.body["connection"] == {"host": "127.0.0.1", "port": 502}
    assert destination.body["config_json"] == {"password": "swordfish"}
    assert subscription.parent_id == destination.id
    assert identity.load_or_create(database, None, None, None).name == "press-hall"
    assert [device.identifier for device in devices.load(database)] == ["17"]
    assert outbox.load(database, destination.id, 0, 10, 1000).rows == [
        OutboxRow(41, "plant/line-1", b"\x00\xff\x80{}", 1767225600000),
        OutboxRow(42, "plant/line-1", b"{}", 1767225601000),
    ]
    assert target_state.insert(database, "destination", "new", {}).id == 4
    database.close()


def test_version_2_keeps_its_dead_letters_and_drift(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0002_dead_letters_and_drift"))

    assert dead_letters.newest(database, 2, 10) == [
        DeadLetter(41, "plant/line-1", b"\x00\xff\x80{}", "not a number", 1767225600000, 1767225602000)
    ]
    assert outbox.summary(database, 2) == OutboxSummary(1, 2, 1767225601000, 42, dead_letters=1)
    assert database.db.execute("SELECT device, body FROM drift_baselines").fetchall() == [
        ("plc-line-1", b"{}")
    ]
    assert database.db.execute("SELECT drift_type, field FROM drift_events").fetchall() == [
        ("new-field", "reading:oil_temp")
    ]
    database.close()


def test_version_3_keeps_its_counts(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0003_outbox_counts"))
    assert outbox.summaries(database) == {2: OutboxSummary(2, 4, 1767225601000, 44, dead_letters=1)}
    outbox.append(database, 2, [outbox.Payload("t", b"new", 5)], 100, 100)
    assert [row.seq for row in outbox.load(database, 2, 0, 10, 1000).rows] == [42, 43, 45]
    database.close()


def test_version_5_keeps_its_groups(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0005_outbox_groups"))
    found = outbox.summary(database, 2)
    assert found is not None
    assert (found.rows, found.oldest, found.last_seq, found.dead_letters) == (4, 1767225601000, 47, 1)
    assert outbox.load(database, 2, 0, 10, 1000).rows == [
        OutboxRow(42, "plant/line-1", b"{}", 1767225601000),
        OutboxRow(45, "plant/line-1", b"{}", 1767225605000),
        OutboxRow(46, "plant/line-2", b"\x00\xff\x80{}", 1767225606000, qos=0, retain=True),
        OutboxRow(47, "plant/line-1", b"{}", 1767225607000, retain=True),
    ]
    database.close()


def test_version_4_keeps_its_marks(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0004_outbox_marks"))
    found = outbox_marks.found(database, 2)
    assert found.marks == [Mark(0, 41), Mark(3_600_000, 43)]
    assert found.summary == outbox.summary(database, 2) is not None
    outbox_marks.save(database, 2, [Mark(7_200_000, 44)])
    outbox_marks.save(database, 77, [Mark(0, 1)])
    assert outbox_marks.found(database, 2).marks == [Mark(7_200_000, 44)]
    assert outbox_marks.found(database, 77) == outbox_marks.Found(None, [])
    target_state.delete(database, [2])
    assert outbox_marks.found(database, 2).marks == []
    database.close()


def test_version_1_is_counted(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0001_first_tables"))
    assert outbox.summaries(database) == {2: OutboxSummary(2, 7, 1767225600000, 42)}
    assert outbox.summary(database, 1) is None
    database.close()


def test_payloads_of_nobody_do_not_stop_an_upgrade(tmp_path: Path) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO outbox VALUES (77, 1, 0, 't', x'00')")
    connection.close()
    database = open_database(path)
    assert list(outbox.summaries(database)) == [2]
    database.close()


# The copy of before


def copies(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("agent.sqlite.before-*"))


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_database_is_copied_before_an_upgrade_once(tmp_path: Path) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    path.chmod(0o640)
    before = dump(path)

    open_database(path).close()
    open_database(path).close()

    assert copies(tmp_path) == ["agent.sqlite.before-0003_outbox_counts"]
    copy = tmp_path / copies(tmp_path)[0]
    assert dump(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o640


def test_going_back_to_the_copy_is_an_upgrade_again(tmp_path: Path) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    open_database(path).close()
    (tmp_path / copies(tmp_path)[0]).rename(path)
    database = open_database(path)
    assert database.set_aside is None
    assert database.notes == ()
    assert [row.name for row in target_state.load(database)] == ["plc-line-1", "broker", None]
    database.close()


def test_new_database_is_not_copied(tmp_path: Path) -> None:
    open_database(tmp_path / "agent.sqlite").close()
    assert copies(tmp_path) == []


def test_big_database_is_upgraded_without_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    monkeypatch.setattr(storage.copies, "LARGEST", 4096)
    database = open_database(path)
    assert copies(tmp_path) == []
    assert outbox.summary(database, 2) is not None
    database.close()


def test_upgrade_goes_on_when_the_copy_cannot_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    (tmp_path / "agent.sqlite.before-0003_outbox_counts.part").mkdir()
    database = open_database(path)
    assert "no copy was made" in caplog.text
    assert outbox.summary(database, 2) is not None
    database.close()


def test_only_the_newest_copies_are_kept(tmp_path: Path) -> None:
    for name in ("0001_a", "0009_c", "0002_b"):
        (tmp_path / f"agent.sqlite.before-{name}").write_text(name)
    open_database(restored(tmp_path, "0002_dead_letters_and_drift")).close()
    assert copies(tmp_path) == ["agent.sqlite.before-0003_outbox_counts", "agent.sqlite.before-0009_c"]


def test_database_without_any_migration_upgrades(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "agent.sqlite")
    connection.execute("CREATE TABLE of_somebody_else (x)")
    connection.close()
    database = open_database(tmp_path / "agent.sqlite")
    assert ("table", "outbox") in schema(database)
    assert ("table", "of_somebody_else") in schema(database)
    database.close()


def test_copy_just_made_stays_though_the_clock_was_set_back(tmp_path: Path) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    of_tomorrow = time.time() + 86_400
    for days, name in enumerate(("0009_c", "0008_b")):
        old = tmp_path / f"agent.sqlite.before-{name}"
        old.touch()
        os.utime(old, (of_tomorrow + days, of_tomorrow + days))
    open_database(path).close()
    assert copies(tmp_path) == ["agent.sqlite.before-0003_outbox_counts", "agent.sqlite.before-0009_c"]


def test_what_is_no_file_among_the_copies_does_not_stop_the_start(tmp_path: Path) -> None:
    path = restored(tmp_path, "0002_dead_letters_and_drift")
    for name in "abc":
        (tmp_path / f"agent.sqlite.before-{name}").mkdir()
        (tmp_path / f"agent.sqlite.before-{name}-link").symlink_to(tmp_path / "nothing")
    open_database(path).close()
    assert "agent.sqlite.before-0003_outbox_counts" in copies(tmp_path)
    assert len(copies(tmp_path)) == 7


def test_version_7_keeps_its_rules_and_tells_the_run_that_was_cut_short(tmp_path: Path) -> None:
    database = open_database(restored(tmp_path, "0007_discovery"))

    stored = discovery.load(database)
    [rule] = stored.rules
    assert rule.body["params_json"] == {"network": "10.0.1.0/24"}
    state = stored.states[rule.uuid]
    assert (state.status, state.next_run_at, state.attempts) == ("error", 1767229200000, 1)
    assert state.last_result is not None
    assert state.last_result["error"] == discovery.INTERRUPTED
    latest, first = discovery.runs(database, rule.uuid, 10)
    assert (latest.uuid, latest.status, latest.error) == ("r-2", "error", discovery.INTERRUPTED)
    assert (first.uuid, first.status, first.found, first.duration_ms) == ("r-1", "ok", 1, 2000)
    [seen] = discovery.sightings(database, rule.uuid, ["scope"])["scope"]
    assert (seen.name, seen.last_seen_at, seen.missed) == ("plc-2", 1767225600000, 0)
    database.close()
