"""Looking into a database without changing it or anything beside it, while an agent has it open or not."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, Final

import sqlite_utils

from storage import bodies, migrations
from storage.connection import uri
from storage.secrets import KEY_BYTES, Secrets

STEPS: Final = 10_000
"""Of SQLite's virtual machine between two looks at the clock."""


class TooLong(Exception):
    """It was not done in time."""


@contextmanager
def opened(path: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    """For reading, for at most so many seconds. Raises what SQLite raises, and `TooLong`.

    A database in which a log waits is read with it where that changes nothing; one without a log is read as a
    file that does not change, because SQLite would make the files of a log otherwise.
    """
    log, shared = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    still = "&immutable=1" if not (log.exists() and shared.exists()) else ""
    until = monotonic() + seconds
    with closing(sqlite3.connect(uri(path, "ro") + still, uri=True, timeout=seconds)) as connection:
        connection.set_progress_handler(lambda: monotonic() > until, STEPS)
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooLong from error
            raise


def damage(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong."""
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    return [] if found == ["ok"] else found


def schema(connection: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """Names of migrations: those that the next start applies, and those of a newer version."""
    db = sqlite_utils.Database(connection, execute_plugins=False)
    return list(migrations.pending(db)), list(migrations.unknown(db))


def configured(
    connection: sqlite3.Connection, key_file: Path, kind: str
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Names and bodies of the rows of a kind; None for a body that cannot be read. Raises OSError without a
    key."""
    key = key_file.read_bytes()
    secrets = Secrets(key) if len(key) == KEY_BYTES else None
    query = "SELECT uuid, name, body FROM target_state WHERE kind = ? ORDER BY name"
    for uuid, name, sealed in connection.execute(query, [kind]):
        body = None
        if secrets is not None:
            try:
                body = bodies.unseal(secrets, kind, uuid, sealed)
            except bodies.BadBody:
                body = None
        yield str(name or uuid), body
