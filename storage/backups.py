"""Making and checking backups.

A backup is made by SQLite itself, from one read transaction of a connection of its own: what is committed
meanwhile is not in it, and does not wait for it. Its backup interface begins anew with each commit of others,
and `VACUUM INTO` would take along the payloads that wait to be delivered, which may be a disk full.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlite_utils

from storage import migrations, passphrases, timestamps
from storage.backup_files import (
    Backup,
    Contents,
    Ended,
    GivenUp,
    Trigger,
    checksum,
    described,
    draft,
    found,
    make_folder,
    need_room,
    next_number,
    publish,
    sidecar,
)
from storage.connection import as_text, uri
from storage.errors import StorageError
from storage.passphrases import Wrapped
from storage.secrets import read_key

OUTBOX: Final = frozenset(
    {"outbox", "outbox_groups", "outbox_group_data", "outbox_counts", "outbox_marks", "dead_letters"}
)
"""What waits to be delivered, or could not be, is in no backup: restored, it would be delivered again."""

SESSIONS: Final = frozenset({"admin_sessions"})
"""Who is signed in: a restored backup must not let anybody in."""

STAYS: Final = OUTBOX | SESSIONS

INFO: Final = "backup_info"
_OUR_INDEX: Final = re.compile(
    r'CREATE (UNIQUE )?INDEX "?\w+"?\s+ON "?\w+"? ?\("?\w+"?(, "?\w+"?)*\)( WHERE \w+ IS NOT NULL)?', re.ASCII
)
_OUR_CHECK: Final = "CHECK (id = 1)"
_OURS: Final = "substr(name, 1, 7) <> 'sqlite_'"

LONGEST_INFO: Final = 64 * 1024
"""Bytes that a backup says of itself: they are read with each list."""

LARGEST_VALUE: Final = 32 * 1024 * 1024
"""Bytes of a value in a backup: a request brings a third of that at most."""

STEPS: Final = 20_000
"""Instructions of SQLite between two looks whether to go on: some 0.2 ms."""


class Site(msgspec.Struct, frozen=True):
    """Where everything is; `version` is the agent's."""

    database: Path
    data_dir: Path
    folder: Path
    version: str

    @property
    def key_file(self) -> Path:
        return self.data_dir / ".master.key"


class Verified(msgspec.Struct, frozen=True):
    """`problems` are sentences; a backup with none can be restored, with its passphrase if it
    `needs_passphrase`, for it was made under another master key."""

    file: str
    problems: list[str]
    needs_passphrase: bool = False

    @property
    def ok(self) -> bool:
        return not self.problems


class Info(msgspec.Struct, frozen=True):
    """What is inside of a backup besides the tables."""

    contents: Contents
    wrapped: Wrapped | None


def create(
    site: Site, trigger: Trigger, passphrase: str | None = None, ended: Ended = lambda: False
) -> Backup:
    """Make a backup, complete or not at all; with a passphrase the master key is in it, encrypted.

    Raises `StorageError`, OSError, and what SQLite raises.
    """
    make_folder(site.folder)
    key = read_key(site.key_file)
    number = next_number(site.folder)
    made = draft(site.folder, "backup")
    try:
        with closing(_open(made, "rw")) as connection, _giving_up(connection, ended):
            _attach(connection, site)
            need_room(site.folder, _needed(connection))
            connection.execute("BEGIN")
            uuid, name = connection.execute("SELECT uuid, name FROM live.agent").fetchone() or ("", "")
            _copy(connection)
            connection.execute("COMMIT")
            connection.execute("DETACH live")
            _drop_orphans(connection)
            contents = Contents(
                number=number,
                created_at=timestamps.now(),
                trigger=trigger,
                version=site.version,
                migration=_last_migration(connection),
                uuid=uuid,
                name=name,
                key_id=passphrases.key_id(key),
                has_key=passphrase is not None,
            )
            wrapped = passphrases.wrap(key, passphrase) if passphrase is not None else None
            _write_info(connection, Info(contents, wrapped))
            if damage := _damage(connection):
                raise StorageError(f"the database is damaged: {'; '.join(damage)}", "corrupt")
        return publish(made, site.folder, number, contents, trigger, ended)
    except BaseException:
        with suppress(OSError):
            made.unlink(missing_ok=True)
        raise


def accept(site: Site, uploaded: Path, ended: Ended = lambda: False) -> Backup:
    """Take what was uploaded to `uploaded` for a backup if it is one; it is gone if not.

    Raises `StorageError` of kind "corrupt" or "newer" about it, OSError, and what SQLite raises.
    """
    try:
        _refuse_other_files(uploaded)
        info, problems = inspect(uploaded, ended)
        if info is None or problems:
            raise StorageError(f"This is no backup that can be restored: {'; '.join(problems)}", "corrupt")
        number = next_number(site.folder)
        return publish(uploaded, site.folder, number, info.contents, "uploaded", ended)
    except BaseException:
        with suppress(OSError):
            uploaded.unlink(missing_ok=True)
        raise


def verify(site: Site, file: str, ended: Ended = lambda: False) -> Verified:
    """Whether a backup is whole and can be restored here. Raises OSError, `StorageError` ("missing")."""
    path = found(site.folder, file)
    problems = []
    try:
        beside = sidecar(path)
        backup = described(path)
        if backup.error is not None:
            problems.append(f"It {backup.error}")
        elif checksum(path, ended) != beside.sha256:
            problems.append("It was changed since it was made: its checksum differs")
    except GivenUp:
        raise
    except StorageError as error:
        problems.append(f"It {error}")
    info, inside = inspect(path, ended)
    problems += inside
    if info is None:
        return Verified(file, problems)
    same = info.contents.key_id == passphrases.key_id(read_key(site.key_file))
    if not same and info.wrapped is None:
        problems.append(
            "It was made under another master key and does not hold it: put that key back"
            f" ({site.key_file}), or make the backup with a passphrase where it comes from"
        )
    return Verified(file, problems, needs_passphrase=not same and info.wrapped is not None)


def inspect(path: Path, ended: Ended = lambda: False) -> tuple[Info | None, list[str]]:
    """What a file says of itself, None if it is no backup, and what is wrong with what is in it."""
    try:
        _refuse_other_files(path)
        with closing(_open(path, "ro", immutable=True)) as connection, _giving_up(connection, ended):
            if foreign := _foreign(connection):
                return None, [f"It holds {foreign}, which no backup does"]
            info = read_info(connection)
            newer = migrations.unknown(sqlite_utils.Database(connection, execute_plugins=False))
            if newer:
                return info, [
                    f"A newer version of the agent made it (it has {newer[-1]}): install that first"
                ]
            return info, [f"It is damaged: {finding}" for finding in _damage(connection)]
    except GivenUp:
        raise
    except StorageError as error:
        return None, [str(error)]
    except sqlite3.Error as error:
        return None, [f"It is damaged: {error}"]


def read_info(connection: sqlite3.Connection) -> Info:
    """Raises `StorageError` when it is no backup, and what SQLite raises."""
    try:
        row = connection.execute(f"SELECT info FROM {INFO}").fetchone()
        if len(row[0]) > LONGEST_INFO:
            raise StorageError("What it says of itself is too long", "corrupt")
        return msgspec.json.decode(row[0], type=Info)
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):
            raise
        raise StorageError("It is a database, and not a backup of this agent", "corrupt") from error
    except (TypeError, msgspec.MsgspecError, UnicodeError) as error:
        raise StorageError("What it says of itself cannot be read", "corrupt") from error


def tables(connection: sqlite3.Connection, schema: str = "main") -> list[str]:
    """The names of the tables, but for SQLite's own."""
    query = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND {_OURS} ORDER BY name"
    return [name for (name,) in connection.execute(query)]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(path: Path, mode: str, immutable: bool = False) -> sqlite3.Connection:
    """A connection to a file that nobody else uses, and that may come from anywhere."""
    opened = f"{uri(path, mode)}&immutable=1" if immutable else uri(path, mode)
    connection = sqlite3.connect(opened, uri=True, isolation_level=None)
    try:
        connection.text_factory = as_text
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        if immutable:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
        else:
            # It has its name only when it is whole.
            connection.execute("PRAGMA journal_mode=OFF").fetchall()
            connection.execute("PRAGMA synchronous=OFF")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _giving_up(connection: sqlite3.Connection, ended: Ended) -> Iterator[None]:
    connection.set_progress_handler(lambda: int(ended()), STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if ended():
            raise GivenUp() from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _attach(connection: sqlite3.Connection, site: Site) -> None:
    connection.execute("PRAGMA busy_timeout=15000")
    connection.execute("ATTACH ? AS live", [uri(site.database, "ro")])


def _needed(connection: sqlite3.Connection) -> int:
    """Bytes that a backup takes, and some more."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA live.{name}").fetchone()[0] for name in names)
    (waiting,) = connection.execute(
        "SELECT coalesce(sum(bytes + packed_bytes), 0) FROM live.outbox_counts"
    ).fetchone()
    return int(max(1 << 20, (pages - free) * size - waiting))


def _copy(connection: sqlite3.Connection) -> None:
    """The schema, and the rows of all tables that travel. Indexes and triggers come last: rows are not to set
    triggers off."""
    schema = connection.execute(
        f"SELECT type, sql FROM live.sqlite_master WHERE sql IS NOT NULL AND {_OURS} ORDER BY rowid"
    ).fetchall()
    for sql in (sql for kind, sql in schema if kind == "table"):
        connection.execute(sql)
    for name in tables(connection, "live"):
        if name not in STAYS:
            connection.execute(f"INSERT INTO main.{quoted(name)} SELECT * FROM live.{quoted(name)}")
    for sql in (sql for kind, sql in schema if kind != "table"):
        connection.execute(sql)
    connection.execute("DELETE FROM main.sqlite_sequence")
    connection.execute("INSERT INTO main.sqlite_sequence SELECT name, seq FROM live.sqlite_sequence")


def _drop_orphans(connection: sqlite3.Connection) -> None:
    """Rows whose parent somebody has deleted without foreign keys: nothing shows them, and no restore could
    take them."""
    while broken := connection.execute("PRAGMA foreign_key_check").fetchmany(1000):
        for table, row, *_ in broken:
            connection.execute(f"DELETE FROM {quoted(table)} WHERE rowid = ?", [row])


def _last_migration(connection: sqlite3.Connection) -> str:
    applied = migrations.migrations.applied(sqlite_utils.Database(connection, execute_plugins=False))
    return str(applied[-1].name) if applied else ""


def _write_info(connection: sqlite3.Connection, info: Info) -> None:
    connection.execute(f"CREATE TABLE {INFO} (info BLOB NOT NULL)")
    connection.execute(f"INSERT INTO {INFO} VALUES (?)", [msgspec.json.encode(info)])


def _damage(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the content, nothing when all is well."""
    findings = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    if findings != ["ok"]:
        return findings
    broken: list[Any] = connection.execute("PRAGMA foreign_key_check").fetchmany(5)
    return [f"row {row[1]} of {row[0]} belongs to one of {row[2]} that is not there" for row in broken]


def _foreign(connection: sqlite3.Connection) -> str | None:
    """What could have SQLite do more than read rows, however it is spelled in the schema. What is computed is
    so whenever a row is looked at; a pattern alone can take all the time there is."""
    for _, name, kind, *_ in connection.execute("PRAGMA main.table_list").fetchall():
        if kind != "table":
            return f"the {kind} {name!r}"
        if any(row[6] for row in connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})")):
            return f"columns of {name!r} that are computed"
    schema = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    for kind, name, sql in schema:
        if kind == "index" and _OUR_INDEX.fullmatch(sql) is None:
            return f"the index {name!r}, which is computed"
        if kind == "table" and "CHECK" in sql.replace(_OUR_CHECK, "").upper():
            return f"constraints of {name!r}"
    return None


def _refuse_other_files(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise StorageError("It is no database of SQLite", "corrupt")
