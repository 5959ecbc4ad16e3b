"""The wall clock of an agent in a process of its own, in the hands of a test."""

import os
import time
from pathlib import Path

_CUSTOMIZE = """
import threading, time
from pathlib import Path

right, file, ahead = time.time_ns, Path(__file__).with_name("ahead"), 0

def follow():
    global ahead
    while True:
        ahead = int(file.read_text() or ahead)
        time.sleep(0.02)

ahead = int(file.read_text())
time.time_ns = lambda: right() + ahead
time.time = lambda: time.time_ns() / 1e9
threading.Thread(target=follow, daemon=True).start()
"""
"""What Python runs before the agent."""


class AgentClock:
    """For whoever gets `environment`, in each of its lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_CUSTOMIZE)
        self._ahead = folder / "ahead"
        self.environment = {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[2]}"}
        self.correct()

    def jump(self, seconds: float) -> None:
        """That far from the right time."""
        draft = self._ahead.with_name("draft")
        draft.write_text(str(round(seconds * 1e9)))
        draft.rename(self._ahead)

    def set(self, seconds: float) -> None:
        """To a Unix time."""
        self.jump(seconds - time.time())

    def correct(self) -> None:
        self.jump(0)
