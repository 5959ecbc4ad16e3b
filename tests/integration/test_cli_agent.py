"""Every command once, as a process of its own, against a real agent."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess, callboard
from servers.certificates import Authority
from servers.field import field

from api.cli.registry import COMMANDS

ROOT = Path(__file__).parents[2]
FIRST, SECOND = "the first one", "the second one"
ELSEWHERE = {"run", "tap", "completion"}
"""Tested in files of their own."""


class Shell:
    """Runs commands against an agent; `used` are those that were."""

    def __init__(self, agent: AgentProcess, folder: Path) -> None:
        self.agent = agent
        self.used: set[str] = set()
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DEVICE_API_URL": agent.url,
            "XDG_RUNTIME_DIR": str(runtime),
            "DATA_DIR": str(agent.data_dir),
        }
        self.folder = folder

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Standard output of a command that ends with `code`."""
        self.used.add(arguments[0])
        done = subprocess.run(
            callboard(*arguments),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=self.environment | environment,
        )
        assert done.returncode == code, (arguments, done)
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, code: int = 0, **environment: str) -> Any:
        return json.loads(self(*arguments, "--json", code=code, **environment))


@pytest.fixture
def shell(tmp_path) -> Iterator[Shell]:
    with AgentProcess(tmp_path / "data", INITIAL_ADMIN_PASSWORD=FIRST) as agent:
        yield Shell(agent, tmp_path)


@pytest.mark.timeout(240)
def test_every_command_against_a_real_agent(shell, tmp_path):
    with field() as device:
        shell.agent.post(
            "/v1/endpoints",
            {
                "name": "press",
                "protocol": "modbus",
                "connection": {"host": "127.0.0.1", "port": device.port},
                "metadata": {"token": "hunter2"},
                "poll_interval": 50,
                "data_points": [
                    {"name": "clock", "register": "holding:2", "type": "uint32"},
                    {"name": "setpoint", "register": "holding:20", "type": "uint16"},
                ],
            },
        )
        _look(shell)
        _discover(shell, device.port)
        _administer(shell)
        _configure(shell)
        _back_up(shell, tmp_path)
        _restart(shell)
        assert shell.used == {command.name for command in COMMANDS} - ELSEWHERE


def _look(shell: Shell) -> None:
    assert "RUNNING" in shell("status")
    assert shell.json("status")["device"]["name"].startswith("agent-")
    assert "store" in shell("actors")
    assert "endpoints" in json.dumps(shell.json("actors"))
    assert any(line.startswith("lifecycle ") for line in shell("health").splitlines())
    assert shell.json("version")["agent"] == shell.json("version")["command"]
    assert "press" in shell("endpoints", "list")
    assert shell.json("endpoints", "show", "press")["protocol"] == "modbus"
    shell("endpoints", "show", "none", code=5)
    assert "press" in shell("devices", "list")
    shell("devices", "remove", "none", "--yes", code=5)
    assert "opcua" in shell("protocols", "list")
    assert shell.json("protocols", "show", "modbus")["capabilities"]["writes"]
    shell("endpoints", "disable", "press")
    shell("endpoints", "enable", "press")
    assert shell.json("destinations", "list") == {"publishers": []}
    assert shell.json("buffer")["destinations"] == []
    assert shell.json("memory")["diagnostics"]["rss"] > 1_000_000
    assert shell.json("memory", "trace", "--seconds", "1")["top"]
    assert shell.json("logs", "-n", "3")["total"] > 3
    assert shell.json("logs", "--min-level", "error", "--since", "1h")["logs"] == []
    found = shell.json("doctor", code=0)
    assert {one["check"] for one in found["findings"]} >= {
        "lock",
        "database",
        "devices",
        "master key",
        "disk",
    }
    assert any("press: last reading" in one["says"] for one in found["findings"])
    assert "hunter2" not in json.dumps(shell.json("diagnostics"))


def _discover(shell: Shell, port: int) -> None:
    where = ("--network", "127.0.0.1", "--option", f"port={port}", "timeout=500")
    [found] = shell.json("discover", "modbus", *where)["devices"]
    assert found["connection"]["port"] == port
    assert shell.json("discover", "modbus", *where, "--save", "--dry-run")["saved"]["dryRun"]
    shell("discover", "modbus", "--network", "10.0.0.0/8", code=2)
    assert shell.json("discovery", "add", "line", "modbus", *where, "--every", "6h", "--disabled")["uuid"]
    assert shell.json("discovery", "run", "line", "--dry-run")["rule"]["name"] == "line"
    assert [one["name"] for one in shell.json("discovery", "rules")["rules"]] == ["line"]
    assert {one["trigger"] for one in shell.json("discovery", "runs")["runs"]} == {"manual"}
    shell("discovery", "cancel", shell.json("discovery", "runs")["runs"][0]["uuid"], code=5)
    shell("discovery", "remove", "line", "--yes")
    described = ("--protocol", "modbus", "--connection", "host=127.0.0.1", f"port={port}")
    point = ("--point", "name=clock,register=holding:2,type=uint32")
    assert shell.json("endpoints", "test", *described, *point)["ok"]
    assert shell.json("endpoints", "test", "press")["values"][0]["quality"] == "GOOD"
    assert shell.json("endpoints", "add", "other", *described, *point, "--disabled")["enabled"] is False
    shell("endpoints", "export", "-o", "endpoints.csv")
    shell("endpoints", "import", "endpoints.csv", code=6)
    shell("endpoints", "remove", "other", "--yes")
    assert shell.json("write", "press", "setpoint", "7", "--verify", "--yes")["verified"]
    shell("browse", "modbus", code=1)


def _administer(shell: Shell) -> None:
    shell("users", "list", code=4)
    shell("login", CALLBOARD_PASSWORD="wrong", code=4)
    shell("login", CALLBOARD_PASSWORD=FIRST)
    shell("users", "list", code=4)  # before the first password is changed
    shell("users", "passwd", CALLBOARD_PASSWORD=FIRST, CALLBOARD_NEW_PASSWORD=SECOND)
    assert shell.json("users", "list")["users"][0]["username"] == "admin"
    shell("users", "add", "bob", "--role", "viewer", CALLBOARD_NEW_PASSWORD="bob's password")
    shell("users", "add", "bob", CALLBOARD_NEW_PASSWORD="bob's password", code=6)
    shell("users", "list", "--user", "bob", CALLBOARD_PASSWORD="bob's password", code=4)  # a viewer
    assert shell.json("users", "set", "bob", "--role", "operator")["role"] == "operator"
    sessions = shell.json("sessions", "list")["sessions"]
    assert [one["current"] for one in sessions] == [True]  # that for one command has ended with it
    assert shell.json("sessions", "end", "--of", "bob") == {"ended": 0}
    shell("sessions", "end", "4711", code=5)
    shell("users", "remove", "bob", code=2)
    shell("users", "remove", "bob", "--yes")
    shell("users", "remove", "admin", "--yes", code=6)


def _configure(shell: Shell) -> None:
    assert shell("settings", "get", "logging.level") == "info\n"
    shell("settings", "set", "logging.level", "debug", "intervals.agent.metricsIntervalMs", "60000")
    assert shell.json("settings", "get", "logging.level") == "debug"
    shell("settings", "set", "logging.level", "null")
    shell("settings", "set", "logging.levl", "debug", code=2)
    shell("settings", "set", "loging.level", "debug", code=5)


def _back_up(shell: Shell, folder: Path) -> None:
    name = shell.json("backup", "create")["file"]
    assert [one["file"] for one in shell.json("backup", "list")["backups"]] == [name]
    assert shell.json("backup", "verify", name)["ok"]
    shell("backup", "download", name)
    shell("backup", "delete", name, "--yes")
    shell("backup", "verify", name, code=5)
    name = shell.json("backup", "upload", str(folder / name))["file"]
    assert shell.json("backup", "schedule", "--on", "--every", "6", "--keep", "3")["interval_hours"] == 6
    shell("endpoints", "remove", "press", "--yes")
    assert shell.json("backup", "restore", name, "--yes")["state"] == "RUNNING"
    assert "press" in shell("endpoints", "list")


def _restart(shell: Shell) -> None:
    assert shell.json("reboot")["state"] == "RUNNING"
    assert shell.json("update", "status")["current"]
    shell("update", "99.0.0", code=6)
    shell("shutdown", "--yes", code=1)  # there is no command for it
    shell("logout")
    shell("users", "list", code=4)
    shell("factory-reset", code=2)
    shell("factory-reset", "--yes")
    assert shell("endpoints", "list") == "none\n"


@pytest.mark.timeout(120)
def test_an_agent_that_asks_for_sessions_and_for_a_key(tmp_path):
    secret = "k" * 32
    with AgentProcess(
        tmp_path / "data",
        INITIAL_ADMIN_PASSWORD=FIRST,
        API_REQUIRE_SESSION="true",
        API_SECURITY_MODE="API_KEY",
        API_KEY=secret,
    ) as agent:
        shell = Shell(agent, tmp_path)
        shell("endpoints", "list", code=4)
        shell("endpoints", "list", API_KEY=secret)
        shell("endpoints", "list", API_KEY="wrong", code=4)
        assert shell.json("doctor", API_KEY=secret, code=0)["overall"] in ("ok", "warning")


@pytest.mark.timeout(120)
def test_an_agent_over_tls(tmp_path):
    authority = Authority()
    certificate, key = authority.issue()
    files = {"ca.pem": authority.pem, "cert.pem": certificate, "key.pem": key}
    for name, pem in files.items():
        (tmp_path / name).write_text(pem)
    agent = AgentProcess(
        tmp_path / "data",
        INITIAL_ADMIN_PASSWORD=FIRST,
        API_TLS_CERT=str(tmp_path / "cert.pem"),
        API_TLS_KEY=str(tmp_path / "key.pem"),
    )
    agent.launch()
    try:
        shell = Shell(agent, tmp_path)
        shell.environment |= {
            "DEVICE_API_URL": f"https://localhost:{agent.port}",
            "CALLBOARD_CA": str(tmp_path / "ca.pem"),
        }
        _until(lambda: _code(shell, "status") == 0, shell)
        assert shell("status", code=3, CALLBOARD_CA="") == ""
        assert shell("status", "--url", agent.url, code=3) == ""
        _until(lambda: _code(shell, "login", CALLBOARD_PASSWORD=FIRST) == 0, shell)
        assert shell("users", "list", code=4) == ""  # the password is to be changed first
    finally:
        agent.kill()


def _code(shell: Shell, *arguments: str, **environment: str) -> int:
    variables = shell.environment | environment
    return subprocess.run(callboard(*arguments), capture_output=True, env=variables).returncode


@pytest.mark.timeout(120)
def test_the_log_is_followed_over_restarts_without_loss_or_repetition(tmp_path):
    with AgentProcess(tmp_path / "data") as agent:
        shell = Shell(agent, tmp_path)
        output = tmp_path / "log.json"
        with output.open("wb") as file:
            process = subprocess.Popen(
                callboard("logs", "-f", "-n", "1", "--json", "--text", "lifecycle"),
                stdout=file,
                stderr=subprocess.DEVNULL,
                env=shell.environment,
            )
        try:
            _until(lambda: _states(output) == ["RUNNING"], shell)
            shell("reboot")
            _until(lambda: _states(output).count("RUNNING") == 2, shell)
            assert agent.stop() == 0
            agent.start()
            _until(lambda: _states(output).count("RUNNING") == 3, shell)
        finally:
            process.kill()
            process.wait()
        states = _states(output)
    restart = ["STOPPING", "STOPPED", "INIT", "READY", "RUNNING"]
    assert states[:6] == ["RUNNING", *restart]
    assert states[-3:] == ["INIT", "READY", "RUNNING"]
    assert len(states) == len(set(_entries(output)))


def _entries(output: Path) -> list[str]:
    return [line for line in output.read_text().splitlines() if line.endswith("}")]


def _states(output: Path) -> list[str]:
    messages = [json.loads(line)["message"] for line in _entries(output)]
    return [one.removeprefix("lifecycle: ") for one in messages if one.startswith("lifecycle: ")]


def _until(happened, shell: Shell) -> None:
    import time

    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, shell.agent.last_words()
        time.sleep(0.02)
