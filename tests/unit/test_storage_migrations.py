import re
import sqlite3
from pathlib import Path

import pytest

from storage import dead_letters, devices, identity, migrations, outbox, target_state
from storage.database import Database, open_database
from storage.dead_letters import DeadLetter
from storage.outbox import OutboxRow, OutboxSummary

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
    assert outbox.load(database, destination.id, 0, 10, 1000) == [
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


def test_database_without_any_migration_upgrades(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "agent.sqlite")
    connection.execute("CREATE TABLE of_somebody_else (x)")
    connection.close()
    database = open_database(tmp_path / "agent.sqlite")
    assert ("table", "outbox") in schema(database)
    assert ("table", "of_somebody_else") in schema(database)
    database.close()
