"""The `callboard` command, and `callboard actors` against a running API."""

import asyncio
import socket
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest
from fake_agent import FakeAgent, serving

from api.cli.command import main

HEAVY = {"aiohttp", "thespian", "msgspec", "sqlite_utils", "asyncio", "urllib.request"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("DEVICE_API_URL", "DEVICE_API_PORT", "API_KEY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _base_url(client):
    return str(client.make_url("")).rstrip("/")


async def _main(*arguments):
    return await asyncio.to_thread(main, arguments)


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
        assert await _main("actors", "--api-key", "wrong") == 4
    error = capsys.readouterr().err
    assert error == "callboard: Unauthorized. Say the API key with --api-key or API_KEY\n"


@pytest.mark.parametrize("command", ["actors", "tap", "status", "logs"])
async def test_no_agent_is_one_clear_line(command, capsys):
    assert await _main(command, "--url", "http://127.0.0.1:1") == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("callboard: no answer from an agent at http://127.0.0.1:1: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("command", ["actors", "tap", "status"])
@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://127.0.0.1", "http://127.0.0.1:99999", "http://:80", "http://u:pw@127.0.0.1:1"]
)
async def test_a_url_that_is_none_is_wrong_usage(command, url, capsys):
    assert await _main(command, "--url", url) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("callboard: ")
    assert captured.err.count("\n") == 1
    assert "pw" not in captured.err


@pytest.mark.parametrize("command", ["actors", "tap"])
async def test_a_name_that_the_agent_does_not_know_is_said_with_what_to_do(command, monkeypatch, capsys):
    async with serving(FakeAgent(), security_mode="LOCAL_NETWORK") as client:
        resolve = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
        )
        assert await _main(command, "--url", f"http://edge-7.plant.example:{client.port}") == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "edge-7.plant.example is not known as a name of this machine. Call it by its IP address" in said
    assert "API_ALLOWED_HOSTS" in said


async def test_an_error_that_breaks_off_is_said_by_its_status(capsys):
    async def break_off(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 99\r\n\r\n{")
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await _main("actors", "--url", url) == 3
    assert capsys.readouterr().err.endswith(": HTTP 500 Internal Server Error\n")


def test_run_hands_its_arguments_on(monkeypatch, tmp_path):
    module = ModuleType("api.cli.run")
    calls = []
    module.run = lambda *arguments: calls.append(arguments) or 7
    monkeypatch.setitem(sys.modules, "api.cli.run", module)
    assert main(["run"]) == 7
    assert main(["run", "--config", str(tmp_path / "a.toml"), "--data-dir", str(tmp_path), "--demo"]) == 7
    assert calls == [(None, None, False), (tmp_path / "a.toml", tmp_path, True)]


def test_an_agent_that_ends_over_a_broken_pipe_has_not_ended_well(monkeypatch, capsys):
    module = ModuleType("api.cli.run")

    def run(*arguments):
        raise BrokenPipeError(32, "Broken pipe")

    module.run = run
    monkeypatch.setitem(sys.modules, "api.cli.run", module)
    assert main(["run"]) == 1
    assert capsys.readouterr().err == "callboard: the agent has ended: Broken pipe\n"


def test_the_version_is_that_of_the_distribution(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "version", lambda name: f"1.2.3 of {name}")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "callboard 1.2.3 of callboard\n"


def test_no_command_prints_the_usage(capsys):
    assert main([]) == 2
    assert "usage: callboard" in capsys.readouterr().err


def test_the_version_is_said_without_the_rest_of_the_command_line():
    script = "import sys; from api.cli.command import main; main(['--version']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert not (HEAVY | {"argparse", "http.client", "json", "ssl", "rich", "shtab"}) & modules


def test_the_command_line_starts_without_heavy_modules():
    script = "import sys, api.cli.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(loaded.stdout.split())
