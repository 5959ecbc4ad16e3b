"""Restarts, settings, crashes and requests in every order: in the end the agent is RUNNING, whole and once,
as the settings say, or has stopped; and whoever asked has been answered."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from puppets import until
from test_agent_actor import DOOR, Opened, settings, state
from test_soft_restart import AGENT, PATIENT, cell, cells
from thespian.actors import ActorAddress, ActorExitRequest

from actors import agent as agent_module
from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.endpoints.messages import ListEndpoints
from actors.publish.messages import ListDestinations
from actors.settings.messages import ChangeSettings, SettingsReported
from actors.state.messages import ChangeDatabase, Transact
from actors.subsystems import running as running_module
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor, Surroundings
from actors.subsystems.messages import (
    ReportState,
    RestartAgent,
    RestartBegun,
    StopSubsystem,
    SubsystemFailed,
    SubsystemStarted,
    SubsystemStopped,
)
from actors.subsystems.registry import subsystems
from actors.system import ailments
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.messages import DumpTree
from actors.system.supervision import Restart
from storage import database as stored
from storage import outcomes

SEEDS = range(25)
SWITCHED = ("lamp-features", "lamp-sync")
LAMPS = [f"lamp-{phase.name.lower()}" for phase in Phase]


class RunLamp(msgspec.Struct, frozen=True):
    name: str
    brightness: int


class Said(msgspec.Struct, frozen=True):
    """To itself: say that."""

    what: Any


class Lamp(SubsystemActor):
    """Starts and stops at once, late, never, or crashes over it, as `dice` has it."""

    RESTART = Restart(backoff=0.001, backoff_max=0.004, max_restarts=4, period=0.5, rest=0.02)
    dice: ClassVar[random.Random]
    calm: ClassVar[bool]

    def receiveMsg_RunLamp(self, message: RunLamp, sender: ActorAddress) -> None:
        self.parent = sender
        self.name, self.brightness = message.name, message.brightness
        self._say(SubsystemStarted(), SubsystemFailed("dark"))

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        self._say(SubsystemStopped(), None)

    def _say(self, what: Any, otherwise: Any) -> None:
        how = "at once" if Lamp.calm else Lamp.dice.choice(["at once", "at once", "late", "never", "crash"])
        if how == "crash":
            raise RuntimeError("over it")
        if how == "late":
            self.wakeupAfter(Lamp.dice.random() * 0.02, Said(what))
        elif how == "at once":
            self.send(self.parent, what)
        else:
            if otherwise is not None:
                self.send(self.parent, otherwise)
            if isinstance(what, SubsystemStarted):
                self.wakeupAfter(0.03, Said(what))

    def receiveMsg_Said(self, message: Said, sender: ActorAddress) -> None:
        self.send(self.parent, message.what)


def lamp(phase: Phase) -> Subsystem:
    name = f"lamp-{phase.name.lower()}"

    def wanted(where: Surroundings) -> bool:
        return name not in SWITCHED or where.runtime.features.discovery

    return Subsystem(
        name=name,
        actor=Lamp,
        start=lambda where: RunLamp(name, where.runtime.logging.max_logs),
        phase=phase,
        wanted=wanted,
        stays=phase is Phase.LOGGING,
        told_state=phase is Phase.DEVICE,
    )


def noted(notes: list[str], what: str, database: Any) -> None:
    notes.append(what)
    if what.startswith("fails"):
        raise ValueError("so it is")


class Model:
    def __init__(self, base: AsyncioSystemBase, directory: Path, seed: int) -> None:
        self.base = base
        self.directory = directory
        self.random = random.Random(seed)
        self.asked: dict[str, asyncio.Future[Any]] = {}
        self.restarts: dict[str, asyncio.Future[Any]] = {}
        self.notes: list[str] = []
        self.crashed_store = False

    def ask(self, path: str, message: Any) -> asyncio.Future[Any]:
        future = asyncio.ensure_future(self.base.ask(ActorAddress(path), message, 10))
        self.asked[f"{len(self.asked)}: {message} to {path}"] = future
        return future

    def restart(self) -> None:
        self.ask("/agent", RestartAgent())

    def change_database(self) -> None:
        name = self.random.choice(["does", "fails"]) + f" {len(self.restarts)}"
        outcome = outcomes.begin(self.directory, "restore", None)
        change = ChangeDatabase(partial(noted, self.notes, name), (), self.directory, outcome)
        self.restarts[name] = self.ask("/agent", RestartAgent(change))

    def switch(self) -> None:
        self.change({"features": {"discovery": self.random.random() < 0.5}})

    def brightness(self) -> None:
        self.change({"logging": {"maxLogs": self.random.randrange(200, 1000)}})

    def publishing(self) -> None:
        self.change({"features": {"enableDevicePublish": self.random.random() < 0.5}})

    def change(self, patch: Any) -> None:
        self.ask("/agent/settings", ChangeSettings(patch))

    def request(self) -> None:
        path, message = self.random.choice(
            [
                ("/agent", ReportState()),
                ("/agent", DumpTree()),
                ("/agent/publisher", ListDestinations()),
                ("/agent/endpoints", ListEndpoints()),
                ("/agent/store", Transact("t", stored.ping)),
            ]
        )
        self.ask(path, message)

    def crash_root(self) -> None:
        self.crash("/agent")

    def crash_lamp(self) -> None:
        self.crash(f"/agent/{self.random.choice(LAMPS)}")

    def crash_one(self) -> None:
        self.crash(f"/agent/{self.random.choice([one.name for one in subsystems()])}")

    def crash_gateway(self) -> None:
        self.crash("/agent/gateway")

    def exit_one(self) -> None:
        path = f"/agent/{self.random.choice(LAMPS)}"
        if path in self.base.mailboxes:
            self.base.tell(ActorAddress(path), ActorExitRequest())

    def open(self) -> None:
        if "/agent/gateway" in self.base.mailboxes:
            self.base.tell(ActorAddress("/agent/gateway"), Opened())

    def crash(self, path: str) -> None:
        box = self.base.mailboxes.get(path)
        if path == "/agent/store" and not has_run(self.base):
            return  # what is critical and fails before that ends the agent
        if box is not None and getattr(box, "instance", None) is not None:
            self.base.crash(box, RuntimeError("boom"))
            self.crashed_store |= path == "/agent/store"

    @property
    def begun(self) -> list[str]:
        return [name for name, one in self.restarts.items() if isinstance(one.result(), RestartBegun)]

    def check_restarts(self) -> None:
        """What the store was to do, it has done once, if the agent has said that it restarts."""
        if self.crashed_store:
            assert {*self.notes} <= {*self.begun}
        else:
            assert self.notes == self.begun

    async def go_on(self, times: int) -> None:
        moves = [self.restart, self.restart, self.change_database, self.switch, self.brightness]
        moves += [self.publishing, self.request, self.request, self.crash_root, self.crash_lamp]
        moves += [self.crash_one, self.crash_gateway, self.exit_one, self.open, self.open]
        for _ in range(times):
            self.random.choice(moves)()
            for _ in range(self.random.choice([0, 0, 1, 3, 10])):
                await asyncio.sleep(0)
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.03)


@pytest.fixture
async def base() -> AsyncIterator[AsyncioSystemBase]:
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("START_PATIENCE", "STOP_PATIENCE", "DELIVERY_PATIENCE", "RESTART_PATIENCE"):
        monkeypatch.setattr(agent_module, name, 0.1)
    monkeypatch.setattr(ailments, "LOOPING", 1000)
    monkeypatch.setattr(running_module, "END_PATIENCE", 0.1)
    monkeypatch.setattr("actors.system.supervision.random.uniform", lambda low, high: 0.02)


def has_run(base: AsyncioSystemBase) -> bool:
    progress = cell(base, "/agent").note
    return progress is not None and progress.ran


async def brought_up(model: Model) -> None:
    def up() -> bool:
        model.open()
        root = cell(model.base, "/agent").instance
        return root is not None and root.state == "RUNNING"

    await until(up)


async def set_at_last(model: Model, on: bool) -> None:
    features = {"discovery": on, "enableDevicePublish": True}
    patch = {"features": features, "logging": {"maxLogs": 555}}
    while True:
        await brought_up(model)
        answer = await model.base.ask(ActorAddress("/agent/settings"), ChangeSettings(patch), 5)
        if isinstance(answer, SettingsReported):
            return


async def is_well(model: Model) -> None:
    """Whatever has happened, all is well with it in the end, without a restart."""
    ill: list[Any] = ["not asked"]
    try:
        async with asyncio.timeout(10):
            while ill:
                model.open()
                await asyncio.sleep(0.01)
                report = await state(model.base, AGENT)
                ill = [
                    (one.name, one.last_error)
                    for one in report.checks
                    if not one.healthy and one.name != "event-loop"
                ]
    except TimeoutError:
        raise AssertionError(ill) from None
    assert report.ready


@pytest.mark.parametrize("seed", SEEDS)
async def test_in_the_end_it_is_as_it_should_be(base, tmp_path, seed, caplog):
    caplog.set_level("ERROR")
    model = Model(base, tmp_path, seed)
    Lamp.dice, Lamp.calm = random.Random(seed + 1), False
    known = (*subsystems(), *map(lamp, Phase), DOOR)
    overrides = {"health.check_interval_ms": 100}
    base.spawn(None, Agent, "agent", RunAgent(settings(tmp_path, **overrides), "1", known), PATIENT)
    if seed % 3:
        await brought_up(model)
    await model.go_on(25)
    Lamp.calm = True
    answers = await asyncio.gather(*model.asked.values(), return_exceptions=True)
    silent = [
        asked for asked, answer in zip(model.asked, answers, strict=True) if isinstance(answer, Exception)
    ]
    assert not silent
    if seed % 5 == 4:
        assert isinstance(await base.ask(AGENT, Stop(), 5), Stopped)
        left = {of(path) for path in cells(base) if path != "/agent"} - stay(known)
        assert left == set() or "did not do so in time" in caplog.text  # the process goes on to its end
        assert {*model.notes} <= {*model.begun}  # what it has not come to is found out at the next start
    else:
        on = bool(seed % 2)
        await set_at_last(model, on)
        await brought_up(model)
        await is_whole(model, {one.name for one in known if on or one.name not in SWITCHED})
        await is_well(model)
        model.check_restarts()
    assert not [record for record in caplog.records if is_a_defect(record)]


async def is_whole(model: Model, wanted: set[str]) -> None:
    """Those run that are wanted, no others, and as the settings say."""
    root = cell(model.base, "/agent")

    def whole() -> bool:
        model.open()
        if root.instance is None:
            return False
        progress = root.instance.progress
        return progress.started == wanted and not progress.ending

    await until(whole)
    progress = root.instance.progress
    assert (progress.restarting, progress.stop_to) == (None, None)
    assert {of(path) for path in cells(model.base) if path != "/agent"} == wanted
    for name in wanted & {*LAMPS}:
        await until(partial(is_bright, model, name))


def is_bright(model: Model, name: str) -> bool:
    lit = cell(model.base, f"/agent/{name}").instance
    return lit is not None and lit.brightness == 555


def of(path: str) -> str:
    """The subsystem that an actor is part of."""
    return path.split("/")[2]


def stay(known: tuple[Subsystem, ...]) -> set[str]:
    return {one.name for one in known if one.stays}


def is_a_defect(record: logging.LogRecord) -> bool:
    """Not what this test has thrown itself."""
    error = record.exc_info[1] if record.exc_info else None
    return error is not None and str(error) not in ("boom", "over it")
