"""The one thread that uses the database, committing what waits together (group commit)."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple

from storage.chores import Chores
from storage.damage import suspect
from storage.database import Database
from storage.errors import Kind, StorageError, kind_of
from storage.packing import Packing
from storage.space import Space

logger = logging.getLogger(__name__)

MAX_GROUP: Final = 256
"""Jobs in one transaction: bounds how long the first of them waits for the last."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Job(NamedTuple):
    future: Future[Any]
    call: Callable[..., Any]
    args: tuple[Any, ...]


class _Outcome(NamedTuple):
    result: Any = None
    error: BaseException | None = None
    wrote: bool = False


class Refused(NamedTuple):
    """`at` is monotonic."""

    why: str
    at: float


class _TransactionLost(Exception):
    """A job met an error (a full disk is one) on which SQLite rolls back everything, not the job alone."""

    def __init__(self, by: BaseException) -> None:
        super().__init__(str(by))
        self.by = by


class Writer:
    """Runs jobs on its own thread, in the order of `submit`.

    Jobs that wait when a transaction begins share it, each in a savepoint: one that raises is undone
    alone. A future is resolved when its job is on disk, in the order of `submit`, on the writer's thread.
    While none waits, rows are packed, and space that is not used any more goes back to the file system.
    `jobs` counts jobs run, `commits` transactions committed.
    """

    def __init__(self, open: Callable[[], Database]) -> None:
        self.jobs = 0
        self.commits = 0
        self.damage: str | None = None
        """What a job, or giving space back, met first of damage to the database."""
        self.refused: Refused | None = None
        """The last job that the disk, or who holds the database, did not let through."""
        self._open = open
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._closed = False
        self._opened: Future[Database] = Future()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> Database:
        """Open the database; blocks, raises what `open` raises. Once per writer.

        The result may be asked for its attributes; statements run only in jobs.
        """
        if self._closed:
            raise _closed()
        self._thread.start()
        return self._opened.result()

    def submit(self, call: Callable[[Database, *Ts], T], *args: *Ts) -> Future[T]:
        """Have `call(database, *args)` run in the next transaction.

        `call` must not begin or end a transaction, and is called again if a neighbour's failure rolled
        its work back. The future fails with what `call` raised, SQLite's errors as `StorageError`;
        with `StorageError` too when the transaction failed or the writer is closed. Cancelling it
        works until its transaction begins.
        """
        future: Future[T] = Future()
        with self._guard:
            if not self._closed:
                self._waiting.put(_Job(future, call, args))
                return future
        future.set_exception(_closed())
        return future

    def close(self) -> None:
        """Run what was submitted, empty the write-ahead log, close. Blocks; harmless when repeated."""
        self._end()
        if self._thread.is_alive():
            self._thread.join()
        self._refuse_waiting()

    def _end(self) -> None:
        with self._guard:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)

    def _run(self) -> None:
        try:
            database = self._open()
        except BaseException as error:  # noqa: BLE001 - the caller of `start` gets it
            self._end()
            self._refuse_waiting()
            self._opened.set_exception(error)
            return
        self._opened.set_result(database)
        try:
            damaged = partial(self._suspect, database.path)
            chores = Chores(Packing(database, damaged), Space(database, damaged))
            while self._run_next_group(database, chores):
                pass
        finally:
            self._end()
            self._refuse_waiting()
            database.close()

    def _run_next_group(self, database: Database, chores: Chores) -> bool:
        """False at the end. A function, so that no local keeps payloads alive while waiting."""
        group = self._next_group(chores)
        jobs = [job for job in group if job.future.set_running_or_notify_cancel()]
        outcomes = self._transact(database, jobs)
        self._suspect_damage(database, outcomes)
        self._note_refusal(outcomes)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.error is None:
                job.future.set_result(outcome.result)
            else:
                job.future.set_exception(outcome.error)
        return bool(group)

    def _next_group(self, chores: Chores) -> list[_Job]:
        """At least one job, and those already waiting behind it; none at the end."""
        group: list[_Job] = []
        job = self._next_job(chores)
        while job is not None:
            group.append(job)
            if len(group) == MAX_GROUP:
                return group
            try:
                job = self._waiting.get_nowait()
            except Empty:
                return group
        # The end mark is always last: back with it, for the call after this one.
        self._waiting.put(None)
        return group

    def _next_job(self, chores: Chores) -> _Job | None:
        """Waits for one, doing chores meanwhile."""
        chores.catch_up()
        try:
            return self._waiting.get_nowait()
        except Empty:
            pass
        while True:
            try:
                return self._waiting.get(timeout=chores.pause())
            except Empty:
                chores.step()

    def _suspect_damage(self, database: Database, outcomes: list[_Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome.error, StorageError) and outcome.error.kind == "corrupt":
                self._suspect(database.path, str(outcome.error))

    def _suspect(self, path: Path, what: str) -> None:
        """Damage is looked into when the database is next opened."""
        self.damage = self.damage or what
        suspect(path, self.damage)

    def _note_refusal(self, outcomes: list[_Outcome]) -> None:
        for outcome in outcomes:
            if _is_refusal(outcome.error):
                self.refused = Refused(str(outcome.error), monotonic())

    def _transact(self, database: Database, jobs: list[_Job]) -> list[_Outcome]:
        """One transaction; without a job's fault all of it is stored or nothing."""
        if not jobs:
            return []
        trouble = database.look()
        if trouble is not None and not trouble.readable:
            return [_Outcome(error=trouble.error()) for _ in jobs]
        connection = database.db.conn
        outcomes: list[_Outcome] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                outcomes.append(_run_job(database, job))
            connection.execute("COMMIT")
        except _TransactionLost as lost:
            if len(jobs) == 1:
                return [_Outcome(error=_reported(lost.by))]
            return [outcome for job in jobs for outcome in self._transact(database, [job])]
        except Exception as error:  # noqa: BLE001 - whatever it is, every future must be answered
            _roll_back(connection)
            outcomes += [_Outcome()] * (len(jobs) - len(outcomes))
            return [one if one.error else _Outcome(error=_failed(error)) for one in outcomes]
        self.jobs += len(jobs)
        self.commits += 1
        return _found_again(database, outcomes) if trouble is None else outcomes

    def _refuse_waiting(self) -> None:
        while True:
            try:
                job = self._waiting.get_nowait()
            except Empty:
                return
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closed())


def _run_job(database: Database, job: _Job) -> _Outcome:
    """A job that writes what nobody would find again is undone."""
    connection = database.db.conn
    connection.execute("SAVEPOINT job")
    before = connection.total_changes
    try:
        result = job.call(database, *job.args)
        wrote = connection.total_changes != before
        if wrote and database.trouble is not None:
            raise database.trouble.error()
    except BaseException as error:
        if not connection.in_transaction:
            raise _TransactionLost(error) from error
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return _Outcome(error=_reported(error))
    connection.execute("RELEASE job")
    return _Outcome(result, wrote=wrote)


def _found_again(database: Database, outcomes: list[_Outcome]) -> list[_Outcome]:
    """What was committed in the very moment in which the files were taken away is not known to be stored."""
    if not any(outcome.wrote for outcome in outcomes):
        return outcomes
    trouble = database.look()
    if trouble is None:
        return outcomes
    return [
        _Outcome(error=StorageError(trouble.what, "silent")) if outcome.wrote else outcome
        for outcome in outcomes
    ]


def _roll_back(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        return
    try:
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        logger.error("rollback failed: %s", error)


def _reported(error: BaseException) -> BaseException:
    return _failed(error) if isinstance(error, sqlite3.Error) else error


def _failed(error: BaseException) -> StorageError:
    """A fresh exception for each future, for each is raised in a place of its own."""
    kind: Kind = kind_of(error) if isinstance(error, sqlite3.Error) else "failed"
    failure = StorageError(f"not stored: {error}", kind)
    failure.__cause__ = error
    return failure


def _is_refusal(error: BaseException | None) -> bool:
    """Whether it is for the disk, or for who holds the database, to let such a job through."""
    return (
        isinstance(error, StorageError)
        and error.kind != "corrupt"
        and isinstance(error.__cause__, sqlite3.OperationalError)
    )


def _closed() -> StorageError:
    return StorageError("the store is closed", "closed")
