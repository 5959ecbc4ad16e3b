import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from fake_field import INTERVAL_MS, Field, Stage, as_json, staged, until
from thespian.actors import ActorAddress

from actors.endpoints.adapter_keeper import RunEndpoints
from actors.endpoints.messages import (
    AddEndpoint,
    ChangeEndpoint,
    DevicesListed,
    EndpointChanged,
    EndpointsImported,
    EndpointsListed,
    EndpointsRemoved,
    ImportEndpoints,
    ListDevices,
    ListEndpoints,
    RemoveAllEndpoints,
    RemoveEndpoint,
    ReportHealth,
)
from actors.endpoints.supervisor import Endpoints
from actors.state.messages import Transact
from actors.state.store import RunStore, Store
from actors.system import tree
from actors.system.actor import Actor
from actors.system.failure import Failed
from conf.settings import Settings, load
from storage import endpoints
from storage.database import Database
from storage.errors import StorageError


class Connection(msgspec.Struct):
    device: str
    unit: int = 1


class DataPoint(msgspec.Struct):
    name: str


class Root(Actor):
    """Stands for the agent: a store and the endpoints supervisor below it."""

    def receiveMsg_tuple(
        self, message: tuple[RunStore, ActorAddress, Settings], sender: ActorAddress
    ) -> None:
        start, self.router, settings = message
        store = self.spawn(Store, "store", start)
        self.endpoints = self.spawn(
            Endpoints, "endpoints", RunEndpoints(store, self.router, 100, 400, settings, "agent-uuid")
        )


class Agent:
    """The supervisor on a real database."""

    def __init__(self, stage: Stage, directory: Path, settings: Settings | None = None) -> None:
        self.stage = stage
        start = RunStore(directory / "agent.sqlite", directory, 1000, None, None, None)
        given = start, stage.router, settings or load(None, {})
        self.root = stage.base.spawn(None, Root, "agent", given)
        self.endpoints = ActorAddress("/agent/endpoints")
        self.database = start.path

    async def running(self) -> "Agent":
        await until(lambda: self.endpoints.addressDetails in self.stage.base.mailboxes)
        return self

    def store(self) -> Store:
        found = self.stage.base.mailboxes["/agent/store"].instance
        assert isinstance(found, Store)
        return found

    async def stop(self) -> None:
        self.stage.base.terminate(self.stage.base.mailboxes[self.root.addressDetails])
        await self.stage.base.released()

    async def ask(self, message):
        return await self.stage.ask(self.endpoints, message)

    async def add(self, name: str = "plc", **fields):
        fields = {"poll_interval": INTERVAL_MS, "data_points": [{"name": "speed"}]} | fields
        connection = {"device": name} | fields.pop("connection", {})
        return await self.ask(AddEndpoint(name, "fake", connection, **fields))

    async def added(self, name: str = "plc", **fields):
        reply = await self.add(name, **fields)
        assert isinstance(reply, EndpointChanged), reply
        return reply.endpoint

    async def rows(self, protocol: str | None = None):
        reply = await self.ask(ListEndpoints(protocol))
        assert isinstance(reply, EndpointsListed)
        return reply.endpoints

    async def names(self) -> list[str]:
        return [row.name for row in await self.rows()]

    def tree(self):
        return tree.dump(self.stage.base.mailboxes[self.endpoints.addressDetails]).root

    def running_names(self) -> set[str]:
        return {child.name for adapter in self.tree().children for child in adapter.children}

    def polled(self) -> set[str]:
        return {batch.source.endpoint for batch in self.stage.batches}


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field):
    async with staged(monkeypatch, field) as stage:
        yield stage


async def tmp_agent(stage: Stage, tmp_path: Path) -> Agent:
    return await Agent(stage, tmp_path).running()


@pytest.fixture
async def agent(stage: Stage, tmp_path: Path):
    return await tmp_agent(stage, tmp_path)


async def test_an_endpoint_that_is_added_is_listed_and_polled(agent):
    row = await agent.added(metadata={"line": 1}, fingerprint="f")
    assert (row.name, row.protocol, row.enabled, row.poll_interval) == ("plc", "fake", True, INTERVAL_MS)
    assert (row.connection, row.metadata, row.fingerprint) == (
        as_json({"device": "plc"}),
        as_json({"line": 1}),
        "f",
    )
    assert await agent.rows() == [row]
    await until(lambda: agent.polled() == {"plc"})
    assert (await agent.stage.ask(row.address, ReportHealth())).connected


async def test_endpoints_are_listed_by_name_and_protocol(agent):
    for name in ("b", "c", "a"):
        await agent.added(name)
    assert await agent.names() == ["a", "b", "c"]
    assert len(await agent.rows("fake")) == 3
    assert await agent.rows("modbus") == []


async def test_an_endpoint_has_a_device(agent):
    row = await agent.added(enabled=False)
    listed = await agent.ask(ListDevices())
    assert isinstance(listed, DevicesListed)
    (device,) = listed.devices
    assert (device.name, device.endpoint_id, device.identifier, device.enabled) == (
        "plc",
        row.id,
        "1",
        False,
    )
    assert device.address is None
    assert (await agent.ask(ListDevices("modbus"))).devices == []


async def test_devices_of_an_adapter_that_does_not_run_are_not_found(agent):
    expected = Failed("not_found", "No adapter running for protocol: fake")
    assert await agent.ask(ListDevices("fake", running=True)) == expected
    await agent.added(enabled=False)
    assert await agent.ask(ListDevices("fake", running=True)) == expected
    await agent.added("running")
    listed = await agent.ask(ListDevices("fake", running=True))
    assert [device.name for device in listed.devices] == ["plc", "running"]


@pytest.mark.parametrize(
    ("fields", "named", "kind"),
    [
        ({"name": ""}, "name", "invalid"),
        ({"name": "  "}, "name", "invalid"),
        ({"name": "x" * 201}, "name", "invalid"),
        ({"protocol": "unknown"}, "protocol", "invalid"),
        ({"connection": {}}, "connection.device", "invalid"),
        ({"poll_interval": 9}, "poll_interval", "invalid"),
        ({"poll_interval": 86_400_001}, "poll_interval", "invalid"),
        ({"name": "taken"}, "name", "conflict"),
    ],
)
async def test_what_cannot_be_accepted_is_refused_and_changes_nothing(agent, fields, named, kind):
    await agent.added("taken")
    before = await agent.rows()
    message = {"name": "plc", "protocol": "fake", "connection": {"device": "plc"}} | fields
    reply = await agent.ask(AddEndpoint(**message))
    assert isinstance(reply, Failed)
    assert (reply.field, reply.kind) == (named, kind)
    assert await agent.rows() == before
    assert agent.running_names() == {"taken"}


async def test_of_two_creates_of_one_name_that_race_one_wins(agent):
    replies = await asyncio.gather(*(agent.add("plc", metadata={"n": n}) for n in range(5)))
    won = [reply for reply in replies if isinstance(reply, EndpointChanged)]
    lost = [reply for reply in replies if isinstance(reply, Failed)]
    assert (len(won), len(lost)) == (1, 4)
    assert {(reply.kind, reply.field) for reply in lost} == {("conflict", "name")}
    assert {reply.message for reply in lost} == {"Endpoint already exists: plc"}
    assert await agent.rows() == [won[0].endpoint]


async def test_endpoints_are_disabled_and_enabled_by_uuid_or_name(agent, field):
    row = await agent.added()
    await until(lambda: agent.polled() == {"plc"})
    off = (await agent.ask(ChangeEndpoint(row.uuid, enabled=False))).endpoint
    assert (off.enabled, off.address, off.poll_interval) == (False, None, INTERVAL_MS)
    assert field["plc"].closed == 1
    assert agent.running_names() == set()
    assert not (await agent.ask(ListDevices())).devices[0].enabled
    on = (await agent.ask(ChangeEndpoint("plc", enabled=True))).endpoint
    assert on.enabled
    agent.stage.batches.clear()
    await until(lambda: agent.polled() == {"plc"})


async def test_an_interval_is_changed(agent, field):
    await agent.added(poll_interval=86_400_000)
    assert (await agent.ask(ChangeEndpoint("plc", poll_interval=10))).endpoint.poll_interval == 10
    await until(lambda: len(agent.stage.batches) >= 5)
    refused = await agent.ask(ChangeEndpoint("plc", poll_interval=9))
    assert (refused.kind, refused.field) == ("invalid", "poll_interval")
    assert (await agent.rows())[0].poll_interval == 10


async def test_changes_of_different_fields_that_race_are_all_kept(agent):
    await agent.added()
    await asyncio.gather(
        agent.ask(ChangeEndpoint("plc", enabled=False)), agent.ask(ChangeEndpoint("plc", poll_interval=777))
    )
    (row,) = await agent.rows()
    assert (row.enabled, row.poll_interval) == (False, 777)


async def test_an_endpoint_is_removed_by_its_uuid_only(agent, field):
    row = await agent.added()
    await agent.added("other")
    await until(lambda: len(agent.polled()) == 2)
    assert await agent.ask(RemoveEndpoint("plc")) == Failed("not_found", "Endpoint not found: plc")
    assert await agent.ask(RemoveEndpoint(row.uuid)) == EndpointsRemoved(1)
    assert await agent.names() == ["other"]
    assert field["plc"].closed == 1
    assert [device.name for device in (await agent.ask(ListDevices())).devices] == ["other"]
    assert (await agent.ask(RemoveEndpoint(row.uuid))).kind == "not_found"


async def test_all_endpoints_are_removed(agent):
    for name in ("a", "b", "c"):
        await agent.added(name, enabled=name != "c")
    assert await agent.ask(RemoveAllEndpoints()) == EndpointsRemoved(3)
    assert await agent.names() == []
    assert agent.tree().children == []
    assert await agent.ask(RemoveAllEndpoints()) == EndpointsRemoved(0)


async def test_a_change_that_races_with_the_removal_is_not_found(agent):
    row = await agent.added()
    removed, changed = await asyncio.gather(
        agent.ask(RemoveEndpoint(row.uuid)), agent.ask(ChangeEndpoint("plc", enabled=False))
    )
    assert removed == EndpointsRemoved(1)
    assert (changed.kind, changed.message) == ("not_found", "Endpoint not found: plc")
    assert await agent.names() == []


def set_quota(database: Database, spare_pages: int) -> None:
    (pages,) = database.db.execute("PRAGMA page_count").fetchone()
    database.db.execute(f"PRAGMA max_page_count = {pages + spare_pages}")


async def test_a_full_disk_refuses_the_change_and_changes_nothing(agent):
    await agent.added("old")
    before = await agent.rows()
    store = ActorAddress("/agent/store")
    assert (await agent.stage.ask(store, Transact("quota", set_quota, (0,)))).error is None
    reply = await agent.add("new", metadata={"much": "x" * 100_000})
    assert isinstance(reply, Failed)
    assert (reply.kind, reply.message) == ("unavailable", "not stored: database or disk is full")
    assert await agent.rows() == before
    assert agent.running_names() == {"old"}
    assert (await agent.stage.ask(store, Transact("quota", set_quota, (1000,)))).error is None
    await agent.added("new", metadata={"much": "x" * 100_000})
    assert await agent.names() == ["new", "old"]


async def test_endpoints_are_there_again_after_a_restart(agent, stage, tmp_path):
    await agent.added("on", metadata={"a": 1})
    await agent.added("off", enabled=False)
    before = await agent.rows()
    await agent.stop()
    stage.batches.clear()
    again = await Agent(stage, tmp_path).running()
    assert await again.rows() == before
    await until(lambda: again.polled() == {"on"})


async def test_an_unknown_key_is_refused_but_runs_where_it_was_stored(agent, stage, field, tmp_path, caplog):
    odd = {"device": "plc", "unt": 1}
    assert await agent.ask(AddEndpoint("plc", "fake", odd, INTERVAL_MS, data_points=[{"name": "a", "x": 1}]))
    await agent.stop()
    stage.batches.clear()
    field.protocol = msgspec.structs.replace(field.protocol, connection=Connection, data_point=DataPoint)
    again = await Agent(stage, tmp_path).running()
    await until(lambda: again.polled() == {"plc"})
    told = [record.getMessage() for record in caplog.records if "not known" in record.getMessage()]
    assert told == [
        "endpoint plc: these keys are not known and mean nothing: connection.unt, data_points[0].x"
    ]
    before = await again.rows()
    for connection, points, named in (
        (odd, [], "connection.unt"),
        ({"device": "plc"}, [{"name": "a"}, {"nam": "b"}], "data_points[1].nam"),
    ):
        reply = await again.ask(AddEndpoint("new", "fake", connection, data_points=points))
        assert isinstance(reply, Failed)
        assert (reply.field, reply.kind) == (named, "invalid")
    assert await again.rows() == before
    assert isinstance(await again.ask(ChangeEndpoint("plc", enabled=False)), EndpointChanged)


@pytest.mark.parametrize("interval", [0, -5])
async def test_a_stored_endpoint_whose_interval_is_none_is_listed_with_why_and_does_not_run(
    agent, stage, interval
):
    await agent.added("odd")
    (row,) = await agent.rows()
    change = Transact(None, endpoints.change_endpoint, (row.id, {"poll_interval": interval}))
    assert (await stage.ask(ActorAddress("/agent/store"), change)).error is None
    stage.base.crash(stage.base.mailboxes[agent.endpoints.addressDetails], RuntimeError("boom"))
    (row,) = await agent.rows()
    assert row.error == f"its stored poll_interval is {interval} ms"
    assert agent.running_names() == set()


async def test_a_crash_of_the_supervisor_keeps_what_was_changed_since_the_start(agent, caplog):
    await agent.added("kept")
    gone = await agent.added("gone")
    await agent.ask(RemoveEndpoint(gone.uuid))
    await agent.ask(ChangeEndpoint("kept", poll_interval=30))
    before = await agent.rows()
    agent.stage.base.deliver(agent.endpoints, ListDevices(["unhashable"], running=True), agent.stage.router)  # type: ignore[arg-type]
    await until(lambda: agent.tree().restarts == 1 and agent.tree().state == "running")
    assert await agent.rows() == before
    agent.stage.batches.clear()
    await until(lambda: agent.polled() == {"kept"})
    await agent.added("after")
    assert await agent.names() == ["after", "kept"]


async def test_protocols_have_adapters_of_their_own(agent):
    await agent.added("one")
    reply = await agent.ask(AddEndpoint("two", "other", {"device": "two"}, poll_interval=INTERVAL_MS))
    assert isinstance(reply, EndpointChanged)
    await until(lambda: len(agent.running_names()) == 2)
    assert [adapter.name for adapter in agent.tree().children] == ["fake", "other"]
    await agent.ask(RemoveEndpoint(reply.endpoint.uuid))
    assert [adapter.name for adapter in agent.tree().children] == ["fake"]


async def test_the_router_forgets_endpoints_that_are_removed_or_disabled(agent, stage):
    rows = {name: await agent.added(name) for name in ("removed", "disabled", "kept", "last")}
    await until(lambda: len(agent.polled()) == 4)
    assert stage.forgotten == []
    await agent.ask(RemoveEndpoint(rows["removed"].uuid))
    await agent.ask(ChangeEndpoint("disabled", enabled=False))
    gone = [rows["removed"].uuid, rows["disabled"].uuid]
    await until(lambda: stage.forgotten == gone)
    await agent.ask(RemoveAllEndpoints())
    await until(lambda: set(stage.forgotten) == {row.uuid for row in rows.values()})
    assert len(stage.forgotten) == 4


async def test_the_router_forgets_an_endpoint_after_its_last_batch(agent, stage):
    row = await agent.added()
    await until(lambda: agent.polled())
    await agent.ask(RemoveEndpoint(row.uuid))
    await until(lambda: stage.forgotten)
    batches = len(stage.batches)
    await agent.added("other")
    await until(lambda: "other" in agent.polled())
    assert {batch.source.endpoint for batch in stage.batches[batches:]} == {"other"}


async def test_the_router_forgets_nothing_of_an_endpoint_that_only_polls_at_another_pace(agent, stage):
    await agent.added()
    await until(lambda: agent.polled())
    await agent.ask(ChangeEndpoint("plc", poll_interval=30))
    stage.batches.clear()
    await until(lambda: agent.polled())
    assert stage.forgotten == []


# Importing


def new(name: str, **fields) -> AddEndpoint:
    fields = {"poll_interval": INTERVAL_MS, "data_points": [{"name": "speed"}]} | fields
    return AddEndpoint(name, "fake", {"device": name}, **fields)


async def test_endpoints_are_imported_in_one_transaction_and_polled(agent):
    await agent.added()
    jobs = agent.store().writer.jobs
    imported = await agent.ask(ImportEndpoints([new(f"d{n}") for n in range(50)]))
    assert imported == EndpointsImported(50)
    assert agent.store().writer.jobs == jobs + 1
    await until(lambda: len(agent.polled()) == 51)
    assert len(await agent.names()) == 51


async def test_an_import_with_faults_imports_nothing_and_tells_all_of_them(agent):
    await agent.added("taken")
    given = [
        new("one"),
        new("taken"),
        new("two", poll_interval=1),
        AddEndpoint("three", "nope", {}),
        new("one"),
        AddEndpoint("four", "fake", {}),
    ]
    refused = await agent.ask(ImportEndpoints(given))
    assert refused.imported == 0
    assert [(fault.position, fault.failed.field, fault.failed.kind) for fault in refused.faults] == [
        (1, "name", "conflict"),
        (2, "poll_interval", "invalid"),
        (3, "protocol", "invalid"),
        (4, "name", "conflict"),
        (5, "connection.device", "invalid"),
    ]
    assert await agent.names() == ["taken"]


async def test_a_disk_that_takes_no_import_is_told_and_nothing_is_changed(agent, monkeypatch):
    def full(*args):
        raise StorageError("the disk is full", "full")

    full.__module__, full.__qualname__ = "storage.endpoints", "add_endpoints"
    monkeypatch.setattr(endpoints, "add_endpoints", full)
    assert isinstance(await agent.ask(ImportEndpoints([new("one")])), Failed)
    assert await agent.names() == []


async def test_changes_do_not_wait_for_the_checks_of_an_import(agent, stage, field, monkeypatch):
    checked = []

    def check(connection, data_points):
        checked.append(connection)
        time.sleep(0.003)
        return field._check(connection, data_points)

    monkeypatch.setattr(field, "protocol", msgspec.structs.replace(field.protocol, check=check))
    importing = asyncio.ensure_future(agent.ask(ImportEndpoints([new(f"d{n}") for n in range(100)])))
    await until(lambda: checked)
    await agent.added("meanwhile")
    assert not importing.done()
    assert await importing == EndpointsImported(100)


async def test_one_device_is_found_by_its_name(agent):
    await agent.added("one")
    await agent.added("two")
    listed = await agent.ask(ListDevices("fake", running=True, name="two"))
    assert [device.name for device in listed.devices] == ["two"]
    assert (await agent.ask(ListDevices("fake", name="three"))).devices == []


async def test_endpoints_poll_at_places_of_their_own_and_the_same_in_every_life(agent, stage):
    for n in range(10):
        await agent.added(f"d{n}")

    def phases() -> list[float]:
        boxes = stage.base.mailboxes
        return [boxes[f"{agent.endpoints.addressDetails}/fake/d{n}"].start.phase for n in range(10)]

    await until(lambda: len(agent.running_names()) == 10)
    before = phases()
    assert len(set(before)) == 10
    cell = stage.base.mailboxes[agent.endpoints.addressDetails]
    stage.base.crash(cell, RuntimeError("a defect"))
    await until(lambda: cell.instance is not None and cell.instance.loaded)
    assert phases() == before
