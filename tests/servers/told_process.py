"""A server of the tests that is a process of its own: told by lines of JSON what to be and what to do."""

import asyncio
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STARTING = 20.0  # seconds; it takes two, but the machine may be busy
_ANSWERING = 20.0


class ToldProcess:
    """It reads what to be from the first line of its standard input and what to do from the further ones,
    answers each by a line, `{"ok": ...}` or `{"error": ...}`, and ends with its input: so it ends with this
    process, however this one ends. What it says otherwise is added to `log`."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def begin(
        self, command: Sequence[str], config: dict[str, Any], environment: Mapping[str, str] | None = None
    ) -> Any:
        """Start it and wait until it serves; returns its answer."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, bufsize=0
            )
        try:
            return self._say(config, _STARTING)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Let it end by itself; does nothing when it is not running."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._ended()

    def kill(self) -> None:
        """End it at once; does nothing when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._ended()

    def _ended(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None

    def pause(self) -> None:
        """It does nothing any more; the system goes on accepting connections for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have it do something; raises RuntimeError with what went wrong."""
        return self._say({"do": do, **arguments}, _ANSWERING)

    async def tell(self, do: str, **arguments: Any) -> Any:
        """As `ask`, off the loop."""
        return await asyncio.to_thread(self.ask, do, **arguments)

    def _say(self, message: dict[str, Any], within: float) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        answer, deadline = b"", time.monotonic() + within
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(process.stdout.fileno(), 1 << 20) if ready else b""
            if not part:
                raise RuntimeError(f"{self.name} does not answer: {self._log.read_text()[-2000:]}")
            answer += part
        found = json.loads(answer)
        if "error" in found:
            raise RuntimeError(f"{self.name}: {found['error']}")
        return found["ok"]
