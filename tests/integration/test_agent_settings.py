"""Settings of a running agent: each that has an effect is changed, and the effect observed."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.agent import AgentProcess
from test_delivery import Plant, buffer, configure, plant, wait_for

__all__ = ["plant"]  # a fixture

SLACK = 0.5
POLL_MS = 400  # long enough for a device on a busy machine: a poll without an answer is a reading less


def change(agent: AgentProcess, **patch: Any) -> Any:
    return agent.patch("/v1/settings", patch)["settings"]


def switch(agent: AgentProcess, on: bool) -> None:
    assert change(agent, features={"enableDevicePublish": on})["features"]["enableDevicePublish"] is on


def begin(agent: AgentProcess, plant: Plant) -> None:
    """Readings of a device that was too busy to answer are not published."""
    configure(agent, plant.line, plant.broker.port, poll_ms=POLL_MS)
    (subscription,) = agent.get("/v1/publish/subscriptions")["subscriptions"]
    route = subscription["route_json"] | {"qualities": ["GOOD"]}
    agent.patch(f"/v1/publish/subscriptions/{subscription['id']}", {"route_json": route})


def status(agent: AgentProcess) -> Any:
    (destination,) = agent.get("/v1/publish/destinations")["publishers"]
    return destination["status"]


def debug_lines(agent: AgentProcess) -> int:
    agent.get("/v1/settings")
    return agent.log.read_text().count(" DEBUG ")


@pytest.mark.timeout(60)
def test_the_level_of_the_log_changes_at_once_and_is_there_after_kill_9(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data", LOG_LEVEL="warn") as agent:
        assert agent.get("/v1/settings")["settings"]["logging"]["level"] == "warn"
        assert debug_lines(agent) == 0
        assert change(agent, logging={"level": "debug"})["logging"]["level"] == "debug"
        assert debug_lines(agent) > 0
        agent.kill()
        agent.start()
        before = debug_lines(agent)
        wait_for(lambda: debug_lines(agent) > before)
        assert change(agent, logging={"level": None})["logging"]["level"] == "warn"
        debug_lines(agent)
        before = debug_lines(agent)
        assert debug_lines(agent) == before
        assert agent.stop() == 0


def test_the_reference_example_over_http_and_what_is_refused(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        status, body = agent.request(
            "PATCH", "/v1/settings", {"logging": {"level": "debug"}, "intervals": {"stateReportMs": 30000}}
        )
        assert status == 200
        assert body["logging"] == body["settings"]["logging"]
        assert body["intervals"]["stateReportMs"] == body["settings"]["intervals"]["stateReportMs"] == 30000
        identity = agent.get("/v1/device")
        shown = agent.get("/v1/settings")
        assert shown["settings"]["agent"]["uuid"] == identity["uuid"]
        assert shown["settings"]["agent"].keys() >= {"uuid", "name", "version", "provisioned"}
        assert agent.patch("/v1/settings", shown)["settings"] == shown["settings"]
        for sent, field in (
            ({"logging": {"level": "loud"}}, "logging.level"),
            ({"logging": {"levle": "debug"}}, "logging.levle"),
            ({"loging": {"level": "debug"}}, "loging"),
            ({"intervals": {"stateReportMs": 5}}, "intervals.stateReportMs"),
            ({"runtime": 5}, "runtime"),
            ({"anomalyDetection": []}, "anomalyDetection"),
        ):
            status, body = agent.request("PATCH", "/v1/settings", sent)
            assert (status, body["field"]) == (400, field)
        for sent in (
            b"[]",
            b"5",
            b'{"anomalyDetection": {"a": 1e999}}',
            b'{"anomalyDetection": {"a": "\\u0000"}}',
        ):
            assert agent.request("PATCH", "/v1/settings", sent)[0] == 400
        assert agent.get("/v1/settings") == shown
        assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_switched_off_nothing_is_published_and_what_was_in_the_outbox_comes_when_it_is_on(
    plant: Plant,
) -> None:
    agent = plant.agent()
    begin(agent, plant)
    readings = lambda: len(plant.delivery.subscriber.readings)  # noqa: E731
    wait_for(lambda: readings() > 20)
    plant.broker.stop()
    wait_for(lambda: buffer(agent)["mqttMessageBufferCount"] > 30)
    arrived, off_at = readings(), time.monotonic()
    switch(agent, False)
    wait_for(lambda: status(agent)["health"] == "disabled")
    assert status(agent)["reason"] == "publishing is switched off (features.enableDevicePublish)"
    plant.broker.start()
    waiting = status(agent)["rows"]
    assert waiting > 30
    read = plant.line.total
    wait_for(lambda: plant.line.total > read + 15)
    agent.kill()
    agent.start()
    wait_for(lambda: plant.line.total > read + 40)
    assert (status(agent)["health"], status(agent)["rows"]) == ("disabled", waiting)
    for reading in plant.delivery.subscriber.readings[arrived:]:  # what the broker had, and has kept
        assert plant.line.read_at[reading.unit][reading.seq - 1] < off_at
    switch(agent, True)
    on_at = time.monotonic()
    plant.delivery.settle()
    missing = plant.delivery.missing()
    assert missing
    assert all(off_at - SLACK < read_at < on_at + SLACK for read_at in missing.values())
    assert readings() - arrived >= waiting
    plant.delivery.check_order()
    wait_for(lambda: status(agent)["health"] == "connected")
    assert "reason" not in status(agent)
    assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_switched_fifty_times_under_load_only_what_was_read_while_it_was_off_is_missing(
    plant: Plant,
) -> None:
    agent = plant.agent()
    begin(agent, plant)
    wait_for(lambda: len(plant.delivery.subscriber.readings) > 20)
    times_off: list[tuple[float, float]] = []
    for turn in range(50):
        began = time.monotonic()
        switch(agent, False)
        time.sleep(0.01 * (turn % 4))
        switch(agent, True)
        times_off.append((began, time.monotonic()))
        read = plant.line.total
        wait_for(lambda read=read: plant.line.total > read + 2)
    plant.delivery.settle()
    for read_at in plant.delivery.missing().values():
        assert any(began - SLACK < read_at < ended + SLACK for began, ended in times_off)
    plant.delivery.check_order()
    assert agent.get("/v1/settings")["settings"]["features"]["enableDevicePublish"] is True
    assert "Traceback" not in agent.log.read_text()
    assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_sizes_of_the_log_change_at_once(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:

        def total() -> int:
            found: int = agent.get("/v1/logs")["total"]
            return found

        change(agent, logging={"level": "debug"})
        wait_for(lambda: total() > 30)
        change(agent, logging={"maxLogs": 10})
        assert total() <= 10
        change(agent, logging={"maxLogs": 500})
        wait_for(lambda: total() > 30)
        change(agent, logging={"maxLogBytes": 16_384})
        wait_for(lambda: sum(len(str(entry)) for entry in agent.get("/v1/logs?limit=1000")["logs"]) < 40_000)
        folder = agent.data_dir / "logs"
        assert not list(folder.glob("*"))
        change(agent, logging={"enableFilePersistence": True, "maxLogFileSize": 16_384, "maxLogFiles": 3})
        wait_for(lambda: total() and len(list(folder.glob("*"))) == 3)
        change(agent, logging={"maxLogFiles": 1})
        wait_for(lambda: total() and len(list(folder.glob("*"))) == 1)
        assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_the_machine_is_sampled_and_memory_judged_as_the_settings_say(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        began = time.monotonic()
        change(agent, intervals={"agent": {"hostSampleIntervalMs": 1000}})
        seen: set[int] = set()

        def sampled() -> bool:
            seen.add(agent.get("/v1/dashboard/stats")["uptime"])
            return len(seen) >= 4

        wait_for(sampled)
        assert time.monotonic() - began < 8  # by default there is a sample in 10 s
        assert agent.get("/v1/memory")["restartPolicy"]["enabled"] is False
        shown = change(agent, runtime={"maxMemoryMb": 512, "memory": {"thresholdMb": 40}})["runtime"]
        assert shown["maxMemoryMb"] == shown["memory"]["maxMemoryMb"] == 512
        policy = agent.get("/v1/memory")["restartPolicy"]
        assert (policy["enabled"], policy["thresholdMb"]) == (True, 512)
        change(agent, runtime={"maxMemoryMb": None})
        assert agent.get("/v1/memory")["restartPolicy"]["enabled"] is False
        assert agent.stop() == 0


@pytest.mark.timeout(60)
def test_a_change_during_a_soft_restart_is_made_or_refused_and_the_others_stay(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        change(agent, features={"enableDevicePublish": False}, logging={"maxLogFiles": 3})
        for turn in range(5):
            agent.post("/v1/reboot", {})
            wanted = agent.get("/v1/settings")["settings"] if agent.ready() else None
            answers = []
            for number in range(30):
                answer, body = agent.request("PATCH", "/v1/settings", {"logging": {"maxLogs": 100 + number}})
                answers.append(answer)
                assert answer == 200 or (answer == 503 and body["error"])
                if answer == 200:
                    wanted = body["settings"]
            agent.wait_until_running()
            found = agent.get("/v1/settings")["settings"]
            if answers[-1] == 200:
                assert found == wanted, f"turn {turn}: {answers}"
            assert found["features"]["enableDevicePublish"] is False
            assert found["logging"]["maxLogFiles"] == 3
        assert "Traceback" not in agent.log.read_text()
        assert agent.stop() == 0


def test_the_openapi_document_says_what_each_setting_may_be(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "data") as agent:
        document = msgspec.json.encode(agent.get("/v1/openapi.json")).decode()
    for word in ("stateReportMs", "cloudEnabled", "maxLogFileSize", "enableDevicePublish", "thresholdMb"):
        assert f'"{word}"' in document
