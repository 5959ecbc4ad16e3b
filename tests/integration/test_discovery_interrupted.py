"""Scans of a real agent that are cut short: by SIGKILL, by a stop, by clients that hang up."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.black_hole import black_hole
from servers.mosquitto import free_port

HOSTS = "127.0.0.91-127.0.0.94"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of addresses that swallow what is sent to them."""
    port = free_port()
    with contextlib.ExitStack() as opened:
        for number in range(91, 95):
            opened.enter_context(black_hole(f"127.0.0.{number}", port))
        yield port


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent
    assert "Traceback" not in agent.log.read_text()


def options(port: int) -> dict[str, Any]:
    return {"network": HOSTS, "port": port, "timeout": 20_000}


def until(look: Callable[[], Any], right: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 8
    while not right(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def running(agent: AgentProcess) -> list[dict[str, Any]]:
    return [run for run in agent.get("/v1/discovery-runs")["runs"] if run["status"] == "running"]


def dialled(pid: int, port: int) -> int:
    """How many sockets the process has to that port."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ours = (line.split() for line in lines)
    return sum(f"socket:[{one[9]}]" in inodes and one[2].endswith(f":{port:04X}") for one in ours)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_run_that_is_cut_short_is_told_as_such_and_is_not_begun_at_once(
    agent: AgentProcess, port: int, number: int
) -> None:
    rule = {"name": "swallowed", "protocol": "modbus", "params_json": options(port)}
    uuid = agent.post("/v1/discovery-rules", rule)["uuid"]

    def run() -> None:
        with contextlib.suppress(Exception):  # its agent ends
            agent.request("POST", f"/v1/discovery-rules/{uuid}/run", {})

    asking = threading.Thread(target=run)
    asking.start()
    until(lambda: dialled(agent.pid, port), lambda count: count == 4)
    assert agent.request("POST", f"/v1/discovery-rules/{uuid}/run", {})[0] == 409
    planned = agent.get("/v1/discovery-rules")["rules"][0]["next_run_at"]

    if number == signal.SIGKILL:
        agent.kill()
    else:
        assert agent.stop() == 0
    agent.start()
    asking.join()

    [latest] = agent.get(f"/v1/discovery-rules/{uuid}/runs")["runs"]
    assert (latest["status"], "interrupted" in latest["error"]) == ("error", True)
    [again] = until(
        lambda: agent.get("/v1/discovery-rules")["rules"], lambda rules: rules[0]["status"] == "error"
    )
    assert "interrupted" in again["last_result_json"]["error"]
    moved = datetime.fromisoformat(again["next_run_at"]) - datetime.fromisoformat(planned)
    assert abs(moved.total_seconds()) < 5
    assert running(agent) == []
    agent.delete(f"/v1/discovery-rules/{uuid}")


def test_clients_that_hang_up_leave_nothing(agent: AgentProcess, port: int) -> None:
    sent = json.dumps({"protocols": ["modbus"], "overrides": {"modbus": options(port)}}).encode()
    head = (
        "POST /v1/discover HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(sent)}\r\n\r\n"
    )
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", agent.port)) as client:
            client.sendall(head.encode() + sent)
            until(lambda: dialled(agent.pid, port), lambda count: count == 4)
        until(lambda: dialled(agent.pid, port), lambda count: count == 0)
    until(lambda: running(agent), lambda runs: runs == [])
    names = {child["name"] for child in _discovery(agent)["children"]}
    assert not any(name.startswith("scan-") for name in names)


def _discovery(agent: AgentProcess) -> dict[str, Any]:
    root = agent.get("/v1/actors")
    children = root.get("root", root)["children"]
    found: dict[str, Any] = next(child for child in children if child["name"] == "discovery")
    return found
