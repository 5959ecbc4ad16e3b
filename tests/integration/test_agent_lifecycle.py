"""The agent as a process: starting, stopping, what it refuses to start with, what it keeps."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from servers.agent import AgentProcess, callboard
from servers.field import field

from actors.subsystems.registry import subsystems

POINTS = [{"name": "sequence", "register": "holding:0", "type": "uint32"}]
BROKER = {"host": "127.0.0.1", "port": 1, "username": "me", "password": "s3cret-of-the-broker"}


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`callboard` to its end, with an environment of its own."""
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        callboard(*arguments),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": root, **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def lines(agent: AgentProcess, level: str) -> list[str]:
    return [line for line in agent.log.read_text().splitlines() if f" {level} " in line]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "data") as agent:
        yield agent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_stops_the_agent_in_order_within_seconds(tmp_path, number):
    with field() as device, AgentProcess(tmp_path / "data") as agent:
        connection = {"host": "127.0.0.1", "port": device.port}
        row = {"name": "plc", "protocol": "modbus", "connection": connection, "poll_interval": 20}
        agent.post("/v1/endpoints", row | {"data_points": POINTS})
        while not device.server.device().sequence:
            assert agent.running
            time.sleep(0.001)
        began = time.monotonic()
        assert agent.stop(number) == 0
        assert time.monotonic() - began < 5
        text = agent.log.read_text()
        assert "STOPPING" in text
        assert text.rstrip().endswith("STOPPED")
        assert "Traceback" not in text
        assert not lines(agent, "WARNING")
        assert not lines(agent, "ERROR")
        assert not list(agent.data_dir.glob("*-wal"))


def test_a_signal_in_the_middle_of_the_start_ends_the_process(tmp_path):
    agent = AgentProcess(tmp_path / "data")
    try:
        agent.launch()
        while "INIT" not in agent.last_words():
            assert agent.running
            time.sleep(0.001)
        assert agent.stop() == 0
    finally:
        agent.kill()
    assert "Traceback" not in agent.log.read_text()


def test_what_was_configured_is_there_after_a_restart(agent):
    with field() as device:
        row = {
            "name": "plc",
            "protocol": "modbus",
            "connection": {"host": "127.0.0.1", "port": device.port},
            "poll_interval": 20,
            "data_points": POINTS,
            "metadata": {"hall": 1},
        }
        agent.post("/v1/endpoints", row)
        agent.post("/v1/endpoints", row | {"name": "resting", "enabled": False})
        broker = agent.post(
            "/v1/publish/destinations", {"name": "broker", "type": "mqtt", "config_json": BROKER}
        )
        subscription = {"publish_destination_id": broker["id"], "route_json": {"topic": "t"}}
        agent.post("/v1/publish/subscriptions", subscription)
        agent.patch("/v1/endpoints/plc", {"poll_interval": 30})

        def configured() -> list[object]:
            rows = agent.get("/v1/endpoints")["endpoints"]
            for one in rows:
                one.pop("health", None)
                one.pop("lastSeenAt", None)
            destinations = agent.get("/v1/publish/destinations")["publishers"]
            for one in destinations:
                one.pop("status", None)
                one.pop("last_error")
                one.pop("last_error_at")
            subscriptions = agent.get("/v1/publish/subscriptions")["subscriptions"]
            return [rows, destinations, subscriptions, agent.get("/v1/device")]

        before = configured()
        assert agent.stop() == 0
        agent.start()
        assert configured() == before
        deadline = time.monotonic() + 5
        while not agent.get("/v1/adapters/modbus/devices/plc")["connected"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_secrets_are_neither_shown_nor_logged_nor_stored_in_clear(tmp_path):
    with AgentProcess(tmp_path / "data", LOG_LEVEL="debug") as agent:
        agent.post("/v1/publish/destinations", {"name": "broker", "type": "mqtt", "config_json": BROKER})
        row = {
            "name": "plc",
            "protocol": "modbus",
            "connection": {"host": "h", "password": "s3cret-of-the-plc"},
        }
        status, refused = agent.request("POST", "/v1/endpoints", row)  # a key that its protocol does not know
        assert (status, refused["field"]) == (400, "connection.password")
        shown = str(
            [
                refused,
                *(agent.get(path) for path in ("/v1/endpoints", "/v1/publish/destinations", "/v1/actors")),
            ]
        )
        assert "s3cret" not in shown
        assert agent.stop() == 0
        assert "s3cret" not in agent.log.read_text()
        for path in agent.data_dir.iterdir():
            assert b"s3cret" not in path.read_bytes()


def test_a_port_in_use_is_one_clear_line_and_exit_code_1(agent, tmp_path):
    done = run("run", "--data-dir", str(tmp_path / "other"), DEVICE_API_PORT=str(agent.port))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "INFO" not in line]
    assert line.endswith(
        f"cannot start: the API cannot listen on 127.0.0.1:{agent.port}: Address already in use"
    )
    assert done.stderr.splitlines()[-1] == line
    assert agent.ready()


def test_a_second_agent_on_the_same_data_is_one_clear_line_and_exit_code_1(agent):
    done = run("run", "--data-dir", str(agent.data_dir), DEVICE_API_PORT="0")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "INFO" not in line]
    assert f"in use by another agent (process {agent.pid}" in line
    assert done.stderr.splitlines()[-1] == line
    assert agent.ready()


def test_a_data_folder_that_cannot_be_made_is_one_clear_line_and_exit_code_1():
    done = run("run", "--data-dir", "/dev/null/data", DEVICE_API_PORT="0")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "INFO" not in line]
    assert "cannot start: /dev/null/data/agent.sqlite: cannot be used" in line


@pytest.mark.parametrize(
    ("toml", "env", "expected"),
    [
        ("[api]\nport = 99999", {}, "api.port: 99999 is not allowed, expected an integer from 0 to 65535"),
        ("[nonsense]", {}, "nonsense: unknown table"),
        ("port = ", {}, "is not valid TOML"),
        (
            "",
            {"LOG_LEVEL": "loud"},
            "LOG_LEVEL: 'loud' is not allowed, expected one of debug, info, warn, error",
        ),
    ],
)
def test_bad_configuration_is_one_line_and_exit_code_2(tmp_path, toml, env, expected):
    config = tmp_path / "agent.toml"
    config.write_text(toml)
    done = run("run", "--config", str(config), "--data-dir", str(tmp_path / "data"), **env)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("callboard: ")
    assert expected in line
    assert not (tmp_path / "data").exists()


def test_a_corrupt_database_is_set_aside_and_the_agent_starts_clean(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "agent.sqlite").write_bytes(b"this is no database" * 1000)
    with AgentProcess(data) as agent:
        assert agent.get("/v1/endpoints") == {"endpoints": []}
        (aside,) = data.glob("agent.sqlite.corrupt-*")
        assert aside.read_bytes().startswith(b"this is no database")
        (line,) = lines(agent, "ERROR")
        assert aside.name in line
        (store,) = [node for node in agent.get("/v1/actors")["root"]["children"] if node["name"] == "store"]
        assert "The database was damaged" in store["health"]
        assert aside.name in store["health"]
        checks = agent.get("/v1/health/report")["report"]["subsystems"]
        (database,) = [check for check in checks if check["name"] == "database"]
        assert database["description"] == store["health"]
        row = {"name": "plc", "protocol": "modbus", "connection": {"host": "h"}, "enabled": False}
        agent.post("/v1/endpoints", row)
        assert agent.stop() == 0
        agent.start()
        assert [one["name"] for one in agent.get("/v1/endpoints")["endpoints"]] == ["plc"]
        assert len(list(data.glob("agent.sqlite.corrupt-*"))) == 1


def test_probes_and_identity(agent):
    assert agent.get("/v1/readiness") == {"ready": True, "state": "RUNNING"}
    assert agent.get("/v1/healthy") == {"status": "healthy", "ready": True, "state": "RUNNING"}
    report = agent.get("/v1/health/report")
    assert (report["overall"], report["ready"], report["state"]) == ("healthy", True, "RUNNING")
    assert {one["name"] for one in report["report"]["subsystems"]} >= {"database", "lifecycle", "agent-api"}
    assert report["report"]["criticalFailures"] == []
    identity = agent.get("/v1/device")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identity["uuid"])
    assert identity["name"] == f"agent-{identity['uuid'][:8]}"
    assert (identity["provisioned"], identity["status"], identity["is_online"]) == (False, "Idle", False)


def test_the_tree_on_the_command_line(agent):
    row = {"name": "plc-line-1", "protocol": "modbus", "connection": {"host": "127.0.0.1", "port": 1}}
    agent.post("/v1/endpoints", row | {"poll_interval": 20, "data_points": POINTS})
    deadline = time.monotonic() + 5
    while True:
        done = run("actors", "--url", agent.url)
        assert done.returncode == 0, done.stderr
        if "disconnected" in done.stdout:
            break
        assert time.monotonic() < deadline
    lines = [(line.strip("│├└─ ").split()[0], line) for line in done.stdout.splitlines()[3:]]
    names = [name for name, _ in lines]
    assert names[0] == "agent"
    assert {one.name for one in subsystems()} | {"gateway"} <= set(names)
    outputs, endpoints = names.index("outputs"), names.index("endpoints")
    assert names[outputs + 1 : outputs + 6] == ["modbus", "opcua", "snmp", "mqtt", "bacnet"]
    assert names[endpoints + 1 : endpoints + 3] == ["modbus", "plc-line-1"]
    shown = dict(lines)
    assert "RUNNING" in shown["agent"]
    assert "Connection refused" in shown["plc-line-1"] or "CONNECTION_REFUSED" in shown["plc-line-1"]
    assert f"listening on port {agent.port}" in shown["gateway"]


def test_the_tree_of_an_agent_that_is_not_there_is_one_line(tmp_path):
    done = run("actors", "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, "")
    (line,) = done.stderr.splitlines()
    assert line == "callboard: no answer from an agent at http://127.0.0.1:1: [Errno 111] Connection refused"


def test_mode_api_key_wants_the_key(tmp_path):
    env = {"API_SECURITY_MODE": "API_KEY", "API_KEY": "s3cret"}
    with AgentProcess(tmp_path / "data", **env) as agent:
        for path in ("/ping", "/v1/healthy", "/v1/readiness", "/v1/health/report", "/v1/buffer/status"):
            assert agent.request("GET", path)[0] == 200
        for path in ("/v1/device", "/v1/endpoints", "/v1/actors", "/v1/openapi.json"):
            assert agent.request("GET", path) == (401, {"error": "Unauthorized"})
            assert agent.request("GET", path, headers={"X-Api-Key": "wrong"})[0] == 401
            assert agent.request("GET", path, headers={"X-Api-Key": "s3cret"})[0] == 200
            assert agent.request("GET", f"{path}?apiKey=s3cret")[0] == 200
        assert run("actors", "--url", agent.url).returncode == 4
        shown = run("actors", "--url", agent.url, "--api-key", "s3cret")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert run("actors", "--url", agent.url, API_KEY="s3cret").returncode == 0
        assert agent.stop() == 0
        assert "s3cret" not in agent.log.read_text()


@pytest.mark.parametrize(("mode", "address"), [("LOCALHOST_ONLY", "127.0.0.1"), ("API_KEY", "0.0.0.0")])
def test_the_mode_decides_which_interfaces_are_listened_on(tmp_path, mode, address):
    env = {"API_SECURITY_MODE": mode, "API_KEY": "s3cret", "DEVICE_API_HOST": ""}
    with AgentProcess(tmp_path / "data", **env) as agent:
        listening = [
            one.laddr
            for one in psutil.Process(agent.pid).net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        ]
        assert listening == [(address, agent.port)]


@pytest.mark.parametrize("mode", ["LOCALHOST_ONLY", "LOCAL_NETWORK", "OPEN"])
def test_modes_without_a_key_refuse_other_sites_and_names_that_are_not_allowed(tmp_path, mode):
    allowed = "edge-7.plant.example, other.plant.example"
    with AgentProcess(tmp_path / "data", API_SECURITY_MODE=mode, API_ALLOWED_HOSTS=allowed) as agent:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            status, reply = agent.request("DELETE", "/v1/endpoints", headers=headers)
            assert (status, reply["error"]) == (403, "Forbidden")
            assert "API_ALLOWED_HOSTS" in reply["hint"]
        for host in ("other.plant.example", f"{socket.gethostname()}:48484", "10.1.2.3"):
            assert agent.request("GET", "/v1/device", headers={"Host": host})[0] == 200
        assert agent.request("GET", "/ping", headers={"Host": "evil.example"})[0] == 200


def test_an_unknown_mode_refuses_everything_but_the_probes(tmp_path):
    with AgentProcess(tmp_path / "data", API_SECURITY_MODE="SOMETIMES") as agent:
        assert agent.request("GET", "/v1/device") == (500, {"error": "Invalid security configuration"})
        assert agent.request("GET", "/v1/readiness")[0] == 200
        assert any("API_SECURITY_MODE=SOMETIMES is unknown" in line for line in lines(agent, "ERROR"))
