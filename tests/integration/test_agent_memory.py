"""An agent whose memory grows beyond its limit ends, so that it is started again, and not for ever."""

import json
import time
from pathlib import Path

import pytest
from servers import agent as servers
from servers.agent import AgentProcess

from actors.host import restarts

GROWING = """
from actors.host import growth, memory
from actors.host.machine import Process

growth.IGNORED = 0.0
memory.interval = lambda settings: 0.02
looks = iter(range(10**9))

def process():
    size = 80 if next(looks) < 10 else 120
    return Process(size << 20, 20 << 20, 200 << 20, 1.0, 5, 30, 3600.0)

memory.process = process
original = memory.MemoryLimit.change
memory.MemoryLimit.change = lambda self, limit: original(self, 100.0)
"""


def test_it_ends_with_exit_code_1_three_times_an_hour_and_then_says_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = servers._COMMAND.replace("from api.cli.command", f"{GROWING}\nfrom api.cli.command")
    monkeypatch.setattr(servers, "_COMMAND", command)
    agent = AgentProcess(tmp_path / "data", HEALTH_CHECK_INTERVAL_MS="100")
    try:
        agent.data_dir.mkdir()
        restarts.record(agent.data_dir, [restarts.now()])
        for number in (2, 3):
            agent.launch()
            assert agent.wait() == 1, agent.last_words()
            assert len(json.loads((agent.data_dir / "memory-restarts.json").read_text())) == number
        assert agent.log.read_text().count("the agent ends, to be started again") == 2
        assert agent.log.read_text().count("lifecycle: STOPPED") == 2
        agent.start()
        deadline = time.monotonic() + 10
        while True:
            policy = agent.get("/v1/memory")["restartPolicy"]
            lines = agent.request("GET", "/v1/health/report")[1]["report"]["subsystems"]
            told = {one["name"]: one.get("lastError") or "" for one in lines}.get("memory", "")
            if "no restart" in told:
                break
            assert time.monotonic() < deadline, told
        assert policy["canRestart"] is False
        assert policy["blockReason"] == "there were 3 within the hour"
        assert policy["restartAttemptsSinceStartup"] == 3
        assert "120 MB are resident, more than the limit of 100 MB" in told
        assert agent.request("GET", "/v1/healthy")[0] == 200
        assert agent.stop() == 0
    finally:
        agent.kill()
