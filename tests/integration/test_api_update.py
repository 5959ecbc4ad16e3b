"""`/v1/update` and `/v1/shutdown` of an agent that is installed as any."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.agent import AgentProcess


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("power") / "down"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[AgentProcess]:
    command = f"sh -c 'test ! -e {log} || {{ echo no leave; exit 4; }}; echo down >{log}'"
    data = tmp_path_factory.mktemp("agent") / "data"
    with AgentProcess(data, CALLBOARD_SHUTDOWN_COMMAND=command) as agent:
        yield agent
        assert agent.stop() == 0
    assert "Traceback" not in agent.log.read_text()


def until(holds: object) -> object:
    import time

    deadline = time.monotonic() + 10
    while not (found := holds()):  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_an_installation_that_cannot_update_itself_answers_as_the_reference_and_says_why(agent):
    status, reply = agent.request("POST", "/v1/update", {"version": "1.0.600", "force": False})
    assert (status, reply["error"]) == (503, "Agent updater not available")
    assert "editable mode" in reply["hint"]
    report = agent.get("/v1/update/status")
    assert report["state"] == "unavailable"
    assert report["reason"] == reply["hint"]
    assert report["history"] == []
    assert agent.get("/v1/device")["update"] == {
        "state": "unavailable",
        "reason": reply["hint"],
        "from": None,
        "to": None,
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "version"),
        ({"version": 5}, "version"),
        ({"version": ""}, "version"),
        ({"version": " "}, "version"),
        ({"version": "1.2.3; reboot"}, "version"),
        ({"version": "1.2.3", "force": "yes"}, "force"),
        ({"version": "1.2.3", "file": 5}, "file"),
        ({"version": "1.2.3", "scheduled_time": []}, "scheduled_time"),
        ({"version": "1.2.3", "Force": True}, "Force"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_its_field(agent, body, field):
    status, reply = agent.request("POST", "/v1/update", body)
    assert status == 400
    assert reply["error"] == "Bad request"
    assert field in (reply.get("field") or reply["message"])
    if body in ({}, {"version": ""}):
        assert reply["message"] == "version is required (string)"


def test_the_machine_is_shut_down_by_the_command_and_a_failure_is_told(agent, log):
    assert agent.request("POST", "/v1/shutdown") == (202, {"Data": "Shutdown scheduled", "Error": None})
    until(log.exists)
    until(lambda: agent.request("POST", "/v1/shutdown")[0] == 202)
    why = "the shutdown command ended with 4: no leave"
    until(lambda: f"the machine is not shut down: {why}" in agent.log.read_text())
    status, reply = agent.request("POST", "/v1/shutdown")
    assert (status, reply["lastError"]) == (202, why)


def test_without_a_command_it_is_refused(tmp_path):
    with AgentProcess(tmp_path / "data") as agent:
        status, reply = agent.request("POST", "/v1/shutdown")
        assert (status, reply["error"]) == (501, "No shutdown command is configured")
        assert "power.shutdown_command" in reply["hint"]
    with AgentProcess(tmp_path / "data", CALLBOARD_SHUTDOWN_COMMAND="/no/such/program") as agent:
        status, reply = agent.request("POST", "/v1/shutdown")
        assert status == 503
        assert "is not there, or may not be run" in reply["error"]
