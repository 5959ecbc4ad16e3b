"""What an operator sees when the machine does not do what it should: docs/deployment.rst has the table."""

import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.disks import SmallDisk, slow_disk, small_disk
from servers.field import FieldServer, field

from api.cli import run

POINTS = [{"name": "sequence", "register": "holding:0", "type": "uint32"}]
FORCED = run.FORCED_END


def until(happened: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


@pytest.fixture
def device() -> Iterator[FieldServer]:
    with field() as device:
        yield device


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def deliver_nowhere(agent: AgentProcess, device: FieldServer) -> None:
    """Poll a device, for a broker that is not there."""
    destination = agent.post(
        "/v1/publish/destinations",
        {"name": "away", "type": "mqtt", "config_json": {"host": "127.0.0.1", "port": 1}},
    )
    subscription = {"publish_destination_id": destination["id"], "route_json": {"topic": "plant"}}
    agent.post("/v1/publish/subscriptions", subscription)
    connection = {"host": "127.0.0.1", "port": device.port}
    row = {"name": "plc", "protocol": "modbus", "connection": connection, "poll_interval": 20}
    agent.post("/v1/endpoints", row | {"data_points": POINTS})


def waiting(agent: AgentProcess) -> int:
    return int(agent.get("/v1/buffer/status")["mqttMessageBufferCount"])


def stored(folder: Path) -> int:
    """Readings in the outbox on disk."""
    with closing(sqlite3.connect(folder / "agent.sqlite")) as connection:
        return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])


def another(agent: AgentProcess) -> tuple[int, Any]:
    """Try to add an endpoint."""
    row = {"name": f"late-{time.monotonic_ns()}", "protocol": "modbus", "connection": {"host": "h"}}
    return agent.request("POST", "/v1/endpoints", row | {"enabled": False})


def line(agent: AgentProcess, name: str) -> dict[str, Any]:
    _, reply = agent.request("GET", "/v1/health/report")
    return next((one for one in reply["report"]["subsystems"] if one["name"] == name), {})


SOON = "[health]\ncheck_interval_ms = 200\n"


def configured(tmp_path: Path, data: Path, **env: str) -> AgentProcess:
    config = tmp_path / "agent.toml"
    config.write_text(SOON)
    return AgentProcess(data, config, **env)


# Disks


def test_on_a_disk_that_is_full_it_goes_on_is_not_ready_and_refuses_changes_until_there_is_room(
    tmp_path, disk, device
):
    with configured(tmp_path, disk.path / "data") as agent:
        deliver_nowhere(agent, device)
        until(lambda: waiting(agent))
        disk.fill()
        _, refused = until(lambda: (answer := another(agent))[0] == 503 and answer)
        assert "full" in str(refused)
        until(lambda: "full" in line(agent, "database-writes").get("lastError", ""))
        assert agent.get("/v1/healthy")["status"] == "healthy"  # a restart would cost what is in memory
        read = device.server.device().sequence
        until(lambda: device.server.device().sequence > read + 10)
        assert "cannot be stored" in agent.log.read_text()
        disk.make_room()
        until(lambda: another(agent)[0] == 201)
        until(lambda: agent.request("GET", "/v1/readiness")[0] == 200)
        read = device.server.device().sequence
        assert agent.stop() == 0
        assert "Traceback" not in agent.log.read_text()
    assert stored(disk.path / "data") >= read - 1


def test_stopped_while_the_disk_is_full_it_ends_in_time_and_says_what_it_could_not_keep(
    tmp_path, disk, device
):
    with configured(tmp_path, disk.path / "data") as agent:
        deliver_nowhere(agent, device)
        until(lambda: waiting(agent))
        disk.fill()
        until(lambda: "cannot be stored" in agent.log.read_text())  # its log may have had some room
        began = time.monotonic()
        code = agent.stop()
        assert time.monotonic() - began < FORCED
        log = agent.log.read_text()
        assert re.search(r"away: \d+ payloads could not be stored and are lost", log)
        assert code == 0, log
        disk.make_room()
        agent.start()
        assert agent.get("/v1/endpoints")["endpoints"][0]["name"] == "plc"
        assert agent.stop() == 0


@pytest.mark.parametrize(("how", "said"), [("full", "make room on the disk"), ("ro", "ead-only file system")])
def test_on_a_disk_that_takes_nothing_it_does_not_start_and_says_why(tmp_path, disk, how, said):
    if how == "full":
        disk.fill()
    else:
        disk.become("ro")
    agent = AgentProcess(disk.path / "data")
    agent.log = tmp_path / "agent.log"
    agent.launch()
    assert agent.wait() == 1
    last = agent.last_words().splitlines()[-1]
    assert "CRITICAL" in last
    assert said in last
    assert "Traceback" not in agent.last_words()


# Stopping


def test_with_a_slow_disk_and_no_broker_it_stops_in_time_with_everything_on_disk(tmp_path, device):
    with AgentProcess(tmp_path / "data", **slow_disk(tmp_path, 400)) as agent:
        deliver_nowhere(agent, device)
        until(lambda: waiting(agent) > 20)
        read = device.server.device().sequence
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < FORCED
        assert agent.last_words().endswith("lifecycle: STOPPED")
    assert stored(tmp_path / "data") >= read - 1


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGHUP])
def test_told_again_to_stop_it_goes_on_stopping(tmp_path, device, again):
    with AgentProcess(tmp_path / "data", **slow_disk(tmp_path, 150)) as agent:
        deliver_nowhere(agent, device)
        until(lambda: waiting(agent) > 10)
        read = device.server.device().sequence
        agent.signal(signal.SIGTERM)
        until(lambda: "STOPPING" in agent.last_words())
        assert agent.stop(again) == 0
        assert agent.last_words().endswith("lifecycle: STOPPED")
        assert agent.last_words().count("STOPPING") == 1
    assert stored(tmp_path / "data") >= read - 1


@pytest.mark.timeout(60)
def test_under_a_disk_that_hangs_it_ends_by_force_in_time(tmp_path):
    agent = AgentProcess(tmp_path / "data", **slow_disk(tmp_path, 60_000))
    try:
        agent.launch()
        until(lambda: "INIT" in agent.last_words())
        began = time.monotonic()
        assert agent.stop() == 1
        assert time.monotonic() - began < FORCED + 2
    finally:
        agent.kill()


@pytest.mark.parametrize("moment", ["starts, its data is in", "API listens", "READY", "RUNNING"])
def test_stopped_at_any_moment_of_its_start_it_ends_in_order(tmp_path, moment):
    agent = AgentProcess(tmp_path / "data")
    try:
        agent.launch()
        until(lambda: moment in agent.last_words())
        assert agent.stop() == 0
        assert "Traceback" not in agent.last_words()
        agent.start()
        assert agent.stop() == 0
    finally:
        agent.kill()


@pytest.mark.parametrize("how", ["stop", "restart"])
def test_a_device_that_does_not_answer_holds_nobody_up(tmp_path, device, how):
    device.server.on_request = lambda unit, function, address, count: "silent"
    with AgentProcess(tmp_path / "data") as agent:
        connection = {"host": "127.0.0.1", "port": device.port, "timeout": 15_000}
        row = {"name": "plc", "protocol": "modbus", "connection": connection, "poll_interval": 20}
        agent.post("/v1/endpoints", row | {"data_points": POINTS})
        until(lambda: device.server.listening[0].peak)
        began = time.monotonic()
        if how == "restart":
            assert agent.request("POST", "/v1/reboot")[0] == 202
            agent.wait_until_running()
            assert time.monotonic() - began < 4
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 4
        assert " ERROR " not in agent.log.read_text()


def test_stopped_in_the_middle_of_a_soft_restart_it_ends_in_order(tmp_path, device):
    with AgentProcess(tmp_path / "data") as agent:
        deliver_nowhere(agent, device)
        until(lambda: waiting(agent) > 10)
        read = device.server.device().sequence
        assert agent.request("POST", "/v1/reboot")[0] == 202
        assert agent.stop() == 0
        assert agent.last_words().endswith("lifecycle: STOPPED")
        assert "Traceback" not in agent.last_words()
    assert stored(tmp_path / "data") >= read - 1
