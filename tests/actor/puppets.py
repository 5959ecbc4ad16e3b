"""Actors that do what a test tells them to, and a test's view of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.system import tree
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.messages import ActorNode
from actors.system.supervision import Restart

SECONDS = 5.0
SOON = Restart(backoff=0.001, backoff_max=0.004)


class Do(msgspec.Struct, frozen=True):
    """Have the puppet call `call(puppet, sender)`; it sends the result back unless that is None."""

    call: Callable[[Any, ActorAddress], Any]


class Tell(msgspec.Struct, frozen=True):
    """Something to remember."""

    what: Any


class Reading(msgspec.Struct, frozen=True):
    """Something to remember that may be dropped."""

    TELEMETRY = True
    what: Any


class Ask(msgspec.Struct, frozen=True):
    """Replies `what`."""

    what: Any


class Lives(msgspec.Struct, frozen=True):
    """Start of a puppet: where its instances enter themselves, and what each does first."""

    instances: list["Puppet"]
    first: Callable[["Puppet"], Any] | None = None


class Puppet(Actor):
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ended = False
        self.parent: ActorAddress | None = None

    def receiveMsg_Lives(self, message: Lives, sender: ActorAddress) -> None:
        message.instances.append(self)
        self.parent = sender
        if message.first is not None:
            message.first(self)

    def receiveMsg_Do(self, message: Do, sender: ActorAddress) -> None:
        result = message.call(self, sender)
        if result is not None:
            self.send(sender, result)

    def receiveMsg_Tell(self, message: Tell, sender: ActorAddress) -> None:
        self.told.append(message.what)

    def receiveMsg_Reading(self, message: Reading, sender: ActorAddress) -> None:
        self.told.append(message.what)

    def receiveMsg_Ask(self, message: Ask, sender: ActorAddress) -> None:
        self.send(sender, message.what)

    def stopped(self) -> None:
        self.ended = True


def spawn(
    system: AsyncioSystemBase,
    name: str = "puppet",
    first: Callable[[Puppet], Any] | None = None,
    restart: Restart | None = SOON,
) -> tuple[ActorAddress, list[Puppet]]:
    """A puppet without a parent; its instances, oldest first."""
    instances: list[Puppet] = []
    return system.spawn(None, Puppet, name, Lives(instances, first), restart), instances


def with_child(
    child: list[Puppet],
    first: Callable[[Puppet], Any] | None = None,
    restart: Restart | None = SOON,
    name: str = "child",
) -> Callable[[Puppet], Any]:
    """For `first`: have a puppet spawn another."""
    return lambda puppet: puppet.spawn(Puppet, name, Lives(child, first), restart)


def below(parent: ActorAddress, name: str = "child") -> ActorAddress:
    return child_address(parent, name)


def boom(*_: Any) -> None:
    raise RuntimeError("boom")


CRASH = Do(boom)


def node(system: AsyncioSystemBase, address: ActorAddress) -> ActorNode:
    """What the tree dump says of the actor."""
    return tree.dump(system.mailboxes[address.addressDetails]).root


async def until(happened: Callable[[], Any]) -> None:
    """Wait for `happened()` to be true."""
    async with asyncio.timeout(SECONDS):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.001)
