"""Endpoints that are tried: by the supervisor, over sessions of their own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_field import Field, Stage, staged, until
from test_endpoint_supervisor import Agent

from actors.connections.connection import Permanent, Transient
from actors.endpoints import trying
from actors.endpoints.listener import Description
from actors.endpoints.messages import Tried, TriedValue, TryEndpoint, TryStoredEndpoint
from actors.system.failure import Failed
from storage.timestamps import unix_ms


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    async with staged(monkeypatch, field) as stage:
        yield stage


@pytest.fixture
async def agent(stage: Stage, tmp_path: Path) -> Agent:
    return await Agent(stage, tmp_path).running()


def trial(points: int = 1, **connection: Any) -> TryEndpoint:
    names = [{"name": f"p{number}", "unit": "bar"} for number in range(points)]
    return TryEndpoint("fake", {"device": "plc"} | connection, names)


def shown(tried: Any) -> list[tuple[str | None, str, Any, str | None]]:
    assert isinstance(tried, Tried), tried
    return [(one.device, one.name, one.value, one.code) for one in tried.values]


async def test_a_device_is_connected_to_read_once_and_left(agent: Agent, field: Field) -> None:
    device = field["plc"]
    device.values, device.qualities, device.times = [7, None], [None, "ILLEGAL_ADDRESS"], [5000, 6000]
    tried = await agent.ask(trial(2))
    assert tried.values == [
        TriedValue(None, "p0", "bar", 7, None, 5000),
        TriedValue(None, "p1", "bar", None, "ILLEGAL_ADDRESS", 6000),
    ]
    assert (tried.error, tried.good) == (None, 1)
    assert (device.connects, device.reads, device.closed) == (1, 1, 1)
    assert await agent.rows() == []


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Transient("no answer", code="TIMEOUT"), "no answer", "TIMEOUT"),
        (Transient("gone"), "gone", "DEVICE_OFFLINE"),
        (Permanent("no such unit"), "no such unit", "DEVICE_NOT_CONFIGURED"),
        (KeyError("odd"), "reading has failed: KeyError: 'odd'", None),
    ],
)
async def test_why_it_cannot_be_read(
    agent: Agent, field: Field, fault: Exception, error: str, code: str | None
) -> None:
    field["plc"].fault = fault
    tried = await agent.ask(trial())
    assert (tried.error, tried.code) == (error, code)
    assert shown(tried) == [(None, "p0", None, "NO_VALUE")]
    assert field["plc"].closed == 1
    assert agent.tree().restarts == 0


@pytest.mark.parametrize("call", ["connect", "read", "close"])
async def test_a_device_that_hangs_is_given_up(
    agent: Agent, field: Field, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(trying, "attempt", _hurried)
    monkeypatch.setattr("actors.connections.deadlines.CLOSE_SECONDS", 0.1)
    field["plc"].hangs.add(call)
    tried = await agent.ask(trial())
    assert tried.error == (None if call == "close" else "no answer within 0.2 s")
    assert field["plc"].closed == 1


async def _hurried(*arguments: Any) -> Tried:
    return await _attempt(*arguments, within=0.2)


_attempt = trying.attempt


async def test_values_that_cannot_be_are_none(agent: Agent, field: Field) -> None:
    field["plc"].values = [float("nan"), 2**70, "text"]
    assert [value[2:] for value in shown(await agent.ask(trial(3)))] == [
        (None, "NOT_A_NUMBER"),
        (None, "READ_ERROR"),
        ("text", None),
    ]
    field["plc"].values, field["plc"].qualities = [1], [None, None]
    tried = await agent.ask(trial(1))
    assert tried.error is not None
    assert tried.good == 0


async def test_what_no_endpoint_can_be_is_refused(agent: Agent, field: Field) -> None:
    for message, name in (
        (TryEndpoint("nonsense", {}), "protocol"),
        (TryEndpoint("fake", {}), "connection.device"),
    ):
        refused = await agent.ask(message)
        assert isinstance(refused, Failed)
        assert (refused.kind, refused.field) == ("invalid", name)
    tried = await agent.ask(trial(mode="idle"))
    assert "discovery" in tried.error
    assert field["plc"].connects == 0


async def test_four_at_a_time(agent: Agent, field: Field) -> None:
    field["plc"].open.clear()
    asked = [asyncio.ensure_future(agent.ask(trial())) for _ in range(5)]
    refused = await asyncio.wait_for(asked[4], 5)
    assert isinstance(refused, Failed)
    assert refused.kind == "unavailable"
    field["plc"].open.set()
    assert all(tried.good for tried in await asyncio.gather(*asked[:4]))
    assert (await agent.ask(trial())).good == 1


async def test_an_endpoint_that_there_is(agent: Agent, field: Field) -> None:
    row = await agent.added(enabled=False)
    for key in (row.uuid, "plc"):
        assert shown(await agent.ask(TryStoredEndpoint(key))) == [(None, "speed", 1, None)]
    unknown = await agent.ask(TryStoredEndpoint("nobody"))
    assert isinstance(unknown, Failed)
    assert unknown.kind == "not_found"


# Who tells by himself


@pytest.fixture
async def telling(field: Field, monkeypatch: pytest.MonkeyPatch) -> Field:
    field.protocol = msgspec.structs.replace(field.protocol, modes=("pushed",))
    monkeypatch.setattr(trying, "FIRST_VALUES", 1.0)
    return field


async def test_it_waits_until_every_point_has_been_told(agent: Agent, telling: Field) -> None:
    asked = asyncio.ensure_future(agent.ask(trial(2, mode="pushed")))
    await until(lambda: telling["plc"].sessions)
    listener = telling["plc"].sessions[0].listener
    listener.changed("", [1], [8], None, [5000])
    await asyncio.sleep(0.02)
    assert not asked.done()
    listener.changed("", [0], [7])
    listener.persisted(lambda: None)
    tried = await asked
    assert shown(tried) == [(None, "p0", 7, None), (None, "p1", 8, None)]
    assert abs(tried.values[0].time - unix_ms()) < 5000
    assert tried.values[1].time == 5000
    assert telling["plc"].closed == 1


async def test_what_has_not_been_told_in_time_is_missing(agent: Agent, telling: Field) -> None:
    asked = asyncio.ensure_future(agent.ask(trial(2, mode="pushed")))
    await until(lambda: telling["plc"].sessions)
    telling["plc"].sessions[0].listener.changed("", [1], [8])
    tried = await asked
    assert shown(tried) == [(None, "p0", None, "NO_VALUE"), (None, "p1", 8, None)]
    assert tried.error is None
    assert 900 < tried.duration_ms < 4000


async def test_one_that_is_lost_meanwhile_is_told_as_that(agent: Agent, telling: Field) -> None:
    asked = asyncio.ensure_future(agent.ask(trial(2, mode="pushed")))
    await until(lambda: telling["plc"].sessions)
    listener = telling["plc"].sessions[0].listener
    listener.changed("", [1], [8])
    listener.lost(Transient("cut off", code="CONNECTION_RESET"))
    tried = await asked
    assert (tried.error, tried.code, tried.good) == ("cut off", "CONNECTION_RESET", 1)


async def test_devices_that_are_found_and_devices_that_are_away(agent: Agent, telling: Field) -> None:
    points = [{"name": "speed"}, {"name": "level", "device_name": "tank"}]
    asked = asyncio.ensure_future(agent.ask(TryEndpoint("fake", {"device": "plc", "mode": "pushed"}, points)))
    await until(lambda: telling["plc"].sessions)
    listener = telling["plc"].sessions[0].listener
    pump = Description("p", "pump", telling.protocol.check({"device": "x"}, [{"name": "rpm"}]).points)
    listener.described(pump)
    listener.changed("p", [0], [900])
    listener.changed("unknown", [0], [1])
    listener.presence("tank", "DEVICE_OFFLINE")
    listener.changed("", [0], [7])
    assert shown(await asked) == [
        (None, "speed", 7, None),
        ("tank", "level", None, "DEVICE_OFFLINE"),
        ("pump", "rpm", 900, None),
    ]
