"""The wall clock in the hands of a test; everybody in the process goes by it, and no monotonic clock does."""

import time

import pytest

YEAR = 365.25 * 86_400.0


class WallClock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._right = time.time_ns
        self._ahead = 0
        monkeypatch.setattr(time, "time_ns", self._now)
        monkeypatch.setattr(time, "time", lambda: self._now() / 1e9)

    def _now(self) -> int:
        return self._right() + self._ahead

    def jump(self, seconds: float) -> None:
        self._ahead += round(seconds * 1e9)

    def set(self, seconds: float) -> None:
        """To a Unix time."""
        self._ahead = round(seconds * 1e9) - self._right()

    def correct(self) -> None:
        """To what the machine's says."""
        self._ahead = 0

    @property
    def right(self) -> float:
        """The Unix time that the machine's clock says."""
        return self._right() / 1e9
