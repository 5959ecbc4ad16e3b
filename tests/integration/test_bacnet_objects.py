"""What a BACnet device has to read, what it has recorded, and writes to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bacnet_sessions import session_with, until
from servers.bacnet_device import BacnetDevice, entry
from servers.udp_relay import free_udp_port

from actors.endpoints.protocol import BackfillRequest, BrowseRequest, Recorded, WriteRequest
from actors.endpoints.protocols.bacnet import PROTOCOL
from actors.system.failure import Refusal

LOG = {
    "device-identifier": "device,1001",
    "object-identifier": "analog-input,1",
    "property-identifier": "present-value",
}
NOON = 1_780_000_000_000  # Unix ms
OBJECTS = [
    entry("analog-input", 1, 21.5, name="Supply air", units="degrees-celsius"),
    entry("analog-value", 1, 22.0, name="Setpoint", units="degrees-celsius", relinquishDefault=20.0),
    entry("binary-output", 1, "inactive", name="Fan"),
    entry("multi-state-value", 1, 3, name="Mode", states=["off", "heat", "cool"]),
    entry("multi-state-input", 1, 2, name="Mode now", states=["off", "heat", "cool"]),
    entry("trend-log", 1, name="Log"),
    entry("trend-log", 2, name="Empty"),
]
POINTS = [
    {"name": "supply", "object": "analog-input:1"},
    {"name": "setpoint", "object": "analog-value:1", "writable": True},
    {"name": "fan", "object": "binary-output:1", "writable": True},
    {"name": "mode", "object": "multi-state-value:1", "writable": True, "stateText": True},
]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BacnetDevice]:
    with BacnetDevice(tmp_path_factory.mktemp("bacnet"), objects=OBJECTS) as running:
        yield running


@pytest.fixture(params=["large", "small"])
def small(request: pytest.FixtureRequest, tmp_path: Path, device: BacnetDevice) -> Iterator[BacnetDevice]:
    """With and without room for its whole list of objects in an answer."""
    if request.param == "large":
        yield device
        return
    with BacnetDevice(tmp_path, objects=OBJECTS, maxApdu=50, segmentation="no-segmentation") as running:
        yield running


@asynccontextmanager
async def connected(device: BacnetDevice, points: Any = POINTS) -> AsyncIterator[Any]:
    given = connection(device)
    async with session_with(given, points) as (session, _):
        await session.connect()
        yield session


def connection(device: BacnetDevice) -> dict[str, Any]:
    local = {"localAddress": "127.0.0.1", "localPort": free_udp_port()}
    return {"host": "127.0.0.1", "port": device.port, "deviceInstance": 1001, **local}


async def write(session: Any, device: BacnetDevice, register: str, value: Any, **more: Any) -> Any:
    endpoint = PROTOCOL.check(connection(device), POINTS)
    assert PROTOCOL.prepare is not None
    prepared = PROTOCOL.prepare(endpoint, WriteRequest("", register, value, **more))
    written = await session.write(prepared)
    return written, await session.read_back(prepared)


# Browsing


async def test_objects_are_listed_with_what_data_points_need(small: BacnetDevice) -> None:
    async with connected(small, ()) as session:
        found = await session.browse(BrowseRequest())
    assert found.complete
    root, *nodes = found.nodes
    assert (root.node, root.has_children) == ("device:1001", True)
    points = {node.node: node.data_point for node in nodes if node.data_point}
    assert points == {
        "analog-input:1": {"name": "Supply air", "object": "analog-input:1", "unit": "°C"},
        "analog-value:1": {"name": "Setpoint", "object": "analog-value:1", "unit": "°C", "writable": True},
        "binary-output:1": {"name": "Fan", "object": "binary-output:1", "writable": True},
        "multi-state-value:1": {
            "name": "Mode",
            "object": "multi-state-value:1",
            "writable": True,
            "stateText": True,
        },
        "multi-state-input:1": {
            "name": "Mode now",
            "object": "multi-state-input:1",
            "stateText": True,
        },
    }
    PROTOCOL.accept(connection(small), list(points.values()))  # type: ignore[arg-type]
    assert {"trend-log:1", "trend-log:2"} <= {node.node for node in nodes}


async def test_a_part_of_them_is_said_to_be_one(device: BacnetDevice) -> None:
    async with connected(device, ()) as session:
        assert not (found := await session.browse(BrowseRequest(limit=3))).complete
        assert len(found.nodes) == 3
        [one] = (await session.browse(BrowseRequest(node="analog-input:1"))).nodes
        assert one.name == "Supply air"
        with pytest.raises(Refusal, match="has no analog-input:9"):
            await session.browse(BrowseRequest(node="analog-input:9"))


# Writing


async def test_a_higher_priority_has_the_last_word_and_is_named(device: BacnetDevice) -> None:
    async with connected(device) as session:
        assert await write(session, device, "setpoint", 25) == (25.0, (25.0, True))
        device.ask("set", object="analog-value,1", value=30.0, priority=3)
        assert await write(session, device, "setpoint", 26) == (26.0, (30.0, False))
        assert session.overruled == "priority 3 keeps it at 30.0"
        device.ask("set", object="analog-value,1", value=None, priority=3)
        assert await write(session, device, "setpoint", None) == (None, (20.0, True))
        assert device.ask("written")[-1] == {
            "object": "analog-value,1",
            "property": "present-value",
            "value": None,
            "priority": 8,
        }


async def test_states_are_written_by_number_or_text_and_looked_at(device: BacnetDevice) -> None:
    async with connected(device) as session:
        assert await write(session, device, "mode", "heat") == ("heat", (2, True))
        assert await write(session, device, "mode", 3) == (3, (3, True))
        for value in (4, "tepid"):
            with pytest.raises(Refusal) as caught:
                await write(session, device, "mode", value)
            assert caught.value.field == "value"
        assert await write(session, device, "fan", "on", priority=12) == (1, (1, True))
        await write(session, device, "fan", None, priority=12)


async def test_what_the_device_refuses_is_named(device: BacnetDevice) -> None:
    async with connected(device) as session:
        with pytest.raises(Refusal, match="UNKNOWN_OBJECT") as caught:
            await write(session, device, "analog-value:99", 1)
        assert caught.value.kind == "not_found"
        device.ask("refuse", service="writeProperty", kind="property", reason="write-access-denied")
        try:
            with pytest.raises(Refusal, match="WRITE_ACCESS_DENIED") as caught:
                await write(session, device, "setpoint", 1)
            assert caught.value.kind == "read_only"
        finally:
            device.ask("accept", service="writeProperty")


# What was recorded


async def backfilled(device: BacnetDevice, *points: str, **more: Any) -> list[Recorded]:
    async with connected(device) as session:
        found: list[Recorded] = await session.backfill(BackfillRequest(points, **more))
        return found


@pytest.fixture(scope="module")
def log(device: BacnetDevice) -> BacnetDevice:
    """A minute apart: 300 values of which the tenth is a fault, an interruption and a null."""
    for number in (1, 2):
        device.ask("set", object=f"trend-log,{number}", property="log-device-object-property", value=LOG)
    for number in range(300):
        status = [0, 1, 0, 0] if number == 10 else [0, 0, 0, 0]
        device.ask("record", object="trend-log,1", value=float(number), time_ms=at(number), status=status)
    device.ask("record", object="trend-log,1", log_status=[0, 0, 1], time_ms=at(300))
    device.ask("record", object="trend-log,1", value=None, time_ms=at(301))
    return device


def at(minute: int) -> int:
    return NOON + 60_000 * minute


async def test_a_log_is_found_and_read_whole_with_its_own_times(log: BacnetDevice) -> None:
    [found] = await backfilled(log, "supply")
    assert (found.log, found.complete, len(found.values)) == ("trend-log:1", True, 301)
    assert found.values[:2] == [0.0, 1.0]
    assert found.times == [at(number) for number in [*range(300), 301]]
    assert (found.values[10], found.codes[10]) == (None, "FAULT")
    assert (found.values[-1], found.codes[-1]) == (None, "NO_VALUE")
    assert any("it was interrupted" in note for note in found.notes)


async def test_a_span_of_it_is_read_by_time(log: BacnetDevice) -> None:
    [found] = await backfilled(log, "supply", log="trend-log:1", since=at(100), until=at(250))
    assert found.values == [float(number) for number in range(100, 250)]
    assert found.complete


async def test_of_more_than_was_asked_for_the_latest_are_read(log: BacnetDevice) -> None:
    [found] = await backfilled(log, "supply", until=at(250), limit=5)
    assert (found.values, found.complete) == ([245.0, 246.0, 247.0, 248.0, 249.0], False)
    [found] = await backfilled(log, "supply", limit=5)
    assert found.times[-1] == at(301)


async def test_a_log_that_records_something_else_by_now_is_not_read(log: BacnetDevice) -> None:
    other = {**LOG, "object-identifier": "analog-value,1"}
    async with connected(log) as session:
        request = BackfillRequest(("supply",))
        assert (await session.backfill(request))[0].log == "trend-log:1"
        try:
            log.ask("set", object="trend-log,1", property="log-device-object-property", value=other)
            [found] = await session.backfill(request)
        finally:
            log.ask("set", object="trend-log,1", property="log-device-object-property", value=LOG)
        assert (found.log, found.values) == ("trend-log:2", [])
        session._logs._listed_at = float("-inf")
        log.ask("set", object="trend-log,2", property="log-device-object-property", value=other)
        try:
            [found] = await session.backfill(BackfillRequest(("setpoint",)))
        finally:
            log.ask("set", object="trend-log,2", property="log-device-object-property", value=LOG)
        assert found.log == "trend-log:2", "it was no log of it when the logs were listed"


async def test_what_is_no_log_of_it_is_refused(log: BacnetDevice) -> None:
    for point, text, field in [
        ("setpoint", None, "points"),
        ("setpoint", "trend-log:1", "log"),
        ("supply", "trend-log:9", "log"),
        ("supply", "analog-input:1", "log"),
    ]:
        with pytest.raises(Refusal) as caught:
            await backfilled(log, point, log=text)
        assert caught.value.field == field
    [empty] = await backfilled(log, "supply", log="trend-log:2")
    assert (empty.values, empty.complete) == ([], True)


async def test_records_that_were_overwritten_are_missed(log: BacnetDevice) -> None:
    log.ask("record", object="trend-log,1", value=1.0, time_ms=at(302), keep=20)
    [found] = await backfilled(log, "supply")
    assert found.times[-1] == at(302)
    assert len(found.values) == 19


async def test_a_page_of_objects_begins_where_it_is_told_to(device: BacnetDevice) -> None:
    async with connected(device, ()) as session:
        every = (await session.browse(BrowseRequest())).nodes
        found = await session.browse(BrowseRequest(limit=3, skip=1))
        assert found.nodes == [every[0], *every[2:4]]
        assert not found.complete
        rest = await session.browse(BrowseRequest(skip=len(every) - 2))
        assert (rest.nodes, rest.complete) == ([every[0], every[-1]], True)


# Of another author


@pytest.mark.parametrize("cov", [False, True])
async def test_a_device_of_another_author_is_read_told_and_written(tmp_path: Path, cov: bool) -> None:
    with BacnetDevice(tmp_path, "node") as node:
        given = connection(node) | {"useCov": cov, "pollInterval": 1000}
        points = [
            {"name": "supply", "object": "analog-input:1"},
            {"name": "setpoint", "object": "analog-value:1", "writable": True},
            {"name": "fan", "object": "binary-input:1"},
            {"name": "mode", "object": "multi-state-value:1", "stateText": True},
        ]
        async with session_with(given, points) as (session, told):
            await session.connect()
            assert told.points[0].unit == "°C"
            prepared = PROTOCOL.prepare(PROTOCOL.check(given, points), WriteRequest("", "setpoint", 25))  # type: ignore[misc]
            if not cov:
                assert (await session.read(5)).values == [21.5, 22.0, 1, "cool"]
                assert await session.write(prepared) == 25.0
                assert await session.read_back(prepared) == (25.0, True)
                return
            assert told.latest == {
                "supply": (21.5, None),
                "setpoint": (22.0, None),
                "fan": (1, None),
                "mode": ("cool", None),
            }
            await node.tell("set", object="analog-input,1", value=30.0)
            await until(lambda: told.latest["supply"] == (30.0, None))
            assert await session.write(prepared) == 25.0
            await until(lambda: told.latest["setpoint"] == (25.0, None))
            assert len(node.ask("subscriptions")) == 4
        assert node.ask("subscriptions") == []
