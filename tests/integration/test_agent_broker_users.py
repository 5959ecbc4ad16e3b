"""A real agent that keeps the users of a real mosquitto, and reads what they publish."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.mosquitto import Mosquitto


class _OfUsers(Mosquitto):
    """Whose users are in files that somebody else writes."""

    def _access(self, username: str | None, password: str | None) -> list[str]:
        for name in ("passwd", "acl"):
            (self._directory / name).touch()
        return [
            "allow_anonymous false",
            f"password_file {self._directory / 'passwd'}",
            f"acl_file {self._directory / 'acl'}",
        ]

    def start(self) -> None:
        super().start()
        assert self._process is not None
        (self._directory / "pid").write_text(str(self._process.pid))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with _OfUsers(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, broker: Mosquitto) -> Iterator[AgentProcess]:
    folder = tmp_path / "broker"
    config = tmp_path / "agent.toml"
    config.write_text(f'[mosquitto]\npid_file = "{folder / "pid"}"\n')
    environment = {
        "MQTT_BROKER_URL": f"mqtt://127.0.0.1:{broker.port}",
        "MQTT_USERNAME": "admin",
        "MQTT_PASSWORD": "pw-of-the-agent",
        "MQTT_AUTH_DIR": str(folder),
    }
    with AgentProcess(tmp_path / "data", config, **environment) as running:
        yield running


def publish(broker: Mosquitto, username: str, password: str, topic: str, payload: str) -> bool:
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", username, "-P", password]
    command = ["mosquitto_pub", *login, "-V", "5", "-q", "1", "-t", topic, "-m", payload]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.returncode == 0 and "not authorized" not in (done.stdout + done.stderr).lower()


def until(happened: Callable[[], Any], seconds: float = 8.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_device_logs_in_publishes_and_is_read_and_is_shut_out_with_its_endpoint(agent, broker):
    given = {
        "name": "press",
        "protocol": "mqtt",
        "connection": {"username": "press", "password": "pw-press", "topic": "plant/press"},
        "data_points": [{"topic": "plant/press/state", "metric": "speed", "field": "speed"}],
        "poll_interval": 1000,
    }
    made = agent.post("/v1/endpoints", given)
    until(lambda: publish(broker, "press", "pw-press", "plant/press/state", '{"speed": 7}'))

    def read() -> bool:
        publish(broker, "press", "pw-press", "plant/press/state", '{"speed": 8}')
        [speed] = agent.get("/v1/adapters/mqtt/devices/press")["registers"]
        return bool(speed["lastValue"] == 8)

    until(read)
    assert not publish(broker, "press", "pw-press", "plant/pump/state", "{}")
    assert not publish(broker, "press", "wrong", "plant/press/state", "{}")
    [shown] = agent.get("/v1/endpoints")["endpoints"]
    assert shown["connection"]["password"] == "********"
    for name, status in (("a:b", 400), ("admin", 409), ("press", 409)):
        other = {**given, "name": "other", "connection": {**given["connection"], "username": name}}
        other["connection"]["password"] = "another"
        found, answer = agent.request("POST", "/v1/endpoints", other)
        assert (found, answer["field"]) == (status, "connection.username"), answer
    agent.delete(f"/v1/endpoints/{made['uuid']}")
    until(lambda: not publish(broker, "press", "pw-press", "plant/press/state", "{}"))
    report = agent.get("/v1/health/report")
    assert "pw-press" not in str(report)
    assert "pw-press" not in str(agent.get("/v1/logs?limit=1000"))
