"""Back to the copy of before an upgrade, when the version that made the upgrade was taken back."""

import logging
import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import sqlite_utils

from storage import migrations
from storage.lock import Lock
from storage.secrets import sync_folder

logger = logging.getLogger(__name__)

CARRIED: Final = ("outbox_groups", "outbox_group_data", "outbox", "outbox_marks", "dead_letters")
"""What waits for destinations: it comes along, whatever was configured since does not."""

_COMPANIONS: Final = ("-wal", "-shm")


def go_back(path: Path, data_dir: Path) -> str | None:
    """Put the copy of before the first migration that this version does not know in the database's place,
    with what waits for destinations as it is now. The database of before keeps its data under another name.

    Returns a sentence for operators; None when there was nothing to do, or no copy to do it with. A crash at
    any moment leaves what the next call goes on with. Raises OSError, `StorageError` while another agent runs
    on it, and what SQLite raises.
    """
    real = path.resolve()
    made = real.with_name(f"{real.name}.gone-back")
    if not real.exists() and not made.exists():
        return None
    with ExitStack() as locks:
        for file in (data_dir / "agent.lock", real.with_name(f"{real.name}.lock")):
            locks.callback(Lock(file).release)
        if not real.exists():
            made.rename(real)  # it was interrupted here
            sync_folder(real.parent)
            return f"{path}: is that of before the update again"
        return _go_back(path, real, made)


def _go_back(path: Path, real: Path, made: Path) -> str | None:
    newer = _unknown(real)
    if not newer:
        made.unlink(missing_ok=True)
        return None
    copy = real.with_name(f"{real.name}.before-{newer[0]}")
    if not copy.exists():
        logger.error("%s: there is no copy %s to go back to", path, copy.name)
        return None
    draft = made.with_name(f"{made.name}.part")
    for left in (draft, made):
        left.unlink(missing_ok=True)
    shutil.copy2(copy, draft)
    carried = _carry(draft, real)
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.rename(made)
    aside = real.with_name(f"{real.name}.newer-{newer[-1]}")
    for companion in _COMPANIONS:
        real.with_name(real.name + companion).unlink(missing_ok=True)
    real.rename(aside)
    made.rename(real)
    sync_folder(real.parent)
    what = "with what waited for destinations" if carried else "without what came to its outboxes since"
    return f"{path}: is that of before the update again, {what}; the newer one is {aside.name}"


def _unknown(real: Path) -> list[str]:
    """The migrations of a newer version; its write-ahead log is empty afterwards."""
    with closing(sqlite3.connect(real)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return migrations.unknown(sqlite_utils.Database(connection, execute_plugins=False))


def _carry(copy: Path, newer: Path) -> bool:
    """Whether the tables of outboxes are such that they could be carried over."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS newer", [str(newer)])
        tables = {table: _columns(connection, "main", table) for table in CARRIED}
        if any(not columns <= _columns(connection, "newer", table) for table, columns in tables.items()):
            return False
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        for table in reversed(CARRIED):
            connection.execute(f"DELETE FROM main.{table}")
        for table, columns in tables.items():
            names = ", ".join(sorted(name for name, _ in columns))
            connection.execute(
                f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table} WHERE {_kept(table)}"
            )
        connection.execute(
            "UPDATE main.outbox_counts SET last_seq = max(last_seq, ifnull((SELECT last_seq FROM"
            " newer.outbox_counts AS n WHERE n.destination_id = outbox_counts.destination_id), 0))"
        )
        connection.execute("COMMIT")
        return True


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> set[tuple[str, str]]:
    """Names and types."""
    rows = connection.execute(f"PRAGMA {schema}.table_info({table})").fetchall()
    return {(name, kind) for _, name, kind, *_ in rows}


def _kept(table: str) -> str:
    """Rows of destinations that both know."""
    if table == "outbox_group_data":
        return "group_id IN (SELECT id FROM main.outbox_groups)"
    return (
        "destination_id IN (SELECT o.id FROM main.target_state AS o"
        " JOIN newer.target_state AS n ON n.id = o.id AND n.uuid = o.uuid)"
    )
