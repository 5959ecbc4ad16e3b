"""The store: the one SQLite writer, on a thread of its own."""

import asyncio
import logging
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.state.messages import ChangeDatabase, StoreOpened, Transact, Transacted
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import (
    Check,
    CheckSubsystem,
    SubsystemChecked,
    SubsystemFailed,
    SubsystemStarted,
)
from actors.system.supervision import Restart
from storage import database as stored
from storage import identity, outcomes, target_state
from storage.database import Database, Standing, open_database
from storage.errors import StorageError
from storage.guard import Trouble
from storage.writer import Writer

log = logging.getLogger(__name__)

CLOSE_WITHIN = 60.0  # seconds in which what was handed to the writer is written, on the slowest of disks
REFUSAL_TOLD = 60.0  # seconds that the health report tells of a job that the disk did not take
REOPEN = 2.0  # seconds before another try to open the database


class RunStore(msgspec.Struct, frozen=True):
    """Start: where the database is, and the identity that is configured (None: not)."""

    path: Path
    data_dir: Path
    busy_timeout_ms: int
    uuid: str | None
    name: str | None
    type: str | None


class Reopen(msgspec.Struct, frozen=True):
    """To itself: try to open the database."""


class _Opened(msgspec.Struct, frozen=True):
    contents: StoreOpened | None
    error: StorageError | None


class Store(SubsystemActor):
    """Runs `Transact`s in the order of their arrival; each is answered after its commit."""

    RESTART = Restart(max_restarts=None, backoff_max=5.0)
    """It never gives up: what it is asked meanwhile, payloads among it, waits in its mailbox."""

    def __init__(self) -> None:
        self.opening: Writer | None = None
        self.writer: Writer | None = None
        self.waiting: list[tuple[Transact, ActorAddress]] = []
        self.told: tuple[str, ...] = ()
        self.notes: str | None = None
        self.change: ChangeDatabase | None = None

    def receiveMsg_RunStore(self, message: RunStore, sender: ActorAddress) -> None:
        self.config = message
        self.parent = sender
        self.receiveMsg_Reopen(Reopen(), sender)

    def receiveMsg_Reopen(self, message: Reopen, sender: ActorAddress) -> None:
        config = self.config
        self.opening = Writer(lambda: open_database(config.path, config.busy_timeout_ms, config.data_dir))
        self.run(_open(self.opening, config), then=lambda opened: opened, within=None)

    def receiveMsg__Opened(self, message: _Opened, sender: ActorAddress) -> None:
        if message.contents is None:
            self.health = f"degraded: {message.error}"
            self.send(self.parent, SubsystemFailed(str(message.error)))
            self.wakeupAfter(REOPEN, Reopen())
            return
        self.writer = self.opening
        if self.change is not None:
            self._change(message.contents.notes)
            return
        self.told = message.contents.notes
        self.notes = "; ".join(self.told) or None
        self.health = self.notes
        self.send(self.parent, message.contents)
        self.send(self.parent, SubsystemStarted())
        waiting, self.waiting = self.waiting, []
        for transact, requester in waiting:
            self.receiveMsg_Transact(transact, requester)

    def receiveMsg_ChangeDatabase(self, message: ChangeDatabase, sender: ActorAddress) -> None:
        """A database that is not open waits for that first."""
        self.change = message
        if self.writer is not None:
            self._change(self.told)

    def _change(self, notes: tuple[str, ...]) -> None:
        """Should this life end meanwhile, the next one says that the database is open."""
        assert self.writer is not None
        assert self.change is not None
        change, self.change = self.change, None
        self.run(_changed(self.writer, change, self.config, notes), then=lambda opened: opened, within=None)

    def receiveMsg_Transact(self, message: Transact, sender: ActorAddress) -> None:
        if self.writer is None:
            self.waiting.append((message, sender))
        else:
            self.release(_transact(self.writer, message), reply_to=sender, within=None)

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        if self.writer is None:
            self.send(sender, SubsystemChecked("the database is not open"))
        else:
            self.release(_check(self.writer, self.notes), reply_to=sender)

    def stopped(self) -> None:
        """What was asked is still written and answered, if the database is open; else it is refused."""
        if self.writer is not None:
            for transact, requester in self.unread(Transact):
                self.receiveMsg_Transact(transact, requester)
        for transact, requester in self.waiting:
            self.send(
                requester, Transacted(transact.token, error=StorageError("the store has ended", "closed"))
            )
        if self.opening is not None:
            self.release(asyncio.to_thread(self.opening.close), within=CLOSE_WITHIN)


async def _open(writer: Writer, config: RunStore) -> _Opened:
    try:
        database = await asyncio.to_thread(writer.start)
        who, kinds = await asyncio.wrap_future(writer.submit(_contents, config))
    except StorageError as error:
        return _Opened(None, error)
    return _Opened(StoreOpened(who, kinds, database.notes), None)


async def _changed(
    writer: Writer, change: ChangeDatabase, config: RunStore, notes: tuple[str, ...]
) -> _Opened:
    answer = await _transact(writer, Transact(None, change.call, change.args))
    await asyncio.to_thread(_note, change, answer.error)
    who, kinds = await asyncio.wrap_future(writer.submit(_contents, config))
    return _Opened(StoreOpened(who, kinds, notes), None)


def _note(change: ChangeDatabase, error: Exception | None) -> None:
    """What cannot be noted now is found out at the next start."""
    what = change.outcome.what
    if error is None:
        log.warning("%s: done", what)
    else:
        log.error("%s: nothing was changed: %s", what, error)
    try:
        outcomes.finish(change.folder, change.outcome, None if error is None else str(error))
        if change.leftover is not None:
            change.leftover.unlink(missing_ok=True)
    except OSError as failure:
        log.error("%s: how it went could not be noted: %s", what, failure)


def _contents(database: Database, config: RunStore) -> tuple[identity.Identity, dict[str, int]]:
    who = identity.load_or_create(database, config.uuid, config.name, config.type)
    return who, target_state.kinds(database)


async def _check(writer: Writer, notes: str | None) -> SubsystemChecked:
    answer = await _transact(writer, Transact(None, stored.ping))
    error = None if answer.error is None else str(answer.error)
    trouble, written_anew = answer.result or Standing(None, None)
    if trouble is not None and trouble.restart:
        error = trouble.what
    if writer.damage is not None:
        error = f"damaged ({writer.damage}): restart the agent, which then sets it aside or finds it whole"
    said = "; ".join(note for note in (notes, written_anew) if note) or None
    return SubsystemChecked(error, said, _writes(writer, trouble))


def _writes(writer: Writer, trouble: Trouble | None) -> list[Check]:
    """A disk that takes nothing, or is away, has a line of its own and does not fail the agent, which goes on
    without it: a restart would cost what is in memory."""
    if trouble is not None and not trouble.restart:
        return [Check("database-writes", False, blocks_readiness=True, last_error=trouble.what)]
    refused = writer.refused
    if refused is None or monotonic() - refused.at > REFUSAL_TOLD:
        return []
    return [Check("database-writes", False, last_error=refused.why)]


async def _transact(writer: Writer, message: Transact) -> Transacted:
    result: Any = None
    try:
        result = await asyncio.wrap_future(writer.submit(message.call, *message.args))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its requester's to judge
        return Transacted(message.token, error=error)
    return Transacted(message.token, result)
