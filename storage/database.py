"""Opening the database: one agent at a time, checked, never lost, at the current schema."""

import errno
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlite_utils

from storage import bodies, copies, damage, migrations, rescue, secrets
from storage.connection import check_files, make_shrinkable
from storage.disk import Disk
from storage.errors import ADVICE, Kind, StorageError, kind_of
from storage.guard import Guard, Trouble
from storage.lock import Lock
from storage.secrets import Secrets

logger = logging.getLogger(__name__)


class Standing(NamedTuple):
    """`trouble` is why nothing is stored; `written_anew` a sentence for operators about what was deleted
    while the agent runs."""

    trouble: Trouble | None
    written_anew: str | None


class Database:
    """An open database; all use is on the thread that opened it.

    `set_aside` is where a damaged predecessor was moved, if there was one. `notes` are sentences for
    operators: what is not as it should be, and what to do; they are in the log already.
    """

    def __init__(
        self,
        db: sqlite_utils.Database,
        secrets: Secrets,
        guard: Guard,
        set_aside: Path | None,
        notes: tuple[str, ...],
        resources: ExitStack,
    ) -> None:
        self.db = db
        self.secrets = secrets
        self.path = guard.path
        self.set_aside = set_aside
        self.notes = notes
        self._guard = guard
        self.disk = Disk(guard.path)
        self._resources: ExitStack | None = resources

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing would be found of what were stored now, as `look` has found it."""
        return self._guard.trouble

    @property
    def standing(self) -> Standing:
        return Standing(self._guard.trouble, self._guard.written_anew)

    def look(self) -> Trouble | None:
        """Whether what is stored now is what the next start finds; outside of transactions. What was deleted
        is written anew where that can be done, so that `db` may be another one afterwards."""
        trouble = self._guard.look()
        if self.db.conn is not self._guard.connection:
            self.db = _over(self._guard.connection)
        return trouble

    def close(self) -> None:
        """Empty the write-ahead log, close, let the next agent in. Closing twice is harmless."""
        if self._resources is not None:
            self._resources.close()
            self._resources = None


def open_database(path: Path, busy_timeout_ms: int = 15000, data_dir: Path | None = None) -> Database:
    """Open or create `path`; `data_dir` (default: its folder) holds the lock and the key.

    A damaged database is moved aside and a new one made. Raises `StorageError` naming the path and what to
    do, nothing being changed then: another agent runs on it, a newer version wrote it, it or the key
    cannot be read or written, the disk is full, another program holds it.
    """
    folder = path.parent if data_dir is None else data_dir
    with ExitStack() as undo, _errors_named(path):
        for needed in (folder, path.parent):
            needed.mkdir(parents=True, exist_ok=True)
        locks = []
        for file in _lock_files(path, folder):
            locks.append(Lock(file))
            undo.callback(locks[-1].release)
        try:
            return _open(path, folder, busy_timeout_ms, locks, undo)
        except sqlite3.DatabaseError as error:
            if kind_of(error) != "corrupt":
                raise
            # The quick look has not seen it; the next one is thorough.
            damage.suspect(path, str(error))
        return _open(path, folder, busy_timeout_ms, locks, undo)


def _open(
    path: Path, folder: Path, busy_timeout_ms: int, locks: Sequence[Lock], releases: ExitStack
) -> Database:
    """The database takes over the locks and their releases."""
    rescue.go_on(path)
    check_files(path)
    damaged = damage.look(path, busy_timeout_ms)
    key_file = folder / ".master.key"
    key = secrets.load_or_create(key_file)
    with ExitStack() as undo:
        guard = Guard(path, busy_timeout_ms, key, locks)
        undo.callback(guard.close)
        connection, db = guard.connection, _over(guard.connection)
        pending = migrations.pending(db)
        if pending:
            copies.copy_before(connection, path, pending[0])
        migrations.migrations.apply(db)
        make_shrinkable(connection, path)
        secrets.sync_folder(path.parent)
        notes = tuple(_notes(damaged, key_file, key, list(_unreadable(connection, key.secrets))))
        for note in notes:
            logger.error("%s", note)
        resources = releases.pop_all()
        resources.push(undo.pop_all())
        return Database(db, key.secrets, guard, damaged.moved_to if damaged else None, notes, resources)


def _over(connection: sqlite3.Connection) -> sqlite_utils.Database:
    return sqlite_utils.Database(connection, execute_plugins=False)


def _lock_files(path: Path, folder: Path) -> tuple[Path, Path]:
    """The folder's, and that of the database itself: another folder's agent may be configured to use it,
    by this name or by a link."""
    database = path.resolve()
    return folder / "agent.lock", database.with_name(f"{database.name}.lock")


def _notes(
    damaged: damage.Damaged | None, key_file: Path, key: secrets.KeyFile, unreadable: list[str]
) -> Iterator[str]:
    if damaged is not None:
        yield (
            f"The database was damaged ({damaged.what}): it is now {damaged.moved_to}, and the agent has"
            " started with an empty one. Restore a backup, or configure the agent anew."
        )
    if key.set_aside is not None:
        yield f"{key_file} held no key: it is now {key.set_aside}, and a new key was made."
    if unreadable:
        yield (
            f"{len(unreadable)} stored rows cannot be read ({_counted(unreadable)}): they are damaged or were"
            f" encrypted with another key than that in {key_file}. Stop the agent and restore {key_file}"
            " from the backup that goes with them; or delete them over the API."
        )


def _counted(kinds: list[str]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(Counter(kinds).items()))


def _unreadable(connection: sqlite3.Connection, secrets: Secrets) -> Iterator[str]:
    """The kinds of the rows whose body cannot be read, one for each."""
    for kind, uuid, sealed in connection.execute("SELECT kind, uuid, body FROM target_state"):
        try:
            bodies.unseal(secrets, kind, uuid, sealed)
        except bodies.BadBody:
            yield kind


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system, as `StorageError` with the path and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unopened(path, str(error), kind_of(error)) from error
    except OSError as error:
        kind: Kind = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "unusable"
        raise _unopened(path, f"cannot be used: {error}", kind) from error


def _unopened(path: Path, what: str, kind: Kind) -> StorageError:
    advice = ADVICE.get(kind)
    return StorageError(f"{path}: {what}" + (f"; {advice}" if advice else ""), kind)


def ping(database: Database) -> Standing:
    """Whether the database answers: raises what SQLite raises."""
    database.db.execute("SELECT 1").fetchone()
    return database.standing
