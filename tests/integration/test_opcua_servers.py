"""The two OPC UA servers of the tests, as another client sees them."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua import Client, ua
from servers import opcua
from servers.opcua import KINDS, NODES, OpcUaServer


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    limits = {"maxNodesPerRead": 100}
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, limits=limits, interval_ms=0) as server:
        yield server


async def test_has_every_type(server: OpcUaServer) -> None:
    async with Client(server.url) as client:
        for node in NODES:
            value = await client.get_node(node["node"]).read_data_value()
            structure = node["type"] in ("Range", "Recipe")
            wanted = "ExtensionObject" if structure else node["type"]
            assert value.Value is not None
            assert value.Value.VariantType.name == wanted
            assert (await server.tell("read", node=node["node"]))["value"] == node["value"]


async def test_counters_go_up_together(server: OpcUaServer) -> None:
    async with Client(server.url) as client:
        before = await client.get_node("ns=2;s=Counter.3").read_value()
        await server.tell("step")
        values = [await client.get_node(f"ns=2;s=Counter.{n}").read_data_value() for n in (3, 4)]
        assert [one.Value.Value for one in values] == [before + 1, before + 2]
        assert values[0].SourceTimestamp == values[1].SourceTimestamp


async def test_changes_its_address_space(server: OpcUaServer) -> None:
    node = "ns=2;s=Passing"
    async with Client(server.url) as client:
        await server.tell("add", node=node, name="Passing", type="Int32", value=5)
        assert await client.get_node(node).read_value() == 5
        await server.tell("write", node=node, status="BadSensorFailure")
        told = await client.get_node(node).read_data_value(raise_on_bad_status=False)
        assert told.StatusCode is not None
        assert told.StatusCode.name == "BadSensorFailure"
        await server.tell("remove", node=node)
        with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
            await client.get_node(node).read_value()


async def test_says_its_limits_and_forgets(server: OpcUaServer) -> None:
    class Nobody:
        pass

    async with Client(server.url) as client:
        limit = ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
        assert await client.get_node(ua.NodeId(limit)).read_value() == 100
        await client.create_subscription(100, Nobody())
        assert (await server.tell("counts"))["subscriptions"] == 1
        assert await server.tell("delete_subscriptions") == 1
        assert (await server.tell("counts"))["subscriptions"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_ends_with_whoever_started_it(kind: opcua.Kind, tmp_path: Path) -> None:
    program = f"""
import os, pathlib
from servers.opcua import OpcUaServer
server = OpcUaServer(pathlib.Path({str(tmp_path)!r}), {kind!r}, nodes=[])
server.start()
print(server._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(opcua.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, check=False, timeout=20
    )
    server = int(done.stdout)
    try:
        descriptor = os.pidfd_open(server)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], 8)
        assert ended
    finally:
        os.close(descriptor)
