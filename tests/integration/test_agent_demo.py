"""`callboard run --demo` as a newcomer meets it: in a pipe, and on a terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest
from servers.agent import AgentProcess, callboard
from servers.mosquitto import free_port

READING = re.compile(r"water_temp=[0-9.]+ °C")
ROOT = str(Path(__file__).parents[2])


class Demo:
    """A demo whose output, pipe or terminal, is read from `descriptor`."""

    def __init__(self, data_dir: Path, port: int, output: int, descriptor: int, **env: str) -> None:
        self.port = port
        self.errors = data_dir.with_name("errors.log")
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                callboard("run", "--demo", "--data-dir", str(data_dir)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output if os.isatty(output) else errors,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "DEVICE_API_PORT": str(port), **env},
            )
        os.close(output)
        self.descriptor = descriptor
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # a test may have closed it
            os.close(self.descriptor)

    def read_until(self, pattern: str, seconds: float = 10) -> str:
        """Everything it has written so far, once that matches."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.output):
            left = deadline - time.monotonic()
            assert left > 0, self.output + self.errors.read_text()
            if select.select([self.descriptor], [], [], left)[0] and not self._read():
                assert re.search(pattern, self.output), self.output + self.errors.read_text()
        return self.output

    def _read(self) -> bool:
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:  # the other end of a terminal is gone
            data = b""
        self.output += data.decode(errors="replace")
        return bool(data)

    def stop(self, number: int = signal.SIGINT) -> int:
        """The exit code; everything that it started must have ended with it."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        code = self.process.wait(15)
        assert not psutil.wait_procs(family, 2)[1]
        return code


@contextlib.contextmanager
def piped(data_dir: Path) -> Iterator[Demo]:
    reading, writing = os.pipe()
    with Demo(data_dir, free_port(), writing, reading) as demo:
        yield demo


@contextlib.contextmanager
def on_terminal(data_dir: Path, port: int | None = None) -> Iterator[Demo]:
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with Demo(data_dir, port or free_port(), terminal, master, TERM="xterm-256color") as demo:
        yield demo


def test_readings_flow_within_ten_seconds_and_an_interrupt_leaves_nothing_behind(tmp_path):
    for _ in range(2):  # the second start is on the data of the first
        with piped(tmp_path / "data") as demo:
            shown = demo.read_until(r"(?s)water_temp=[0-9.]+ °C.*\n.*water_temp=[0-9.]+ °C.*\n")
            first, second = READING.findall(shown)[:2]
            assert first != second
            assert "3/3 connected" in shown
            assert demo.stop() == 0
            log = demo.errors.read_text()
            assert "Traceback" not in log
            assert "WARNING" not in log
            assert "ERROR" not in log
            assert log.rstrip().endswith("STOPPED")


def test_it_ends_when_nobody_reads_it_any_more(tmp_path):
    with piped(tmp_path / "data") as demo:
        demo.read_until("water_temp=")
        os.close(demo.descriptor)
        assert demo.process.wait(15) == 0
        assert "Traceback" not in demo.errors.read_text()


def test_it_outlives_its_endpoints(tmp_path):
    with piped(tmp_path / "data") as demo:
        demo.read_until("3/3 connected")
        agent = AgentProcess(tmp_path / "client")
        agent.url = f"http://127.0.0.1:{demo.port}"
        (boiler,) = [row for row in agent.get("/v1/endpoints")["endpoints"] if row["name"] == "boiler"]
        agent.delete(f"/v1/endpoints/{boiler['uuid']}")
        demo.read_until("2/2 connected")
        agent.patch("/v1/endpoints/motor", {"enabled": False})
        demo.read_until("1/1 connected")
        assert demo.stop() == 0


def test_it_draws_on_a_terminal_and_gives_it_back(tmp_path):
    with on_terminal(tmp_path / "data") as demo:
        shown = demo.read_until(r"(?s)conveyor.*motor.*boiler.*water_temp\s+(\x1b\[\S*?m)*[0-9.]+ °C")
        assert "\x1b[?25l" in shown  # the cursor is hidden while it draws
        assert "INFO" not in shown
        demo.read_until("connected")
        assert demo.stop() == 0
        demo.read_until(r"\x1b\[\?25h")
        log = (tmp_path / "data" / "callboard.log").read_text()
        assert "boiler: connected to modbus:tcp:127.0.0.1" in log
        assert "Traceback" not in log


@pytest.mark.parametrize("where", [piped, on_terminal])
def test_a_port_in_use_is_one_clear_line_and_exit_code_1(tmp_path, where):
    with AgentProcess(tmp_path / "other") as agent, contextlib.ExitStack() as stack:
        if where is on_terminal:
            demo = stack.enter_context(on_terminal(tmp_path / "data", agent.port))
            demo.read_until("cannot start: .*Address already in use")
            assert "Traceback" not in demo.output
        else:
            reading, writing = os.pipe()
            demo = stack.enter_context(Demo(tmp_path / "data", agent.port, writing, reading))
        assert demo.process.wait(10) == 1
        if where is piped:
            log = demo.errors.read_text()
            assert "Address already in use" in log.splitlines()[-1]
            assert "Traceback" not in log
