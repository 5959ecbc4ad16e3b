"""Whatever a subsystem says, or does not, the health report tells what is so."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from test_agent_actor import settings, state
from thespian.actors import ActorAddress

from actors.agent import Agent, RunAgent
from actors.subsystems import watching
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor
from actors.subsystems.messages import StateReported, SubsystemFailed, SubsystemStarted, SubsystemStopped
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.mailboxes import Cell

SCALE = ActorAddress("/agent/scale")


@pytest.fixture(autouse=True)
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for health has the tree looked at."""
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.0)


class RunScale(msgspec.Struct, frozen=True):
    """Start: what is said to the root in each life, the last of them in all that follow."""

    says: list[Any]


class Say(msgspec.Struct, frozen=True):
    what: Any


class Scale(SubsystemActor):
    """A critical subsystem that says what a test wants."""

    def receiveMsg_RunScale(self, message: RunScale, sender: ActorAddress) -> None:
        self.parent = sender
        said = message.says.pop(0) if message.says else None
        if said is not None:
            self.send(sender, said)

    def receiveMsg_Say(self, message: Say, sender: ActorAddress) -> None:
        self.send(self.parent, message.what)


class Works:
    """An agent whose only subsystem is a scale that says `says`, one thing in each life."""

    def __init__(self, base: AsyncioSystemBase, directory: Path, says: list[Any]) -> None:
        self.base = base
        scale = Subsystem(
            name="scale", actor=Scale, start=lambda _: RunScale(says), phase=Phase.CORE, critical=True
        )
        self.agent = base.spawn(None, Agent, "agent", RunAgent(settings(directory), "1", (scale,)))

    async def begun(self) -> None:
        await until(lambda: getattr(self.cell("/agent").instance, "state", None) == "RUNNING")
        assert (await self.report()).ready

    def cell(self, path: str) -> Cell:
        found = self.base.mailboxes[path]
        assert isinstance(found, Cell)
        return found

    async def crash(self, path: str) -> None:
        """And wait for the next life to have heard its start."""
        cell = self.cell(path)
        self.base.crash(cell, RuntimeError("broken"))
        await until(lambda: cell.instance is not None and not cell.mailbox and not cell.scheduled)

    async def report(self) -> StateReported:
        return await state(self.base, self.agent)

    async def errors(self) -> dict[str, str | None]:
        return {check.name: check.last_error for check in (await self.report()).checks if not check.healthy}


@pytest.fixture
async def base() -> AsyncIterator[AsyncioSystemBase]:
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


async def test_a_subsystem_that_does_not_start_in_its_next_life_is_not_healthy_until_it_does(base, tmp_path):
    works = Works(base, tmp_path, [SubsystemStarted()])
    await works.begun()
    await works.crash("/agent/scale")
    assert await works.errors() == {"scale": "has not started"}
    assert not (await works.report()).ready
    base.tell(SCALE, Say(SubsystemStarted()))
    await until(lambda: not works.cell("/agent").mailbox and not works.cell("/agent/scale").mailbox)
    assert (await works.report()).ready


async def test_why_a_subsystem_does_not_start_in_its_next_life_is_kept(base, tmp_path):
    works = Works(base, tmp_path, [SubsystemStarted(), SubsystemFailed("no weight")])
    await works.begun()
    await works.crash("/agent/scale")
    assert await works.errors() == {"scale": "no weight"}


async def test_a_subsystem_that_has_failed_is_not_healthy_in_the_roots_next_life(base, tmp_path):
    works = Works(base, tmp_path, [SubsystemStarted()])
    await works.begun()
    base.tell(SCALE, Say(SubsystemFailed("no weight")))
    await until(lambda: not works.cell("/agent").mailbox and not works.cell("/agent/scale").mailbox)
    assert await works.errors() == {"scale": "no weight"}
    await works.crash("/agent")
    assert await works.errors() == {"scale": "has not started"}
    base.tell(SCALE, Say(SubsystemStarted()))
    await until(lambda: not works.cell("/agent").mailbox and not works.cell("/agent/scale").mailbox)
    assert (await works.report()).ready


async def test_a_subsystem_that_says_unasked_that_it_has_stopped_goes_on(base, tmp_path):
    works = Works(base, tmp_path, [SubsystemStarted()])
    await works.begun()
    base.tell(SCALE, Say(SubsystemStopped()))
    await until(lambda: not works.cell("/agent/scale").mailbox and not works.cell("/agent").mailbox)
    assert (await works.report()).ready
    assert "/agent/scale" in base.mailboxes
