"""What two servers have below a node."""

from collections.abc import Iterator
from typing import Any

import pytest
from opcua_sessions import Opened, opened
from servers.opcua import KINDS, OpcUaServer

from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.endpoints.protocols.opcua import browse
from actors.system.failure import Refusal


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, variables=300, interval_ms=0) as server:
        yield server


async def browsed(one: Opened, node: str | None = None, depth: int = 1, limit: int = 10_000) -> Browsed:
    assert one.protocol.browse is not None
    return await one.protocol.browse(one.session, BrowseRequest(node, depth, limit))


def by_name(found: Browsed) -> dict[str, BrowsedNode]:
    return {node.name: node for node in found.nodes}


async def test_the_top_is_what_is_in_the_folder_objects(server: OpcUaServer) -> None:
    async with opened(server.url, [], useSubscription=False) as one:
        found = by_name(await browsed(one))
    plant = found["Plant"]
    assert (plant.node, plant.kind, plant.parent, plant.has_children) == (
        "ns=2;s=Plant",
        "Object",
        None,
        True,
    )
    assert plant.data_point is None
    assert found["Server"].node == "i=2253"


async def test_variables_have_types_and_can_be_written_or_not(server: OpcUaServer) -> None:
    async with opened(server.url, [], useSubscription=False) as one:
        found = by_name(await browsed(one, "ns=2;s=Plant"))
    fields = {
        name: (found[name].data_type, found[name].writable) for name in ("TypeDouble", "ReadOnly", "TypeByte")
    }
    assert fields == {
        "TypeDouble": ("Double", True),
        "ReadOnly": ("Double", False),
        "TypeByte": ("Byte", True),
    }
    assert found["Recipe"].data_type == "Recipe"
    assert found["Numeric"].node == "ns=2;i=1001"
    assert found["ByBytes"].node == "ns=2;b=AQID"
    assert found["ByGuid"].node == "ns=2;g=6f0d2a5e-8c4b-4a57-8e61-0c2d7b9a4f10"
    assert found["Counters"].data_type is None


async def test_what_it_finds_can_be_read_as_it_says(server: OpcUaServer) -> None:
    async with opened(server.url, [], useSubscription=False) as one:
        nodes = (await browsed(one, "ns=2;s=Plant")).nodes
    points = [node.data_point for node in nodes if node.data_point and node.name != "TypeStatusCode"]
    async with opened(server.url, [point for point in points if point], useSubscription=False) as one:
        reading = await one.session.read(1)
        assert len(reading.values) > 20
        assert None not in reading.values


async def test_many_neighbours_come_in_parts(server: OpcUaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "_REFERENCES", 40)
    async with opened(server.url, [], useSubscription=False) as one:
        found = await browsed(one, "ns=2;s=Plant.Counters")
        assert found.complete
        assert {node.name for node in found.nodes} == {f"Counter{number}" for number in range(300)}
        few = await browsed(one, "ns=2;s=Plant.Counters", limit=70)
        assert (len(few.nodes), few.complete) == (70, False)
        assert (await browsed(one, "ns=2;s=Plant.Counters", limit=300)).nodes == found.nodes


async def test_everything_comes_once_with_its_parent_before_it(server: OpcUaServer) -> None:
    async with opened(server.url, [], useSubscription=False) as one:
        found = await browsed(one, "i=84", depth=20, limit=2000)
    seen: set[str | None] = {None}
    for node in found.nodes:
        assert node.parent in seen
        assert node.node not in seen
        seen.add(node.node)
    kinds = {node.node: node.kind for node in found.nodes}
    assert {kinds[node.parent] for node in found.nodes if node.parent} <= {"Object", "ObjectType"}


async def test_time_is_bounded(server: OpcUaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "SECONDS", -1.0)
    async with opened(server.url, [], useSubscription=False) as one:
        assert await browsed(one, depth=5) == Browsed([], complete=False)


@pytest.mark.parametrize("node", ["ns=2;s=Nothing", "nonsense", "/Objects", "nsu=urn:x;s=y"])
async def test_a_node_that_is_none_is_refused(server: OpcUaServer, node: str) -> None:
    async with opened(server.url, [], useSubscription=False) as one:
        with pytest.raises(Refusal) as refused:
            await browsed(one, node)
    assert refused.value.field == "node"


def test_protocols_say_that_they_browse() -> None:
    from actors.endpoints.protocols import find

    assert find("opcua").capabilities.browses


@pytest.fixture
def small(tmp_path: Any) -> Iterator[OpcUaServer]:
    limits = {"maxNodesPerBrowse": 3, "maxNodesPerRead": 10}
    with OpcUaServer(tmp_path, "node", limits=limits, interval_ms=0) as server:
        yield server


async def test_a_server_that_takes_few_at_a_time_is_asked_for_few(small: OpcUaServer) -> None:
    async with opened(small.url, [], useSubscription=False) as one:
        found = await browsed(one, depth=4)
    assert "Counter9" in by_name(found)
    assert by_name(found)["Counter9"].data_type == "Double"
