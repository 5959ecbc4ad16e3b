import asyncio
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest
from fake_agent import FakeAgent, node, serving

from actors.system.messages import DumpTree, TreeDumped
from api.command import main

HEAVY = {"aiohttp", "thespian", "msgspec", "sqlite_utils", "asyncio", "urllib.request"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("DEVICE_API_URL", "DEVICE_API_PORT", "API_KEY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _base_url(client):
    return str(client.make_url("")).rstrip("/")


async def _main(*arguments):
    return await asyncio.to_thread(main, arguments)


async def test_the_tree_is_nested():
    agent = FakeAgent()
    child = node("plc", health="connected", restarts=1, last_error="ValueError")
    agent.answers[DumpTree] = TreeDumped(node("agent", children=[child]), 0.25, 12.0)
    async with serving(agent) as client:
        body = await (await client.get("/v1/actors")).json()
    assert (body["loopLagMs"], body["loopLagMaxMs"]) == (0.25, 12.0)
    assert body["root"]["name"] == "agent"
    assert body["root"]["children"] == [
        {
            "name": "plc",
            "class": "Plc",
            "address": "/plc",
            "state": "running",
            "health": "connected",
            "uptime": 65.0,
            "mailbox": 0,
            "mailboxHigh": 3,
            "mailboxDropped": 0,
            "handled": 42,
            "meanMs": 0.05,
            "maxMs": 1.5,
            "restarts": 1,
            "lastError": "ValueError",
            "children": [],
        }
    ]


async def test_the_tree_is_text_on_request():
    async with serving(FakeAgent()) as client:
        reply = await client.get("/v1/actors?format=text")
        assert (reply.status, reply.content_type) == (200, "text/plain")
        assert "├── store" in await reply.text()
        assert (await client.get("/v1/actors?format=xml")).status == 400


async def test_the_command_prints_the_tree(capsys):
    async with serving(FakeAgent()) as client:
        assert await _main("actors", "--url", _base_url(client)) == 0
    assert "└── endpoints" in capsys.readouterr().out


async def test_the_command_finds_the_agent_by_the_environment(monkeypatch, capsys):
    async with serving(FakeAgent(), security_mode="API_KEY", key="s3cret") as client:
        monkeypatch.setenv("DEVICE_API_PORT", str(client.port))
        monkeypatch.setenv("API_KEY", "s3cret")
        assert await _main("actors") == 0
        monkeypatch.setenv("DEVICE_API_URL", f"{_base_url(client)}/")
        monkeypatch.setenv("DEVICE_API_PORT", "none")
        assert await _main("actors") == 0
        assert await _main("actors", "--api-key", "wrong") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "401" in error


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1:99999"]
)
async def test_no_agent_is_one_clear_line(url, capsys):
    assert await _main("actors", "--url", url) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"callboard: no answer from an agent at {url}: ")
    assert captured.err.count("\n") == 1


def test_run_hands_its_arguments_on(monkeypatch, tmp_path):
    module = ModuleType("api.run")
    calls = []
    module.run = lambda *arguments: calls.append(arguments) or 7
    monkeypatch.setitem(sys.modules, "api.run", module)
    assert main(["run"]) == 7
    assert main(["run", "--config", str(tmp_path / "a.toml"), "--data-dir", str(tmp_path), "--demo"]) == 7
    assert calls == [(None, None, False), (tmp_path / "a.toml", tmp_path, True)]


def test_the_version_is_that_of_the_distribution(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "version", lambda name: f"1.2.3 of {name}")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "callboard 1.2.3 of callboard\n"


def test_no_command_prints_the_usage(capsys):
    assert main([]) == 2
    assert "usage: callboard" in capsys.readouterr().err


def test_the_command_line_starts_without_heavy_modules():
    script = "import sys, api.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(loaded.stdout.split())
