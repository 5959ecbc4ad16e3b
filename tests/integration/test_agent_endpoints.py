"""Endpoints over the HTTP API of a real agent that reads real Modbus devices."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.field import FieldServer, field
from servers.mosquitto import free_port

INTERVAL_MS = 50
POLLS = 40
POINTS = [
    {"name": "speed", "register": "holding:10", "type": "uint16", "scale": 0.1, "unit": "m/s"},
    {"name": "temp", "address": 20, "functionCode": 4, "dataType": "int16"},
    {"name": "running", "register": "coil:5"},
]


@pytest.fixture(scope="module")
def devices() -> Iterator[FieldServer]:
    """Three units on one port."""
    with field(units=(1, 2, 3)) as server:
        yield server


def body(port: int, name: str = "plc", unit: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": port, "unitId": unit},
        "poll_interval": INTERVAL_MS,
        "data_points": POINTS,
    } | fields


def until(look: Callable[[], Any], right: Callable[[Any], bool], seconds: float = 5.0) -> Any:
    """Look until it is right; returns what was seen."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if right(seen):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.01)


def device(agent: AgentProcess, name: str = "plc") -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/v1/adapters/modbus/devices/{name}")
    return found


def connected(agent: AgentProcess, name: str = "plc") -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: device(agent, name), lambda found: found["connected"])
    return found


def values(agent: AgentProcess, name: str = "plc") -> dict[str, Any]:
    return {point["name"]: point["lastValue"] for point in device(agent, name)["registers"]}


def summary(agent: AgentProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/v1/adapters/modbus/devices/{name}/metrics")
    return found


def test_a_created_endpoint_is_answered_flat_and_wrapped(agent, devices):
    reply = agent.post("/v1/endpoints", body(devices.port, metadata={"location": "hall 1"}))
    assert reply["endpoint"] == {key: value for key, value in reply.items() if key != "endpoint"}
    assert (reply["name"], reply["protocol"], reply["enabled"]) == ("plc", "modbus", True)
    assert set(reply["endpoint"]) >= {"id", "uuid", "fingerprint", "groupName", "poll_interval", "connection"}
    assert set(reply["endpoint"]) >= {"data_points", "metadata", "lastSeenAt", "created_at", "updated_at"}
    assert reply["data_points"] == POINTS
    assert reply["connection"] == {"host": "127.0.0.1", "port": devices.port, "unitId": 1}


def test_a_listed_endpoint_has_live_health(agent, devices):
    created = agent.post("/v1/endpoints", body(devices.port))
    connected(agent)
    (row,) = agent.get("/v1/endpoints?protocol=modbus")["endpoints"]
    health = row.pop("health")
    assert row.pop("lastSeenAt") is not None
    assert row == {key: value for key, value in created["endpoint"].items() if key != "lastSeenAt"}
    assert (health["status"], health["connected"], health["communicationQuality"]) == ("connected", True, 100)
    assert health["lastError"] is None
    assert health["responseTimeMs"] > 0
    for at in (health["lastSeen"], health["lastPoll"]):
        assert time.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ")
    assert agent.get("/v1/endpoints?protocol=opcua") == {"endpoints": []}


def test_points_are_read_in_both_spellings(agent, devices):
    devices.server.device(1)[10] = 123
    devices.server.device(1)[20] = 0xFFFF
    agent.post("/v1/endpoints", body(devices.port))
    until(
        lambda: values(agent) if device(agent)["connected"] else {},
        lambda found: found == {"speed": 12.3, "temp": -1, "running": False},
    )


def test_a_device_is_described_with_metrics_and_register_diagnostics(agent, devices):
    points = [*POINTS, {"name": "missing", "register": "holding:60000"}]
    agent.post("/v1/endpoints", body(devices.port, data_points=points))
    found = until(lambda: device(agent), lambda found: found["metrics"]["pollSuccessCount"] >= 3)
    assert found["deviceName"] == "plc"
    assert (found["status"], found["communicationQuality"], found["pollSuccessRate"]) == ("connected", 75, 1)
    assert (found["errorCount"], found["lastError"], found["registersUpdated"]) == (0, None, 3)
    assert len(found["metrics"]["pollDurations"]) == found["metrics"]["pollTotalCount"]
    assert found["metrics"]["lastErrors"] == []
    diagnosed = {point["name"]: point for point in found["registers"]}
    assert [point["address"] for point in found["registers"]] == [
        "holding:10",
        "input:20",
        "coil:5",
        "holding:60000",
    ]
    assert (diagnosed["speed"]["quality"], diagnosed["speed"]["qualityCode"]) == ("GOOD", None)
    assert diagnosed["speed"]["lastSuccess"].endswith("Z")
    missing = diagnosed["missing"]
    assert (missing["quality"], missing["qualityCode"]) == ("BAD", "ILLEGAL_ADDRESS")
    assert (missing["lastValue"], missing["lastSuccess"], missing["errorCount"] >= 3) == (None, None, True)


def test_statuses_and_metrics_of_all_devices(agent, devices):
    for unit in (1, 2):
        agent.post("/v1/endpoints", body(devices.port, f"plc-{unit}", unit))
    agent.post("/v1/endpoints", body(devices.port, "resting", 3, enabled=False))
    for unit in (1, 2):
        connected(agent, f"plc-{unit}")
    statuses = agent.get("/v1/adapters/modbus/devices")["devices"]
    assert [(one["deviceName"], one["status"]) for one in statuses] == [
        ("plc-1", "connected"),
        ("plc-2", "connected"),
        ("resting", "disabled"),
    ]
    metrics = agent.get("/v1/adapters/modbus/metrics")
    assert set(metrics) == {"plc-1", "plc-2"}
    assert set(metrics["plc-1"]) >= {
        *("avgPollMs", "minPollMs", "maxPollMs", "p50PollMs", "p95PollMs", "p99PollMs", "successRate"),
        *("totalPolls", "successfulPolls", "failedPolls", "avgDataPointsUpdated", "totalDataPointsUpdated"),
        *("errorRate", "topErrors", "firstPoll", "lastPoll"),
    }
    assert (metrics["plc-1"]["successRate"], metrics["plc-1"]["errorRate"]) == (1, 0)


def test_adapters_that_do_not_run_and_unknown_devices_are_404(agent, devices):
    nothing = {"error": "Not found", "message": "No adapter running for protocol: modbus"}
    for path in ("devices", "devices/plc", "devices/plc/metrics", "metrics"):
        assert agent.request("GET", f"/v1/adapters/modbus/{path}") == (404, nothing)
    agent.post("/v1/endpoints", body(devices.port))
    unknown = (404, {"error": "Not found", "message": "Device not found: nobody"})
    assert agent.request("GET", "/v1/adapters/modbus/devices/nobody") == unknown
    write = {"register": "speed", "value": 1}
    assert agent.request("POST", "/v1/adapters/modbus/devices/nobody/write", write) == unknown


@pytest.mark.parametrize(
    ("register", "value", "point", "read"),
    [
        ("speed", 25.5, "speed", 25.5),
        ("holding:10", 7, "speed", 7),
        ("running", True, "running", True),
        ("coil:5", "on", "running", True),
    ],
)
def test_a_register_is_written_and_read_back(agent, devices, register, value, point, read):
    devices.server.device(1)[10] = 0
    devices.server.device(1).bits[5] = False
    agent.post("/v1/endpoints", body(devices.port))
    connected(agent)
    reply = agent.post("/v1/adapters/modbus/devices/plc/write", {"register": register, "value": value})
    assert (reply["success"], reply["deviceName"], reply["register"]) == (True, "plc", register)
    assert reply["value"] == read
    until(lambda: values(agent)[point], lambda found: found == read)


def test_a_write_to_a_device_that_is_not_there_is_503(agent):
    agent.post("/v1/endpoints", body(free_port()))
    status, reply = agent.request(
        "POST", "/v1/adapters/modbus/devices/plc/write", {"register": "speed", "value": 1}
    )
    assert (status, reply) == (503, {"error": "Device not connected: plc"})


def test_disabling_ends_the_polling_and_enabling_begins_it_again(agent, devices):
    created = agent.post("/v1/endpoints", body(devices.port))
    connected(agent)
    agent.post("/v1/endpoints", body(devices.port, "other", 2))
    off = agent.patch(f"/v1/endpoints/{created['uuid']}", {"enabled": False})
    assert (off["uuid"], off["name"], off["enabled"]) == (created["uuid"], "plc", False)
    assert off["endpoint"]["enabled"] is False
    rows = agent.get("/v1/endpoints")["endpoints"]
    assert rows[1]["health"]["status"] == "disabled"
    assert device(agent)["status"] == "disabled"
    assert agent.request("GET", "/v1/adapters/modbus/devices/plc/metrics")[0] == 409
    write = {"register": "speed", "value": 1}
    assert agent.request("POST", "/v1/adapters/modbus/devices/plc/write", write)[0] == 409
    assert [one["enabled"] for one in agent.get("/v1/devices")["devices"]] == [True, False]
    agent.patch("/v1/endpoints/plc", {"enabled": True})
    connected(agent)


def test_another_interval_is_polled_at(agent, devices):
    agent.post("/v1/endpoints", body(devices.port, poll_interval=3_600_000))
    first = connected(agent)["metrics"]["pollTotalCount"]
    assert agent.patch("/v1/endpoints/plc", {"poll_interval": 20})["poll_interval"] == 20
    found = until(lambda: device(agent), lambda found: found["metrics"]["pollTotalCount"] >= first + 20)
    assert found["connected"]


def test_endpoints_are_deleted_by_uuid_and_all_at_once(agent, devices):
    created = [agent.post("/v1/endpoints", body(devices.port, f"plc-{unit}", unit)) for unit in (1, 2, 3)]
    connected(agent, "plc-1")
    assert agent.delete(f"/v1/endpoints/{created[0]['uuid']}") == {"message": "Endpoint removed"}
    gone = {"error": "Not found", "message": f"Endpoint not found: {created[0]['uuid']}"}
    assert agent.request("DELETE", f"/v1/endpoints/{created[0]['uuid']}") == (404, gone)
    assert agent.request("DELETE", "/v1/endpoints/plc-2")[0] == 404
    assert [row["name"] for row in agent.get("/v1/endpoints")["endpoints"]] == ["plc-2", "plc-3"]
    assert agent.delete("/v1/endpoints") == {"message": "Removed 2 endpoint(s)", "removed": 2}
    assert agent.get("/v1/endpoints") == {"endpoints": []}
    assert agent.get("/v1/devices") == {"devices": []}
    until(devices.server.listening[0].deserted.is_set, bool)


def test_devices_belong_to_their_endpoints(agent, devices):
    created = agent.post("/v1/endpoints", body(devices.port, unit=3))
    connected(agent)
    (one,) = agent.get("/v1/devices?protocol=modbus")["devices"]
    assert (one["name"], one["endpoint_id"], one["identifier"], one["enabled"]) == (
        "plc",
        created["id"],
        "3",
        True,
    )
    assert one["lastSeenAt"].endswith("Z")
    assert set(one) == {
        *("uuid", "endpoint_id", "name", "protocol", "enabled", "identifier", "metadata"),
        *("lastSeenAt", "created_at", "updated_at"),
    }
    assert agent.get("/v1/devices?protocol=opcua") == {"devices": []}


def test_devices_of_one_host_and_port_share_the_connection(agent, devices):
    port = devices.server.listening[0]
    until(port.deserted.is_set, bool)
    accepted, port.peak = port.accepted, 0
    for unit in (1, 2, 3):
        devices.server.device(unit)[10] = 10 * unit
        agent.post("/v1/endpoints", body(devices.port, f"plc-{unit}", unit))
    for unit in (1, 2, 3):
        until(
            lambda unit=unit: values(agent, f"plc-{unit}"),
            lambda found, unit=unit: found.get("speed") == unit,
        )
    assert port.accepted == accepted + 1
    assert port.peak == 1


def test_a_device_that_goes_away_is_reported_and_found_again(agent):
    with field() as server:
        agent.post("/v1/endpoints", body(server.port))
        connected(agent)
        server.stop()
        lost = until(lambda: device(agent), lambda found: not found["connected"])
        assert (lost["status"], lost["communicationQuality"], lost["quality"]) == (
            "disconnected",
            0,
            "offline",
        )
        assert lost["lastError"]
        until(lambda: device(agent), lambda found: found["errorCount"] >= 3)
        (row,) = agent.get("/v1/endpoints")["endpoints"]
        assert (row["health"]["status"], row["health"]["connected"]) == ("disconnected", False)
        assert row["lastSeenAt"] is not None
        server.start()
        found = connected(agent)
        assert (found["errorCount"], found["lastError"]) == (0, None)
        assert summary(agent, "plc")["topErrors"]


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_a_device_that_is_dead_costs_the_others_nothing(agent, devices, kind):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if kind == "silent":
            mute.listen()  # the kernel accepts, and nobody ever answers
        dead = body(mute.getsockname()[1], "dead")
        dead["connection"]["timeout"] = 1000
        agent.post("/v1/endpoints", dead)
        names = [f"plc-{unit}" for unit in (1, 2, 3)]
        for unit, name in enumerate(names, 1):
            agent.post("/v1/endpoints", body(devices.port, name, unit))
        for name in names:
            connected(agent, name)
        began = time.monotonic()
        wanted = {name: summary(agent, name)["totalPolls"] + POLLS for name in names}
        for name in names:
            found = until(
                lambda name=name: summary(agent, name),
                lambda found, name=name: found["totalPolls"] >= wanted[name],
            )
            assert found["failedPolls"] == 0
        assert time.monotonic() - began < 1.2 * POLLS * INTERVAL_MS / 1000
        assert not device(agent, "dead")["connected"]
        assert device(agent, "dead")["lastError"]
