"""A keeper that hashes passwords before it changes something."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.accounts.passwords import Hasher
from actors.state.keeper import Keeper
from actors.system.failure import Failed, Refusal

Hashing = Callable[..., Coroutine[Any, Any, Any]]

WAITING = 16
"""Passwords that are hashed, or wait for it; who comes with another one is to come again."""

RESERVED = 6
"""Of these, for who is known."""


class Proceed(msgspec.Struct, frozen=True):
    """To itself, in the name of who asked: the password is hashed, and what it was hashed for is done."""

    call: Callable[[ActorAddress], None]


class Hashed(msgspec.Struct, frozen=True):
    """To itself; `result` is what became of it, or `Failed`."""

    number: int
    result: Any


class HashingKeeper(Keeper):
    """Other requests are answered meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.hasher = Hasher()
        self.hashing: dict[int, tuple[ActorAddress, Callable[[Any], None]]] = {}
        self.number = 0

    def is_busy(self, reserved: bool = False) -> bool:
        """Whether another one is to come again; some room is `reserved`."""
        return len(self.hashing) >= (WAITING if reserved else WAITING - RESERVED)

    def hash(
        self, requester: ActorAddress, then: Callable[[Any], None], call: Hashing, *args: str | None
    ) -> None:
        """`then` gets what comes of `call(*args)`, `Failed` too."""
        self.number += 1
        self.hashing[self.number] = requester, then
        self.run(_hashed(self.number, call, *args), then=lambda hashed: hashed)

    def receiveMsg_Hashed(self, message: Hashed, sender: ActorAddress) -> None:
        _, then = self.hashing.pop(message.number)
        then(message.result)

    def hash_then(
        self, requester: ActorAddress, password: str, call: Callable[[ActorAddress, str], None]
    ) -> None:
        """Hash a new password; then `call(requester, hash)` changes something."""
        if self.is_busy(reserved=True):
            raise Refusal("Too many passwords are being hashed: try again", kind="unavailable")

        def hashed(result: str | Failed) -> None:
            if isinstance(result, Failed):
                self.send(requester, result)
            else:
                self.receiveMessage(Proceed(lambda asking: call(asking, result)), requester)

        self.hash(requester, hashed, self.hasher.make, password)

    def receiveMsg_Proceed(self, message: Proceed, sender: ActorAddress) -> None:
        message.call(sender)

    def stopped(self) -> None:
        super().stopped()
        for requester, _ in self.hashing.values():
            if requester != self.myAddress:
                self.send(requester, Failed("unavailable", "Interrupted: nothing was changed"))


async def _hashed(number: int, call: Hashing, *args: str | None) -> Hashed:
    try:
        return Hashed(number, await call(*args))
    except Refusal as refusal:
        return Hashed(number, refusal.failed())
