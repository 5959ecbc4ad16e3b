"""Start messages, notes and restarts in every order, against a model of what should come of them.

A child is told by its parent what it should be (`Wanted`), may be told to retire, which it leaves to its next
life as a note, and crashes or exits with its mailbox in any state. Whatever the order: in the end it is what
its parent said last, and has retired if and only if that was said after the latest start.
"""

import asyncio
import random
from typing import Any

import msgspec
import pytest
from puppets import SECONDS, Do, Puppet, Tell, below, spawn, until

from actors.system.actor import Actor
from actors.system.supervision import Restart

SEEDS = 1000
AT_ONCE = Restart(max_restarts=None, backoff=0.0)


class Wanted(msgspec.Struct, frozen=True):
    """Start; it takes back every `Retire` up to number `retained`."""

    version: int
    retained: int
    lives: list["Child"]


class Retire(msgspec.Struct, frozen=True):
    number: int


class Crash(msgspec.Struct, frozen=True):
    pass


class Leave(msgspec.Struct, frozen=True):
    pass


class Child(Actor):
    def __init__(self) -> None:
        self.versions: list[int] = []
        self.retired = 0

    def receiveMsg_Wanted(self, message: Wanted, sender: Any) -> None:
        if not self.versions:
            message.lives.append(self)
        self.versions.append(message.version)
        self.wanted = message
        if self.retired <= message.retained:
            self.retired = 0

    def receiveMsg_Retire(self, message: Retire, sender: Any) -> None:
        if message.number > self.wanted.retained:
            self.retired = message.number
            self.remember(message)

    def receiveMsg_Tell(self, message: Tell, sender: Any) -> None:
        pass

    def receiveMsg_Crash(self, message: Crash, sender: Any) -> None:
        raise RuntimeError("boom")

    def receiveMsg_Leave(self, message: Leave, sender: Any) -> None:
        raise SystemExit


class Model:
    """What has been said, and the child that it was said to."""

    def __init__(self, system: Any, seed: int) -> None:
        self.system = system
        self.random = random.Random(seed)
        self.lives: list[Child] = []
        self.version = 0
        self.number = 0
        self.retired = False
        self.parents: list[Puppet] = []
        self.parent, _ = spawn(system, f"parent-{seed}", self._adopt)
        self.child = below(self.parent)

    def _adopt(self, puppet: Puppet) -> None:
        self.parents.append(puppet)
        puppet.spawn(Child, "child", Wanted(0, 0, self.lives), AT_ONCE)

    def restate(self) -> None:
        self.version += 1
        self.number += 1
        self.retired = False
        self.parents[0].restate(self.child, Wanted(self.version, self.number, self.lives))

    def retire(self) -> None:
        self.number += 1
        self.retired = True
        self.parents[0].send(self.child, Retire(self.number))

    def crash(self) -> None:
        self.parents[0].send(self.child, Crash())

    def crash_now(self) -> None:
        self.system.crash(self.cell, RuntimeError("boom"))

    def leave(self) -> None:
        self.parents[0].send(self.child, Leave())

    def tell(self) -> None:
        self.system.tell(self.child, Tell("something"))

    @property
    def cell(self) -> Any:
        return self.system.mailboxes[self.child.addressDetails]

    async def run(self) -> None:
        await until(lambda: self.lives)
        moves = [self.restate, self.retire, self.crash, self.crash_now, self.leave, self.tell]
        for _ in range(self.random.randint(2, 14)):
            self.random.choice(moves)()
            for _ in range(self.random.choice([0, 0, 0, 1, 2])):
                await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            while self.cell.instance is None or self.cell.mailbox or self.cell.scheduled:  # noqa: ASYNC110
                await asyncio.sleep(0)  # its next life and its mail announce themselves to nobody

    def check(self) -> None:
        for life in self.lives:
            assert life.versions == sorted(life.versions), "an older start came after a newer one"
        for before, after in zip(self.lives, self.lives[1:], strict=False):
            assert before.versions[-1] <= after.versions[0], "a life began with an older start"
        living = self.cell.instance
        assert living.wanted.version == self.version, "it is not what its parent said last"
        assert bool(living.retired) == self.retired
        assert self.cell.start is living.wanted


@pytest.mark.parametrize("block", range(10))
async def test_a_child_ends_as_its_parent_said_last(system, block, caplog):
    caplog.set_level("CRITICAL")
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        model = Model(system, seed)
        await model.run()
        model.check()
        system.terminate(system.mailboxes[model.parent.addressDetails])


async def test_a_start_that_a_crash_overtook_is_void(system):
    model = Model(system, 0)
    await until(lambda: model.lives)

    def overtake(self: Puppet, sender: Any) -> None:
        model.restate()  # queued behind the crash
        model.crash_now()
        model.restate()  # while it is away

    system.tell(model.parent, Do(overtake))
    await until(lambda: len(model.lives) == 2 and not model.cell.scheduled)
    assert model.lives[1].versions == [2]


async def test_a_start_of_the_childs_own_making_is_not_taken_for_one_of_its_parent(system):
    """The note of an earlier life may be of the start's class."""
    model = Model(system, 0)
    await until(lambda: model.lives)
    model.lives[0].remember(Wanted(99, 99, model.lives))
    model.crash_now()
    await until(lambda: len(model.lives) == 2 and len(model.lives[1].versions) == 2)
    assert model.lives[1].versions == [0, 99]
    model.crash_now()
    await until(lambda: len(model.lives) == 3 and len(model.lives[2].versions) == 2)
    assert model.cell.start.version == 0
