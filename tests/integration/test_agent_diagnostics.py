"""A real agent: what it says of its machine and of itself, to people, to brokers and to Prometheus."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers.agent import AgentProcess
from servers.mosquitto import Mosquitto


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent") / "data", DEVICE_NAME="line 7") as agent:
        yield agent


def eventually(look: Callable[[], Any], wanted: Callable[[Any], bool] = bool) -> Any:
    deadline = time.monotonic() + 15
    while not wanted(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_the_dashboard_is_there_soon_and_says_what_other_programs_say(agent):
    stats = agent.get("/v1/dashboard/stats")
    memory = psutil.virtual_memory()
    assert stats["hostname"] == socket.gethostname()
    assert 0 <= stats["cpu_usage"] <= 100
    if not stats["container"]:
        assert stats["memory_total"] == memory.total
        assert stats["memory_percent"] == pytest.approx(memory.percent, abs=10)
    space = os.statvfs(agent.data_dir)
    assert stats["storage_total"] == pytest.approx(space.f_blocks * space.f_frsize, rel=0.1)
    assert stats["uptime"] == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=60)
    assert stats["process"]["rss"] == pytest.approx(psutil.Process(agent.pid).memory_info().rss, rel=0.3)
    assert {"rx_bytes_per_sec", "tx_bytes_per_sec"} == stats["network"].keys()
    assert "lo" in {one["iface"] for one in stats["interfaces"]}


def test_asking_all_the_time_takes_no_samples(agent):
    before = agent.get("/v1/dashboard/stats")["process"]["uptime"]
    assert {agent.get("/v1/dashboard/stats")["process"]["uptime"] for _ in range(20)} == {before}


def test_memory_is_that_of_the_process(agent):
    memory = agent.get("/v1/memory")
    diagnostics = memory["diagnostics"]
    assert diagnostics["rss"] == pytest.approx(psutil.Process(agent.pid).memory_info().rss, rel=0.1)
    assert diagnostics["heapUsed"] + diagnostics["external"] == diagnostics["rss"]
    assert diagnostics["heapUsed"] <= diagnostics["heapTotal"]
    assert memory["restartPolicy"]["enabled"] is False
    assert memory["restartPolicy"]["blockReason"]


def test_the_memory_line_of_the_health_report(agent):
    lines = {one["name"]: one for one in agent.get("/v1/health/report")["report"]["subsystems"]}
    assert (lines["host"]["healthy"], lines["host"]["critical"]) == (True, False)
    eventually(
        lambda: "memory" in {one["name"] for one in agent.get("/v1/health/report")["report"]["subsystems"]}
    )


def test_a_trace_holds_nobody_up_and_gives_its_memory_back(agent):
    before = psutil.Process(agent.pid).memory_info().rss
    traced = agent.post("/v1/memory/trace", {"seconds": 0.5, "top": 5})
    assert traced["keptBytes"] >= 0
    assert len(traced["top"]) <= 5
    assert traced["endedEarly"] is False
    after = agent.get("/v1/memory")
    assert after["tracing"] is False
    assert after["trace"] == traced
    assert psutil.Process(agent.pid).memory_info().rss - before < 4_000_000


def test_the_database_is_told(agent):
    stats = agent.get("/v1/db/stats")
    file = agent.data_dir / "agent.sqlite"
    assert (stats["path"], stats["exists"]) == (str(file), True)
    assert stats["sizeBytes"] == file.stat().st_size
    assert stats["sizeMb"] == round(stats["sizeBytes"] / 1048576, 2)
    assert stats["tableCount"] == len(stats["tables"])
    assert {"target_state", "outbox", "devices"} <= set(stats["tables"])


def scraped(agent: AgentProcess) -> dict[str, Any]:
    with urlopen(f"{agent.url}/metrics") as reply:
        return {one.name: one for one in text_string_to_metric_families(reply.read().decode())}


def test_prometheus_reads_it(agent):
    found = scraped(agent)
    assert found["callboard_build_info"].samples[0].labels["version"]
    assert [one.labels["state"] for one in found["callboard_state"].samples if one.value] == ["RUNNING"]
    assert found["callboard_actors"].samples[0].value >= 8
    assert (
        found["callboard_unrouted_batches"].samples[0].value == 0
    )  # though nobody subscribes to the machine's
    assert found["process_resident_memory_bytes"].samples[0].value > 10**7
    assert {one.labels["level"] for one in found["callboard_log_entries"].samples} >= {"info"}
    before = sum(one.value for one in found["callboard_http_requests"].samples)
    assert sum(one.value for one in scraped(agent)["callboard_http_requests"].samples) == before + 1


def test_the_machines_readings_go_to_who_asks_for_them(agent, tmp_path):
    agent.patch("/v1/settings", {"intervals": {"agent": {"hostSampleIntervalMs": 1000}}})
    with Mosquitto(tmp_path) as broker:
        config = {"host": "127.0.0.1", "port": broker.port, "topicTemplate": "plant/{protocol}/{device}"}
        body = {"name": "broker", "type": "mqtt", "config_json": config}
        destination = agent.post("/v1/publish/destinations", body)
        wanted = {"publish_destination_id": destination["id"], "payload_format": "tags"}
        route = {"includeMetrics": ["cpu_usage", "memory_percent"]}
        agent.post("/v1/publish/subscriptions", wanted | {"topics": ["system/#"], "route_json": route})
        command = [
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            str(broker.port),
            "-t",
            "#",
            "-C",
            "1",
            "-F",
            "%t|%p",
        ]
        heard = subprocess.run(command, capture_output=True, text=True, timeout=25, check=True)
    topic, _, payload = heard.stdout.partition("|")
    assert "system" in topic
    message = msgspec.json.decode(payload)
    assert {tag["name"] for tag in message["tags"]} == {"cpu_usage", "memory_percent"}
    assert message["node"] == "line 7"
    agent.patch("/v1/settings", {"intervals": None})


def test_the_machine_is_no_device_and_its_readings_are_readings(agent):
    assert agent.get("/v1/devices") == {"devices": []}
    found = agent.get("/v1/readings/latest?protocol=system")["readings"]
    assert {"cpu_usage", "memory_percent", "disk_usage"} <= {one["metric"] for one in found}
    assert {one["endpoint"] for one in found} == {"host"}


def test_a_database_that_is_deleted_is_not_there(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        for file in agent.data_dir.glob("agent.sqlite*"):
            if not file.name.endswith(".lock"):
                file.unlink()
        status, stats = agent.request("GET", "/v1/db/stats")
        assert (status, stats.get("exists", True)) in ((200, False), (200, True), (503, True))


def test_settings_hold_at_once(agent):
    def patch(agent_intervals: dict[str, Any], memory: dict[str, Any]) -> None:
        agent.patch("/v1/settings", {"intervals": {"agent": agent_intervals}, "runtime": {"memory": memory}})

    before = agent.get("/v1/dashboard/stats")["process"]["uptime"]
    patch({"hostSampleIntervalMs": 1000}, {"maxMemoryMb": 5000, "thresholdMb": 40})
    eventually(lambda: agent.get("/v1/dashboard/stats")["process"]["uptime"], lambda now: now > before)
    policy = eventually(lambda: agent.get("/v1/memory")["restartPolicy"], lambda policy: policy["enabled"])
    assert (policy["thresholdMb"], policy["criticalThresholdMb"]) == (5000, 7500)
    assert agent.get("/v1/memory")["diagnostics"]["thresholdMB"] == 40
    patch({"hostSampleIntervalMs": None}, {"maxMemoryMb": None, "thresholdMb": None})
    eventually(lambda: agent.get("/v1/memory")["restartPolicy"]["enabled"], lambda enabled: not enabled)
