"""`callboard doctor` as a process: beside an agent, after one that was killed, of one that is elsewhere."""

import asyncio
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from scripted_api import scripted
from servers.agent import AgentProcess, callboard
from servers.mosquitto import free_port

ROOT = Path(__file__).parents[2]


def doctor(folder: Path | None, url: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document."""
    where = [] if folder is None else ["--data-dir", str(folder)]
    done = subprocess.run(
        callboard("doctor", "--json", "--url", url, *where),
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **environment},
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def found(document: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [(one["state"], one["says"]) for one in document["findings"] if one["check"] == check]


def look_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that could have changed, but for what every reader of SQLite writes to."""
    return {
        file.name: (
            hashlib.sha256(file.read_bytes()).hexdigest(),
            file.stat().st_mode,
            file.stat().st_ino,
            file.stat().st_mtime_ns,
        )
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.endswith("-shm")
    }


@pytest.mark.timeout(120)
def test_a_killed_agents_data_is_looked_at_and_left_as_it_is(tmp_path):
    with AgentProcess(tmp_path / "data") as agent:
        endpoint = {
            "name": "press",
            "protocol": "modbus",
            "connection": {"host": "127.0.0.1", "port": free_port()},
            "data_points": [{"name": "clock", "register": "holding:2", "type": "uint32"}],
        }
        agent.post("/v1/endpoints", endpoint)
        config = {"host": "127.0.0.1", "port": free_port(), "username": "u", "password": "hunter2"}
        destination = {"name": "plant", "type": "mqtt", "config_json": config}
        agent.post("/v1/publish/destinations", destination)
        code, document = doctor(None, agent.url)
        assert code == 1
        assert [state for state, _ in found(document, "devices")] == ["problem"]
        assert [state for state, _ in found(document, "destinations")] == ["problem"]
        (lock,) = found(document, "lock")  # of the folder that the agent says is its own
        assert f"process {agent.pid}" in lock[1]
        agent.kill()
        before = look_of(agent.data_dir)
        code, document = doctor(agent.data_dir, agent.url)
        assert look_of(agent.data_dir) == before
        assert code == 1
        assert [state for state, _ in found(document, "agent")] == ["warning"]
        assert [state for state, _ in found(document, "database")] == ["ok"]
        assert "press at 127.0.0.1" in found(document, "devices")[0][1]
        assert "plant at 127.0.0.1" in found(document, "destinations")[0][1]
        assert "hunter2" not in json.dumps(document)
        agent.start()
        assert agent.get("/v1/endpoints")["endpoints"][0]["name"] == "press"


async def test_an_agent_elsewhere_is_not_mistaken_for_one_here(tmp_path):
    replies = {
        "GET /v1/health/report": {"overall": "healthy", "ready": True, "state": "RUNNING"},
        "GET /v1/endpoints": {"endpoints": []},
        "GET /v1/publish/destinations": {"publishers": []},
        "GET /v1/db/stats": {"path": "/app/data/agent.sqlite", "exists": True},
    }
    async with scripted(replies) as api:
        code, document = await asyncio.to_thread(doctor, None, api.url, DATA_DIR=str(tmp_path / "data"))
    assert code == 0
    (finding,) = found(document, "data directory")
    assert "another machine, or in a container" in finding[1]
    assert not found(document, "database")
    assert not found(document, "port")


async def test_an_agent_of_another_version_whose_clock_is_wrong(tmp_path):
    async def health(request: web.Request) -> web.Response:
        body = {"overall": "healthy", "ready": True, "state": "RUNNING"}
        return web.json_response(body, headers={"Date": "Thu, 01 Jan 1970 00:10:00 GMT"})

    replies = {"GET /v1/health/report": health, "GET /v1/device": {"agentVersion": "99.0"}}
    async with scripted(replies) as api:
        code, document = await asyncio.to_thread(doctor, tmp_path, api.url)
    assert code == 0
    assert found(document, "version")[0][0] == "warning"
    assert "apart" in found(document, "clock")[0][1]


async def test_an_agent_that_wants_a_key_is_no_reason_to_suspect_the_port(tmp_path):
    replies = {"GET /v1/health/report": (401, {"error": "Unauthorized"})}
    async with scripted(replies) as api:
        port = api.url.rpartition(":")[2]
        code, document = await asyncio.to_thread(doctor, tmp_path, api.url, DEVICE_API_PORT=port)
    assert code == 1
    (finding,) = found(document, "agent")
    assert "API_KEY" in finding[1]
    assert not found(document, "port")
