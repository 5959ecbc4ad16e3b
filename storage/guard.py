"""Sees to it that what is stored is what the next start finds, whatever happens to the files meanwhile."""

import ctypes
import errno
import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from storage import rescue, timestamps
from storage.connection import connect
from storage.errors import StorageError
from storage.files import Files, Folder, Found
from storage.lock import Lock
from storage.secrets import KeyFile
from storage.set_aside import set_aside

logger = logging.getLogger(__name__)

RETRY: Final = 5.0
"""Seconds until another try to write anew what could not be written, or ten times what that took."""

TRY_DISK: Final = 1.0
"""Seconds between two looks whether the disk takes anything."""

RESTART: Final = "nothing is stored until the agent is ended and started anew, which then takes what is there"
RETURN: Final = "nothing is stored until it is back"


class Trouble(NamedTuple):
    """Why nothing is stored. `readable`: what is there can be read all the same. `restart`: the agent should
    be started anew, else that would cost what is in its memory."""

    what: str
    readable: bool = True
    restart: bool = False

    def error(self) -> StorageError:
        return StorageError(self.what, "unusable")


class Guard:
    """Holds the connection, its files, the key and the locks; used on the database's thread."""

    def __init__(self, path: Path, busy_timeout_ms: int, key: KeyFile, locks: Sequence[Lock]) -> None:
        """Opens the database. Raises `StorageError`, OSError, and what SQLite raises."""
        self.path = path
        self.trouble: Trouble | None = None
        self.written_anew: str | None = None
        """What was, and when: a sentence for operators."""
        self._busy_timeout_ms = busy_timeout_ms
        self._key = key
        self._locks = locks
        self._not_before = 0.0
        self._failure: Trouble | None = None
        self._try_disk_at = 0.0
        self._unwritable: Trouble | None = None
        self._lost = False
        self._open_all(create=True)
        try:
            self._folder = Folder(key.path.parent)
        except BaseException:
            self._close_all()
            raise

    def _open_all(self, create: bool = False) -> None:
        self._open = False
        self.connection = connect(self.path, self._busy_timeout_ms, create)
        try:
            self.connection.execute(
                "SELECT 1 FROM sqlite_master"
            ).fetchone()  # the log is opened when it is needed
            self.files = Files(self.path)
        except BaseException:
            self.connection.close()
            raise
        self._open = True

    def _close_all(self) -> None:
        """The files last: see `Files`."""
        self._open = False
        self.connection.close()
        self.files.close()

    def look(self) -> Trouble | None:
        """Outside of transactions: None when what is committed now will be found. What can be mended is, and
        what changes is logged."""
        if not self._lost:
            self._tell(self._looked())
        return self.trouble

    def close(self) -> None:
        """SQLite folds the log into the database and deletes it, unless the database is not its own any more.
        What is open of one that was overwritten stays so: SQLite would write into it."""
        self._not_before = 0.0
        self.look()
        if self._open and not self._lost:
            try:
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                # Nothing is lost: the log stays beside the database and the next start reads it.
                logger.warning("%s: checkpoint failed: %s", self.path, error)
            self._close_all()
        self._folder.close()

    # What is wrong

    def _looked(self) -> Trouble | None:
        try:
            if not self._open:
                self._open_all()
            return self._found(self.files.look()) or self._beside() or self._on_disk()
        except (OSError, sqlite3.Error, StorageError) as error:
            return Trouble(f"{self.path}: {error}; {RETURN}", readable=self._open)

    def _found(self, found: Found | None) -> Trouble | None:
        if found is None:
            return None
        what = f"{self.path}: {found.what}"
        match found.finding:
            case "away":
                return Trouble(f"{what}; {RETURN}")
            case "gone" | "logs":
                return self._mend(found, what)
            case "replaced":
                self._leave_it_alone()
                return Trouble(f"{what}; {RESTART}", restart=True)
            case "overwritten":
                self._give_up()
                return Trouble(f"{what}; {RESTART}", readable=False, restart=True)

    def _beside(self) -> Trouble | None:
        """The key and the locks; what is gone of them is written anew."""
        key = self._key.state()
        if key == "another":
            what = f"{self._key.path}: was replaced while the agent runs"
            return Trouble(f"{what}; nothing is stored until the former one is back, or the agent restarted")
        if key == "here" and all(lock.holds for lock in self._locks):
            return None
        if not self._folder.writable:
            return Trouble(f"{self._folder.path}: was moved, or its disk unmounted; {RETURN}")
        return self._mend_beside()

    def _on_disk(self) -> Trouble | None:
        now = monotonic()
        if now < self._try_disk_at:
            return self._unwritable
        self._try_disk_at = now + TRY_DISK
        try:
            self.files.try_disk()
        except OSError as error:
            what = f"{self.path}: its disk takes nothing ({error.strerror})"
            self._unwritable = Trouble(f"{what}; nothing is stored until it does")
        else:
            self._unwritable = None
        return self._unwritable

    # Mending

    def _mend(self, found: Found, what: str) -> Trouble | None:
        if monotonic() < self._not_before:
            return self._failure
        began = monotonic()
        try:
            self.files.folder.make_anew()
            self._write_beside()
            self._write(found)
        except FileExistsError:
            return Trouble(f"{what}, and there is another one; {RESTART}", restart=True)
        except (OSError, sqlite3.Error, StorageError) as error:
            return self._failed(began, f"{what}, and cannot be written anew: {error}")
        self._note(f"{what}; it was written anew with all that was in it")
        return None

    def _mend_beside(self) -> Trouble | None:
        if monotonic() < self._not_before:
            return self._failure
        began = monotonic()
        what = f"{self._folder.path}: the key or the lock was deleted while the agent runs"
        try:
            self._write_beside()
        except (OSError, StorageError) as error:
            return self._failed(began, f"{what}, and cannot be written anew: {error}")
        self._note(f"{what}; it was written anew")
        return None

    def _write_beside(self) -> None:
        self._folder.make_anew()
        for lock in self._locks:
            if not lock.holds:
                lock.renew()
        if self._key.state() == "gone":
            self._key.write_anew()

    def _write(self, found: Found) -> None:
        if found.finding == "gone":
            rescue.write_database(self.connection, self.files)
            connection, files = self.connection, self.files
            try:
                self._open_all()
            finally:
                connection.close()
                files.close()
            return
        # Another program may have made new files already, which SQLite will use: ours is to be empty by then.
        if not self.files.log.exists():
            rescue.write_log(self.files)
        busy, *_ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OSError(errno.EBUSY, "another program reads it")
        self._close_all()
        self._open_all()

    def _failed(self, began: float, what: str) -> Trouble:
        self._not_before = monotonic() + max(RETRY, 10 * (monotonic() - began))
        self._failure = Trouble(f"{what}; nothing is stored until it can", readable=self._open)
        return self._failure

    # Leaving alone

    def _leave_it_alone(self) -> None:
        """Its log must not be taken for a part of what has come in its place."""
        if self.files.owns_log and self.files.log.stat().st_size:
            logger.error("%s: is now %s", self.files.log, set_aside(self.files.log))

    def _give_up(self) -> None:
        if os.stat(self.path).st_size:  # the next start sets aside what is empty together with its log
            self._leave_it_alone()
        self._lost = True
        # Whoever closed it, at the end of the process at the latest, would write the log into the database.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))

    # Telling

    def _note(self, what: str) -> None:
        logger.error("%s", what)
        self.written_anew = f"{what} ({timestamps.now()})"

    def _tell(self, trouble: Trouble | None) -> None:
        before, self.trouble = self.trouble, trouble
        if trouble is not None and (before is None or before.what != trouble.what):
            logger.error("%s", trouble.what)
        elif trouble is None and before is not None:
            logger.warning("%s: is stored in again", self.path)
