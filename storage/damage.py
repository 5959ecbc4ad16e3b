"""Looking at a database before it is used, without changing it: whose it is, and whether it is damaged.

Whatever the outbox has grown to, the look takes a few ms: the big tables are looked at only when a marker
file says that SQLite has met damage.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import sqlite_utils

from storage import migrations
from storage.connection import uri
from storage.errors import StorageError, kind_of
from storage.set_aside import set_aside

logger = logging.getLogger(__name__)

BIG: Final = frozenset({"outbox", "outbox_groups", "outbox_group_data", "dead_letters"})
"""Tables that hold payloads."""

COMPANIONS: Final = ("-wal", "-shm", "-journal")
"""What files that belong to a database add to its name."""


def suspect(path: Path, what: str) -> None:
    """Have the database at `path` checked in full when it is next opened."""
    marker = _marker(path)
    if marker.exists():
        return
    logger.error("%s: %s; it is checked in full when it is opened next", path, what)
    try:
        marker.write_text(f"{what}\n")
    except OSError as error:
        logger.error("%s: cannot be written: %s", marker, error)


class Damaged(NamedTuple):
    """`moved_to` is where the database is now, with its log; `what` is SQLite's finding."""

    moved_to: Path
    what: str


def look(path: Path, busy_timeout_ms: int) -> Damaged | None:
    """Move a damaged database aside; None when all is well or there is none.

    Raises `StorageError` of kind "newer", and what SQLite raises when it cannot look.
    """
    marker = _marker(path)
    damaged = None
    if _is_empty(path):
        if not _is_empty(path.with_name(f"{path.name}-wal")):
            # SQLite would take it for what a database of long ago has left, and delete it.
            moved_to = set_aside(path, COMPANIONS)
            damaged = Damaged(moved_to, "it is empty or gone, and its write-ahead log is not")
    else:
        with closing(_for_reading(path, busy_timeout_ms)) as connection:
            if what := _damage(connection, path, thorough=marker.exists()):
                # Moved while open: closing first might fold the log into the damaged file and delete it.
                damaged = Damaged(set_aside(path, COMPANIONS), what)
    marker.unlink(missing_ok=True)
    return damaged


def _is_empty(path: Path) -> bool:
    """Whether nothing is in it, also for want of a file."""
    return not path.exists() or path.stat().st_size == 0


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.check")


def _for_reading(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    """Closing a connection that may write would fold the log into the database."""
    # Only what was begun in the first moment of a new database has such a journal: it is to be undone.
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    return sqlite3.connect(uri(path, mode), uri=True, timeout=busy_timeout_ms / 1000)


def _damage(connection: sqlite3.Connection, path: Path, thorough: bool) -> str:
    """What is wrong with the content, empty when nothing is."""
    try:
        _refuse_newer(connection, path)
        return "; ".join(_findings(connection) if thorough else _quick_findings(connection))
    except sqlite3.DatabaseError as error:
        if kind_of(error) != "corrupt":
            raise
        return str(error)


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    newer = migrations.unknown(sqlite_utils.Database(connection, execute_plugins=False))
    if newer:
        message = (
            f"{path}: written by a newer version of the agent (has {newer[-1]}): install that version, or"
            " restore the copy of before the upgrade"
        )
        raise StorageError(message, "newer")


def _quick_findings(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the list of free pages, with the tables but for the big ones, and with their
    indexes. Not looked at, besides the big ones: whether two tables claim the same page."""
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if name not in BIG
    ]
    return [finding for name in ("sqlite_master", *tables) for finding in _findings(connection, name)]


def _findings(connection: sqlite3.Connection, table: str | None = None) -> list[str]:
    """What is wrong with a table, or with everything."""
    # quick_check would not compare the indexes with their tables.
    argument = 5 if table is None else '"' + table.replace('"', '""') + '"'
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({argument})")]
    return [] if found == ["ok"] else found[:5]
