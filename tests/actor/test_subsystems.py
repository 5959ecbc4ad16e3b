"""A subsystem is a descriptor: one from outside the tree is started, addressed, watched and stopped like any
other."""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from test_agent_actor import DOOR, Opened, check, settings, state, until_state
from thespian.actors import ActorAddress

import actors
from actors import agent as agent_module
from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Interest
from actors.readings.messages import Observe
from actors.state.messages import Transact, Transacted
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor, Surroundings
from actors.subsystems.messages import (
    Check,
    CheckSubsystem,
    StopSubsystem,
    SubsystemChecked,
    SubsystemFailed,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.subsystems.registry import subsystems
from actors.system.asyncio_base import AsyncioSystemBase
from storage import target_state

TOLD: list[Any] = []
PRESS = Source("u", "press", "modbus", "d", "press", (Point("speed"),), ("modbus/press/press/",))


class RunCounter(msgspec.Struct, frozen=True):
    store: ActorAddress
    router: ActorAddress
    uuid: str


class HowMany(msgspec.Struct, frozen=True):
    """Replies the number of batches seen."""


class Counter(SubsystemActor):
    """Counts batches; knows nothing of the agent but what its start says."""

    def receiveMsg_RunCounter(self, message: RunCounter, sender: ActorAddress) -> None:
        TOLD.append(("start", message.uuid))
        self.parent = sender
        self.count = 0
        self.send(message.router, Observe(self.myAddress, Interest(("modbus",))))
        self.send(message.store, Transact(None, target_state.insert, ("counter", "one", {})))

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        self.send(self.parent, SubsystemStarted())

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.count += 1

    def receiveMsg_HowMany(self, message: HowMany, sender: ActorAddress) -> None:
        self.send(sender, self.count)

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        self.send(sender, SubsystemChecked(description="counts", checks=[Check("fingers", True)]))

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        TOLD.append("stop")
        self.send(sender, SubsystemStopped())


COUNTER = Subsystem(
    name="counter",
    actor=Counter,
    start=lambda where: RunCounter(where.at("store"), where.at("readings"), where.known.uuid),
    phase=Phase.INFRASTRUCTURE,
    kinds=("counter",),
)


@pytest.fixture
async def base() -> AsyncIterator[AsyncioSystemBase]:
    TOLD.clear()
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


def run(base: AsyncioSystemBase, directory: Path, *others: Subsystem, **overrides: Any) -> ActorAddress:
    start = RunAgent(settings(directory, **overrides), "1", (*subsystems(), *others, DOOR))
    return base.spawn(None, Agent, "agent", start)


async def test_a_subsystem_from_outside_the_tree_is_one_of_its_own(base, tmp_path):
    agent = run(base, tmp_path, COUNTER)
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    report = await until_state(base, agent, "RUNNING")
    assert check(report, "counter").healthy
    base.tell(ActorAddress("/agent/readings"), Batch(PRESS, 1, [1]))
    counter = Surroundings(settings(tmp_path), "1", agent).at("counter")
    await until(lambda: base.mailboxes[counter.addressDetails].instance.count)
    assert await base.ask(counter, HowMany(), 5) == 1
    report = await state(base, agent)
    while check(report, "fingers") is None:
        report = await state(base, agent)
        await asyncio.sleep(0)
    assert check(report, "counter").description == "counts"
    assert isinstance(await base.ask(agent, Stop(), 5), Stopped)
    assert [told if isinstance(told, str) else told[0] for told in TOLD] == ["start", "stop"]


@pytest.mark.parametrize("critical", [True, False])
async def test_a_subsystem_that_cannot_be_configured_is_no_loss_unless_it_is_critical(
    base, tmp_path, critical
):
    def refuse(where: Surroundings) -> Any:
        raise ValueError("no counter without fingers")

    odd = msgspec.structs.replace(COUNTER, start=refuse, critical=critical)
    agent = run(base, tmp_path, odd)
    if critical:
        async with asyncio.timeout(5):
            await base.ended(agent)
        return
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    report = await until_state(base, agent, "RUNNING")
    assert report.ready
    line = check(report, "counter")
    assert (line.healthy, line.last_error) == (False, "ValueError: no counter without fingers")


class Sleepy(Counter):
    """Never says that it has started, nor that it has stopped."""

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        pass

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        pass


async def test_a_subsystem_that_does_not_start_or_stop_in_time_delays_the_others_only_so_long(
    base, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(agent_module, "START_PATIENCE", 0.1)
    monkeypatch.setattr(agent_module, "STOP_PATIENCE", 0.1)
    monkeypatch.setattr(agent_module, "DELIVERY_PATIENCE", 0.1)
    agent = run(base, tmp_path, msgspec.structs.replace(COUNTER, actor=Sleepy))
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    report = await until_state(base, agent, "RUNNING")
    assert check(report, "counter").last_error == "has not started"
    assert isinstance(await base.ask(agent, Stop(), 5), Stopped)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line for line in said if "counter" in line] == [  # the store may be slow, too
        "init did not do so in time: counter",
        "stopping did not do so in time: counter",
    ]


class Failing(SubsystemActor):
    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(sender, SubsystemFailed(message))


async def test_a_subsystem_that_says_that_it_fails_is_shown_with_why(base, tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "START_PATIENCE", 0.1)
    failing = Subsystem(name="odd", actor=Failing, start=lambda where: "no power", phase=Phase.FEATURES)
    agent = run(base, tmp_path, failing)
    await until_state(base, agent, "READY")
    assert check(await state(base, agent), "odd").last_error == "no power"


async def test_phases_start_in_order_and_stop_the_other_way_round(base, tmp_path):
    order: list[str] = []

    def recorder(name: str, phase: Phase) -> Subsystem:
        class Recorder(SubsystemActor):
            def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
                order.append(f"start {message}")
                self.send(sender, SubsystemStarted())

            def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
                order.append(f"stop {name}")
                super().receiveMsg_StopSubsystem(message, sender)

        return Subsystem(name=name, actor=Recorder, start=lambda where: name, phase=phase)

    agent = run(
        base,
        tmp_path,
        recorder("source", Phase.FEATURES),
        recorder("sink", Phase.INFRASTRUCTURE),
        recorder("other", Phase.CORE),
    )
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_state(base, agent, "RUNNING")
    await base.ask(agent, Stop(), 5)
    names = ["other", "sink", "source"]
    assert order == [f"start {name}" for name in names] + [f"stop {name}" for name in reversed(names)]


async def test_a_stop_during_which_a_subsystem_or_the_root_crashes_still_ends(base, tmp_path):
    agent = run(base, tmp_path)
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_state(base, agent, "RUNNING")
    stopping = asyncio.ensure_future(base.ask(agent, Stop(), 10))
    await asyncio.sleep(0)
    base.crash(base.mailboxes["/agent/publisher"], RuntimeError("boom"))
    base.crash(base.mailboxes["/agent"], RuntimeError("boom"))
    assert isinstance(await stopping, Stopped)


def test_only_the_root_stands_at_the_top_of_actors() -> None:
    files = sorted(path.name for path in Path(actors.__path__[0]).glob("*.py"))
    assert files == ["__init__.py", "agent.py"]


def test_every_folder_with_a_descriptor_is_registered() -> None:
    folders = [
        module.name
        for module in pkgutil.iter_modules(actors.__path__)
        if module.ispkg and _has_descriptor(module.name)
    ]
    registered = {one.actor.__module__.split(".")[1] for one in subsystems()}
    assert set(folders) == registered


def _has_descriptor(folder: str) -> bool:
    try:
        return hasattr(importlib.import_module(f"actors.{folder}.subsystem"), "SUBSYSTEM")
    except ModuleNotFoundError:
        return False
