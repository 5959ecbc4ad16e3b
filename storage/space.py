"""Giving space back to the file system, in steps small enough that nobody waits for them."""

from collections.abc import Callable
from time import monotonic
from typing import Final

from storage.chores import Chore
from storage.connection import INCREMENTAL, setting
from storage.database import Database

RESERVE: Final = 768
"""Free pages that stay, for what is stored next: as many as a packed group makes free, and more."""

LOG_BYTES: Final = 8 * 1024 * 1024
"""A write-ahead log of this size is cut; while all goes well it has half of it."""

STEP: Final = 0.002
"""Seconds that a step should take. Between two of them is twice the time that the first took."""

LEAST: Final = 32
"""Pages of a step, however slow the disk is: a step costs something by itself."""

RETRY: Final = 1.0
"""Seconds until another try when another program reads the database."""


class Space(Chore):
    """Keeps the files small."""

    PUT_OFF = "stays as large as it is"

    def __init__(self, database: Database, damaged: Callable[[str], None]) -> None:
        super().__init__(database, damaged)
        self._log = database.path.with_name(f"{database.path.name}-wal")
        self._shrinks = setting(self.connection, "auto_vacuum") == INCREMENTAL
        self._pages = 64
        self._to_cut = False

    def wanted(self) -> bool:
        return self._to_cut or self._free() > RESERVE or self._log_is_long()

    def work(self) -> None:
        """Give a little back."""
        if self._free() > RESERVE:
            self._give_back()
        else:
            self._cut_log()

    def _free(self) -> int:
        return setting(self.connection, "freelist_count") if self._shrinks else 0

    def _log_is_long(self) -> bool:
        try:
            return self._log.stat().st_size > LOG_BYTES
        except OSError:
            return False

    def _give_back(self) -> None:
        """Move the last pages into free ones, or drop them if they are free."""
        began = monotonic()
        with self.unsynced(autocheckpoint=250):
            # `execute` would stop after the first page: it is a statement of many steps and no columns.
            self.connection.executescript(f"PRAGMA incremental_vacuum({self._pages})")
        ended = monotonic()
        took = ended - began
        # Slowly, for the odd step that moves the log into the database takes longer than others.
        self._pages = max(LEAST, int(self._pages * (1.25 if took < STEP else 0.8)))
        self.not_before = ended + 2 * took
        self._to_cut = True

    def _cut_log(self) -> None:
        """Bring the log into the database, which is when that gets shorter."""
        busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        self._to_cut = bool(busy)
        if busy:
            self.not_before = monotonic() + RETRY
