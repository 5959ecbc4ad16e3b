"""A soft restart: whatever happens in the middle of it, the agent is RUNNING again, whole and once, or stops
if it was told to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from test_agent_actor import DOOR, Opened, check, settings, state, until_state
from thespian.actors import ActorAddress

from actors import agent as agent_module
from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.state.messages import StoreOpened
from actors.state.store import RunStore
from actors.subsystems import running as running_module
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor
from actors.subsystems.health import failing
from actors.subsystems.messages import (
    RestartAgent,
    RestartBegun,
    SettingsStated,
    StopSubsystem,
    SubsystemStarted,
)
from actors.subsystems.registry import subsystems
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from actors.system.mailboxes import Cell
from actors.system.supervision import Restart
from conf.runtime import Features, RuntimeSettings
from storage.identity import Identity

AGENT = ActorAddress("/agent")
STAYS = {one.name for one in (*subsystems(), DOOR) if one.stays}
PATIENT = Restart("transient", max_restarts=None, backoff=0.001, backoff_max=0.002, keep_children=True)


class Lamp(SubsystemActor):
    """Does what a subsystem does."""

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(sender, SubsystemStarted())


class Deaf(Lamp):
    """Never stops."""

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        pass


class Doomed(Lamp):
    """Gives up at once, and would be back soon."""

    RESTART = Restart(max_restarts=0, rest=0.2)


class Broken(Lamp):
    """Gives up over its stop, and would be back at once."""

    RESTART = Restart(max_restarts=0, rest=0.0)

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        raise RuntimeError("boom")


class Kept(msgspec.Struct, frozen=True):
    """To the store, in between."""


class Keeper(Lamp):
    """A store that is opened anew when it is told to."""

    KEPT: list[str] = []

    def receiveMsg_Kept(self, message: Kept, sender: ActorAddress) -> None:
        alive = self._myRef.system.mailboxes
        Keeper.KEPT.append("lamp" if "/agent/lamp" in alive else "alone")
        self.send(sender, SubsystemStarted())


def one(actor: type[SubsystemActor], phase: Phase = Phase.FEATURES, **more: Any) -> Subsystem:
    return Subsystem(name="lamp", actor=actor, start=lambda where: "shine", phase=phase, **more)


@pytest.fixture
async def base() -> AsyncIterator[AsyncioSystemBase]:
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


async def running(base: AsyncioSystemBase, directory: Path, *others: Subsystem, **overrides: Any) -> None:
    known = (*subsystems(), *others, DOOR)
    base.spawn(None, Agent, "agent", RunAgent(settings(directory, **overrides), "1", known), PATIENT)
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_state(base, AGENT, "RUNNING")
    await until(lambda: not cell(base, "/agent/gateway").scheduled)


def cell(base: AsyncioSystemBase, path: str) -> Cell:
    found = base.mailboxes[path]
    assert isinstance(found, Cell)
    return found


def stays(path: str) -> bool:
    """Whether the actor there is the root, or of a subsystem that stays."""
    return path == "/agent" or path.split("/")[2] in STAYS


def cells(base: AsyncioSystemBase) -> dict[str, Cell]:
    return {path: box for path, box in base.mailboxes.items() if isinstance(box, Cell)}


async def restart(base: AsyncioSystemBase, store: Any = None) -> None:
    assert await base.ask(AGENT, RestartAgent(store), 5) == RestartBegun("RUNNING")


async def handled(root: Cell, messages: int) -> None:
    """That many by the root, or all of a restart."""
    began = root.handled
    while root.handled < began + messages and root.instance.state != "RUNNING":  # noqa: ASYNC110
        await asyncio.sleep(0)


async def over(base: AsyncioSystemBase) -> None:
    await until(lambda: (root := cell(base, "/agent")).instance is not None and not root.mailbox)
    await until_state(base, AGENT, "RUNNING")


async def test_all_but_the_api_and_the_database_are_new_and_nobody_is_left_over(base, tmp_path):
    await running(base, tmp_path)
    before = cells(base)
    for _ in range(3):
        await restart(base)
        assert not (await state(base, AGENT)).ready
        await over(base)
        after = cells(base)
        assert after.keys() == before.keys()
        assert {path: after[path] is before[path] for path in after} == {path: stays(path) for path in after}
        assert {path: after[path].crashes.restarts for path in after} == dict.fromkeys(after, 0)
        before = after
    await until_state(base, AGENT, "RUNNING")
    assert (await state(base, AGENT)).ready
    assert check(await state(base, AGENT), "mqtt") is not None  # who is new has been asked


async def test_asked_again_meanwhile_it_refuses(base, tmp_path):
    await running(base, tmp_path)
    await restart(base)
    refused = await base.ask(AGENT, RestartAgent(), 5)
    assert refused == Failed("conflict", "Restart not allowed in current lifecycle state")
    await over(base)
    await restart(base)


async def test_what_the_store_is_to_do_it_does_while_nobody_else_uses_it(base, tmp_path):
    Keeper.KEPT.clear()
    store = Subsystem(
        name="store", actor=Keeper, start=lambda where: "open", phase=Phase.CORE, critical=True, stays=True
    )
    known = (store, one(Lamp), DOOR)
    base.spawn(None, Agent, "agent", RunAgent(settings(tmp_path), "1", known))
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_state(base, AGENT, "RUNNING")
    await restart(base, Kept())
    await over(base)
    assert Keeper.KEPT == ["alone"]


class Thorough(Keeper):
    """Takes longer over it than phases may to start."""

    def receiveMsg_RunStore(self, message: RunStore, sender: ActorAddress) -> None:
        self.parent = sender
        self._open()

    def receiveMsg_Kept(self, message: Kept, sender: ActorAddress) -> None:
        self.wakeupAfter(0.3, "open")

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        Keeper.KEPT.append("done")
        self._open()

    def _open(self) -> None:
        self.send(self.parent, StoreOpened(Identity("u", "n", "t", "now"), {}))
        self.send(self.parent, SubsystemStarted())


async def test_nobody_begins_before_the_database_is_there_again(base, tmp_path, monkeypatch):
    """However long that takes: they could do nothing, and a watchdog might end the agent in the middle."""
    Keeper.KEPT.clear()
    monkeypatch.setattr(agent_module, "START_PATIENCE", 0.02)
    real = next(each for each in subsystems() if each.name == "store")
    store = msgspec.structs.replace(real, actor=Thorough)
    base.spawn(None, Agent, "agent", RunAgent(settings(tmp_path), "1", (store, one(Lamp), DOOR)), PATIENT)
    await until_state(base, AGENT, "RUNNING")
    await restart(base, Kept())
    await until(lambda: "/agent/lamp" not in base.mailboxes)
    await until(lambda: "/agent/lamp" in base.mailboxes)
    assert Keeper.KEPT == ["done"]
    await over(base)


class Fuse:
    """Makes the root crash over a message, once, when `left` others have been handled: before it handles it,
    so that it is lost (but for what is only noted, which no crash comes of), or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
        self.left = -1
        original = Agent.receiveMessage

        def receive(agent: Agent, message: Any, sender: ActorAddress) -> Any:
            blown = self.left == 0 and not (when == "before" and isinstance(message, SubsystemStarted))
            self.left -= self.left != 0 or blown
            if when == "after" or not blown:
                original(agent, message, sender)
            if blown:
                raise RuntimeError("in the middle")

        monkeypatch.setattr(Agent, "receiveMessage", receive)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_of_the_root_at_any_moment_of_it_costs_nothing(base, tmp_path, monkeypatch, when):
    """Over each message of a restart, one a restart."""
    await running(base, tmp_path, one(Lamp))
    usual = cells(base).keys()
    fuse = Fuse(monkeypatch, when)
    root = cell(base, "/agent")
    moments = 0
    while fuse.left <= 0:
        began = root.crashes.restarts
        await restart(base)
        fuse.left = moments
        await until(lambda began=began: root.crashes.restarts > began or root.instance.state == "RUNNING")
        whole, fuse.left = root.crashes.restarts == began, -1
        await over(base)
        await until_ready(base)
        assert cells(base).keys() == usual
        if whole:
            break
        moments += 1
    assert moments > 10


@pytest.mark.parametrize("moments", [(0, 2), (1, 4), (6, 9)])
@pytest.mark.parametrize("name", ["readings", "publisher", "outputs", "endpoints", "store", "gateway"])
async def test_a_crash_of_a_subsystem_at_any_moment_of_it_costs_nothing(base, tmp_path, name, moments):
    await running(base, tmp_path)
    usual = cells(base).keys()
    root = cell(base, "/agent")
    for messages in moments:
        await restart(base)
        await handled(root, messages)
        if f"/agent/{name}" in base.mailboxes:
            base.crash(cell(base, f"/agent/{name}"), RuntimeError("in the middle"))
        await until(lambda: cell(base, "/agent/gateway").instance is not None)
        base.tell(ActorAddress("/agent/gateway"), Opened())
        await over(base)
        await until_ready(base)
        assert cells(base).keys() == usual


async def until_ready(base: AsyncioSystemBase) -> None:
    async with asyncio.timeout(10):
        while not (await state(base, AGENT)).ready:
            base.tell(ActorAddress("/agent/gateway"), Opened())  # it forgets that in each life
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("messages", range(0, 16, 3))
async def test_told_to_stop_in_the_middle_it_stops_and_does_not_begin_again(base, tmp_path, messages):
    await running(base, tmp_path)
    root = cell(base, "/agent")
    await restart(base)
    await handled(root, messages)
    assert isinstance(await base.ask(AGENT, Stop(), 5), Stopped)
    for _ in range(20):
        await asyncio.sleep(0)
    assert root.instance.state == "STOPPED"
    assert all(stays(path) for path in cells(base))


async def test_who_does_not_stop_is_ended_and_begun_anew(base, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(agent_module, "RESTART_PATIENCE", 0.05)
    await running(base, tmp_path, one(Deaf))
    before = cell(base, "/agent/lamp")
    await restart(base)
    await over(base)
    assert cell(base, "/agent/lamp") is not before
    assert "stopping did not do so in time: lamp" in caplog.text
    assert (await state(base, AGENT)).ready


async def test_who_gives_up_over_its_stop_is_not_back_while_others_stop(base, tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "RESTART_PATIENCE", 0.1)
    broken = msgspec.structs.replace(one(Broken), name="broken")
    await running(base, tmp_path, broken, one(Deaf, Phase.INFRASTRUCTURE))
    await restart(base)
    await until(lambda: "/agent/broken" not in base.mailboxes)
    seen = set()
    while cell(base, "/agent").instance.state == "STOPPING":
        seen |= cells(base).keys()
        await asyncio.sleep(0.001)
    assert "/agent/lamp" in seen
    assert "/agent/broken" not in seen
    await over(base)
    assert "/agent/broken" in base.mailboxes


async def test_who_does_not_stop_takes_no_time_of_those_that_keep_readings(base, tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "STOP_PATIENCE", 0.05)
    await running(base, tmp_path, one(Deaf))
    assert isinstance(await base.ask(AGENT, Stop(), 1), Stopped)


async def test_who_had_given_up_is_begun_once(base, tmp_path):
    await running(base, tmp_path, one(Doomed))
    base.crash(cell(base, "/agent/lamp"), RuntimeError("for good"))
    assert "/agent/lamp" not in base.mailboxes
    await restart(base)
    await over(base)
    lamp = cell(base, "/agent/lamp")
    assert cell(base, "/agent").lost == {}
    await until(lambda: check_of(lamp))


def check_of(lamp: Cell) -> bool:
    return lamp.handled > 0 and lamp.crashes is not None and lamp.crashes.restarts == 0


async def test_who_is_switched_off_and_does_not_stop_is_ended(base, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(running_module, "END_PATIENCE", 0.05)
    wanted = one(Deaf, wanted=lambda where: where.runtime.features.discovery)
    await running(base, tmp_path, wanted)
    base.tell(AGENT, SettingsStated(RuntimeSettings(features=Features(discovery=False))))
    await until(lambda: "/agent/lamp" not in base.mailboxes)
    assert "lamp is switched off, and did not stop in time" in caplog.text
    base.tell(AGENT, SettingsStated(RuntimeSettings()))
    await until(lambda: "/agent/lamp" in base.mailboxes)


async def test_meanwhile_the_agent_is_healthy_and_not_ready(base, tmp_path, monkeypatch):
    """For longer than it takes two checks to fail."""
    monkeypatch.setattr(agent_module, "RESTART_PATIENCE", 0.4)
    await running(base, tmp_path, one(Deaf, critical=True), **{"health.check_interval_ms": 100})
    await restart(base)
    seen = set()
    while (report := await state(base, AGENT)).state != "RUNNING":
        seen.add(report.state)
        assert not report.ready
        assert not failing(report.checks)
        await asyncio.sleep(0.005)
    assert "STOPPING" in seen
