"""Opening the database: one agent at a time, checked, never lost, at the current schema."""

import errno
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import sqlite_utils

from storage import migrations, secrets
from storage.errors import Kind, StorageError, kind_of
from storage.lock import Lock
from storage.secrets import Secrets
from storage.set_aside import set_aside

logger = logging.getLogger(__name__)

WAL_BYTES: Final = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint."""


class Database:
    """An open database; all use is on the thread that opened it.

    `set_aside` is where a damaged predecessor was moved, if there was one.
    """

    def __init__(
        self,
        db: sqlite_utils.Database,
        secrets: Secrets,
        path: Path,
        set_aside: Path | None,
        resources: ExitStack,
    ) -> None:
        self.db = db
        self.secrets = secrets
        self.path = path
        self.set_aside = set_aside
        self.notes: tuple[str, ...] = (
            (f"started clean; the corrupt database is {set_aside.name}",) if set_aside else ()
        )
        self._resources: ExitStack | None = resources

    def close(self) -> None:
        """Empty the write-ahead log, close, let the next agent in. Closing twice is harmless."""
        if self._resources is None:
            return
        try:
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            # Nothing is lost: the log stays beside the database and the next start reads it.
            logger.warning("%s: checkpoint failed: %s", self.path, error)
        finally:
            self._resources.close()
            self._resources = None


def open_database(path: Path, busy_timeout_ms: int = 15000, data_dir: Path | None = None) -> Database:
    """Open or create `path`; `data_dir` (default: its folder) holds the lock and the key.

    A damaged database is moved aside and a new one made. Raises `StorageError` naming the path: another
    agent runs on it, a newer version wrote it, it cannot be written, another program holds it.
    """
    folder = path.parent if data_dir is None else data_dir
    with ExitStack() as undo, _errors_named(path):
        for lock in _lock_files(path, folder):
            lock.parent.mkdir(parents=True, exist_ok=True)
            undo.callback(Lock(lock).release)
        moved_to = _set_aside_if_damaged(path, busy_timeout_ms)
        connection = _connect(path, busy_timeout_ms)
        undo.callback(connection.close)
        db = sqlite_utils.Database(connection, execute_plugins=False)
        _migrate(db, path)
        keys = secrets.load_or_create(folder / ".master.key")
        secrets.sync_folder(path.parent)
        return Database(db, keys, path, moved_to, undo.pop_all())


def _lock_files(path: Path, folder: Path) -> list[Path]:
    """A database outside the data folder has a lock of its own: two folders may name the same one."""
    locks = [folder / "agent.lock"]
    if path.parent.absolute() != folder.absolute():
        locks.append(path.with_name(f"{path.name}.lock"))
    return locks


def _set_aside_if_damaged(path: Path, busy_timeout_ms: int) -> Path | None:
    """Where a file that fails the integrity check was moved; None when all is well."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path, timeout=busy_timeout_ms / 1000)) as connection:
        damage = _damage(connection)
        if not damage:
            return None
        # Moved while open: closing first would fold the log into the damaged file and delete it.
        moved_to = set_aside(path, ("-wal", "-shm"))
    logger.error("%s is damaged (%s): moved to %s, starting with an empty one", path, damage, moved_to)
    return moved_to


def _damage(connection: sqlite3.Connection) -> str:
    """What is wrong with the content, empty when nothing is. Being unable to look is an error."""
    try:
        # quick_check would not compare the indexes with their tables.
        findings = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        if kind_of(error) != "corrupt":
            raise
        return str(error)
    return "" if findings == ["ok"] else "; ".join(findings)


def _connect(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    # Autocommit (isolation_level None): transactions begin where we say, never behind our back.
    connection = sqlite3.connect(path, timeout=busy_timeout_ms / 1000, isolation_level=None)
    try:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageError(f"{path}: cannot be switched to WAL (stays in {mode})", "unusable")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(db: sqlite_utils.Database, path: Path) -> None:
    newer = migrations.unknown(db)
    if newer:
        message = f"{path}: written by a newer version of the agent (has {newer[-1]}); install that version"
        raise StorageError(message, "newer")
    migrations.migrations.apply(db)


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system, as `StorageError` with the path."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"{path}: {error}", kind_of(error)) from error
    except OSError as error:
        kind: Kind = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unusable"
        raise StorageError(f"{path}: cannot be used: {error}", kind) from error


def ping(database: Database) -> None:
    """Whether the database answers: raises what SQLite raises."""
    database.db.execute("SELECT 1").fetchone()
