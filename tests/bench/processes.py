"""The processes of a benchmark run: started, asked, watched for CPU and memory, ended with the run."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

import psutil

ROOT = Path(__file__).parents[2]
STOP_S = 10
PR_SET_PDEATHSIG = 1
CPUCLOCK_SCHED = 2


class Process:
    """A program that may be told lines on stdin and answer lines on stdout; stderr goes to `log`.

    One that does not answer (`answers` False) has its stdout in the log too. A context manager: leaving
    it ends the program, by SIGTERM and after STOP_S by SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        answers: bool = True,
    ) -> None:
        self.name = " ".join(Path(word).name for word in command[:2])
        self.log = log
        search = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if answers else errors,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": search, **(environment or {})},
                bufsize=0,
            )
        self._watched = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def line(self, timeout: float = 30) -> str:
        """The next line it prints. Raises RuntimeError when there is none."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else b""
        if not line.endswith(b"\n"):
            raise RuntimeError(f"no answer from {self.name}: {self.last_words()}")
        return line.decode()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    def cpu_s(self) -> float:
        """CPU seconds (user and system) since the start, children included."""
        return sum(_cpu_s(process.pid) for process in self._family())

    def rss_mb(self) -> float:
        """Resident memory now, children included."""
        return float(sum(process.memory_info().rss for process in self._family()) / 1e6)

    def _family(self) -> list[psutil.Process]:
        return [self._watched, *self._watched.children(recursive=True)]

    def watch(self, seconds: float) -> float:
        """The highest resident memory (MB) seen while `seconds` pass. Raises RuntimeError if it ends."""
        highest, until = 0.0, time.monotonic() + seconds
        while True:
            if self.ended():
                raise RuntimeError(f"{self.name} ended: {self.last_words()}")
            highest = max(highest, self.rss_mb())
            left = until - time.monotonic()
            if left <= 0:
                return highest
            time.sleep(min(left, 0.25))


def _cpu_s(pid: int) -> float:
    """By the clock of the process (`clock_getcpuclockid`): /proc counts in 10 ms."""
    return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)


def python(script: str, *arguments: object) -> list[str]:
    """The command line of a script of this folder."""
    return [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]


def in_own_group(call: Callable[[], int]) -> int:
    """Run `call` in a child with a process group of its own, and end all of the group after it.

    Whoever is told to stop or is killed, this process or the child, nothing that `call` started stays.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, _leave)
        sys.exit(call())

    def pass_on(signum: int, frame: FrameType | None) -> None:
        os.kill(child, signal.SIGTERM)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, pass_on)
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):  # nothing was left
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
