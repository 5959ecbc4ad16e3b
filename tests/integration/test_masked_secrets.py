"""What the agent has shown masked, sent back to it: never taken for a password, by whatever way it comes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.snmpd import Snmpd

MASK = "********"
OPCUA = {"endpointUrl": "opc.tcp://127.0.0.1:9", "username": "u", "password": MASK}
MQTT = {"brokerUrl": f"mqtt://u:{MASK}@127.0.0.1:9"}
SNMP = {"host": "127.0.0.1", "community": MASK}
POINT = {"name": "a", "nodeId": "ns=2;i=1"}
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("masked") / "data") as agent:
        yield agent


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/v1/endpoints",
            {"name": "a", "protocol": "opcua", "connection": OPCUA, "data_points": [POINT]},
            "connection.password",
        ),
        (
            "/v1/endpoints",
            {
                "name": "a",
                "protocol": "mqtt",
                "connection": MQTT,
                "data_points": [{"name": "a", "topic": "b"}],
            },
            "connection.brokerUrl",
        ),
        ("/v1/endpoints/test", {"protocol": "opcua", "connection": OPCUA, "data_points": [POINT]}, None),
        ("/v1/discover/opcua/browse", OPCUA, "connection.password"),
        ("/v1/discover/snmp/browse", {"connection": SNMP}, "connection.community"),
        ("/v1/discover", {"overrides": {"snmp": SNMP}}, "overrides.snmp.community"),
        (
            "/v1/discovery-rules",
            {"name": "a", "protocol": "snmp", "params_json": SNMP},
            "params_json.community",
        ),
        (
            "/v1/discovery-rules",
            {"name": "a", "protocol": "snmp", "target_json": {"connection": {"community": MASK}}},
            "target_json.connection.community",
        ),
    ],
)
def test_a_masked_secret_is_refused(
    agent: AgentProcess, path: str, body: dict[str, Any], field: str | None
) -> None:
    status, reply = agent.request("POST", path, body)
    field = field or "connection.password"
    assert (status, reply.get("field")) == (400, field), reply
    assert reply["message"] == f"{field} is masked; send the secret itself"


def test_a_rule_sent_back_as_it_was_shown_keeps_the_password_in_a_url(agent: AgentProcess) -> None:
    params = {"brokerUrl": "mqtt://u:hunter2@127.0.0.1:9", "topics": ["a/#"]}
    body = {"name": "back", "protocol": "mqtt", "enabled": False, "params_json": params}
    made = agent.post("/v1/discovery-rules", body)
    path = f"/v1/discovery-rules/{made['uuid']}"
    assert made["params_json"]["brokerUrl"] == f"mqtt://u:{MASK}@127.0.0.1:9"
    status, reply = agent.request("PATCH", path, {"params_json": made["params_json"]})
    assert status == 200, reply
    status, reply = agent.request("PATCH", path, {"params_json": {"brokerUrl": "mqtt://127.0.0.1:9"}})
    assert status == 200, reply
    status, reply = agent.request("PATCH", path, {"params_json": made["params_json"]})
    assert (status, reply["field"]) == (400, "params_json.brokerUrl"), "there is none any more"


def test_a_device_that_needs_no_secret_is_an_endpoint_as_it_was_found(
    agent: AgentProcess, tmp_path: Path
) -> None:
    with Snmpd(tmp_path) as snmpd:
        asked = {"host": "127.0.0.1", "port": snmpd.port}
        found = agent.post("/v1/discover", {"protocols": ["snmp"], "overrides": {"snmp": asked}})
        [device] = found["devices"]
        body = {
            "protocol": "snmp",
            "connection": device["connection"],
            "data_points": device["dataPoints"],
        }
        tried = agent.post("/v1/endpoints/test", body)
        assert tried["ok"] is True, tried
