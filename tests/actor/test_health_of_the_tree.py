"""Whichever actor gives up, crashes over and over or hangs: the health report names it, and only until it is
well again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import until
from test_agent_actor import DOOR, Opened, settings, state
from thespian.actors import ActorAddress

from actors.agent import Agent, RunAgent
from actors.endpoints.messages import AddEndpoint, EndpointChanged
from actors.publish.messages import AddDestination, AddSubscription, DestinationChanged, SubscriptionChanged
from actors.subsystems import watching
from actors.subsystems.messages import Check, CheckSubsystem, StateReported
from actors.subsystems.registry import subsystems
from actors.system import actor, ailments
from actors.system.ailments import Examination
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.mailboxes import Cell

SECONDS = 15.0
ACTORS = [
    "store",
    "readings",
    "accounts",
    "publisher",
    "publisher/broker",
    "publisher/broker/subscription-2",
    "outputs",
    "outputs/modbus",
    "endpoints",
    "endpoints/modbus",
    "endpoints/modbus/plc",
    "gateway",
]
REPORTED_AS = {"store": "database", "gateway": "agent-api"}
CRITICAL = {"store", "readings", "publisher", "endpoints", "gateway"}


class Plant:
    """An agent with an endpoint, a destination and a subscription; what they talk to is not there."""

    def __init__(self, directory: Path) -> None:
        self.base = AsyncioSystemBase()
        start = RunAgent(settings(directory, **{"health.check_interval_ms": 100}), "1", (*subsystems(), DOOR))
        self.agent = self.base.spawn(None, Agent, "agent", start)

    async def begin(self) -> None:
        await until(lambda: "/agent/gateway" in self.base.mailboxes)
        self.open()
        await self.ask(
            "publisher",
            AddDestination("broker", "mqtt", {"brokerUrl": "mqtt://127.0.0.1:1"}),
            DestinationChanged,
        )
        await self.ask("publisher", AddSubscription(1, ["#"], {"topic": "x"}), SubscriptionChanged)
        await self.ask(
            "endpoints",
            AddEndpoint(
                "plc",
                "modbus",
                {"host": "127.0.0.1", "port": 1},
                1000,
                data_points=[{"name": "speed", "register": "holding:0", "type": "uint16"}],
            ),
            EndpointChanged,
        )
        await self.until_report(lambda report: report.ready and not self.ailing(report))

    def open(self) -> None:
        self.base.tell(ActorAddress("/agent/gateway"), Opened())

    async def ask(self, name: str, message: Any, expected: type[Any]) -> Any:
        answer = await self.base.ask(ActorAddress(f"/agent/{name}"), message, SECONDS)
        assert isinstance(answer, expected), answer
        return answer

    def cell(self, path: str) -> Cell:
        """By the names that people call actors."""
        cell: Any = self.base.mailboxes["/agent"]
        for name in path.split("/"):
            cell = next(child for child in cell.children.values() if child.name == name)
        assert isinstance(cell, Cell)
        return cell

    async def report(self) -> StateReported:
        return await state(self.base, self.agent)

    def ailing(self, report: StateReported) -> dict[str, Check]:
        """What is not healthy, but for the broker that is not there."""
        return {check.name: check for check in report.checks if not check.healthy and check.name != "mqtt"}

    async def until_report(self, wanted: Callable[[StateReported], Any]) -> StateReported:
        async with asyncio.timeout(SECONDS):
            while not wanted(report := await self.report()):  # noqa: ASYNC110 - health is asked for
                await asyncio.sleep(0.01)
        return report

    async def until_named(self, path: str) -> Check:
        name = REPORTED_AS.get(path, path)
        report = await self.until_report(lambda report: name in self.ailing(report))
        assert report.ready == (path not in CRITICAL)
        return self.ailing(report)[name]

    async def until_well(self) -> None:
        await self.until_report(lambda report: report.ready and not self.ailing(report))


@pytest.fixture
async def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.0)
    plant = Plant(tmp_path)
    await plant.begin()
    yield plant
    plant.base.shutdown()
    await plant.base.released()


def break_at_start(cell: Cell) -> Callable[[], None]:
    """Every life from now on ends with its first message, until the result is called."""
    whole = cell.actor_class

    def receiveMessage(self: Any, message: Any, sender: Any) -> None:
        raise RuntimeError("broken")

    cell.actor_class = type(whole.__name__, (whole,), {"receiveMessage": receiveMessage})

    def mend() -> None:
        cell.actor_class = whole

    return mend


@pytest.mark.parametrize("path", ACTORS)
async def test_an_actor_that_crashes_over_and_over_is_named_until_it_is_well(plant, path, monkeypatch):
    cell = plant.cell(path)
    assert cell.crashes is not None
    cell.crashes.policy = msgspec.structs.replace(
        cell.crashes.policy, max_restarts=None, backoff=0.05, backoff_max=0.05, period=1.0
    )
    mend = break_at_start(cell)
    plant.base.crash(cell, RuntimeError("broken"))
    named = await plant.until_named(path)
    assert "RuntimeError: broken" in (named.last_error or "")
    mend()
    if path == "gateway":
        await until(lambda: cell.instance is not None and not cell.mailbox)
        plant.open()
    await plant.until_well()


@pytest.mark.parametrize("path", sorted(set(ACTORS) - CRITICAL))
async def test_an_actor_that_gave_up_is_named_until_it_is_back(plant, path):
    cell = plant.cell(path)
    assert cell.crashes is not None
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, max_restarts=0, rest=0.3)
    plant.base.crash(cell, RuntimeError("broken"))
    named = await plant.until_named(path)
    assert named.last_error == "gave up: RuntimeError: broken"
    await plant.until_well()


async def test_a_router_that_crashes_however_often_forgets_nobody_who_observes(plant, monkeypatch, caplog):
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("actors.system.supervision.random.uniform", lambda low, high: 0.0)
    observers = set(plant.cell("readings").instance.observers)
    assert "/agent/publisher/destination-1/subscription-2" in observers
    assert "/agent/outputs/modbus" in observers
    for _ in range(20):
        await until(lambda: "/agent/readings" in plant.base.mailboxes)
        router = plant.cell("readings")
        plant.base.crash(router, RuntimeError("broken"))
        await until(lambda router=router: router.instance is not None and not router.mailbox)
    assert set(plant.cell("readings").instance.observers) == observers
    assert plant.cell("readings").instance.health == "1 subscriptions"


@pytest.mark.parametrize("path", sorted(CRITICAL - {"readings"}))
async def test_a_critical_actor_that_gives_up_is_started_anew_by_the_root_which_keeps_the_others(plant, path):
    others = {other: plant.cell(other).instance for other in CRITICAL - {path}}
    cell = plant.cell(path)
    assert cell.crashes is not None
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, max_restarts=0)
    plant.base.crash(cell, RuntimeError("broken"))
    await until(lambda: plant.base.mailboxes["/agent"].instance is not None)
    report = await plant.report()
    assert report.state == "RUNNING"
    await until(lambda: path in {child.name for child in plant.base.mailboxes["/agent"].children.values()})
    if path == "gateway":
        assert not report.ready
        await until(lambda: plant.cell(path).instance is not None and not plant.cell(path).mailbox)
        plant.open()
    await plant.until_well()
    assert plant.cell(path) is not cell
    assert {other: plant.cell(other).instance for other in CRITICAL - {path}} == others
    assert plant.base.mailboxes["/agent"].last_error == f"ChildGaveUp: {path} gave up: RuntimeError: broken"


async def test_a_critical_actor_that_gives_up_again_and_again_ends_the_agent(plant):
    cell = plant.base.mailboxes["/agent"]
    cell.crashes.policy = msgspec.structs.replace(cell.crashes.policy, backoff=0.001, max_restarts=2)
    for _ in range(3):
        await until(lambda: "/agent/endpoints" in plant.base.mailboxes)
        endpoints = plant.cell("endpoints")
        assert endpoints.crashes is not None
        endpoints.crashes.policy = msgspec.structs.replace(endpoints.crashes.policy, max_restarts=0)
        plant.base.crash(endpoints, RuntimeError("broken"))
    async with asyncio.timeout(SECONDS):
        await plant.base.ended(plant.agent)


@pytest.mark.parametrize("path", ACTORS)
async def test_an_actor_that_does_not_handle_its_mail_is_named_until_it_does(plant, path, monkeypatch):
    monkeypatch.setattr(ailments, "STUCK", 0.1)
    cell = plant.cell(path)
    await until(lambda: not cell.mailbox and not cell.scheduled)
    cell.scheduled = True  # as if it were having a turn that does not end
    plant.base.tell(cell.address, "mail")
    named = await plant.until_named(path)
    assert "does not handle its mail" in (named.last_error or "")
    plant.base.schedule(cell)
    await plant.until_well()


@pytest.mark.parametrize("path", ["outputs/modbus", "endpoints/modbus/plc"])
async def test_an_actor_that_waits_for_what_does_not_come_is_named_until_it_is_restarted(
    plant, path, monkeypatch
):
    monkeypatch.setattr(ailments, "LONG", 0.1)
    cell = plant.cell(path)
    plant.base.run(cell, asyncio.Event().wait(), None, None, within=0.6)
    named = await plant.until_named(path)
    assert "has been waiting for 0 s" in (named.last_error or "")
    await until(lambda: cell.last_error is not None)
    assert cell.last_error == "Overdue: what it waited for did not come in time"
    await plant.until_well()


async def test_an_actor_that_holds_the_loop_up_is_named_for_a_while_and_is_no_failure(plant, monkeypatch):
    monkeypatch.setattr(ailments, "RECENT", 1.0)
    cell = plant.cell("outputs/modbus")
    cell.mailbox.append((Hold(0.6), cell.address))
    monkeypatch.setattr(type(cell.instance), "receiveMsg_Hold", hold, raising=False)
    plant.base.schedule(cell)
    report = await plant.until_report(lambda report: "event-loop" in plant.ailing(report))
    assert report.ready
    error = plant.ailing(report)["event-loop"].last_error
    assert error.startswith("outputs/modbus held the loop up for 0.6 s with Hold")
    await plant.until_well()


async def test_mail_that_a_full_mailbox_dropped_is_told(plant, monkeypatch):
    monkeypatch.setattr(ailments, "RECENT", 0.3)
    plant.cell("endpoints/modbus/plc").count_dropped(3)
    report = await plant.until_report(lambda report: "mailboxes" in plant.ailing(report))
    assert report.ready
    assert "endpoints/modbus/plc its mailbox was full: 3" in plant.ailing(report)["mailboxes"].last_error
    await plant.until_well()


class Hold(msgspec.Struct, frozen=True):
    seconds: float


def hold(self: Any, message: Hold, sender: Any) -> None:
    time.sleep(message.seconds)


async def test_a_subsystem_that_does_not_answer_its_check_is_named(plant, monkeypatch):
    key = (plant.cell("outputs").actor_class, CheckSubsystem)
    monkeypatch.setitem(actor._handlers, key, lambda self, message, sender: None)
    report = await plant.until_report(lambda report: "outputs" in plant.ailing(report))
    assert plant.ailing(report)["outputs"].last_error == "no answer"
    monkeypatch.undo()
    await plant.until_well()


async def test_failures_are_counted_by_checks_and_the_latest_error_is_kept(plant, monkeypatch):
    key = (plant.cell("outputs").actor_class, CheckSubsystem)
    monkeypatch.setitem(actor._handlers, key, lambda self, message, sender: None)
    await plant.until_report(
        lambda report: (one := plant.ailing(report).get("outputs")) and one.consecutive_failures >= 3
    )
    monkeypatch.undo()
    await plant.until_well()
    [line] = [check for check in (await plant.report()).checks if check.name == "outputs"]
    assert (line.consecutive_failures, line.last_error) == (0, "no answer")


async def test_who_asks_for_health_all_the_time_does_not_have_the_tree_looked_at_each_time(
    plant, monkeypatch
):
    monkeypatch.setattr(watching, "LOOK_EVERY", 60.0)
    looks: list[Any] = []
    look = Examination.look
    monkeypatch.setattr(Examination, "look", lambda *args: looks.append(args) or look(*args))
    checks = plant.cell("store").handled
    for _ in range(50):
        await plant.report()
    assert len(looks) <= 1 + plant.cell("store").handled - checks
