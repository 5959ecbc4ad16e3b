"""The schema. Append only: a released migration never changes.

Every migration has a stored dump in `tests/unit/stored_databases/` that the tests upgrade.
"""

import sqlite_utils
from sqlite_utils.migrations import Migrations

migrations = Migrations("callboard")

TABLE = "_sqlite_migrations"
"""In which they note what they have done."""


def names() -> list[str]:
    """Every migration of this version, in order."""
    with sqlite_utils.Database(memory=True, execute_plugins=False) as empty:
        return [migration.name for migration in migrations.pending(empty)]


def unknown(db: sqlite_utils.Database) -> list[str]:
    """Migrations that a newer version of the agent applied to `db`."""
    known = set(names())
    return [migration.name for migration in migrations.applied(db) if migration.name not in known]


def pending(db: sqlite_utils.Database) -> list[str]:
    """Migrations that `db` has yet to get; empty too for a database that holds nothing of ours."""
    if not migrations.applied(db):
        return []
    return [migration.name for migration in migrations.pending(db)]


@migrations(name="0001_first_tables")
def first_tables(db: sqlite_utils.Database) -> None:
    """Identity, target state, devices, outbox."""
    db.execute(
        """CREATE TABLE agent (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            uuid TEXT NOT NULL,
            name TEXT NOT NULL,
            type TEXT NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )"""
    )
    # AUTOINCREMENT: the id of a removed destination must not come back and inherit anything.
    db.execute(
        """CREATE TABLE target_state (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            uuid TEXT NOT NULL UNIQUE,
            name TEXT,
            parent_id INTEGER REFERENCES target_state(id) ON DELETE CASCADE,
            body BLOB NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )"""
    )
    db.execute(
        "CREATE UNIQUE INDEX target_state_kind_name ON target_state(kind, name) WHERE name IS NOT NULL"
    )
    db.execute("CREATE INDEX target_state_parent_id ON target_state(parent_id)")
    db.execute(
        """CREATE TABLE devices (
            id INTEGER PRIMARY KEY,
            uuid TEXT NOT NULL UNIQUE,
            endpoint_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            protocol TEXT NOT NULL,
            enabled INTEGER NOT NULL,
            identifier TEXT NOT NULL,
            metadata TEXT,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )"""
    )
    db.execute("CREATE INDEX devices_endpoint_id ON devices(endpoint_id)")
    # Not WITHOUT ROWID: that keeps rows in index pages, where only 1 KB of a row fits and the rest
    # overflows. With payloads of 3 KB it measured half as fast and 13 % larger than this.
    # The payload is last so that the columns before it are found without walking over it.
    db.execute(
        """CREATE TABLE outbox (
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            topic TEXT NOT NULL,
            payload BLOB NOT NULL,
            PRIMARY KEY (destination_id, seq)
        )"""
    )


@migrations(name="0002_dead_letters_and_drift")
def dead_letters_and_drift(db: sqlite_utils.Database) -> None:
    """Payloads that were rejected; what the fields of a device's readings usually are, and changes."""
    db.execute(
        """CREATE TABLE dead_letters (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            rejected_at INTEGER NOT NULL,
            topic TEXT NOT NULL,
            reason TEXT NOT NULL,
            payload BLOB NOT NULL,
            UNIQUE (destination_id, rejected_at, seq)
        )"""
    )
    db.execute(
        """CREATE TABLE drift_baselines (
            protocol TEXT NOT NULL,
            device_uuid TEXT NOT NULL,
            device TEXT NOT NULL,
            body BLOB NOT NULL,
            updated_at TEXT NOT NULL,
            PRIMARY KEY (protocol, device_uuid)
        )"""
    )
    db.execute(
        """CREATE TABLE drift_events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            protocol TEXT NOT NULL,
            device_uuid TEXT NOT NULL,
            device TEXT NOT NULL,
            drift_type TEXT NOT NULL,
            field TEXT NOT NULL,
            severity TEXT NOT NULL,
            detected_at TEXT NOT NULL,
            details TEXT NOT NULL
        )"""
    )
    db.execute("CREATE INDEX drift_events_protocol ON drift_events(protocol, id)")


@migrations(name="0003_outbox_counts")
def outbox_counts(db: sqlite_utils.Database) -> None:
    """What waits for each destination, counted as it comes and goes, and the last sequence number."""
    db.execute(
        """CREATE TABLE outbox_counts (
            destination_id INTEGER PRIMARY KEY REFERENCES target_state(id) ON DELETE CASCADE,
            rows INTEGER NOT NULL DEFAULT 0,
            bytes INTEGER NOT NULL DEFAULT 0,
            last_seq INTEGER NOT NULL DEFAULT 0,
            dead_letters INTEGER NOT NULL DEFAULT 0
        )"""
    )
    # Rows of a destination that is gone are there only if somebody has deleted it without foreign keys.
    db.execute(
        "INSERT INTO outbox_counts (destination_id, rows, bytes, last_seq)"
        " SELECT destination_id, count(*), sum(length(payload)), max(seq) FROM outbox"
        " WHERE destination_id IN (SELECT id FROM target_state) GROUP BY destination_id"
    )
    db.execute(
        "INSERT INTO outbox_counts (destination_id, last_seq, dead_letters)"
        " SELECT destination_id, max(seq), count(*) FROM dead_letters"
        " WHERE destination_id IN (SELECT id FROM target_state) GROUP BY destination_id"
        " ON CONFLICT (destination_id) DO UPDATE"
        " SET last_seq = max(last_seq, excluded.last_seq), dead_letters = excluded.dead_letters"
    )
    # Triggers, for they see cascades too. They add 1 us to a row of 3 KB, whose insertion takes 13 us.
    db.execute(
        """CREATE TRIGGER outbox_counts_in AFTER INSERT ON outbox BEGIN
            INSERT INTO outbox_counts (destination_id, rows, bytes, last_seq)
                VALUES (NEW.destination_id, 1, length(NEW.payload), NEW.seq)
                ON CONFLICT (destination_id) DO UPDATE SET rows = rows + 1,
                bytes = bytes + excluded.bytes, last_seq = max(last_seq, excluded.last_seq);
        END"""
    )
    db.execute(
        """CREATE TRIGGER outbox_counts_out AFTER DELETE ON outbox BEGIN
            UPDATE outbox_counts SET rows = rows - 1, bytes = bytes - length(OLD.payload)
                WHERE destination_id = OLD.destination_id;
        END"""
    )
    db.execute(
        """CREATE TRIGGER dead_letters_in AFTER INSERT ON dead_letters BEGIN
            INSERT INTO outbox_counts (destination_id, last_seq, dead_letters)
                VALUES (NEW.destination_id, NEW.seq, 1)
                ON CONFLICT (destination_id) DO UPDATE SET dead_letters = dead_letters + 1,
                last_seq = max(last_seq, excluded.last_seq);
        END"""
    )
    db.execute(
        """CREATE TRIGGER dead_letters_out AFTER DELETE ON dead_letters BEGIN
            UPDATE outbox_counts SET dead_letters = dead_letters - 1
                WHERE destination_id = OLD.destination_id;
        END"""
    )


@migrations(name="0004_outbox_marks")
def outbox_marks(db: sqlite_utils.Database) -> None:
    """How long the agent had run when what waits had come."""
    db.execute(
        """CREATE TABLE outbox_marks (
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            seen_ms INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            PRIMARY KEY (destination_id, seen_ms)
        ) WITHOUT ROWID"""
    )


@migrations(name="0005_outbox_groups")
def outbox_groups(db: sqlite_utils.Database) -> None:
    """Rows that are packed together, in order before those of `outbox`; QoS and retain flag of a row."""
    db.execute("ALTER TABLE outbox ADD COLUMN qos INTEGER NOT NULL DEFAULT 1")
    db.execute("ALTER TABLE outbox ADD COLUMN retain INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TABLE outbox_groups (
            id INTEGER PRIMARY KEY,
            destination_id INTEGER NOT NULL REFERENCES target_state(id) ON DELETE CASCADE,
            first_seq INTEGER NOT NULL,
            last_seq INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            packed INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            live BLOB NOT NULL,
            size INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            UNIQUE (destination_id, first_seq)
        )"""
    )
    # By itself, for a row is written whole when something of it changes.
    db.execute(
        """CREATE TABLE outbox_group_data (
            group_id INTEGER PRIMARY KEY REFERENCES outbox_groups(id) ON DELETE CASCADE,
            data BLOB NOT NULL
        )"""
    )
    db.execute("ALTER TABLE outbox_counts ADD COLUMN packed_rows INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE outbox_counts ADD COLUMN packed_bytes INTEGER NOT NULL DEFAULT 0")
    db.execute(
        """CREATE TRIGGER outbox_groups_in AFTER INSERT ON outbox_groups BEGIN
            INSERT INTO outbox_counts (destination_id, last_seq, packed_rows, packed_bytes)
                VALUES (NEW.destination_id, NEW.last_seq, NEW.rows, NEW.bytes * NEW.rows / NEW.packed)
                ON CONFLICT (destination_id) DO UPDATE SET packed_rows = packed_rows + excluded.packed_rows,
                packed_bytes = packed_bytes + excluded.packed_bytes,
                last_seq = max(last_seq, excluded.last_seq);
        END"""
    )
    db.execute(
        """CREATE TRIGGER outbox_groups_left AFTER UPDATE OF rows ON outbox_groups BEGIN
            UPDATE outbox_counts SET packed_rows = packed_rows + NEW.rows - OLD.rows,
                packed_bytes = packed_bytes
                    + NEW.bytes * NEW.rows / NEW.packed - OLD.bytes * OLD.rows / OLD.packed
                WHERE destination_id = NEW.destination_id;
        END"""
    )
    db.execute(
        """CREATE TRIGGER outbox_groups_out AFTER DELETE ON outbox_groups BEGIN
            UPDATE outbox_counts SET packed_rows = packed_rows - OLD.rows,
                packed_bytes = packed_bytes - OLD.bytes * OLD.rows / OLD.packed
                WHERE destination_id = OLD.destination_id;
        END"""
    )


@migrations(name="0006_users_and_backups")
def users_and_backups(db: sqlite_utils.Database) -> None:
    """Who may sign in, who is signed in, when backups are made."""
    db.execute(
        """CREATE TABLE users (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            username TEXT NOT NULL UNIQUE,
            password_hash TEXT NOT NULL,
            role TEXT NOT NULL,
            is_active INTEGER NOT NULL,
            must_change_password INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )"""
    )
    # Who reads the database finds no token to come in with.
    db.execute(
        """CREATE TABLE admin_sessions (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            token_hash BLOB NOT NULL UNIQUE,
            user_id INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,
            created_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL,
            peer TEXT NOT NULL,
            user_agent TEXT NOT NULL
        )"""
    )
    db.execute("CREATE INDEX admin_sessions_user_id ON admin_sessions(user_id)")
    db.execute(
        """CREATE TABLE backup_schedule (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            enabled INTEGER NOT NULL,
            interval_hours INTEGER NOT NULL,
            keep_count INTEGER NOT NULL,
            last_run_at INTEGER,
            next_run_at INTEGER
        )"""
    )


@migrations(name="0007_discovery")
def discovery(db: sqlite_utils.Database) -> None:
    """What is kept of rules that look for devices: where they stand, their runs, whom they have found."""
    db.execute(
        """CREATE TABLE discovery_states (
            rule_uuid TEXT PRIMARY KEY,
            status TEXT NOT NULL,
            last_run_at INTEGER,
            next_run_at INTEGER,
            last_result TEXT,
            attempts INTEGER NOT NULL DEFAULT 0
        )"""
    )
    db.execute(
        """CREATE TABLE discovery_runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            uuid TEXT NOT NULL UNIQUE,
            rule_uuid TEXT NOT NULL,
            rule_name TEXT NOT NULL,
            protocol TEXT NOT NULL,
            trigger TEXT NOT NULL,
            started_at INTEGER NOT NULL,
            finished_at INTEGER,
            duration_ms INTEGER,
            status TEXT NOT NULL,
            found INTEGER NOT NULL DEFAULT 0,
            saved INTEGER NOT NULL DEFAULT 0,
            skipped INTEGER NOT NULL DEFAULT 0,
            pruned INTEGER NOT NULL DEFAULT 0,
            error TEXT
        )"""
    )
    db.execute("CREATE INDEX discovery_runs_rule_uuid ON discovery_runs(rule_uuid, id)")
    db.execute(
        """CREATE TABLE discovery_sightings (
            rule_uuid TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            scope TEXT NOT NULL,
            name TEXT NOT NULL,
            first_seen_at INTEGER NOT NULL,
            last_seen_at INTEGER NOT NULL,
            missed INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (rule_uuid, fingerprint)
        ) WITHOUT ROWID"""
    )
