"""The image, built and run on a real engine as docs/deployment.rst says: a read-only root, no capabilities,
an unprivileged user, a volume."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers.agent import AgentApi
from servers.docker_engine import Engine, engine
from servers.field import field
from servers.mosquitto import free_port
from servers.system_calls import write_profile

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("docker")]

USER = 48484
GRACE = 10.0  # seconds that `docker stop` gives by default
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=128")
OFTEN = ("--health-interval=500ms", "--health-timeout=5s", "--health-start-period=10s")


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="cb-docker-"))
    try:
        with engine(folder) as docker:
            context = folder / "context"
            context.mkdir()
            docker.build_agent(context)
            yield docker
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def container(docker: Engine) -> Iterator[Callable[..., str]]:
    """`container(*options)` starts one and returns its id."""
    started: list[str] = []

    def start(*options: str) -> str:
        said = docker.run("run", "-d", *HARDENED, *OFTEN, *options, "callboard-test")
        started.append(said.splitlines()[-1])  # before it may be a warning
        return started[-1]

    yield start
    for one in started:
        docker.run("rm", "-f", "-v", one)


def until(happened: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def healthy(docker: Engine, id: str) -> bool:
    return bool(docker.inspect(id)["State"]["Health"]["Status"] == "healthy")


def test_it_runs_unprivileged_on_a_read_only_root_and_brings_all_to_its_volume_before_it_ends(
    docker, container, tmp_path
):
    docker.run("volume", "create", "kept")
    port = free_port()
    with field() as device:
        id = container("--network=host", "-v", "kept:/app/data", "-e", f"DEVICE_API_PORT={port}")
        agent = AgentApi(f"http://127.0.0.1:{port}")
        until(lambda: healthy(docker, id))
        assert agent.ready()
        process = psutil.Process(docker.inspect(id)["State"]["Pid"])
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert (process.uids().real, process.gids().real) == (USER, USER)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert f"{kind}:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        refused = docker.run("exec", id, "python", "-c", "open('/app/x', 'w')", check=False)
        assert "Read-only file system" in refused

        destination = agent.post(
            "/v1/publish/destinations",
            {"name": "away", "type": "mqtt", "config_json": {"host": "127.0.0.1", "port": 1}},
        )
        agent.post(
            "/v1/publish/subscriptions",
            {"publish_destination_id": destination["id"], "route_json": {"topic": "plant"}},
        )
        agent.post(
            "/v1/endpoints",
            {
                "name": "plc",
                "protocol": "modbus",
                "connection": {"host": "127.0.0.1", "port": device.port},
                "poll_interval": 20,
                "data_points": [{"name": "sequence", "register": "holding:0", "type": "uint32"}],
            },
        )
        until(lambda: agent.get("/v1/buffer/status")["mqttMessageBufferCount"] > 20)
        read = device.server.device().sequence
        began = time.monotonic()
        docker.run("stop", id)
        assert time.monotonic() - began < GRACE
        state = docker.inspect(id)["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
        log = docker.run("logs", id)
        assert log.splitlines()[-1].endswith("lifecycle: STOPPED")
        assert "ERROR" not in log
        database = Path(docker.inspect("kept")["Mountpoint"]) / "agent.sqlite"
        with closing(sqlite3.connect(shutil.copy(database, tmp_path))) as connection:
            (kept,) = connection.execute("SELECT count(*) FROM outbox").fetchone()
        assert kept >= read - 1

        uuid = agent_uuid(log)
        docker.run("start", id)
        until(lambda: healthy(docker, id))
        assert [one["name"] for one in agent.get("/v1/endpoints")["endpoints"]] == ["plc"]
        assert agent_uuid(docker.run("logs", id)) == uuid


def agent_uuid(log: str) -> str:
    """Where its data is, as its first line says."""
    return next(line for line in log.splitlines() if "its data is in" in line).split("INFO")[-1]


def test_its_api_is_reached_over_a_published_port_and_it_makes_no_system_call_that_the_unit_forbids(
    docker, container, tmp_path
):
    write_profile(tmp_path / "filter.json")
    docker.run("network", "create", "plant")
    port = free_port()
    key = ("-e", "API_SECURITY_MODE=API_KEY", "-e", "API_KEY=s3cret")
    filtered = f"--security-opt=seccomp={tmp_path}/filter.json"
    id = container("--network=plant", "-p", f"127.0.0.1:{port}:48484", *key, filtered)
    until(lambda: healthy(docker, id))
    agent = AgentApi(f"http://127.0.0.1:{port}")
    assert agent.request("GET", "/v1/device")[0] == 401
    status, reply = agent.request("GET", "/v1/device", headers={"X-Api-Key": "s3cret"})
    assert (status, reply["status"]) == (200, "Idle")
    docker.run("stop", id)
    log = docker.run("logs", id)
    assert log.splitlines()[-1].endswith("lifecycle: STOPPED")
    assert "not permitted" not in log
    assert "s3cret" not in log


def test_a_folder_that_is_not_its_users_is_one_clear_line_and_exit_code_1(docker, container, tmp_path):
    tmp_path.chmod(0o755)
    id = container("--network=none", "-v", f"{tmp_path}:/app/data")
    until(lambda: not docker.inspect(id)["State"]["Running"])
    assert docker.inspect(id)["State"]["ExitCode"] == 1
    last = docker.run("logs", id).splitlines()[-1]
    assert "cannot start: /app/data/agent.sqlite: cannot be used" in last
