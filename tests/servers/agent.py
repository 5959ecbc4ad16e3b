"""The agent under test: `callboard run` in a process of its own."""

import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from servers.mosquitto import free_port

START_SECONDS = 20.0
STOP_SECONDS = 25.0
REQUEST_SECONDS = 30.0

_ROOT = Path(__file__).parents[2]

# The kernel ends the agent when the thread that started it ends, however that happens.
_COMMAND = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit("the test is gone")
# Who runs tests in the background ignores SIGINT, and so would the agent.
signal.signal(signal.SIGINT, signal.default_int_handler)
from api.cli.command import main
sys.exit(main())
"""


def callboard(*arguments: str, python: str = sys.executable) -> list[str]:
    """The command line of a `callboard` that ends with this process, however that happens."""
    return [python, "-c", _COMMAND, str(os.getpid()), *arguments]


class AgentApi:
    """The HTTP API of the agent at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = build_opener(ProxyHandler({}))

    def trust(self, authority: str) -> None:
        """Speak TLS with it, by the certificate (PEM) of that authority."""
        self.url = self.url.replace("http:", "https:", 1)
        context = ssl.create_default_context(cadata=authority)
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))

    def ready(self) -> bool:
        """Whether it is RUNNING and every critical subsystem is well."""
        try:
            status, reply = self.request("GET", "/v1/readiness")
        except OSError:
            return False  # it does not listen yet
        return status == 200 and reply["state"] == "RUNNING"

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON (None when the body is none). Raises OSError without an answer.

        A `body` of bytes is sent as it is; `headers` come on top of the content type, JSON.
        """
        try:
            with self.open(method, path, body, headers) as reply:
                return reply.status, _decoded(reply.read())
        except HTTPError as error:
            with error:
                return error.code, _decoded(error.read())

    def open(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The reply, with its headers. Raises HTTPError for what is not good."""
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        fields = {"Content-Type": "application/json"} | (headers or {})
        request = Request(self.url + path, data, fields, method=method)
        return self._opener.open(request, timeout=REQUEST_SECONDS)

    def get(self, path: str) -> Any:
        """The reply's JSON. This and those below raise RuntimeError for any status but 2xx."""
        return self._wanted("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._wanted("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._wanted("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self._wanted("DELETE", path)

    def _wanted(self, method: str, path: str, body: Any = None) -> Any:
        status, reply = self.request(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {reply}")
        return reply


class AgentProcess(AgentApi):
    """An agent on `data_dir` and a free port of 127.0.0.1, which both stay its own from start to start.

    `env` are further environment variables (`CALLBOARD_DURABILITY="strict"`); those of the test process
    that configure an agent are not passed on. `config` is a TOML file. What the agent logs is added to
    `log`. Start it from a thread that outlives it. A context manager, which starts it, and kills what is
    still running at the end.
    """

    def __init__(self, data_dir: Path, config: Path | None = None, **env: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self._python = sys.executable
        self._before: tuple[str, ...] = ()
        """What its command line begins with, which becomes it."""
        self._arguments = ["run", "--data-dir", str(data_dir)]
        if config is not None:
            self._arguments += ["--config", str(config)]
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(_ROOT),
            "DEVICE_API_HOST": "127.0.0.1",
            "DEVICE_API_PORT": str(self.port),
            **env,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError with the end of its log if it is not."""
        self.launch()
        self.wait_until_running()

    def launch(self) -> None:
        """Start it without waiting."""
        if self.running:
            raise RuntimeError("the agent is running already")
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, *callboard(*self._arguments, python=self._python)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def wait_until_running(self, seconds: float = START_SECONDS) -> None:
        """Until `/v1/readiness` says so; raises RuntimeError, the agent killed, when it does not."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the agent did not get to RUNNING: {self.last_words()}")
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Let it end by itself on a signal; returns its exit code, 0 when it is not running.

        Raises RuntimeError, the agent killed, when it takes longer than STOP_SECONDS.
        """
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait()

    def signal(self, number: int) -> None:
        """Send it a signal without waiting."""
        if self._process is None:
            raise RuntimeError("the agent is not running")
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code of an agent that ends for reasons of its own; as `stop` otherwise."""
        if self._process is None:
            raise RuntimeError("the agent was not started")
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise RuntimeError(f"the agent did not stop: {self.last_words()}") from error
        self._process = None
        return code

    def kill(self) -> None:
        """End it at once (SIGKILL); does nothing when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        """Whether the process is there, ready or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the agent is not running")
        return self._process.pid

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:].strip() if self.log.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
