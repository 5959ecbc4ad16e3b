"""A store on a real database, and a keeper of rows in it."""

import threading
from pathlib import Path
from typing import Any

import msgspec
from puppets import SECONDS, SOON, Puppet
from thespian.actors import ActorAddress

from actors.state.keeper import Keeper
from actors.state.messages import StoreOpened
from actors.state.store import RunStore, Store
from actors.subsystems.messages import SubsystemFailed, SubsystemStarted
from actors.system.failure import Refusal
from storage import target_state
from storage.database import Database
from storage.target_state import Row

THING = "thing"


class RunOwner(msgspec.Struct, frozen=True):
    instances: list["Owner"]
    store: RunStore


class Owner(Puppet):
    """Parent of the store; `told` is what the store says."""

    def __init__(self) -> None:
        super().__init__()
        self.started = False

    def receiveMsg_RunOwner(self, message: RunOwner, sender: ActorAddress) -> None:
        message.instances.append(self)
        self.store = self.spawn(Store, "store", message.store, SOON)

    def receiveMsg_StoreOpened(self, message: StoreOpened, sender: ActorAddress) -> None:
        self.told.append(message)

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        self.started = True

    def receiveMsg_SubsystemFailed(self, message: SubsystemFailed, sender: ActorAddress) -> None:
        self.told.append(message)

    def receiveMsg_Transacted(self, message: Any, sender: ActorAddress) -> None:
        self.told.append(message)


def configured(path: Path) -> RunStore:
    return RunStore(path=path, data_dir=path.parent, busy_timeout_ms=50, uuid=None, name="agent-7", type=None)


class Put(msgspec.Struct, frozen=True):
    """Replies the stored `Row`."""

    name: str
    size: int = 0


class Remove(msgspec.Struct, frozen=True):
    """Replies how many rows went; `then` is raised once they have."""

    id: int
    then: Exception | None = None


class List(msgspec.Struct, frozen=True):
    """Replies the names of what is kept."""


class RunShelf(msgspec.Struct, frozen=True):
    store: ActorAddress


class Shelf(Keeper):
    """Keeps things by name; refuses one that is called nothing."""

    CHANGES = (Put, Remove)
    REQUESTS = (*CHANGES, List)

    def receiveMsg_RunShelf(self, message: RunShelf, sender: ActorAddress) -> None:
        self.store = message.store
        self.begin()

    def load(self) -> tuple[Any, ...]:
        return target_state.load, (THING,)

    def take(self, stored: list[Row]) -> None:
        self.things = {row.id: row for row in stored}

    def receiveMsg_Put(self, message: Put, sender: ActorAddress) -> None:
        if not message.name:
            raise Refusal("name is required", "name")
        self.transact(
            sender, self._kept, target_state.insert, THING, message.name, {"filling": "x" * message.size}
        )

    def _kept(self, row: Row) -> Row:
        self.things[row.id] = row
        return row

    def receiveMsg_Remove(self, message: Remove, sender: ActorAddress) -> None:
        def removed(count: int) -> int:
            if message.then is not None:
                raise message.then
            self.things.pop(message.id, None)
            return count

        self.transact(sender, removed, target_state.delete, [message.id])

    def receiveMsg_List(self, message: List, sender: ActorAddress) -> None:
        self.send(sender, [row.name for row in self.things.values()])


class Gate:
    """A job that keeps the writer busy until `open` is called, so that others pile up behind it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, _database: Database) -> str:
        self.entered.set()
        assert self._open.wait(SECONDS)
        return "opened"

    def open(self) -> None:
        self._open.set()


def fill_disk(database: Database) -> None:
    """From now on the database cannot grow."""
    pages = database.db.execute("PRAGMA page_count").fetchone()[0]
    database.db.execute(f"PRAGMA max_page_count = {pages}")
