"""The connection that everything is read and written over."""

import logging
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from storage.errors import StorageError, kind_of

logger = logging.getLogger(__name__)

WAL_BYTES: Final = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a checkpoint."""

REBUILT_BYTES: Final = 32 * 1024 * 1024
"""What a database that cannot give space back may hold to be rebuilt at open: a fraction of a second."""

INCREMENTAL: Final = 2
"""The value of `PRAGMA auto_vacuum` with which SQLite can give free pages back, when asked to."""


def connect(path: Path, busy_timeout_ms: int, create: bool = True) -> sqlite3.Connection:
    """Raises `StorageError`, and what SQLite raises; without `create` also when there is no database."""
    _close_to_others(path, create)
    # Autocommit (isolation_level None): transactions begin where we say, never behind our back.
    connection = sqlite3.connect(
        uri(path, "rwc" if create else "rw"), timeout=busy_timeout_ms / 1000, isolation_level=None, uri=True
    )
    try:
        # One flipped bit in a name or topic must not make its whole table unreadable.
        connection.text_factory = as_text
        # A new database takes it only before it is in WAL mode; an older one when it is next rebuilt.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageError(f"{path}: cannot be switched to WAL (stays in {mode})", "unusable")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        # Distributions build SQLite to overwrite freed pages with zeros; with payloads that are stored in
        # clear anyway it only makes what is delivered be written once more.
        connection.execute("PRAGMA secure_delete=FAST").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _close_to_others(path: Path, create: bool) -> None:
    """Hashes of passwords are in it. What it is given to groups for stays so; SQLite makes its other files
    like this one, and says what is wrong where this is not possible."""
    with suppress(OSError):
        if create and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        for suffix in ("", "-wal", "-shm"):
            file = path.with_name(path.name + suffix)
            if file.is_file() and (mode := stat.S_IMODE(file.stat().st_mode)) & stat.S_IRWXO:
                file.chmod(mode & ~stat.S_IRWXO)


def uri(path: Path, mode: str) -> str:
    """How SQLite is told to open a file for reading (`ro`), writing (`rw`) or making (`rwc`)."""
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"


def as_text(raw: bytes) -> str:
    """What is stored as text, whatever has become of it."""
    return raw.decode("utf-8", "replace")


def check_files(path: Path) -> None:
    """Raises `StorageError` about what SQLite would open, only to fail at the first job."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + suffix)
        if not file.exists():
            continue
        if not file.is_file():
            raise StorageError(f"{file}: is not a file; move it away", "unusable")
        if not os.access(file, os.W_OK):
            message = f"{file}: cannot be written; give it to the user that runs the agent"
            raise StorageError(message, "unusable")


def make_shrinkable(connection: sqlite3.Connection, path: Path) -> None:
    """Rebuild a database of before the agent gave space back, once it holds little."""
    if setting(connection, "auto_vacuum") == INCREMENTAL:
        return
    pages = setting(connection, "page_count") - setting(connection, "freelist_count")
    if pages * setting(connection, "page_size") > REBUILT_BYTES:
        return
    try:
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        if kind_of(error) == "corrupt":
            raise
        # It works as it is; the next start tries again.
        logger.warning("%s: could not be rebuilt, so that it keeps its size: %s", path, error)


def setting(connection: sqlite3.Connection, name: str) -> int:
    """The value of a pragma that is a number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
