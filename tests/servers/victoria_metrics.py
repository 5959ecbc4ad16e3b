"""A database that speaks InfluxDB's v2 write API and shares no code with it: Debian's victoria-metrics.

It does not look at token, organisation or bucket, makes 0 of strings, and leaves out what it cannot parse.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from servers.mosquitto import free_port

_BINARY = shutil.which("victoria-metrics")
_EVERYTHING = "match[]=%7B__name__%21%3D%22%22%7D"


class VictoriaMetrics:
    """One server on a free port of 127.0.0.1 that keeps its data in `directory`. A context manager."""

    def __init__(self, directory: Path) -> None:
        if _BINARY is None:
            raise RuntimeError("These tests need a time series database: apt-get install victoria-metrics")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._log = directory / "victoria-metrics.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._opener = build_opener(ProxyHandler({}))

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert _BINARY is not None
        command = [
            _BINARY,
            f"-storageDataPath={self._directory / 'victoria-metrics'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-search.latencyOffset=0s",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=64MB",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"victoria-metrics did not start: {self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def series(self) -> list[tuple[dict[str, str], list[float], list[int]]]:
        """Labels, values and times (Unix ms) of every series; its name is the label `__name__`."""
        self._get("/internal/force_flush")
        lines = self._get(f"/api/v1/export?{_EVERYTHING}").splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [(row["metric"], row["values"], row["timestamps"]) for row in rows]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            self._get("/health")
        except URLError:
            return False
        return True

    def _get(self, path: str) -> str:
        with self._opener.open(self.url + path, timeout=5) as reply:
            text: str = reply.read().decode()
            return text
