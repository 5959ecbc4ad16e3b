"""Putting what a backup holds in the place of what there is.

All of it happens in one transaction of the agent's own database: whenever the power goes, what is there
afterwards is all of the one or all of the other. The outbox is no part of it: what waits for a destination
that the backup has too, is still to be delivered.
"""

import logging
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import sqlite_utils

from storage import bodies, migrations, passphrases
from storage.backup_files import Ended, draft, found, need_room
from storage.backups import INFO, SESSIONS, STAYS, Info, Site, quoted, read_info, tables, verify
from storage.connection import as_text, uri
from storage.database import Database
from storage.errors import StorageError
from storage.publishing import DESTINATION
from storage.secrets import Secrets, read_key, sync_folder

logger = logging.getLogger(__name__)

READY: Final = ".restore-ready.sqlite"
"""What `prepare` leaves in the folder, for `replace`."""

_ROWS: Final = 1000


class NeedsPassphrase(StorageError):
    def __init__(self) -> None:
        super().__init__(
            "The backup was made under another master key: the passphrase that it was made with is needed",
            "unreadable",
        )
        self.args = ()


def prepare(site: Site, file: str, passphrase: str | None, ended: Ended = lambda: False) -> tuple[Path, bool]:
    """Check a backup, and make of it a database at this version's schema, its secrets under this agent's
    master key. Also says whether it was made under that key: by this agent, or one that it has been.

    Raises `StorageError` when it cannot be restored, `WrongPassphrase`, `NeedsPassphrase`, OSError, and what
    SQLite raises; nothing is changed then.
    """
    verified = verify(site, file, ended)
    if verified.problems:
        raise StorageError("; ".join(verified.problems), "corrupt")
    path = found(site.folder, file)
    need_room(site.folder, 2 * path.stat().st_size)
    work = draft(site.folder, "restore")
    try:
        shutil.copyfile(path, work)
        own = _at_this_version(work, read_key(site.key_file), passphrase)
        ready = work.rename(site.folder / READY)
        sync_folder(site.folder)
    except BaseException:
        with suppress(OSError):
            work.unlink(missing_ok=True)
        raise
    return ready, own


def _at_this_version(work: Path, key: bytes, passphrase: str | None) -> bool:
    with closing(sqlite3.connect(uri(work, "rw"), uri=True, isolation_level=None)) as connection:
        connection.text_factory = as_text
        connection.execute("PRAGMA trusted_schema=OFF")
        info = read_info(connection)
        own = info.contents.key_id == passphrases.key_id(key)
        theirs = key if own and passphrase is None else _key_of(info, passphrase)
        _drop_triggers(connection)
        migrations.migrations.apply(sqlite_utils.Database(connection, execute_plugins=False))
        if not own:
            _seal_anew(connection, Secrets(theirs), Secrets(key))
    return own


def _drop_triggers(connection: sqlite3.Connection) -> None:
    """They are for what is in no backup, and a file that somebody has uploaded may have any."""
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {quoted(name)}")


def _key_of(info: Info, passphrase: str | None) -> bytes:
    """Raises `WrongPassphrase`, `NeedsPassphrase`, and `StorageError` where there is nothing to open."""
    if passphrase is None:
        raise NeedsPassphrase()
    if info.wrapped is None:
        raise StorageError("The backup was made without a passphrase: leave it out", "unreadable")
    key = passphrases.unwrap(info.wrapped, passphrase)
    if passphrases.key_id(key) != info.contents.key_id:
        raise StorageError("The key in the backup is not that of the backup", "corrupt")
    return key


def _seal_anew(connection: sqlite3.Connection, theirs: Secrets, ours: Secrets) -> None:
    """What could not be read stays so, as it was where it comes from."""
    connection.execute("BEGIN")
    rows = connection.execute("SELECT id, kind, uuid, body FROM target_state").fetchall()
    for id, kind, uuid, sealed in rows:
        try:
            body = bodies.unseal(theirs, kind, uuid, sealed)
        except bodies.BadBody as error:
            logger.warning("%s of the backup %s", kind, error)
            continue
        anew = bodies.seal(ours, kind, uuid, body)
        connection.execute("UPDATE target_state SET body = ? WHERE id = ?", [anew, id])
    connection.execute("COMMIT")


def replace(database: Database, ready: Path, identity: bool, token: int, users: bool = True) -> None:
    """Have what `ready` holds instead of what is there; with its `identity`, or under the present one, and
    with its `users`, or those that there are.

    For a transaction of which nothing else is a part. `token` is found by `outcomes.is_done` once it is
    committed. Raises `StorageError`, and what SQLite raises.
    """
    live: sqlite3.Connection = database.db.conn
    with closing(sqlite3.connect(f"{uri(ready, 'ro')}&immutable=1", uri=True)) as source:
        source.text_factory = as_text
        source.execute("PRAGMA trusted_schema=OFF")
        live.execute("PRAGMA defer_foreign_keys=ON")
        last_run = live.execute("SELECT last_run_at FROM backup_schedule").fetchone()
        stays = (*(() if identity else ("agent",)), *(() if users else ("users",)))
        kept = _empty_but_for(live, source, stays)
        for table in _travelling(live, stays):
            _take_over(live, source, table, kept)
        if last_run is not None:
            live.execute("UPDATE backup_schedule SET last_run_at = ?", last_run)
        _go_on_counting(live, source)
    for table in _travelling(live, ()):  # of the others, which may be large, nothing was changed
        broken = live.execute(f"PRAGMA foreign_key_check({quoted(table)})").fetchone()
        if broken is not None:
            raise StorageError(f"a row of {table} belongs to one of {broken[2]} that is not there", "corrupt")
    live.execute(f"PRAGMA user_version={token}")


def _travelling(live: sqlite3.Connection, stays: Iterable[str]) -> list[str]:
    left = {*STAYS, *stays, migrations.TABLE, INFO}
    return [table for table in tables(live) if table not in left]


def _empty_but_for(live: sqlite3.Connection, source: sqlite3.Connection, stays: Iterable[str]) -> set[int]:
    """Delete everything but destinations that the backup has too: with them would go what waits for them.
    Their ids."""
    theirs = set(source.execute("SELECT id, uuid FROM target_state WHERE kind = ?", [DESTINATION]))
    ours = live.execute("SELECT id, uuid FROM target_state WHERE kind = ?", [DESTINATION]).fetchall()
    kept = {id for id, uuid in ours if (id, uuid) in theirs}
    for table in (*_travelling(live, stays), *sorted(SESSIONS)):
        if table != "target_state":
            live.execute(f"DELETE FROM {quoted(table)}")
    for (id,) in live.execute("SELECT id FROM target_state").fetchall():
        if id not in kept:
            live.execute("DELETE FROM target_state WHERE id = ?", [id])
    live.execute("UPDATE target_state SET name = NULL")  # for they may have changed names among them
    return kept


def _take_over(live: sqlite3.Connection, source: sqlite3.Connection, table: str, kept: set[int]) -> None:
    """The rows of a table; of those that are `kept`, the columns."""
    columns = _columns(live, table)
    if sorted(columns) != sorted(_columns(source, table)):
        raise StorageError(f"the table {table} of the backup has other columns", "corrupt")
    names = ", ".join(quoted(column) for column in columns)
    insert = f"INSERT INTO {quoted(table)} ({names}) VALUES ({', '.join('?' * len(columns))})"
    if table == "target_state" and kept:
        changes = ", ".join(f"{quoted(column)} = excluded.{quoted(column)}" for column in columns)
        insert += f" ON CONFLICT (id) DO UPDATE SET {changes}"
    rows = source.execute(f"SELECT {names} FROM {quoted(table)}")
    while some := rows.fetchmany(_ROWS):
        live.executemany(insert, some)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})")]


def _go_on_counting(live: sqlite3.Connection, source: sqlite3.Connection) -> None:
    """The id of what was removed, here or there, does not come back."""
    travelling = set(_travelling(live, ()))
    for table, count in source.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
        if table not in travelling:
            continue
        known = live.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [table]).fetchone()
        if known is None:
            live.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [table, count])
        elif known[0] < count:
            live.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", [count, table])
