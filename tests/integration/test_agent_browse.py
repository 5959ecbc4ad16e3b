"""A real agent browses OPC UA servers of two authors, without an endpoint of theirs."""

from collections.abc import Iterator
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.mosquitto import free_port
from servers.opcua import KINDS, OpcUaServer

BROWSE = "/v1/discover/opcua/browse"
MODE = ("Basic256Sha256", "SignAndEncrypt")


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(
        tmp_path_factory.mktemp("opcua"),
        request.param,
        interval_ms=0,
        anonymous=False,
        users={"ada": "enigma"},
        security=(MODE,),
    ) as server:
        yield server


def body(server: OpcUaServer, **more: Any) -> dict[str, Any]:
    return {
        "endpointUrl": server.url,
        "securityPolicy": MODE[0],
        "securityMode": MODE[1],
        "certificateTrustMode": "trust-on-first-use",
        "username": "ada",
        "password": "enigma",
        "maxDepth": 2,
        **more,
    }


def test_what_a_server_has(agent: AgentProcess, server: OpcUaServer) -> None:
    for _ in range(2):
        reply = agent.post(BROWSE, body(server))
        assert reply["endpointUrl"] == server.url
        plant = next(node for node in reply["nodes"] if node["browseName"] == "Plant")
        found = {node["browseName"]: node for node in plant["children"]}
        assert (found["TypeDouble"]["dataType"], found["TypeDouble"]["writable"]) == ("Double", True)
        assert (found["Counters"]["hasChildren"], found["Counters"]["children"]) == (True, [])
    assert agent.get("/v1/endpoints")["endpoints"] == []
    assert server.ask("counts")["sessions"] == 0


def test_what_is_refused(agent: AgentProcess, server: OpcUaServer) -> None:
    for wrong, status, said in (
        ({"password": "wrong"}, 500, "Bad"),
        ({"endpointUrl": f"opc.tcp://127.0.0.1:{free_port()}"}, 500, "refused"),
        ({"endpointUrl": "http://plc"}, 400, "endpointUrl"),
        ({"securityMode": "Loud"}, 400, "securityMode"),
        ({"node": "ns=2;s=Nothing"}, 404, "Nothing"),
    ):
        answered, reply = agent.request("POST", BROWSE, body(server, **wrong))
        assert answered == status, reply
        assert said in str(reply)
        assert "enigma" not in str(reply)
