"""Who watches an agent from outside while something is done to it."""

import http.client
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import psutil

from servers.agent import AgentApi

PROBES = ("/ping", "/v1/healthy")


class Footprint(NamedTuple):
    """What an agent takes."""

    actors: int
    threads: int
    descriptors: int
    rss_mb: float

    @classmethod
    def of(cls, agent: AgentApi, pid: int) -> Self:
        process = psutil.Process(pid)
        tree = agent.get("/v1/actors")["root"]
        return cls(_count(tree), process.num_threads(), process.num_fds(), process.memory_info().rss / 2**20)


def _count(node: dict[str, Any]) -> int:
    return 1 + sum(_count(child) for child in node["children"])


class Following:
    """Asks for `/ping` and `/v1/healthy` again and again; any other answer than 200 is an error, which it
    raises in the end."""

    def __init__(self, agent: AgentApi) -> None:
        self._agent = agent
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.answers = 0
        self.worst = 0.0
        """Seconds that one answer took."""
        self.error: BaseException | None = None

    def _ask(self) -> None:
        try:
            while not self._done.wait(0.02):
                for path in PROBES:
                    began = time.monotonic()
                    status, reply = self._agent.request("GET", path)
                    self.worst = max(self.worst, time.monotonic() - began)
                    if status != 200:
                        raise RuntimeError(f"{path}: {status} {reply}")
                    self.answers += 1
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self.error is not None and error is None:
            raise self.error


class Stream:
    """Follows `/v1/readings/stream`, over one connection; `events` is how many there were."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.events = 0
        self.ended = False

    def _read(self) -> None:
        while line := self._reply.readline():
            self.events += line.startswith(b"event: readings")
        self.ended = True

    def __enter__(self) -> Self:
        self._connection.request("GET", "/v1/readings/stream")
        self._reply = self._connection.getresponse()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection.sock is not None
        self._connection.sock.shutdown(2)
        self._thread.join()
        self._connection.close()
