"""The store: the one SQLite writer, on a thread of its own."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.state.messages import Transact, Transacted
from actors.system.actor import Actor
from storage import devices, identity, outbox, target_state
from storage.database import Database, open_database
from storage.devices import Device
from storage.errors import StorageError
from storage.identity import Identity
from storage.outbox import OutboxSummary
from storage.target_state import Row
from storage.writer import Writer

log = logging.getLogger(__name__)

REOPEN = 2.0  # seconds before another try to open the database


class RunStore(msgspec.Struct, frozen=True):
    """Start: where the database is, and the identity that is configured (None: not)."""

    path: Path
    data_dir: Path
    busy_timeout_ms: int
    uuid: str | None
    name: str | None
    type: str | None


class StoreOpened(msgspec.Struct, frozen=True):
    """To the parent, once per life: everything the tree is built from.

    `set_aside` is the new name of a database that was corrupt.
    """

    identity: Identity
    rows: list[Row]
    devices: list[Device]
    outboxes: dict[int, OutboxSummary]
    set_aside: Path | None


class StoreFailed(msgspec.Struct, frozen=True):
    """To the parent: the database cannot be opened now; the store tries again."""

    message: str


class Reopen(msgspec.Struct, frozen=True):
    """To itself: try to open the database."""


class _Opened(msgspec.Struct, frozen=True):
    contents: StoreOpened | None
    error: StorageError | None


class Store(Actor):
    """Runs `Transact`s in the order of their arrival; each is answered after its commit."""

    def __init__(self) -> None:
        self.opening: Writer | None = None
        self.writer: Writer | None = None
        self.waiting: list[tuple[Transact, ActorAddress]] = []

    def receiveMsg_RunStore(self, message: RunStore, sender: ActorAddress) -> None:
        self.config = message
        self.parent = sender
        self.receiveMsg_Reopen(Reopen(), sender)

    def receiveMsg_Reopen(self, message: Reopen, sender: ActorAddress) -> None:
        config = self.config
        self.opening = Writer(lambda: open_database(config.path, config.busy_timeout_ms, config.data_dir))
        self.run(_open(self.opening, config), then=lambda opened: opened)

    def receiveMsg__Opened(self, message: _Opened, sender: ActorAddress) -> None:
        if message.contents is None:
            self.health = f"degraded: {message.error}"
            self.send(self.parent, StoreFailed(str(message.error)))
            self.wakeupAfter(REOPEN, Reopen())
            return
        self.writer = self.opening
        self.health = None
        if message.contents.set_aside is not None:
            self.health = f"started clean; the corrupt database is {message.contents.set_aside.name}"
        self.send(self.parent, message.contents)
        waiting, self.waiting = self.waiting, []
        for transact, requester in waiting:
            self.receiveMsg_Transact(transact, requester)

    def receiveMsg_Transact(self, message: Transact, sender: ActorAddress) -> None:
        if self.writer is None:
            self.waiting.append((message, sender))
        else:
            self.release(_transact(self.writer, message), reply_to=sender)

    def stopped(self) -> None:
        """What was handed to the writer is still written and answered; the rest is refused."""
        for transact, requester in self.waiting:
            self.send(
                requester, Transacted(transact.token, error=StorageError("the store has ended", "closed"))
            )
        if self.opening is not None:
            self.release(asyncio.to_thread(self.opening.close))


async def _open(writer: Writer, config: RunStore) -> _Opened:
    try:
        database = await asyncio.to_thread(writer.start)
        contents = await asyncio.wrap_future(writer.submit(_contents, config))
    except StorageError as error:
        return _Opened(None, error)
    return _Opened(msgspec.structs.replace(contents, set_aside=database.set_aside), None)


def _contents(database: Database, config: RunStore) -> StoreOpened:
    return StoreOpened(
        identity=identity.load_or_create(database, config.uuid, config.name, config.type),
        rows=[row for row in target_state.load(database) if row.error is None],
        devices=devices.load(database),
        outboxes=outbox.summaries(database),
        set_aside=None,
    )


async def _transact(writer: Writer, message: Transact) -> Transacted:
    result: Any = None
    try:
        result = await asyncio.wrap_future(writer.submit(message.call, *message.args))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its requester's to judge
        return Transacted(message.token, error=error)
    return Transacted(message.token, result)
