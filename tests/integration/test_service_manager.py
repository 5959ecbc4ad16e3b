"""What systemd is told, over a real datagram socket."""

import asyncio
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.agent import AgentProcess
from servers.service_manager import Notified, listening
from thespian.actors import ActorAddress

from actors.subsystems.messages import Check, ReportState, StateReported
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from api.cli import run, service_manager
from api.cli.service_manager import ServiceManager

DATABASE = Check("database", healthy=False, critical=True, consecutive_failures=2, last_error="it is\n gone")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a short name: a socket's has at most 107 bytes."""
    found = Path(tempfile.mkdtemp(prefix="notify-"))
    yield found
    shutil.rmtree(found)


def has(line: str) -> Any:
    return lambda message: line in message


def starts(line: str) -> Any:
    return lambda message: any(one.startswith(line) for one in message)


@pytest.mark.parametrize("abstract", [False, True])
def test_an_agent_tells_that_it_is_ready_alive_and_stopping(tmp_path, folder, abstract):
    address = f"@callboard-{os.getpid()}" if abstract else str(folder / "notify")
    with listening(address) as notified:
        agent = AgentProcess(tmp_path / "data", NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
        with agent:
            assert "STATUS=RUNNING" in notified.until(has("READY=1"))
            notified.until(has("WATCHDOG=1"))
            began = len(notified.messages)
            agent.post("/v1/reboot", {})
            for _ in range(4):
                notified.until(has("WATCHDOG=1"))
            agent.wait_until_running()
            beats = [
                at
                for at, message in zip(notified.arrived, notified.messages, strict=True)
                if "WATCHDOG=1" in message
            ][-4:]
            assert max(b - a for a, b in itertools.pairwise(beats)) < 0.4
            assert "STOPPING=1" not in notified.lines  # a soft restart is none of its business
            assert len(notified.messages) > began
            assert agent.stop() == 0
            notified.until(has("STOPPING=1"))
            assert notified.lines.count("READY=1") == 1
            assert notified.lines.count("STOPPING=1") == 1
            assert "STOPPING=1" in notified.messages[-1]  # it is not kept by signs of life
            assert starts("EXTEND_TIMEOUT_USEC=")(notified.lines)


def test_without_a_watchdog_no_sign_of_life_is_sent_and_for_another_process_neither(tmp_path, folder):
    for env in ({}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}):
        address = str(folder / "notify")
        with listening(address) as notified:
            with AgentProcess(tmp_path / "data", NOTIFY_SOCKET=address, **env) as agent:
                notified.until(has("READY=1"))
                time.sleep(0.2)
                assert agent.stop() == 0
            assert "WATCHDOG=1" not in notified.lines


@pytest.mark.parametrize("address", ["/nowhere/notify", "@callboard-nobody", "vsock:2:1234", "@"])
def test_an_agent_whose_service_manager_is_not_there_runs_and_says_so_once(tmp_path, address):
    with AgentProcess(tmp_path / "data", NOTIFY_SOCKET=address, WATCHDOG_USEC="100000") as agent:
        time.sleep(0.3)
        assert agent.stop() == 0
        log = agent.log.read_text()
        assert len([line for line in log.splitlines() if "WARNING" in line and "NOTIFY_SOCKET" in line]) == 1
        assert "Traceback" not in log


def test_a_socket_that_goes_and_comes_back_is_told_again(tmp_path, folder):
    address = str(folder / "notify")
    with AgentProcess(tmp_path / "data", NOTIFY_SOCKET=address, WATCHDOG_USEC="100000") as agent:
        for _ in range(2):
            with listening(address) as notified:
                notified.until(has("WATCHDOG=1"))
        assert agent.stop() == 0
        assert "Traceback" not in agent.log.read_text()


def test_what_stops_during_the_start_says_that_it_stops_and_never_that_it_was_ready(tmp_path, folder):
    address = str(folder / "notify")
    with listening(address) as notified:
        agent = AgentProcess(tmp_path / "data", NOTIFY_SOCKET=address)
        try:
            agent.launch()
            notified.until(starts("EXTEND_TIMEOUT_USEC="))
            assert agent.stop(signal.SIGTERM) == 0
        finally:
            agent.kill()
        notified.until(has("STOPPING=1"))
        # It may have come to RUNNING before it heard; what matters is what is said last.
        assert "STOPPING=1" in notified.messages[-1]


# The unit

UNIT = Path(__file__).parents[2] / "conf" / "callboard.service"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_the_unit_is_accepted_by_systemd(tmp_path):
    unit = tmp_path / "callboard.service"
    unit.write_text(UNIT.read_text().replace("/opt/callboard/bin/callboard", "/bin/true"))
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_exposure_is_what_the_docs_say():
    """`systemd-analyze security` weighs what is left open; docs/deployment.rst says why."""
    done = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout
    assert re.search(r"Overall exposure level for callboard.service: (\d\.\d) OK", done.stdout)


def test_the_unit_gives_the_agent_the_time_it_takes():
    unit = UNIT.read_text()
    assert "Type=notify" in unit
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert int(stop[1]) > run.FORCED_END


# What it says of whom


class Root(Actor):
    """Answers as it was told last."""

    def receiveMsg_StateReported(self, message: StateReported, sender: ActorAddress) -> None:
        self.state = message

    def receiveMsg_ReportState(self, message: ReportState, sender: ActorAddress) -> None:
        if self.state.state != "UNKNOWN":
            self.send(sender, self.state)


async def _until(notified: Notified, happened: Any) -> list[str]:
    return await asyncio.to_thread(notified.until, happened)


async def test_signs_of_life_end_with_health_and_come_back_with_it(folder, monkeypatch, caplog):
    monkeypatch.setattr(service_manager, "PATIENCE", 0.05)
    base = AsyncioSystemBase()
    well = StateReported("RUNNING", True, [])
    root = base.spawn(None, Root, "agent", StateReported("INIT", False, []))
    address = str(folder / "notify")
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    with listening(address) as notified:
        manager = ServiceManager.found_in(environment)
        assert environment == {}  # programs that the agent starts are not to speak for it
        following = asyncio.ensure_future(manager.follow(base, root))
        assert await _until(notified, starts("EXTEND")) == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=INIT"]
        base.tell(root, well)
        await _until(notified, has("READY=1"))
        await _until(notified, has("WATCHDOG=1"))
        for ill, said in (
            (StateReported("RUNNING", False, [DATABASE]), "STATUS=RUNNING, not ready; database: it is gone"),
            (StateReported("UNKNOWN", False, []), "STATUS=UNKNOWN: the agent does not answer"),
            (StateReported("ERROR", False, []), "STATUS=ERROR"),
        ):
            base.tell(root, ill)
            assert await _until(notified, has(said)) == [said]
            base.tell(root, well)
            assert await _until(notified, has("WATCHDOG=1")) == ["WATCHDOG=1", "STATUS=RUNNING"]
        for mild in (
            StateReported("RUNNING", False, [Check("database", False, True, consecutive_failures=1)]),
            StateReported("STOPPING", False, []),
        ):
            base.tell(root, mild)
            message = await _until(notified, lambda message: "STATUS=RUNNING" not in message)
            assert message[0] == "WATCHDOG=1"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        manager.close()
    base.shutdown()
    await base.released()
    assert "is given no sign of life: RUNNING, not ready; database: it is gone" in caplog.text
