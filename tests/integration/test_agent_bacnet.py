"""A real agent and a BACnet device: what the API shows of it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.bacnet_device import BacnetDevice, entry
from servers.udp_relay import free_udp_port

AHU = "/v1/adapters/bacnet/devices/ahu"
NOON = 1_780_000_000_000  # Unix ms
OBJECTS = [
    entry("analog-input", 1, 21.5, name="Supply air", units="degrees-celsius"),
    entry("analog-value", 1, 22.0, name="Setpoint", units="degrees-celsius"),
    entry("trend-log", 1, name="Log"),
]
POINTS = [
    {"name": "supply", "object": "analog-input:1"},
    {"name": "setpoint", "object": "analog-value:1", "writable": True},
]
LOGGED = {"object-identifier": "analog-input,1", "property-identifier": "present-value"}


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BacnetDevice]:
    with BacnetDevice(tmp_path_factory.mktemp("bacnet"), objects=OBJECTS) as running:
        running.ask("set", object="trend-log,1", property="log-device-object-property", value=LOGGED)
        for number in range(5):
            running.ask("record", object="trend-log,1", value=float(number), time_ms=NOON + 60_000 * number)
        yield running


def add(agent: AgentProcess, device: BacnetDevice, **connection: Any) -> None:
    given = {
        "host": "127.0.0.1",
        "port": device.port,
        "deviceInstance": device.instance,
        "localPort": free_udp_port(),
        "localAddress": "127.0.0.1",
        **connection,
    }
    agent.post(
        "/v1/endpoints",
        {
            "name": "ahu",
            "protocol": "bacnet",
            "connection": given,
            "data_points": POINTS,
            "poll_interval": 200,
        },
    )


def until(happened: Callable[[], Any], seconds: float = 8.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def point_of(agent: AgentProcess, name: str) -> dict[str, Any]:
    return next(each for each in agent.get(AHU)["registers"] if each["name"] == name)


@pytest.mark.parametrize("cov", [False, True])
def test_it_is_read_written_released_and_its_records_are_told(
    agent: AgentProcess, device: BacnetDevice, cov: bool
) -> None:
    add(agent, device, useCov=cov, pollInterval=1000)
    supply = until(lambda: (now := point_of(agent, "supply"))["quality"] == "GOOD" and now)
    assert (supply["lastValue"], supply["unit"], supply["address"]) == (21.5, "°C", "analog-input:1")
    assert agent.get(AHU)["identification"]["instance"] == "1001"

    written = agent.post(f"{AHU}/write", {"register": "setpoint", "value": 25, "verify": True})
    assert (written["value"], written["verified"]) == (25.0, True)
    until(lambda: point_of(agent, "setpoint")["lastValue"] == 25.0)
    device.ask("set", object="analog-value,1", value=30.0, priority=3)
    status, refused = agent.request(
        "POST", f"{AHU}/write", {"register": "setpoint", "value": 26, "verify": True}
    )
    assert (status, refused["error"]) == (409, "Written, but priority 3 keeps it at 30.0")
    device.ask("set", object="analog-value,1", value=None, priority=3)
    released = agent.post(f"{AHU}/write", {"register": "setpoint", "value": None, "verify": True})
    assert (released["value"], released["verified"]) == (None, True)
    assert agent.request("POST", f"{AHU}/write", {"register": "setpoint"})[0] == 400

    done = agent.post(f"{AHU}/backfill", {"points": ["supply"], "since": NOON + 60_000})
    assert done["readings"] == 4
    [point] = done["points"]
    assert (point["log"], point["bad"], point["complete"]) == ("trend-log:1", 0, True)
    assert point["first"] == "2026-05-28T20:27:40.000Z"
    assert point_of(agent, "supply")["lastValue"] == 21.5, "what is past is not the latest"
    for body, status, field in (
        ({"points": ["nothing"]}, 404, "points[0]"),
        ({"points": ["supply"], "log": "trend-log:9"}, 404, "log"),
        ({"since": "yesterday"}, 400, "since"),
        ({"since": 5, "until": 5}, 400, "until"),
        ({"limit": 0}, 400, "limit"),
    ):
        answered, reply = agent.request("POST", f"{AHU}/backfill", body)
        assert (answered, reply["field"]) == (status, field), reply


def test_its_objects_are_listed_by_its_instance(agent: AgentProcess, device: BacnetDevice) -> None:
    found = agent.get(
        f"/v1/discover/bacnet/1001/objects?host=127.0.0.1&port={device.port}&localPort={free_udp_port()}"
    )
    assert found["complete"]
    assert {"Supply air", "Setpoint", "Log"} <= {one["name"] for one in found["objects"]}


def test_it_is_discovered_with_data_points_that_an_endpoint_takes(
    agent: AgentProcess, device: BacnetDevice
) -> None:
    options = {
        "host": "127.0.0.1",
        "port": device.port,
        "localAddress": "127.0.0.1",
        "localPort": free_udp_port(),
    }
    found = agent.post(
        "/v1/discover", {"protocols": ["bacnet"], "validate": True, "overrides": {"bacnet": options}}
    )
    [one] = found["devices"]
    assert (one["protocol"], one["confidence"], one["validated"]) == ("bacnet", "high", True)
    assert one["metadata"]["vendor"] == "Callboard"
    names = {point["name"]: point for point in one["dataPoints"]}
    assert names["Supply air"] == {"name": "Supply air", "object": "analog-input:1", "unit": "°C"}
    local = {"localAddress": "127.0.0.1", "localPort": free_udp_port()}
    body = {"name": "found", "protocol": "bacnet", "connection": one["connection"] | local}
    agent.post("/v1/endpoints", {**body, "data_points": one["dataPoints"], "poll_interval": 200})
    until(lambda: agent.get("/v1/adapters/bacnet/devices/found")["connected"])
