"""Users and sessions over a real store, without an agent around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from thespian.actors import ActorAddress

from actors.accounts.accounts import Accounts, RunAccounts
from actors.accounts.messages import AddUser, ChangePassword, SignedIn, SignIn, UserChanged
from actors.state.store import RunStore, Store
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart

SECONDS = 10.0
FIRST = "first-password"
PASSWORD = "a-good-password"
PEER = "192.0.2.7"


class RunParent(msgspec.Struct, frozen=True):
    store: RunStore


class Parent(Actor):
    """Of the store; it does not listen."""

    def receiveMsg_RunParent(self, message: RunParent, sender: ActorAddress) -> None:
        self.spawn(Store, "store", message.store)

    def receiveUnrecognizedMessage(self, message: Any, sender: ActorAddress) -> None:
        pass


class Known(NamedTuple):
    """Somebody who is signed in."""

    username: str
    token: str
    session: int


class Rig:
    def __init__(self, folder: Path, first_password: str | None = FIRST) -> None:
        self.folder = folder
        self.system = AsyncioSystemBase()
        stored = RunStore(folder / "agent.sqlite", folder, 50, None, "agent-7", None)
        parent = self.system.spawn(None, Parent, "parent", RunParent(stored))
        self.store = child_address(parent, "store")
        start = RunAccounts(self.store, first_password, folder / "reset-admin")
        self.accounts = self.system.spawn(
            None, Accounts, "accounts", start, Restart(backoff=0.001, backoff_max=0.01)
        )

    @property
    def actor(self) -> Accounts:
        """The instance, to look at and to do harm to."""
        found = self.system.mailboxes[self.accounts.addressDetails].instance
        assert isinstance(found, Accounts)
        return found

    async def ask(self, message: Any) -> Any:
        return await self.system.ask(self.accounts, message, SECONDS)

    async def sign_in(self, username: str, password: str = PASSWORD, peer: str = PEER) -> Known:
        answer = await self.ask(SignIn(username, password, peer, "a test"))
        assert isinstance(answer, SignedIn), answer
        return Known(username, answer.token, answer.session.id)

    async def admin(self) -> Known:
        """The first user, with the first password changed to `PASSWORD`."""
        known = await self.sign_in("admin", FIRST)
        await self.ask(ChangePassword(known.session, FIRST, PASSWORD, PEER))
        return known

    async def user(self, username: str, **fields: Any) -> Known:
        """A new one, signed in."""
        added = await self.ask(AddUser(username, PASSWORD, **fields))
        assert isinstance(added, UserChanged), added
        return await self.sign_in(username)


@asynccontextmanager
async def accounts(folder: Path, first_password: str | None = FIRST) -> AsyncIterator[Rig]:
    rig = Rig(folder, first_password)
    try:
        yield rig
    finally:
        rig.system.shutdown()
        await rig.system.released()
