"""Giving space back to the file system, in steps small enough that nobody waits for them."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from storage.connection import INCREMENTAL, setting
from storage.database import Database
from storage.errors import kind_of

logger = logging.getLogger(__name__)

RESERVE: Final = 512
"""Free pages that stay, for what is stored next."""

LOG_BYTES: Final = 8 * 1024 * 1024
"""A write-ahead log of this size is cut; while all goes well it has half of it."""

STEP: Final = 0.002
"""Seconds that a step should take."""

PAUSE: Final = 0.005
"""Seconds of quiet before a step. Between two of them is twice the time that the first took, too."""

LEAST: Final = 32
"""Pages of a step, however slow the disk is: a step costs something by itself."""

RETRY: Final = 1.0
"""Seconds until another try when another program reads the database."""

AFTER_ERROR: Final = 30.0
"""Seconds until another try when the disk is full, or another program writes the database."""


class Space:
    """Keeps the files small. Used on the database's thread, outside of transactions. `damaged` is called
    with what is found of damage."""

    def __init__(self, database: Database, damaged: Callable[[str], None]) -> None:
        self._database = database
        self._path = database.path
        self._tell_damage = damaged
        self._log = database.path.with_name(f"{database.path.name}-wal")
        self._shrinks = setting(self._connection, "auto_vacuum") == INCREMENTAL
        self._pages = 64
        self._not_before = 0.0
        self._to_cut = False
        self._damaged = False
        self._failing = False

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._database.db.conn

    def pause(self) -> float | None:
        """Seconds of quiet until `step` should be called; None when there is nothing to give back."""
        if self._damaged or self._database.trouble is not None:
            return None
        try:
            wanted = self._to_cut or self._free() > RESERVE or self._log_is_long()
        except sqlite3.Error as error:
            self._put_off(error)
            wanted = not self._damaged
        return max(PAUSE, self._not_before - monotonic()) if wanted else None

    def step(self) -> None:
        """Give a little back. What goes wrong is logged once, and tried again later; but damage ends it,
        until the database is next opened. Files that are not the database's any more are left alone."""
        if self._database.look() is not None:
            return
        try:
            with self._impatient():
                if self._free() > RESERVE:
                    self._give_back()
                else:
                    self._cut_log()
            self._failing = False
        except sqlite3.Error as error:
            self._put_off(error)

    def _put_off(self, error: sqlite3.Error) -> None:
        self._not_before = monotonic() + AFTER_ERROR
        if kind_of(error) == "corrupt":
            self._damaged = True
            self._tell_damage(str(error))
        if not self._failing:
            logger.warning("%s: stays as large as it is: %s", self._path, error)
        self._failing = True

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """Jobs are to wait for other programs, and not for this."""
        patience = setting(self._connection, "busy_timeout")
        self._connection.execute("PRAGMA busy_timeout=0")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout={patience}")

    def _free(self) -> int:
        return setting(self._connection, "freelist_count") if self._shrinks else 0

    def _log_is_long(self) -> bool:
        try:
            return self._log.stat().st_size > LOG_BYTES
        except OSError:
            return False

    def _give_back(self) -> None:
        """Move the last pages into free ones, or drop them if they are free."""
        began = monotonic()
        # Losing a step in a power cut does no harm, and the next commit of a job syncs all before it.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint=250")
        try:
            # `execute` would stop after the first page: it is a statement of many steps and no columns.
            self._connection.executescript(f"PRAGMA incremental_vacuum({self._pages})")
        finally:
            self._connection.execute("PRAGMA wal_autocheckpoint=1000")
            self._connection.execute("PRAGMA synchronous=FULL")
        ended = monotonic()
        took = ended - began
        # Slowly, for the odd step that moves the log into the database takes longer than others.
        self._pages = max(LEAST, int(self._pages * (1.25 if took < STEP else 0.8)))
        self._not_before = ended + 2 * took
        self._to_cut = True

    def _cut_log(self) -> None:
        """Bring the log into the database, which is when that gets shorter."""
        busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._to_cut = bool(busy)
        if busy:
            self._not_before = monotonic() + RETRY
