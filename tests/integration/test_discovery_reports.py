"""What users of other products have reported about looking for devices over an API, and trying them."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.field import FieldServer, field

DISCOVER, RUNS = "/v1/discover", "/v1/discovery-runs"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Other requests are given a second."""
    folder = tmp_path_factory.mktemp("agent")
    config = folder / "agent.toml"
    config.write_text("[api]\nrequest_timeout_ms = 1000\n")
    with AgentProcess(folder / "data", config) as agent:
        yield agent
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


@pytest.fixture(scope="module")
def device() -> Iterator[FieldServer]:
    with field() as device:
        yield device


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield listening.getsockname()[1]


def body(port: int | list[int], timeout: int, **more: Any) -> dict[str, Any]:
    options = {"host": "127.0.0.1", "port": port, "timeout": timeout}
    return {"protocols": ["modbus"], "overrides": {"modbus": options}, **more}


def until(happened: Callable[[], Any], seconds: float = 5.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def scanning(agent: AgentProcess, given: dict[str, Any]) -> Iterator[tuple[http.client.HTTPConnection, str]]:
    """A client that waits for a scan, and the uuid of its run."""
    before = runs(agent)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", agent.port, timeout=30)) as connection:
        connection.request("POST", DISCOVER, json.dumps(given), {"Content-Type": "application/json"})
        yield connection, until(lambda: next(iter(runs(agent).keys() - before.keys()), None))


def runs(agent: AgentProcess) -> dict[str, Any]:
    return {run["uuid"]: run for run in agent.get(RUNS)["runs"]}


def test_a_scan_that_takes_longer_than_a_request_may_has_its_answer(
    agent: AgentProcess, device: FieldServer, silent: int
):
    """The results of a scan were lost when it took longer than the server gave a request (openwrt/luci #234,
    phpipam #3243)."""
    began = time.monotonic()
    reply = agent.post(DISCOVER, body([silent, device.port], 150))
    assert time.monotonic() - began > 1.5
    assert [one["connection"]["port"] for one in reply["devices"]] == [device.port]
    assert reply["run"]["status"] == "success"


def test_more_than_can_be_looked_at_is_refused_at_once(agent: AgentProcess):
    """A scan of 15,360 addresses was accepted, and gave up after hours (oneuptime #3598, #3672)."""
    status, reply = agent.request("POST", DISCOVER, {"overrides": {"modbus": {"network": "172.20.0.0/16"}}})
    assert (status, reply["field"]) == (400, "overrides.modbus.network")
    assert "1024" in reply["message"]


def test_a_scan_whose_time_is_over_tells_what_it_has_found(
    agent: AgentProcess, device: FieldServer, silent: int
):
    """One that was abandoned at its time limit had found nothing (oneuptime #3672, orb-agent #359)."""
    reply = agent.post(DISCOVER, body([device.port, silent], 5000, timeLimit=2000))
    assert [one["connection"]["port"] for one in reply["devices"]] == [device.port]
    [error] = [one for one in reply["errors"] if "where" not in one]
    assert error["protocol"] == "modbus"
    assert 1500 < reply["run"]["duration_ms"] < 4000


def test_how_far_it_is_can_be_seen_meanwhile_and_it_can_be_ended(agent: AgentProcess, silent: int):
    """A scan showed nothing but "in progress", and could not be stopped without wiping what there was
    (digarr #519, quipucords #136)."""
    with scanning(agent, body(silent, 5000)) as (connection, uuid):
        run = until(lambda: next((one for one in [runs(agent)[uuid]] if one["planned"]), None))
        assert (run["status"], run["trigger"]) == ("running", "manual")
        assert agent.request("DELETE", f"{RUNS}/{uuid}")[0] == 204
        with connection.getresponse() as response:
            reply = json.load(response)
    assert reply["devices"] == []
    assert reply["run"]["status"] == "error"
    assert "cancelled" in reply["run"]["error"]
    assert reply["run"]["duration_ms"] < 4500
    assert agent.request("DELETE", f"{RUNS}/{uuid}")[0] == 404


def test_a_scan_that_nobody_waits_for_ends_and_is_not_told_as_running(agent: AgentProcess, silent: int):
    """A scan whose client had cancelled it went on for ever, or was shown as if it did (cacti #3041,
    Internet.nl-dashboard #159)."""
    with scanning(agent, body(silent, 8000)) as (connection, uuid):
        assert runs(agent)[uuid]["status"] == "running"
        connection.close()
        until(lambda: runs(agent)[uuid]["status"] != "running")
    run = runs(agent)[uuid]
    assert run["status"] == "error"
    assert run["duration_ms"] < 7000


def test_runs_are_told_as_they_go_on(agent: AgentProcess, silent: int):
    """The same, for who does not want to ask all the time (luci #234: results as they come in)."""
    told: list[Any] = []

    def follow(events: http.client.HTTPResponse) -> None:
        for line in events:
            if line.startswith(b"data: "):
                told.append(json.loads(line[6:]))
                if told[-1]["status"] != "running":
                    return

    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)) as stream:
        stream.request("GET", f"{RUNS}/stream")
        with stream.getresponse() as events:
            assert events.headers["Content-Type"].startswith("text/event-stream")
            following = threading.Thread(target=follow, args=(events,), daemon=True)
            following.start()
            reply = agent.post(DISCOVER, body(silent, 150))
            following.join(5)
            assert not following.is_alive()
    assert {run["uuid"] for run in told} == {reply["run"]["uuid"]}
    assert told[0]["status"] == "running"
    assert told[-1] == reply["run"]


def test_a_device_that_lets_in_one_client_is_tried_over_the_connection_that_there_is(
    agent: AgentProcess, device: FieldServer
):
    """A second connection to a PLC was refused, or took the first one's place (pycomm #67, modbus-dart #33,
    MitsubishiPlcProtocol #7)."""
    points = [{"name": "clock", "register": "holding:2", "type": "uint32"}]
    connection = {"host": "127.0.0.1", "port": device.port, "unitId": 1}
    given = {"protocol": "modbus", "connection": connection, "data_points": points}
    agent.post("/v1/endpoints", {"name": "press", "poll_interval": 50, **given})
    try:
        until(lambda: agent.get("/v1/endpoints")["endpoints"][0]["health"]["connected"])
        accepted = device.server.listening[0].accepted
        for path, given_body in (("/v1/endpoints/test", given), ("/v1/endpoints/press/test", None)):
            status, reply = agent.request("POST", path, given_body)
            assert (status, reply["ok"], reply["values"][0]["quality"]) == (200, True, "GOOD")
        found = agent.post(DISCOVER, body(device.port, 500))["devices"]
        assert [one.get("endpoint") for one in found] == ["press"]
        assert device.server.listening[0].accepted == accepted
    finally:
        agent.delete("/v1/endpoints")


def test_the_result_of_a_trial_is_an_answer_and_not_an_error(agent: AgentProcess, silent: int):
    """A test that failed was a server error, and one that took long an error of the gateway."""
    connection = {"host": "127.0.0.1", "port": silent, "unitId": 1, "timeout": 300}
    given = {
        "protocol": "modbus",
        "connection": connection,
        "data_points": [{"name": "a", "register": "holding:0"}],
    }
    reply = agent.post("/v1/endpoints/test", given)
    assert reply["ok"] is False
    assert reply["error"]
    assert reply["values"] == [{"name": "a", "value": None, "quality": "BAD", "quality_code": "NO_VALUE"}]
    assert agent.get("/v1/endpoints")["endpoints"] == []
