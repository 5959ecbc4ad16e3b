"""`callboard tap` against a real agent, and against an API that answers what a test wants."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_agent import FakeAgent, serving
from servers.agent import AgentProcess, callboard
from servers.field import field

from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import ReportLatest
from api import streams
from api.cli.command import main
from api.readings_hub import ReadingsHub

ROOT = Path(__file__).parents[2]
POINTS = [
    {"name": "sequence", "register": "holding:0", "type": "uint32"},
    {"name": "clock", "register": "holding:2", "type": "uint32", "unit": "ms"},
]
PRESS = Source("u", "press", "modbus", "d", "press", (Point("speed", "m/s"),), ())


def environment(**changes: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **changes}


class Tap:
    """`callboard tap` in a process of its own; `printed` are the lines of its output so far."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._output, self._errors = directory / "tap.out", directory / "tap.err"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                callboard("tap", *arguments), stdout=output, stderr=errors, env=environment()
            )

    @property
    def printed(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def said(self) -> list[str]:
        return self._errors.read_text().splitlines()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def tapping(directory: Path, *arguments: str) -> Iterator[Tap]:
    tap = Tap(directory, *arguments)
    try:
        yield tap
    finally:
        tap.process.kill()
        tap.process.wait()


def wait_for(happened: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def endpoint(port: int, name: str = "plc") -> dict[str, Any]:
    connection = {"host": "127.0.0.1", "port": port}
    row = {"name": name, "protocol": "modbus", "connection": connection, "poll_interval": 20}
    return row | {"data_points": POINTS}


def latest(agent: AgentProcess) -> list[str]:
    return [one["endpoint"] for one in agent.get("/v1/readings/latest?metric=clock")["readings"]]


# Against a real agent


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_readings_are_printed_also_after_the_agent_was_away(tmp_path, ending):
    with field() as device, AgentProcess(tmp_path / "data") as agent:
        agent.post("/v1/endpoints", endpoint(device.port))
        agent.post("/v1/endpoints", endpoint(device.port, "other"))
        arguments = ["--url", agent.url, "--endpoint", "p*", "--metric", "sequence", "--quality", "good"]
        with tapping(tmp_path, *arguments) as tap:
            wait_for(lambda: len(tap.printed) >= 20)
            began = time.monotonic()
            if ending == "stop":
                assert agent.stop() == 0
                assert time.monotonic() - began < 2
            else:
                agent.kill()
            wait_for(lambda: tap.said)
            before = len(tap.printed)
            agent.start()
            wait_for(lambda: len(tap.printed) >= before + 20)
            assert tap.interrupt() == 130
        gone, back = tap.said
        assert gone.startswith(f"callboard: the agent at {agent.url} is gone (")
        assert back == "callboard: the agent is back"
        shapes = [
            re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  plc  sequence +(\d+)   GOOD", one) for one in tap.printed
        ]
        assert None not in shapes
        numbers = [int(shape[1]) for shape in shapes if shape]
        assert numbers == sorted(set(numbers))


def test_endpoints_that_are_disabled_or_removed_have_no_latest_readings(tmp_path):
    with field() as device, AgentProcess(tmp_path / "data") as agent:
        rows = [agent.post("/v1/endpoints", endpoint(device.port, name)) for name in ("a", "b", "c")]
        wait_for(lambda: latest(agent) == ["a", "b", "c"])
        agent.patch("/v1/endpoints/b", {"enabled": False})
        wait_for(lambda: latest(agent) == ["a", "c"])
        agent.delete(f"/v1/endpoints/{rows[0]['uuid']}")
        wait_for(lambda: latest(agent) == ["c"])
        agent.patch("/v1/endpoints/c", {"enabled": False})
        wait_for(lambda: latest(agent) == [])
        agent.patch("/v1/endpoints/b", {"enabled": True})
        wait_for(lambda: latest(agent) == ["b"])


def test_open_streams_do_not_delay_the_agents_end(tmp_path):
    with field() as device, AgentProcess(tmp_path / "data") as agent:
        agent.post("/v1/endpoints", endpoint(device.port))
        request = b"GET /v1/readings/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
        streams = [socket.create_connection(("127.0.0.1", agent.port)) for _ in range(5)]
        for stream in streams:
            stream.sendall(request)
        for stream in streams:
            assert stream.recv(1)
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 2
        for stream in streams:
            stream.close()
        text = agent.log.read_text()
        assert "Traceback" not in text
        assert " WARNING " not in text


# Against an API that answers what a test wants


async def tap(client: Any, *arguments: str) -> int:
    url = str(client.make_url("")).rstrip("/")
    return await asyncio.to_thread(main, ["tap", "--url", url, *arguments])


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("DEVICE_API_URL", "DEVICE_API_PORT", "API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def test_the_latest_readings_are_printed_once(capsys):
    agent = FakeAgent()
    agent.latest = [Batch(PRESS, 1_705_314_600_042, [1.5])]
    async with serving(agent) as client:
        assert await tap(client, "--latest") == 0
        assert capsys.readouterr().out.endswith("  press  speed  1.5 m/s  GOOD\n")
        assert await tap(client, "--latest", "--json", "--endpoint", "x,press", "--protocol", "modbus") == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert json.loads(line)["value"] == 1.5
        assert await tap(client, "--latest", "--device", "x") == 0
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("latest", [[], ["--latest"]])
async def test_what_the_agent_refuses_is_one_line_and_an_exit_code(capsys, monkeypatch, latest):
    monkeypatch.setattr(streams, "MAX_CLIENTS", 0)
    agent = FakeAgent()
    agent.answers[ReportLatest] = lambda message: None
    async with serving(agent, security_mode="API_KEY", key="s3cret") as client:
        assert await tap(client, *latest) == 4
        said = "callboard: Unauthorized. Say the API key with --api-key or API_KEY\n"
        assert capsys.readouterr() == ("", said)
        assert await tap(client, "--api-key", "s3cret", "--quality", "x", *latest) == 2
        assert capsys.readouterr().err == "callboard: quality must be GOOD, UNCERTAIN or BAD\n"
        monkeypatch.setenv("API_KEY", "s3cret")
        assert await tap(client, *latest) == 6
        text = (
            "The readings actor did not answer in time" if latest else "0 clients follow the readings already"
        )
        assert capsys.readouterr().err == f"callboard: {text}\n"


async def test_something_else_than_an_agent_is_one_clear_line(capsys):
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/v1/readings/{any}", page)
    async with TestServer(app, host="127.0.0.1") as server:
        assert await tap(server) == 3
        assert await tap(server, "--latest") == 3
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("it answers with text/html, not text/event-stream")
    assert second.endswith("it answers with text/html, not application/json")


async def test_a_reader_that_has_enough_ends_it_quietly():
    hub = ReadingsHub()
    async with serving(FakeAgent(), readings=hub) as client:
        command = callboard("tap", "--url", str(client.make_url("")))
        process = await asyncio.to_thread(
            subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        try:
            async with asyncio.timeout(10):
                while not hub.clients:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                hub.publish(Batch(PRESS, 1, [1]))
                line = await asyncio.to_thread(process.stdout.readline)
                assert line.endswith(b"GOOD\n")
                process.stdout.close()
                while process.poll() is None:
                    hub.publish(Batch(PRESS, 1, [1]))
                    await asyncio.sleep(0.01)
            assert (process.returncode, process.stderr.read()) == (0, b"")
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


async def test_how_much_was_left_out_is_said(tmp_path):
    hub = ReadingsHub()
    async with serving(FakeAgent(), readings=hub) as client:
        with tapping(tmp_path, "--json", "--url", str(client.make_url(""))) as tap:
            async with asyncio.timeout(10):
                while not hub.clients:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                (audience,) = hub._audiences.values()
                audience.clients[0]._dropped = 3
                hub.publish(Batch(PRESS, 1, [1]))
                while not tap.printed:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert tap.interrupt() == 130
        assert tap.said == ["callboard: 3 polls were left out, for they were not read in time"]
        assert [json.loads(line)["endpoint"] for line in tap.printed] == ["press"]


@pytest.mark.parametrize(("changes", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_a_terminal_gets_colours_unless_it_wants_none(changes, coloured):
    agent = FakeAgent()
    agent.latest = [Batch(PRESS, 1_705_314_600_042, [1.5])]
    async with serving(agent) as client:
        command = callboard("tap", "--latest", "--url", str(client.make_url("")))
        ours, theirs = pty.openpty()
        try:
            code = await asyncio.to_thread(
                subprocess.call, command, stdout=theirs, env=environment(TERM="xterm", **changes), timeout=10
            )
            printed = os.read(ours, 10_000)
        finally:
            os.close(ours)
            os.close(theirs)
    assert code == 0
    assert (b"\x1b[32mGOOD\x1b[0m" in printed) is coloured
    assert (b"\x1b" in printed) is coloured


def test_an_interrupt_while_it_waits_for_readings_is_exit_code_130(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with tapping(tmp_path, "--url", url) as tap:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(4096).startswith(b"GET /v1/readings/stream ")
                assert tap.interrupt() == 130
        assert (tap.printed, tap.said) == ([], [])


def test_the_tap_loads_none_of_the_agents_modules():
    script = "import sys, api.cli.tap; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"aiohttp", "thespian", "asyncio", "rich"} & set(loaded.stdout.split())
