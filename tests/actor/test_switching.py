"""Subsystems that settings switch on and off, and restate, while the agent runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from test_agent_actor import DOOR, check, opened, settings, state
from thespian.actors import ActorAddress

from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.settings.messages import ChangeSettings, ReportSettings, SettingsReported
from actors.subsystems import running
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor
from actors.subsystems.messages import (
    RestartAgent,
    RestartBegun,
    StopSubsystem,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.subsystems.registry import subsystems
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart
from conf.runtime import RuntimeSettings

LAMP = ActorAddress("/agent/lamp")
TOLD: list[Any] = []


class RunLamp(msgspec.Struct, frozen=True):
    brightness: int


class Lamp(SubsystemActor):
    """Notes its lives, its starts and its stops; stops when a test says so, or at once."""

    RESTART = Restart(backoff=0.001, backoff_max=0.004, max_restarts=3, rest=0.05)
    slow = False
    deaf = False

    def __init__(self) -> None:
        TOLD.append("life")

    def receiveMsg_RunLamp(self, message: RunLamp, sender: ActorAddress) -> None:
        TOLD.append(message.brightness)
        self.parent = sender
        self.send(sender, SubsystemStarted())

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        TOLD.append("stop")
        if Lamp.slow:
            self.wakeupAfter(0.02, "stopped")
        elif not Lamp.deaf:
            self.send(sender, SubsystemStopped())

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(self.parent, SubsystemStopped())

    def stopped(self) -> None:
        TOLD.append("end")


def lamp(**changes: Any) -> Subsystem:
    """On with discovery; as bright as there may be entries of the log."""
    one = Subsystem(
        name="lamp",
        actor=Lamp,
        start=lambda where: RunLamp(where.runtime.logging.max_logs),
        wanted=lambda where: where.runtime.features.discovery,
        phase=Phase.FEATURES,
    )
    return msgspec.structs.replace(one, **changes)


class Rig:
    def __init__(self, base: AsyncioSystemBase, directory: Path) -> None:
        self.base = base
        self.directory = directory

    async def start(self, *others: Subsystem) -> None:
        run = RunAgent(settings(self.directory), "1", (*subsystems(), *others, DOOR))
        self.agent = self.base.spawn(None, Agent, "agent", run)
        await opened(self.base, self.agent)

    async def change(self, **patch: Any) -> None:
        answer = await self.base.ask(ActorAddress("/agent/settings"), ChangeSettings(patch), 5)
        assert isinstance(answer, SettingsReported), answer
        await state(self.base, self.agent)  # the root has been told before

    async def switch(self, on: bool) -> None:
        await self.change(features={"discovery": on})

    def cell(self, path: str = "/agent/lamp") -> Any:
        return self.base.mailboxes.get(path)

    async def lit(self) -> bool:
        found = check(await state(self.base, self.agent), "lamp")
        return found.healthy and found.description != "switched off"

    async def said(self, **wanted: Any) -> None:
        """Wait for that in the lamp's line of the health report."""
        async with asyncio.timeout(5):
            while True:
                found = check(await state(self.base, self.agent), "lamp")
                if all(getattr(found, name) == value for name, value in wanted.items()):
                    return
                await asyncio.sleep(0.005)

    def crash(self, path: str) -> None:
        self.base.crash(self.base.mailboxes[path], RuntimeError("boom"))


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    TOLD.clear()
    monkeypatch.setattr(Lamp, "slow", False)
    monkeypatch.setattr(Lamp, "deaf", False)
    base = AsyncioSystemBase()
    yield Rig(base, tmp_path)
    base.shutdown()
    await base.released()


async def test_a_subsystem_is_restated_only_when_its_own_start_changes(rig):
    await rig.start(lamp())
    await rig.change(logging={"level": "warn"})
    await rig.change(logging={"maxLogs": 50})
    await rig.change(features={"enableDeviceJobs": False})
    await until(lambda: TOLD == ["life", 1000, 50])
    rig.crash("/agent/lamp")
    await until(lambda: TOLD[-2:] == ["life", 50])


async def test_a_subsystem_is_switched_off_and_on(rig):
    await rig.start(lamp())
    assert await rig.lit()
    await rig.switch(False)
    await until(lambda: rig.cell() is None)
    assert TOLD == ["life", 1000, "stop", "end"]
    await rig.said(healthy=True, description="switched off", last_error=None)
    assert (await state(rig.base, rig.agent)).ready
    await rig.change(logging={"maxLogs": 20})
    await rig.switch(True)
    await until(lambda: TOLD[4:] == ["life", 20])
    await rig.said(healthy=True)


async def test_one_that_is_off_at_the_start_does_not_start(rig):
    await rig.start(lamp())
    await rig.switch(False)
    assert isinstance(await rig.base.ask(rig.agent, Stop(), 5), Stopped)
    rig.base.shutdown()
    await rig.base.released()
    TOLD.clear()
    rig.base = AsyncioSystemBase()
    await rig.start(lamp())
    assert (TOLD, rig.cell()) == ([], None)
    rig.base.shutdown()
    await rig.base.released()


@pytest.mark.parametrize("slow", [False, True])
async def test_however_fast_it_is_switched_it_ends_as_it_was_wanted_last(rig, monkeypatch, caplog, slow):
    monkeypatch.setattr(Lamp, "slow", slow)
    await rig.start(lamp())
    for _ in range(25):
        await rig.switch(False)
        await rig.switch(True)
    await until(lambda: rig.cell() is not None and TOLD[-1] == 1000)
    await rig.said(healthy=True)
    assert TOLD.count("life") == TOLD.count("end") + 1
    assert TOLD.count("stop") == TOLD.count("end")
    await rig.switch(False)
    await until(lambda: rig.cell() is None)
    assert TOLD.count("life") == TOLD.count("end")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_switched_on_while_it_stops_it_stops_and_starts_anew(rig, monkeypatch):
    monkeypatch.setattr(Lamp, "slow", True)
    await rig.start(lamp())
    await rig.switch(False)
    await rig.switch(True)
    await until(lambda: TOLD == ["life", 1000, "stop", "end", "life", 1000])


async def test_one_that_crashes_while_it_is_switched_off_is_told_again(rig, monkeypatch):
    monkeypatch.setattr(Lamp, "deaf", True)
    await rig.start(lamp())
    await rig.switch(False)
    await until(lambda: TOLD[-1] == "stop")
    monkeypatch.setattr(Lamp, "deaf", False)
    rig.crash("/agent/lamp")
    await until(lambda: rig.cell() is None)
    assert TOLD == ["life", 1000, "stop", "end", "life", 1000, "stop", "end"]
    await rig.said(healthy=True, description="switched off")


async def test_one_that_does_not_stop_in_time_is_ended_and_comes_back_when_it_is_wanted(
    rig, monkeypatch, caplog
):
    monkeypatch.setattr(running, "END_PATIENCE", 0.05)
    monkeypatch.setattr(Lamp, "deaf", True)
    await rig.start(lamp())
    await rig.switch(False)
    await until(lambda: rig.cell() is None)
    assert "lamp is switched off, and did not stop in time" in caplog.text
    await rig.said(healthy=True, description="switched off")
    await rig.switch(True)
    await until(lambda: TOLD[-2:] == ["life", 1000])
    await rig.switch(False)
    await rig.switch(True)
    await until(lambda: TOLD == ["life", 1000, "stop", "end"] * 2 + ["life", 1000])


async def test_one_that_gave_up_does_not_come_back_while_it_is_off(rig):
    await rig.start(lamp())
    for _ in range(4):
        await until(lambda: rig.cell() and rig.cell().instance)
        rig.crash("/agent/lamp")
    await until(lambda: "/agent/lamp" in (rig.cell("/agent").lost or {}))
    await rig.switch(False)
    assert not rig.cell("/agent").lost
    lives = TOLD.count("life")
    await asyncio.sleep(0.1)  # longer than its rest
    assert (TOLD.count("life"), rig.cell()) == (lives, None)
    await rig.said(healthy=True, description="switched off")
    await rig.switch(True)
    await until(lambda: TOLD.count("life") == lives + 1)


async def test_one_that_gives_up_while_it_is_switched_off_is_off_and_can_be_switched_on(rig, monkeypatch):
    monkeypatch.setattr(Lamp, "deaf", True)
    await rig.start(lamp(actor=Lamp))
    await rig.switch(False)
    for _ in range(4):
        await until(lambda: rig.cell() and rig.cell().instance)
        rig.crash("/agent/lamp")
    await until(lambda: rig.cell() is None and not rig.cell("/agent").lost)
    await rig.said(healthy=True, description="switched off")
    lives = TOLD.count("life")
    await rig.switch(True)
    await until(lambda: TOLD.count("life") == lives + 1)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_root_that_crashes_while_something_is_switched_off_goes_on_with_it(rig, monkeypatch, wanted):
    monkeypatch.setattr(Lamp, "slow", True)
    await rig.start(lamp())
    await rig.switch(False)
    await until(lambda: TOLD[-1] == "stop")
    rig.crash("/agent")
    if wanted:
        await rig.switch(True)
    ended = ["life", 1000, "stop", "end"]
    await until(lambda: [*ended, "life", 1000] == TOLD if wanted else ended == TOLD and rig.cell() is None)
    await rig.said(healthy=True)


async def test_a_root_that_crashes_knows_the_settings_in_its_next_life(rig):
    await rig.start(lamp())
    await rig.change(features={"discovery": False}, logging={"maxLogs": 30})
    await until(lambda: rig.cell() is None)
    root = rig.cell("/agent")
    before = root.instance
    rig.crash("/agent")
    await until(lambda: root.instance not in (None, before) and root.instance.phase == max(Phase))
    assert root.instance.surroundings.runtime.logging.max_logs == 30
    assert rig.cell() is None
    rig.crash("/agent")
    await rig.switch(True)  # told to nobody yet
    await until(lambda: TOLD[-2:] == ["life", 30])


@pytest.mark.parametrize("crashing", ["/agent", "/agent/settings", "/agent/lamp", "/agent/store"])
async def test_changes_that_race_with_crashes_are_all_in_effect_in_the_end(rig, crashing):
    await rig.start(lamp())

    async def change(number: int) -> None:
        while True:
            patch = ChangeSettings(
                {"logging": {"maxLogs": 100 + number}, "anomalyDetection": {f"{number}": 1}}
            )
            if isinstance(await rig.base.ask(ActorAddress("/agent/settings"), patch, 5), SettingsReported):
                return
            await asyncio.sleep(0.005)

    for number in range(20):
        changing = asyncio.ensure_future(change(number))
        if number % 7 == 0:
            await asyncio.sleep(0.001 * number)
            cell = rig.cell(crashing)
            await until(lambda cell=cell: cell.instance)
            rig.crash(crashing)
        await changing
    await until(lambda: TOLD[-1] == 119 and rig.cell().instance)
    root = rig.cell("/agent")
    await until(lambda: root.instance and root.instance.surroundings.runtime.logging.max_logs == 119)
    found = root.instance.surroundings.runtime.anomaly_detection
    assert found == {f"{number}": 1 for number in range(20)}
    answer = await rig.base.ask(ActorAddress("/agent/settings"), ReportSettings(), 5)
    assert answer.settings["logging"]["maxLogs"] == 119


async def test_a_soft_restart_keeps_the_settings_and_ends_what_was_being_switched_off(rig, monkeypatch):
    monkeypatch.setattr(Lamp, "slow", True)
    await rig.start(lamp())
    await rig.change(logging={"maxLogs": 30})
    await rig.switch(False)
    assert isinstance(await rig.base.ask(rig.agent, RestartAgent(), 5), RestartBegun)
    await until(lambda: rig.cell() is None)
    await opened(rig.base, rig.agent)
    assert TOLD == ["life", 1000, 30, "stop", "end"]
    await rig.switch(True)
    await until(lambda: TOLD[-2:] == ["life", 30])


async def test_one_that_cannot_say_whether_it_is_wanted_is_no_loss(rig):
    def whims(where: Any) -> bool:
        raise ValueError("no idea")

    await rig.start(lamp(wanted=whims))
    await rig.said(healthy=False, last_error="ValueError: no idea")
    assert RuntimeSettings() == rig.cell("/agent").instance.surroundings.runtime
