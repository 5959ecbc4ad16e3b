"""Endpoints that have more devices than the one of their name."""

from pathlib import Path
from typing import Any

import pytest
from fake_field import FakePoint, FakePushed, Field, Stage, until, until_answered
from test_change_costs import handled, told
from test_endpoint_supervisor import Agent, field, new, stage, tmp_agent
from thespian.actors import ActorAddress

from actors.endpoints import telling
from actors.endpoints.listener import Description
from actors.endpoints.messages import (
    ChangeEndpoint,
    DescribeDevice,
    DeviceRemoved,
    DeviceRow,
    DevicesReported,
    EndpointsImported,
    ImportEndpoints,
    ListDevices,
    RemoveDevice,
    RemoveEndpoint,
    ReportDevices,
    ReportHealth,
)
from actors.endpoints.roster import MAX_DEVICES
from actors.state.messages import Transact
from actors.system.failure import Failed
from storage import devices as stored_devices
from storage.errors import StorageError

__all__ = ["field", "stage"]  # fixtures

PUSHED = {"connection": {"mode": "pushed"}, "data_points": []}
UUID = "3c5a1f0e-0000-4000-8000-000000000001"


@pytest.fixture
async def agent(stage: Stage, tmp_path: Path) -> Agent:
    return await tmp_agent(stage, tmp_path)


async def devices(agent: Agent, name: str | None = None, protocol: str | None = None) -> list[DeviceRow]:
    rows: list[DeviceRow] = (await agent.ask(ListDevices(protocol, name=name))).devices
    return rows


async def names(agent: Agent) -> list[str]:
    return [row.name for row in await devices(agent)]


async def session(field: Field, name: str = "plc", times: int = 1) -> FakePushed:
    await until(lambda: len(field[name].sessions) >= times)
    return field[name].sessions[-1]


async def described(field: Field, *given: tuple[str, str], endpoint: str = "plc") -> FakePushed:
    found = await session(field, endpoint)
    for identifier, name in given:
        found.listener.described(Description(identifier, name, (FakePoint("flow"),)))
    return found


async def until_listed(agent: Agent, expected: list[str]) -> None:
    await until_answered(lambda: names(agent), lambda found: found == expected)


# Found


async def test_devices_that_an_endpoint_finds_are_stored_and_listed(agent, field, tmp_path, stage):
    row = await agent.added(**PUSHED)
    await described(field, ("7", "pump-7"), ("8", "pump-8"))
    await until_listed(agent, ["plc", "pump-7", "pump-8"])
    _, pump, _ = before = await devices(agent)
    assert (pump.identifier, pump.endpoint_id, pump.endpoint, pump.protocol) == ("7", row.id, "plc", "fake")
    assert pump.enabled
    assert pump.address == row.address
    await agent.stop()
    again = await tmp_agent(stage, tmp_path)
    assert await devices(again) == before


async def test_those_of_many_endpoints_are_stored_together(agent, field):
    for n in range(20):
        await agent.added(f"d{n}", **PUSHED)
    sessions = [await session(field, f"d{n}") for n in range(20)]
    jobs = agent.store().writer.jobs
    for found in sessions:
        found.listener.described(Description("1", "pump", ()))
    await until_answered(lambda: names(agent), lambda found: found.count("pump") == 20)
    assert agent.store().writer.jobs - jobs <= 3
    assert len({row.uuid for row in await devices(agent, "pump")}) == 20


async def test_what_the_disk_does_not_take_is_told_again(agent, field, monkeypatch):
    monkeypatch.setattr(telling, "AGAIN", (0.02, 0.1))
    tries: list[Any] = []

    def full(*args: Any) -> None:
        tries.append(args)
        raise StorageError("the disk is full", "full")

    await agent.added(**PUSHED)
    with monkeypatch.context() as patched:
        full.__module__, full.__qualname__ = "storage.devices", "keep"
        patched.setattr(stored_devices, "keep", full)
        await described(field, ("7", "pump-7"))
        await until(lambda: len(tries) >= 2)
        assert await names(agent) == ["plc"]
    await until_listed(agent, ["plc", "pump-7"])
    count = handled(agent.stage.base)[agent.endpoints.addressDetails]
    await until(lambda: agent.polled() == set())
    assert handled(agent.stage.base)[agent.endpoints.addressDetails] <= count + 2


async def test_a_keeper_that_crashes_is_told_again(agent, field, monkeypatch):
    monkeypatch.setattr(telling, "AGAIN", (0.05, 0.1))
    await agent.added(**PUSHED)
    await session(field)
    base = agent.stage.base
    base.crash(base.mailboxes[agent.endpoints.addressDetails], RuntimeError("boom"))
    await described(field, ("7", "pump-7"))
    await until_listed(agent, ["plc", "pump-7"])


async def test_a_new_name_is_taken_over(agent, field):
    await agent.added(**PUSHED)
    found = await described(field, ("7", "pump-7"))
    await until_listed(agent, ["plc", "pump-7"])
    found.listener.described(Description("7", "inlet", (FakePoint("flow"),)))
    found.listener.changed("7", [0], [1])
    await until_listed(agent, ["inlet", "plc"])
    await until(lambda: agent.stage.batches)
    batch = agent.stage.batches[-1]
    assert (batch.source.device, batch.source.prefixes[0]) == ("inlet", "fake/plc/inlet/")
    assert batch.source.device_uuid == (await devices(agent, "inlet"))[0].uuid


@pytest.mark.parametrize(
    ("name", "shown"),
    [("", "7"), ("  ", "7"), ("a\nb\0", "a\ufffdb\ufffd"), ("\ud800", "\ufffd"), ("x" * 5000, "x" * 200)],
)
async def test_names_from_outside_may_be_anything(agent, field, name, shown):
    await agent.added(**PUSHED)
    await described(field, ("7", name))
    await until_answered(lambda: names(agent), lambda found: set(found) == {"plc", shown})


async def test_there_is_an_end_to_how_many_are_kept(agent, field, caplog):
    await agent.added(**PUSHED)
    found = await session(field)
    for n in range(MAX_DEVICES + 50):
        found.listener.described(Description(str(n), f"d{n}", ()))
    await until_answered(lambda: names(agent), lambda there: len(there) == MAX_DEVICES)
    found.listener.lost(None or _gone())
    await until(lambda: "cannot reach" in caplog.text or "lost" in caplog.text)
    assert len([one for one in caplog.records if "devices" in one.getMessage()]) == 1


def _gone() -> Any:
    from actors.connections.connection import Transient

    return Transient("gone")


async def test_over_many_lives_too_no_more_are_kept_and_who_is_refused_is_not_read(agent, field, caplog):
    row = await agent.added(**PUSHED)
    others = [
        stored_devices.FurtherDevice(row.id, f"u{n}", f"old{n}", f"old{n}") for n in range(MAX_DEVICES - 2)
    ]
    store = Transact(None, stored_devices.keep, (others, MAX_DEVICES))
    assert (await agent.stage.ask(ActorAddress("/agent/store"), store)).error is None
    await described(field, ("7", "pump-7"), ("8", "pump-8"))
    await until(lambda: "pump-8" in caplog.text or "the device 8 is not read" in caplog.text)
    agent.stage.batches.clear()
    found = await session(field)
    found.listener.changed("8", [0], [1])
    found.listener.changed("7", [0], [2])
    await until(lambda: agent.stage.batches)
    assert {batch.source.device for batch in agent.stage.batches} == {"pump-7"}


# Named by the configuration

POINTS = [
    {"name": "speed"},
    {"name": "flow", "device_name": "pump", "device_uuid": UUID},
    {"name": "level", "device_name": "tank"},
]


async def test_devices_that_the_configuration_names_are_there_at_once(agent):
    await agent.added(data_points=POINTS, enabled=False)
    own, pump, tank = await devices(agent)
    assert [row.name for row in (own, pump, tank)] == ["plc", "pump", "tank"]
    assert (pump.uuid, pump.identifier, pump.enabled) == (UUID, "pump", False)
    await agent.ask(ChangeEndpoint("plc", enabled=True))
    assert all(row.enabled for row in await devices(agent))


async def test_endpoints_with_the_same_points_have_the_same_devices_and_so_has_a_second_life(agent, field):
    points = [{"name": "level", "device_name": "tank"}, {"name": "speed"}]
    for name in ("one", "two"):
        await agent.added(name, data_points=points, connection={"mode": "pushed"})
        found = await session(field, name)
        found.listener.changed("tank", [0], [1])
    await until(lambda: len({batch.source.device_uuid for batch in agent.stage.batches}) == 2)
    assert {batch.source.device for batch in agent.stage.batches} == {"tank"}


async def test_a_uuid_that_another_endpoint_has_is_a_conflict_that_names_the_field(agent):
    await agent.added(data_points=POINTS)
    refused = await agent.add("other", data_points=POINTS)
    assert refused == Failed(
        "conflict", f"{UUID} is the uuid of a device of the endpoint plc", "data_points[1].device_uuid"
    )
    assert await agent.names() == ["plc"]
    imported = await agent.ask(ImportEndpoints([new("a"), new("b", data_points=POINTS)]))
    assert [(fault.position, fault.failed.field) for fault in imported.faults] == [
        (1, "data_points[1].device_uuid")
    ]
    own = (await devices(agent, "plc"))[0].uuid
    points = [{"name": "flow", "device_name": "pump", "device_uuid": own}]
    assert (await agent.add("other", data_points=points)).kind == "conflict"


async def test_within_an_import_a_uuid_is_given_once(agent):
    given = [new(name, data_points=POINTS) for name in ("a", "b")]
    imported = await agent.ask(ImportEndpoints(given))
    assert [(fault.position, fault.failed.message) for fault in imported.faults] == [
        (1, f"{UUID} is the uuid of a device of the endpoint a")
    ]
    assert await agent.ask(ImportEndpoints(given[:1])) == EndpointsImported(1)
    assert await names(agent) == ["a", "pump", "tank"]


async def test_two_devices_of_one_uuid_are_refused(agent):
    points = [*POINTS, {"name": "heat", "device_name": "heater", "device_uuid": UUID}]
    refused = await agent.add(data_points=points)
    assert (refused.kind, refused.field) == ("invalid", "data_points[1].device_uuid")


async def test_a_uuid_of_another_that_a_device_turns_out_to_have_is_no_crash(agent, field, caplog):
    await agent.added(data_points=POINTS)
    await agent.added("other", **PUSHED)
    found = await session(field, "other")
    found.listener.described(Description("x", "thief", (FakePoint("flow"),), UUID))
    await until(lambda: "the device x is not read" in caplog.text)
    agent.stage.batches.clear()
    found.listener.changed("x", [0], [1])
    found.listener.described(Description("y", "honest", (FakePoint("flow"),)))
    found.listener.changed("y", [0], [1])
    await until(lambda: any(batch.source.device == "honest" for batch in agent.stage.batches))
    assert "thief" not in {batch.source.device for batch in agent.stage.batches}
    await until_listed(agent, ["honest", "other", "plc", "pump", "tank"])


# Found by name


async def test_a_name_means_the_endpoints_own_device_first(agent, field):
    await agent.added("pump", **PUSHED)
    await agent.added(**PUSHED)
    await described(field, ("7", "pump"), ("8", "valve"))
    await until_listed(agent, ["plc", "pump", "pump", "valve"])
    (own,) = await devices(agent, "pump")
    assert own.endpoint == "pump"
    other = next(row for row in await devices(agent) if row.name == "pump" and row.endpoint == "plc")
    assert await devices(agent, other.uuid) == [other]
    assert [row.name for row in await devices(agent, "valve")] == ["valve"]
    assert await devices(agent, "nobody") == []
    assert await devices(agent, "valve", "modbus") == []


async def test_a_name_that_several_have_means_all_of_them(agent, field):
    for name in ("a", "b"):
        await agent.added(name, **PUSHED)
        await described(field, ("7", "pump"), endpoint=name)
    await until_listed(agent, ["a", "b", "pump", "pump"])
    assert [row.endpoint for row in await devices(agent, "pump")] == ["a", "b"]


# Health


async def test_each_device_has_a_health_of_its_own(agent, field):
    row = await agent.added(**PUSHED)
    found = await described(field, ("7", "pump"), ("8", "tank"))
    found.listener.changed("7", [0], [1])
    found.listener.presence("8", "DEVICE_OFFLINE")
    await until_listed(agent, ["plc", "pump", "tank"])
    own, pump, tank = await devices(agent)
    reports = await agent.stage.ask(row.address, ReportDevices())
    assert isinstance(reports, DevicesReported)
    assert reports.devices[own.uuid].connected
    assert reports.devices[pump.uuid].connected
    assert not reports.devices[tank.uuid].connected
    assert reports.devices[tank.uuid].last_error == "DEVICE_OFFLINE"
    unknown = await agent.stage.ask(row.address, ReportHealth("nobody"))
    assert not unknown.connected
    described_unknown = await agent.stage.ask(row.address, DescribeDevice("nobody"))
    assert described_unknown.registers == []


async def test_an_own_device_without_points_stands_for_the_connection(agent, field):
    row = await agent.added(connection={"mode": "pushed", "silent_after": 0.05}, data_points=[])
    found = await described(field, ("7", "pump"))

    async def heard() -> Any:
        found.listener.heard("7")
        return await agent.stage.ask(row.address, ReportHealth())

    health = await until_answered(heard, lambda report: report.poll_success_rate == 1 and report.last_poll)
    assert health.connected
    assert health.last_seen is not None
    found.listener.lost(_gone())
    await until_answered(
        lambda: agent.stage.ask(row.address, ReportHealth()), lambda report: not report.connected
    )


# Removing


async def test_devices_go_with_their_endpoint(agent, field):
    row = await agent.added(**PUSHED)
    await described(field, ("7", "pump"))
    await until_listed(agent, ["plc", "pump"])
    await agent.ask(RemoveEndpoint(row.uuid))
    assert await names(agent) == []
    await agent.added(**PUSHED)
    assert await names(agent) == ["plc"]


async def test_a_device_that_is_removed_comes_back_when_it_says_something(agent, field):
    await agent.added(**PUSHED)
    found = await described(field, ("7", "pump"))
    await until_listed(agent, ["plc", "pump"])
    (pump,) = await devices(agent, "pump")
    assert await agent.ask(RemoveDevice(pump.uuid)) == DeviceRemoved()
    assert await names(agent) == ["plc"]
    await until(lambda: agent.stage.forgotten)
    found.listener.changed("7", [0], [5])
    await until_listed(agent, ["plc", "pump"])
    await until(lambda: agent.stage.batches and agent.stage.batches[-1].values == [5])
    assert (await devices(agent, "pump"))[0].uuid == pump.uuid


async def test_own_and_configured_devices_are_not_removed_by_themselves(agent):
    await agent.added(data_points=POINTS)
    for row in await devices(agent):
        refused = await agent.ask(RemoveDevice(row.uuid))
        assert refused.kind == "conflict", row
    assert (await agent.ask(RemoveDevice("nobody"))).kind == "not_found"


async def test_a_device_that_is_found_costs_the_others_nothing(agent, field):
    for n in range(20):
        await agent.added(f"d{n}", connection={"mode": "idle"})
    await agent.added(**PUSHED, poll_interval=86_400_000)
    found = await described(field, ("7", "pump"))
    await until_answered(lambda: names(agent), lambda there: "pump" in there)
    before = handled(agent.stage.base)
    found.listener.described(Description("8", "tank", ()))
    await until_answered(lambda: names(agent), lambda there: "tank" in there)
    asked = told(agent.stage.base, before, f"{agent.endpoints.addressDetails}/")
    assert set(asked) == {f"{agent.endpoints.addressDetails}/fake/plc"}
