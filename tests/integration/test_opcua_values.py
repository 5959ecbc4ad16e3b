"""What a session makes of the values of two servers' nodes, and of those that it is told to write."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from opcua_sessions import opened, point, until
from servers.opcua import KINDS, NODES, SCALARS, OpcUaServer

from actors.system.failure import Refusal


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, interval_ms=0) as server:
        yield server


JSON: dict[str, Any] = {
    **SCALARS,
    "DateTime": "2023-11-14T22:13:20Z",
    "ByteString": base64.b64encode(bytes.fromhex("00ff10")).decode(),
    "QualifiedName": "2:Pump",
}


def everything(writable: bool = False) -> list[dict[str, Any]]:
    return [{"name": entry["name"], "nodeId": entry["node"], "writable": writable} for entry in NODES]


def expected(entry: dict[str, Any]) -> Any:
    if entry["type"] in SCALARS and not isinstance(entry["value"], list):
        return JSON[entry["type"]] if entry["name"].startswith("Type") else entry["value"]
    return entry["value"]


@pytest.mark.parametrize("subscribed", [True, False])
async def test_every_type_is_json(server: OpcUaServer, subscribed: bool) -> None:
    async with opened(server.url, everything(), useSubscription=subscribed) as one:
        if subscribed:
            await until(lambda: len(one.heard.told) >= len(everything()))
            found = {told.point: (told.value, told.code) for told in one.heard.told}
        else:
            reading = await one.session.read(1)
            names = [each.name for each in one.endpoint.points]
            codes = reading.qualities or [None] * len(names)
            found = dict(zip(names, zip(reading.values, codes, strict=True), strict=True))
    for entry in NODES:
        if entry["name"] in found:
            assert found[entry["name"]] == (expected(entry), None)


async def test_scaling_types_ranges_and_devices(server: OpcUaServer) -> None:
    points = [
        point("scaled", "s=Type.Double", scalingFactor=0.1, offset=1),
        point("element", "s=Array.Int32", indexRange="1"),
        point("part", "s=Array.Double", indexRange="1:2"),
        point("text", "s=Type.Int16", dataType="string"),
        point("truth", "s=Type.Int16", dataType="boolean"),
        point("no number", "s=Type.String", dataType="number"),
        point("speed", "s=Type.Byte", device_uuid="pump-7", device_name="Pump 7"),
        point("scaled", "s=Array.Int32", scalingFactor=10, device_uuid="pump-7"),
        {"name": "by path", "browsePath": "/Objects/2:Plant/2:TypeUInt32"},
        {"name": "by uri", "nodeId": "nsu=urn:callboard:plant;s=Type.Double"},
    ]
    async with opened(server.url, points) as one:
        await until(lambda: len(one.heard.told) >= len(points))
        found = {(told.device, told.point): (told.value, told.code) for told in one.heard.told}
    assert found == {
        ("", "scaled"): (1.225, None),
        ("", "element"): (2, None),
        ("", "part"): ([1.5, 2.5], None),
        ("", "text"): ("-3000", None),
        ("", "truth"): (True, None),
        ("", "no number"): (None, "BadTypeMismatch"),
        ("pump-7", "speed"): (250, None),
        ("pump-7", "scaled"): ([10, 20, 30], None),
        ("", "by path"): (4_000_000_000, None),
        ("", "by uri"): (2.25, None),
    }


WRITES: list[tuple[str, Any, Any]] = [
    ("Boolean", "on", True),
    ("SByte", -128, -128),
    ("Byte", 7.0, 7),
    ("Int16", "12", 12),
    ("UInt16", 65535, 65535),
    ("Int32", -1, -1),
    ("UInt32", 4_294_967_295, 4_294_967_295),
    ("Int64", -(2**63), -(2**63)),
    ("UInt64", 2**64 - 1, 2**64 - 1),
    ("Float", 0.1, 0.1),
    ("Double", 1e300, 1e300),
    ("String", "Öl", "Öl"),
    ("DateTime", "2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
    ("Guid", "09087e75-8e5e-499b-954f-f2a9603db28a", "09087e75-8e5e-499b-954f-f2a9603db28a"),
    ("ByteString", "AAEC", "AAEC"),
    ("LocalizedText", "Ventil", "Ventil"),
]


async def test_writes_with_the_nodes_own_type(server: OpcUaServer) -> None:
    points = [point(kind, f"s=Type.{kind}", writable=True) for kind, _, _ in WRITES]
    async with opened(server.url, points) as one:
        for kind, value, wanted in WRITES:
            assert await one.write(kind, value) == pytest.approx(wanted)
            back, same = await one.session.read_back(one.prepared(kind, value))
            assert same, (kind, back)
        for kind, _, _ in WRITES:  # as they were, for other tests
            await server.tell("write", node=f"ns=2;s=Type.{kind}", type=kind, value=SCALARS[kind])


async def test_writes_arrays_elements_and_scaled_values(server: OpcUaServer) -> None:
    points = [
        point("array", "s=Array.Int32", writable=True),
        point("scaled", "s=Array.Double", writable=True, scalingFactor=0.5),
        point("element", "s=Array.Double", writable=True, indexRange="1"),
    ]
    async with opened(server.url, points) as one:
        assert await one.write("array", [4, 5, 6]) == [4, 5, 6]
        assert (await server.tell("read", node="ns=2;s=Array.Int32"))["value"] == [4, 5, 6]
        assert await one.write("scaled", [1, 2, 3, 4]) == [1, 2, 3, 4]
        assert (await server.tell("read", node="ns=2;s=Array.Double"))["value"] == [2, 4, 6, 8]
        with pytest.raises(Refusal) as refusal:
            await one.write("array", 5)
        assert refusal.value.field == "value"
        if server.kind == "asyncua":  # its server knows no ranges, and would write the whole array
            with pytest.raises(Refusal) as refusal:
                await one.write("element", 7)
            assert (refusal.value.field, refusal.value.kind) == ("register", "unsupported")
        else:
            assert await one.write("element", 7) == 7
            assert await one.session.read_back(one.prepared("element", 7)) == (7, True)
            assert (await server.tell("read", node="ns=2;s=Array.Double"))["value"] == [2, 7, 6, 8]
    await server.tell("write", node="ns=2;s=Array.Int32", type="Int32", value=[1, 2, 3])
    await server.tell("write", node="ns=2;s=Array.Double", type="Double", value=[0.5, 1.5, 2.5, 3.5])


@pytest.mark.parametrize(
    ("register", "value", "field", "kind"),
    [
        ("speed", 70_000, "value", "invalid"),
        ("speed", "fast", "value", "invalid"),
        ("speed", [1], "value", "invalid"),
        ("fixed", 1, "register", "read_only"),
        ("ns=2;s=ReadOnly", 1, "register", "read_only"),
        ("/2:Plant/2:ReadOnly", 1, "register", "read_only"),
        ("/Plant/2:ReadOnly", 1, "register", "not_found"),
        ("ns=2;s=Nowhere", 1, "register", "not_found"),
        ("ns=2;s=Structure", {"Low": 1}, "register", "unsupported"),
        ("../etc/passwd", 1, "register", "not_found"),
        ("ns=2;s=Guarded", 1, "register", "read_only"),
        ("/Objects/2:Plant/2:TypeInt32", 1, "register", "read_only"),
    ],
)
async def test_what_cannot_be_written_is_refused(
    server: OpcUaServer, register: str, value: Any, field: str, kind: str
) -> None:
    points = [
        point("speed", "s=Type.Int16", writable=True),
        point("fixed", "s=ReadOnly", writable=True),
        point("guarded", "s=Guarded"),
        point("other", "s=Type.Int32"),
    ]
    async with opened(server.url, points) as one:
        with pytest.raises(Refusal) as refusal:
            await one.write(register, value)
        assert (refusal.value.field, refusal.value.kind) == (field, kind)


async def test_a_node_without_a_data_point_is_written_by_its_address(server: OpcUaServer) -> None:
    async with opened(server.url, []) as one:
        assert await one.write("ns=2;i=1001", 5) == 5
        assert (await server.tell("read", node="ns=2;i=1001"))["value"] == 5
        await one.write("ns=2;i=1001", 1, data_type="Int32")


@pytest.mark.parametrize("subscribed", [True, False])
async def test_an_element_that_is_not_there_is_never_another_one(
    server: OpcUaServer, subscribed: bool
) -> None:
    """A server that knows no ranges sends the whole array, which may be as long as the range."""
    await server.tell("write", node="ns=2;s=Array.Int32", type="Int32", value=[7])
    points = [
        point("first", "s=Array.Int32", indexRange="0"),
        point("second", "s=Array.Int32", indexRange="1"),
        point("late", "s=Array.Double", indexRange="3:9"),
        point("single", "s=Type.Int16", indexRange="1"),
    ]
    async with opened(server.url, points, useSubscription=subscribed) as one:
        if subscribed:
            await until(lambda: {told.point for told in one.heard.told} == {each["name"] for each in points})
            found = {told.point: (told.value, told.code) for told in one.heard.told}
        else:
            reading = await one.session.read(1)
            found = dict(
                zip(
                    ("first", "second", "late", "single"),
                    zip(reading.values, reading.qualities, strict=True),
                    strict=True,
                )
            )
    await server.tell("write", node="ns=2;s=Array.Int32", type="Int32", value=[1, 2, 3])
    assert found["first"] == (7, None)
    assert found["second"][0] is None
    assert found["second"][1] is not None
    assert found["late"] == ([3.5], None)
    assert found["single"][0] is None
