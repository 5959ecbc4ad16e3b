"""The wall clock, watched. It may be set at any moment, by an operator or by the network: by seconds or
years, in either direction, for good or by mistake.

So it is asked for stamps only. What has lasted, expires or comes back is measured on the monotonic clock, or,
where stamps have to be compared, on `Clock.steady`.
"""

import logging
import time
from collections import deque
from typing import NamedTuple

from storage.timestamps import iso

log = logging.getLogger(__name__)

STEP = 2.0
"""Seconds by which the wall clock may run away from the monotonic one between two looks: a correction so
small is no jump, nor is a clock that is made to run faster or slower."""
TOLD = 600.0  # seconds for which the health report speaks of a jump
LOGGED, LOGGED_WITHIN = 20, 3600.0
"""Of a clock that jumps and jumps, so many lines within so many seconds."""
FRESH_MS = 5000
"""So old may a stamp be that was made before the clock was set and is looked at afterwards."""
SET_AFTER_MS = 1_600_000_000_000
"""Unix ms before which no clock can be right: a board without a battery, before it has met the network."""

_SECOND = 1_000_000_000


class _Reading(NamedTuple):
    """Nanoseconds, of one moment: what the clock says, since the machine was started, and the same without
    the time that it slept."""

    wall: int
    running: int
    awake: int


def _read() -> _Reading:
    """All three at once: again if something came between."""
    for _ in range(3):
        awake = time.monotonic_ns()
        reading = _Reading(time.time_ns(), _running_ns(), awake)
        if time.monotonic_ns() - awake < _SECOND // 10:
            break
    return reading


def running_ms() -> int:
    """Since the machine was started, sleep included: nobody sets that."""
    return _running_ns() // 1_000_000


def _running_ns() -> int:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)


class Clock:
    """To be looked at again and again (`look`); every question looks first.

    `leaps` counts how often it was set or the machine has slept: what was made by the clock (tokens), or
    failed for what the clock said (certificates), is to be looked at again.
    """

    def __init__(self) -> None:
        self.leaps = 0
        self._shift = 0
        self._jump = 0
        self._reading = _read()
        self._told: tuple[str, int] | None = None
        self._logged: deque[int] = deque(maxlen=LOGGED)
        if self._unset:
            log.warning("the clock %s", self._unset)

    def look(self) -> None:
        before, now = self._reading, _read()
        self._reading = now
        slept = (now.running - before.running) - (now.awake - before.awake)
        jump = (now.wall - before.wall) - (now.running - before.running)
        if slept >= STEP * _SECOND:
            self.leaps += 1
            self._tell(f"the machine has slept for {_span(slept)}")
        if abs(jump) >= STEP * _SECOND:
            self.leaps += 1
            self._shift += jump
            self._jump = jump
            what = f"jumped {'forward' if jump > 0 else 'back'} by {_span(abs(jump))}"
            self._told = f"{what}, to {_spelled(now.wall)}", now.awake
            self._tell(f"the clock {what}, and says {_spelled(now.wall)}")

    def steady(self, stamp: int) -> int:
        """A new stamp (Unix ms) as it would be if nobody had set the clock since the start of this process:
        for comparing stamps. Of one that was made before the clock was set, and comes now, its age tells."""
        shift, wall = self.shift, self._reading.wall // 1_000_000
        for back in (0, self._jump // 1_000_000):
            if -1000 * STEP <= wall - back - stamp <= FRESH_MS:
                return stamp - shift + back
        return stamp - shift

    def compare(self, stamp: int, what: str) -> None:
        """Say so if the clock is behind a stamp (Unix ms) of an earlier run; `what` was done then."""
        behind = stamp * 1_000_000 - self._reading.wall
        if behind >= STEP * _SECOND:
            self._told = f"is {_span(behind)} behind: {what} at {iso(stamp)}", self._reading.awake
            log.warning("the clock says %s and %s", _spelled(self._reading.wall), self._told[0])

    @property
    def shift(self) -> int:
        """By how many ms it was set, in all, since this process started."""
        self.look()
        return self._shift // 1_000_000

    @property
    def trouble(self) -> str | None:
        """What is to be said of it now: that it cannot be right, or has jumped within the last minutes."""
        self.look()
        if self._told is not None and self._reading.awake - self._told[1] >= TOLD * _SECOND:
            self._told = None
        return self._unset or (self._told and self._told[0])

    @property
    def _unset(self) -> str | None:
        if self._reading.wall >= SET_AFTER_MS * 1_000_000:
            return None
        return f"says {_spelled(self._reading.wall)}, which cannot be right"

    def _tell(self, what: str) -> None:
        now = self._reading.awake
        if len(self._logged) < LOGGED or now - self._logged[0] >= LOGGED_WITHIN * _SECOND:
            self._logged.append(now)
            log.warning("%s", what)


def _spelled(wall: int) -> str:
    return iso(wall // 1_000_000) or ""


def _span(nanoseconds: int) -> str:
    """The two largest units of a time, such as 3 h 2 min."""
    left = round(nanoseconds / _SECOND)
    counts: list[tuple[int, str]] = []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or counts:
            counts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in counts[:2] if count)
