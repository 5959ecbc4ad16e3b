"""The log of a real agent: from its first line on, through restarts, and of the run before."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("logs") / "data") as agent:
        yield agent
        assert agent.stop() == 0


def until(happened: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def said(agent: AgentProcess, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.get(f"/v1/logs?limit=1000{query}")["logs"]
    return found


class Following:
    """Reads a stream on a thread, as a client does."""

    def __init__(self, agent: AgentProcess, query: str = "") -> None:
        self.entries: list[dict[str, Any]] = []
        self._connection = HTTPConnection("127.0.0.1", agent.port, timeout=20)
        self._connection.request("GET", f"/v1/logs/stream{query}")
        self._socket = self._connection.sock
        self._reply = self._connection.getresponse()
        assert self._reply.status == 200
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._reply:
                if line.startswith(b"data: "):
                    self.entries.append(json.loads(line[6:]))
        except (OSError, ValueError, AttributeError):
            pass

    @property
    def messages(self) -> list[str]:
        return [one["message"] for one in self.entries if "message" in one]

    def ended(self, seconds: float = 10.0) -> bool:
        self._thread.join(seconds)
        ended = not self._thread.is_alive()
        self.leave()
        return ended

    def leave(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._reply.close()
        self._connection.close()


def test_it_begins_with_the_first_line_of_the_process(process):
    entries = said(process)
    assert entries[0]["message"].startswith("callboard ")
    assert "lifecycle: INIT" in [one["message"] for one in entries]
    assert entries[0]["actor"] == "agent"
    numbers = [int(one["id"].removeprefix("log-")) for one in entries]
    assert numbers == sorted(set(numbers))


def test_terminal_and_api_say_the_same(process):
    lines = process.log.read_text().splitlines()
    said_there = [line.partition(": ")[2] for line in lines if " INFO " in line or " WARNING " in line]
    mine = [one["message"].splitlines()[0] for one in said(process)]
    assert [line for line in said_there[:10] if line not in mine] == []


def test_each_entry_names_its_component_and_who_has_one_its_actor(process):
    process.post(
        "/v1/endpoints",
        {
            "name": "plc 1",
            "protocol": "modbus",
            "connection": {"host": "127.0.0.1", "port": 1, "timeout": 200},
            "data_points": [{"name": "p", "register": "holding:1", "type": "uint16"}],
            "poll_interval": 1000,
        },
    )
    until(lambda: said(process, "&actor=endpoints/modbus"))
    entries = said(process)
    assert all(one["component"] and one["context"]["component"] and one["source"]["name"] for one in entries)
    assert {"gateway", "agent", "endpoints/modbus/plc 1"} <= {one.get("actor") for one in entries}
    (written,) = (one for one in entries if "POST /v1/endpoints" in one["message"])
    assert (written["component"], written["level"]) == ("api", "info")
    process.delete("/v1/endpoints")


def test_a_stream_goes_on_through_a_soft_restart_and_tells_of_it(process):
    following = Following(process, "?limit=5")
    until(lambda: len(following.entries) == 5)
    process.post("/v1/reboot", {})
    until(lambda: "lifecycle: STOPPING" in following.messages)
    until(process.ready)
    until(lambda: following.messages[-1:] and "lifecycle: RUNNING" in following.messages)
    assert "lifecycle: INIT" in following.messages
    ids = [one["id"] for one in following.entries]
    assert len(ids) == len(set(ids))
    following.leave()


def test_at_level_debug_a_stream_does_not_feed_itself(process):
    process.patch("/v1/settings", {"logging": {"level": "debug"}})
    following = Following(process)
    process.get("/v1/device")
    until(lambda: any("GET /v1/device" in one for one in following.messages))
    time.sleep(0.3)  # what is caused by what was sent has come by now
    before = len(following.entries)
    time.sleep(0.5)
    assert len(following.entries) - before <= 3, following.messages[before:]
    process.patch("/v1/settings", {"logging": {"level": None}})
    following.leave()


def test_the_log_of_the_last_run_is_there_after_a_restart(tmp_path: Path):
    agent = AgentProcess(tmp_path / "data")
    with agent:
        agent.patch("/v1/settings", {"logging": {"enableFilePersistence": True}})
        following = Following(agent)
        started = until(lambda: said(agent, "&text=starts"))[0]["id"]
        assert agent.stop() == 0
        assert following.ended()
        files = sorted((tmp_path / "data" / "logs").glob("*.log"))
        lines = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
        assert lines[0]["id"] == started
        assert "lifecycle: STOPPED" in [one["message"] for one in lines], "to its last words"
        agent.start()
        former = until(lambda: [one for one in said(agent) if one["id"] == started])
        assert former[0]["message"].startswith("callboard ")
        agent.kill()
        agent.start()
        until(lambda: len(said(agent, "&text=its%20data%20is%20in")) == 3)
        assert agent.stop() == 0


def test_a_folder_that_cannot_be_written_is_told_of_and_recovered_from(tmp_path: Path):
    folder = tmp_path / "data" / "logs"
    often = {"HEALTH_CHECK_INTERVAL_MS": "200"}
    with AgentProcess(tmp_path / "data", LOG_DIR=str(folder / "deeper"), **often) as agent:
        folder.write_text("in the way")
        agent.patch("/v1/settings", {"logging": {"enableFilePersistence": True}})

        def line() -> dict[str, Any] | None:
            lines = agent.get("/v1/health/report")["report"]["subsystems"]
            return next((one for one in lines if one["name"] == "log-files"), None)

        until(lambda: (found := line()) is not None and not found["healthy"])
        assert agent.ready()
        folder.unlink()
        until(lambda: list(folder.glob("deeper/*.log")))
        assert agent.stop() == 0
