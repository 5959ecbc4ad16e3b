"""A real agent, and endpoints with several devices."""

from typing import Any

from servers.agent import AgentProcess
from servers.mosquitto import free_port

UUID = "3c5a1f0e-0000-4000-8000-000000000001"
POINTS = [
    {"name": "speed", "nodeId": "ns=2;s=speed"},
    {"name": "flow", "nodeId": "ns=2;s=flow", "device_uuid": UUID, "device_name": "pump"},
    {"name": "level", "nodeId": "ns=2;s=level", "device_name": "tank"},
]


def endpoint(name: str) -> dict[str, Any]:
    """Of a server that is not there."""
    connection = {"endpointUrl": f"opc.tcp://127.0.0.1:{free_port()}"}
    return {"name": name, "protocol": "opcua", "connection": connection, "data_points": POINTS}


def test_each_device_is_listed_and_found_and_goes_with_its_endpoint(agent: AgentProcess) -> None:
    made = agent.post("/v1/endpoints", endpoint("line-1"))
    listed = agent.get("/v1/devices?protocol=opcua")["devices"]
    assert [one["name"] for one in listed] == ["line-1", "pump", "tank"]
    assert {one["endpoint_id"] for one in listed} == {made["endpoint"]["id"]}
    assert listed[1]["uuid"] == UUID
    statuses = agent.get("/v1/adapters/opcua/devices")["devices"]
    assert [(one["deviceName"], one["connected"]) for one in statuses] == [
        ("line-1", False),
        ("pump", False),
        ("tank", False),
    ]
    for name in ("pump", UUID):
        assert agent.get(f"/v1/adapters/opcua/devices/{name}")["registers"][0]["name"] == "flow"
    assert set(agent.get("/v1/adapters/opcua/metrics")) == {"line-1", "pump", "tank"}
    assert agent.get("/v1/adapters/opcua/devices/tank/metrics")["totalPolls"] >= 0
    status, answer = agent.request("POST", "/v1/endpoints", endpoint("line-2"))
    assert (status, answer["field"]) == (409, "data_points[1].device_uuid")
    status, answer = agent.request("DELETE", f"/v1/devices/{UUID}")
    assert (status, answer["error"]) == (409, "pump is named by the data points of the endpoint line-1")
    assert agent.request("DELETE", f"/v1/devices/{listed[0]['uuid']}")[0] == 409
    body = {"register": "flow", "value": 1}
    status, _ = agent.request("POST", "/v1/adapters/opcua/devices/pump/write", body)
    assert status in (400, 503)
    agent.delete(f"/v1/endpoints/{made['uuid']}")
    assert agent.get("/v1/devices?protocol=opcua")["devices"] == []
    agent.post("/v1/endpoints", endpoint("line-2"))


def test_two_devices_of_one_name_are_told_apart_by_their_uuids(agent: AgentProcess) -> None:
    for row in agent.get("/v1/endpoints")["endpoints"]:
        agent.delete(f"/v1/endpoints/{row['uuid']}")
    for name in ("a", "b"):
        given = endpoint(name)
        given["data_points"] = [point for point in POINTS if "device_uuid" not in point]
        agent.post("/v1/endpoints", given)
    status, answer = agent.request("GET", "/v1/adapters/opcua/devices/tank")
    assert status == 409
    tanks = [one for one in agent.get("/v1/devices")["devices"] if one["name"] == "tank"]
    assert all(one["uuid"] in answer["error"] for one in tanks)
    assert agent.get(f"/v1/adapters/opcua/devices/{tanks[0]['uuid']}")["deviceName"] == "tank"
    assert set(agent.get("/v1/adapters/opcua/metrics")) == {"a", "b", *(one["uuid"] for one in tanks)}
