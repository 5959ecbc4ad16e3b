import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_field import until, until_answered
from thespian.actors import ActorAddress

from actors.agent import Agent, RunAgent, Stop, Stopped
from actors.readings.messages import Unobserve
from actors.state.messages import Transact
from actors.subsystems.descriptor import Phase, Subsystem, SubsystemActor
from actors.subsystems.health import failing
from actors.subsystems.messages import (
    AgentDescribed,
    Check,
    DescribeAgent,
    ReportState,
    StateReported,
    SubsystemFailed,
    SubsystemStarted,
)
from actors.subsystems.registry import subsystems
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.messages import DumpTree, TreeDumped
from api import gateway
from api.gateway import Gateway, RunGateway
from conf.settings import Settings, load


class Opened(msgspec.Struct, frozen=True):
    """To a door."""


class Jammed(msgspec.Struct, frozen=True):
    """To a door."""

    why: str


class Door(SubsystemActor):
    """A gateway that opens when it is told to."""

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.parent = sender

    def receiveMsg_Opened(self, message: Opened, sender: ActorAddress) -> None:
        self.send(self.parent, SubsystemStarted())

    def receiveMsg_Jammed(self, message: Jammed, sender: ActorAddress) -> None:
        self.send(self.parent, SubsystemFailed(message.why))


DOOR = Subsystem(
    name="gateway",
    actor=Door,
    start=lambda where: "go",
    phase=Phase.SYNC,
    critical=True,
    stays=True,
    reported_as="agent-api",
)


class Probe(Actor):
    """Keeps what it is told in the list that is its start message."""

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        if isinstance(message, list):
            self.told = message
        elif not isinstance(message, Unobserve):
            self.told.append(message)


@pytest.fixture
async def base():
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


def settings(directory: Path, **overrides: Any) -> Settings:
    return load(None, {}, {"storage.data_dir": directory, "api.port": 0} | overrides)


def run(base: AsyncioSystemBase, start: Settings) -> ActorAddress:
    return base.spawn(None, Agent, "agent", RunAgent(start, "1.2.3", (*subsystems(), DOOR)))


async def state(base: AsyncioSystemBase, agent: ActorAddress) -> StateReported:
    reply = await base.ask(agent, ReportState(), 5.0)
    assert isinstance(reply, StateReported)
    return reply


async def until_state(base: AsyncioSystemBase, agent: ActorAddress, wanted: str) -> StateReported:
    found: StateReported = await until_answered(
        lambda: state(base, agent), lambda found: found.state == wanted
    )
    return found


def check(report: StateReported, name: str) -> Check | None:
    return next((one for one in report.checks if one.name == name), None)


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def in_order() -> list[Subsystem]:
    """The subsystems and the door as they start."""
    return sorted((*subsystems(), DOOR), key=lambda one: one.phase)


async def opened(base: AsyncioSystemBase, agent: ActorAddress) -> None:
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_state(base, agent, "RUNNING")


async def test_the_agent_is_ready_when_the_api_listens_and_the_database_answers(base, tmp_path):
    agent = run(base, settings(tmp_path))
    found = await until_state(base, agent, "READY")
    assert not found.ready
    await opened(base, agent)
    found = await until_answered(lambda: state(base, agent), lambda found: check(found, "memory"))
    assert found.ready
    lines = {one.name: (one.healthy, one.critical) for one in found.checks}
    others = {"event-loop": False, "mailboxes": False, "clock": False, "mqtt": False, "lifecycle": True}
    expected = {one.check_name: one.critical for one in in_order()} | others
    assert {name: lines[name] for name in expected} == {name: (True, each) for name, each in expected.items()}
    assert all(healthy for healthy, _ in lines.values())


async def test_the_tree_has_every_part(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    dumped = await base.ask(agent, DumpTree(), 5.0)
    assert isinstance(dumped, TreeDumped)
    assert [child.name for child in dumped.root.children] == [one.name for one in in_order()]
    assert (dumped.root.name, dumped.root.health) == ("agent", "RUNNING")


async def test_the_identity_is_the_configured_one_and_stays(base, tmp_path):
    uuid = "3f2b8c1e-90d4-4a57-8e61-0c2d7b9a4f10"
    agent = run(base, settings(tmp_path, **{"agent.uuid": uuid, "agent.name": "hall 1"}))
    await until_state(base, agent, "READY")
    described = await base.ask(agent, DescribeAgent(), 5.0)
    assert isinstance(described, AgentDescribed)
    assert (described.uuid, described.name, described.version) == (uuid, "hall 1", "1.2.3")
    base.terminate(base.mailboxes["/agent"])
    await base.released()
    again = run(base, settings(tmp_path))
    await until_state(base, again, "READY")
    assert (await base.ask(again, DescribeAgent(), 5.0)).uuid == uuid


@pytest.mark.parametrize("before", ["READY", "RUNNING"])
async def test_it_stops_in_order(base, tmp_path, before):
    agent = run(base, settings(tmp_path))
    await until_state(base, agent, "READY")
    if before == "RUNNING":
        await opened(base, agent)
    assert isinstance(await base.ask(agent, Stop(), 5.0), Stopped)
    found = await state(base, agent)
    assert (found.state, found.ready) == ("STOPPED", False)


async def test_an_api_that_cannot_listen_at_the_start_ends_the_agent(base, tmp_path, caplog):
    agent = run(base, settings(tmp_path))
    await until_state(base, agent, "READY")
    await until(lambda: "/agent/gateway" in base.mailboxes)
    base.tell(ActorAddress("/agent/gateway"), Jammed("the port is taken"))
    async with asyncio.timeout(5):
        await base.ended(agent)
    assert [record.getMessage() for record in warnings(caplog)] == ["cannot start: the port is taken"]


async def test_an_api_that_fails_later_is_a_critical_failure_until_it_listens_again(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    base.tell(ActorAddress("/agent/gateway"), Jammed("gone"))
    found = await until_answered(lambda: state(base, agent), lambda found: not found.ready)
    api = check(found, "agent-api")
    assert (api.healthy, api.critical, api.last_error) == (False, True, "gone")
    base.tell(ActorAddress("/agent/gateway"), Opened())
    await until_answered(lambda: state(base, agent), lambda found: found.ready)


async def test_a_database_that_cannot_be_opened_ends_the_agent(base, tmp_path, caplog):
    (tmp_path / "file").touch()
    agent = run(base, settings(tmp_path / "file"))
    async with asyncio.timeout(5):
        await base.ended(agent)
    (record,) = warnings(caplog)
    assert (record.levelno, record.exc_info) == (logging.CRITICAL, None)
    assert record.getMessage().startswith(f"cannot start: {tmp_path}/file/agent.sqlite: ")


def forget(database) -> None:
    raise RuntimeError("the disk is gone")


async def test_a_database_that_does_not_answer_is_a_critical_failure(base, tmp_path, monkeypatch):
    monkeypatch.setattr("storage.database.ping", forget)
    agent = run(base, settings(tmp_path, **{"health.check_interval_ms": 100}))
    await opened(base, agent)
    found = await until_answered(
        lambda: state(base, agent),
        lambda found: (one := check(found, "database")) and one.consecutive_failures >= 2,
    )
    database = check(found, "database")
    assert (database.healthy, database.critical, database.last_error) == (False, True, "the disk is gone")
    assert not found.ready
    assert failing(found.checks) == ["database"]
    monkeypatch.undo()
    found = await until_answered(lambda: state(base, agent), lambda found: found.ready)
    assert failing(found.checks) == []


async def test_one_check_that_fails_leaves_the_agent_healthy_and_not_ready(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    base.tell(ActorAddress("/agent/gateway"), Jammed("gone"))
    found = await until_answered(lambda: state(base, agent), lambda found: not found.ready)
    assert check(found, "agent-api").consecutive_failures == 1
    assert failing(found.checks) == []


async def test_a_crash_of_the_store_leaves_the_rest_running(base, tmp_path, caplog):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    endpoints = base.mailboxes["/agent/endpoints"].instance
    base.crash(base.mailboxes["/agent/store"], RuntimeError("a defect"))
    reply = await base.ask(ActorAddress("/agent/store"), Transact("x", noop), 10.0)
    assert reply.result == "done"
    assert base.mailboxes["/agent/endpoints"].instance is endpoints
    assert (await state(base, agent)).state == "RUNNING"


async def test_one_exception_in_the_root_costs_nobody_anything(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    described = await base.ask(agent, DescribeAgent(), 5.0)
    before = {path: cell.instance for path, cell in base.mailboxes.items() if path.startswith("/agent/")}
    base.crash(base.mailboxes["/agent"], RuntimeError("a defect"))
    assert (await state(base, agent)).state == "RUNNING"
    assert await base.ask(agent, DescribeAgent(), 5.0) == described
    await until_answered(lambda: state(base, agent), lambda found: found.ready)
    assert {path: base.mailboxes[path].instance for path in before} == before
    assert isinstance(await base.ask(agent, Stop(), 5.0), Stopped)


async def test_an_exception_in_the_root_before_the_store_is_open_delays_the_start_only(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await until(lambda: "/agent/store" in base.mailboxes)
    base.crash(base.mailboxes["/agent"], RuntimeError("a defect"))
    await opened(base, agent)
    assert base.mailboxes["/agent/store"].crashes.restarts == 0


def noop(database) -> str:
    return "done"


# The gateway


def gateway_of(base: AsyncioSystemBase, parent: ActorAddress, start: RunGateway) -> None:
    base.spawn(base.mailboxes[parent.addressDetails], Gateway, "gateway", start)


async def test_a_gateway_whose_port_is_taken_says_so_and_listens_when_it_is_free(
    base, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(gateway, "RETRY", 0.05)
    told: list[Any] = []
    probe = base.spawn(None, Probe, "probe", told)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        start = RunGateway(settings(tmp_path, **{"api.port": port}), probe, probe, probe, probe)
        gateway_of(base, probe, start)
        await until(lambda: len(told) >= 2)
        expected = SubsystemFailed(f"the API cannot listen on 127.0.0.1:{port}: Address already in use")
        assert told[:2] == [expected, expected]
        assert base.mailboxes["/probe/gateway"].instance.health.startswith("degraded: the API cannot listen")
    await until(lambda: SubsystemStarted() in told)
    assert base.mailboxes["/probe/gateway"].instance.health == f"listening on port {port}"
    handled = base.mailboxes["/probe/gateway"].handled
    await asyncio.sleep(0)
    assert told.count(SubsystemStarted()) == 1
    assert base.mailboxes["/probe/gateway"].handled == handled
    assert not warnings(caplog)


async def test_a_gateway_that_ends_frees_its_port(base, tmp_path):
    told: list[Any] = []
    probe = base.spawn(None, Probe, "probe", told)
    gateway_of(base, probe, RunGateway(settings(tmp_path), probe, probe, probe, probe))
    await until(lambda: told)
    port = int(base.mailboxes["/probe/gateway"].instance.health.rpartition(" ")[2])
    base.terminate(base.mailboxes["/probe/gateway"])
    await base.released()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


async def test_a_host_name_that_does_not_exist_is_said_plainly(base, tmp_path):
    told: list[Any] = []
    probe = base.spawn(None, Probe, "probe", told)
    good = settings(tmp_path)
    # Configured it would stop the start; it stands for a name that no name server knows.
    odd = msgspec.structs.replace(good, api=msgspec.structs.replace(good.api, host="no such host"))
    start = RunGateway(odd, probe, probe, probe, probe)
    gateway_of(base, probe, start)
    await until(lambda: told)
    assert told[0].message.startswith("the API cannot listen on no such host:0: ")
    assert "Unknown error" not in told[0].message
