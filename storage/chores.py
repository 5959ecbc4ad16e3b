"""What the database's thread does while no job waits: in small steps, none of which a job has to wait for."""

import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from time import monotonic
from typing import Final

from storage.connection import setting
from storage.database import Database
from storage.errors import kind_of

logger = getLogger(__name__)

PAUSE: Final = 0.005
"""Seconds of quiet before a step."""

AFTER_ERROR: Final = 30.0
"""Seconds until another try when the disk is full, or another program writes the database."""

OVERDUE: Final = 0.1
"""Seconds without quiet after which a step is taken nevertheless."""


class Chore:
    """Used on the database's thread, outside of transactions. `damaged` is called with what is found of
    damage; `PUT_OFF` is what the log says when a step has failed.
    """

    PUT_OFF: str

    def __init__(self, database: Database, damaged: Callable[[str], None]) -> None:
        self.database = database
        self.not_before = 0.0
        self._tell_damage = damaged
        self._damaged = False
        self._failing = False

    @property
    def connection(self) -> sqlite3.Connection:
        """The database's, which is another one when its files were written anew."""
        return self.database.db.conn

    @abstractmethod
    def wanted(self) -> bool:
        """Whether there is something to do; raises what SQLite raises."""

    @abstractmethod
    def work(self) -> None:
        """Take a step; raises what SQLite raises."""

    def pause(self) -> float | None:
        """Seconds of quiet until `step` should be called; None when there is nothing to do."""
        if self._damaged or self.database.trouble is not None:
            return None
        try:
            wanted = self.wanted()
        except sqlite3.Error as error:
            self._put_off(error)
            wanted = not self._damaged
        return max(PAUSE, self.not_before - monotonic()) if wanted else None

    def step(self) -> None:
        """Do a little. What goes wrong is logged once, and tried again later; but damage ends it, until the
        database is next opened. Files that are not the database's any more are left alone."""
        if self.database.look() is not None:
            return
        try:
            with self._impatient():
                self.work()
            self._failing = False
        except sqlite3.Error as error:
            self._put_off(error)

    def _put_off(self, error: sqlite3.Error) -> None:
        self.not_before = monotonic() + AFTER_ERROR
        if kind_of(error) == "corrupt":
            self._damaged = True
            self._tell_damage(str(error))
        if not self._failing:
            logger.warning("%s: %s: %s", self.database.path, self.PUT_OFF, error)
        self._failing = True

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        """Jobs are to wait for other programs, and not for this."""
        patience = setting(self.connection, "busy_timeout")
        self.connection.execute("PRAGMA busy_timeout=0")
        try:
            yield
        finally:
            self.connection.execute(f"PRAGMA busy_timeout={patience}")

    @contextmanager
    def unsynced(self, autocheckpoint: int = 1000) -> Iterator[None]:
        """Losing a step in a power cut does no harm, and the next commit of a job syncs all before it."""
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute(f"PRAGMA wal_autocheckpoint={autocheckpoint}")
        try:
            yield
        finally:
            self.connection.execute("PRAGMA wal_autocheckpoint=1000")
            self.connection.execute("PRAGMA synchronous=FULL")


class Chores:
    """Several of them; the one that comes first is first where both could be done."""

    def __init__(self, *chores: Chore) -> None:
        self._chores = chores
        self._next: Chore | None = None
        self._stepped_at = monotonic()

    def pause(self) -> float | None:
        """As that of a chore."""
        self._next, shortest = None, None
        for chore in self._chores:
            pause = chore.pause()
            if pause is not None and (shortest is None or pause < shortest):
                self._next, shortest = chore, pause
        return shortest

    def step(self) -> None:
        """After `pause`: a step of the one that it was about."""
        self._stepped_at = monotonic()
        if self._next is not None:
            self._next.step()

    def catch_up(self) -> None:
        """A step, when there was no quiet for long and something should be done."""
        if monotonic() - self._stepped_at >= OVERDUE:
            pause = self.pause()
            if pause is not None and pause <= PAUSE:
                self.step()
            self._stepped_at = monotonic()
