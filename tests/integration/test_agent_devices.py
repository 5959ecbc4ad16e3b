"""A real agent, and endpoints with several devices."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.mosquitto import Mosquitto, free_port

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


# Found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def publish(broker: Mosquitto, topic: str, value: Any) -> None:
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-q", "1"]
    subprocess.run(["mosquitto_pub", *login, "-t", topic, "-m", json.dumps(value)], check=True, timeout=5)


def until(found: Callable[[], Any], seconds: float = 8.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (happened := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return happened


def of_broker(broker: Mosquitto) -> dict[str, Any]:
    point = {"topic": "plant/{device}/state", "metric": "speed", "field": "speed", "unit": "rpm"}
    return {
        "name": "plant",
        "protocol": "mqtt",
        "connection": {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}"},
        "data_points": [{**point, "writeTopic": "plant/{device}/set"}],
        "poll_interval": 1000,
    }


def devices(agent: AgentProcess) -> dict[str, Any]:
    return {one["name"]: one for one in agent.get("/v1/devices?protocol=mqtt")["devices"]}


def test_devices_that_are_found_stay_and_are_written_to(tmp_path: Path, broker: Mosquitto) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        agent.post("/v1/endpoints", of_broker(broker))

        def found() -> bool:
            publish(broker, "plant/pump-1/state", {"speed": 7})
            publish(broker, "plant/pump-2/state", {"speed": 8})
            return set(devices(agent)) == {"plant", "pump-1", "pump-2"}

        until(found)
        path = "/v1/adapters/mqtt/devices/pump-1"
        until(lambda: agent.get(path)["registers"][0]["lastValue"] == 7)
        written = agent.post(f"{path}/write", {"register": "speed", "value": 9, "unit": "rpm"})
        assert (written["deviceName"], written["value"]) == ("pump-1", 9)
        before = devices(agent)
        agent.stop()
        agent.start()
        assert {name: one["uuid"] for name, one in devices(agent).items()} == {
            name: one["uuid"] for name, one in before.items()
        }
        assert agent.get("/v1/adapters/mqtt/devices/pump-2")["connected"] is False
        agent.delete(f"/v1/devices/{before['pump-2']['uuid']}")
        assert set(devices(agent)) == {"plant", "pump-1"}
        until(found)
        assert devices(agent)["pump-2"]["uuid"] == before["pump-2"]["uuid"]
