"""A real agent and OPC UA servers of two authors: what the API shows of them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opcua_sessions import point
from servers.agent import AgentProcess
from servers.opcua import KINDS, OpcUaServer

PLC = "/v1/adapters/opcua/devices/plc"
FAST = {"publishingInterval": 100, "samplingInterval": 0}
POINTS = [
    point("speed", "s=Counter.0"),
    point("set point", "s=Type.Int16", writable=True),
    point("flow", "s=Counter.1", device_uuid="0b5f7f0e-pump", device_name="pump-7", unit="l/s"),
]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpcUaServer]:
    with OpcUaServer(tmp_path_factory.mktemp("opcua"), request.param, interval_ms=100) as server:
        yield server


def add(agent: AgentProcess, server: OpcUaServer, interval: int = 100, **connection: Any) -> None:
    given = {"endpointUrl": server.url, **FAST, **connection}
    agent.post(
        "/v1/endpoints",
        {
            "name": "plc",
            "protocol": "opcua",
            "connection": given,
            "data_points": POINTS,
            "poll_interval": interval,
        },
    )


def device(agent: AgentProcess, name: str = "plc") -> dict[str, Any]:
    found: dict[str, Any] = agent.get(f"/v1/adapters/opcua/devices/{name}")
    return found


def point_of(agent: AgentProcess, name: str, of: str = "plc") -> dict[str, Any]:
    return next(each for each in device(agent, of)["registers"] if each["name"] == name)


def until(happened: Callable[[], Any], seconds: float = 8.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def moving(agent: AgentProcess, name: str = "speed", of: str = "plc") -> Callable[[], bool]:
    """Whether the point is GOOD and another than when it was first asked for."""
    before = point_of(agent, name, of)["lastValue"]

    def moves() -> bool:
        now = point_of(agent, name, of)
        return now["quality"] == "GOOD" and now["lastValue"] not in (before, None)

    return moves


@pytest.mark.parametrize("subscribed", [True, False])
def test_points_and_devices_are_shown_and_written(
    agent: AgentProcess, server: OpcUaServer, subscribed: bool
) -> None:
    add(agent, server, useSubscription=subscribed)
    until(lambda: device(agent)["connected"])
    until(moving(agent))
    until(moving(agent, "flow", "pump-7"))
    written = agent.post(f"{PLC}/write", {"register": "set point", "value": 17})
    assert written["value"] == 17
    until(lambda: point_of(agent, "set point")["lastValue"] == 17)
    for body, status, field in (
        ({"register": "speed", "value": 1}, 400, "register"),
        ({"register": "set point", "value": 40_000}, 400, "value"),
        ({"register": "nothing", "value": 1}, 404, "register"),
    ):
        answered, reply = agent.request("POST", f"{PLC}/write", body)
        assert (answered, reply["field"]) == (status, field), reply


@pytest.mark.parametrize("subscribed", [True, False])
def test_a_restart_is_bad_for_a_moment_and_then_good_again(
    agent: AgentProcess, server: OpcUaServer, subscribed: bool
) -> None:
    add(agent, server, useSubscription=subscribed)
    until(moving(agent))
    server.kill()
    until(lambda: point_of(agent, "speed")["quality"] == "BAD")
    assert not device(agent)["connected"]
    server.start()
    until(moving(agent), 5)
    until(moving(agent, "flow", "pump-7"), 5)


def test_a_silent_server_is_bad_within_its_time_and_comes_back(
    agent: AgentProcess, server: OpcUaServer
) -> None:
    add(agent, server, keepAliveInterval=1000, connectionTimeout=1000)
    until(moving(agent))
    server.pause()
    try:
        found = until(lambda: (now := point_of(agent, "speed"))["quality"] == "BAD" and now, 3)
        assert found["qualityCode"] in ("TIMEOUT", "DEVICE_OFFLINE")
    finally:
        server.resume()
    until(moving(agent), 5)


@pytest.mark.parametrize(
    ("connection", "field"),
    [
        ({"endpointUrl": "http://plc"}, "connection.endpointUrl"),
        ({"endpointUrl": "opc.tcp://user:secret@plc:4840"}, "connection.endpointUrl"),
        ({"publishingInterval": 0}, "connection.publishingInterval"),
        ({"endpointURL": "opc.tcp://plc"}, "connection.endpointURL"),
    ],
)
def test_bad_connections_are_refused(agent: AgentProcess, connection: dict[str, Any], field: str) -> None:
    body = {"name": "bad", "protocol": "opcua", "data_points": []}
    given = {"endpointUrl": "opc.tcp://plc", **connection}
    status, reply = agent.request("POST", "/v1/endpoints", {**body, "connection": given})
    assert (status, reply["field"]) == (400, field)
