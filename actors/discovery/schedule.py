"""When a rule is due. Plain; times are ms, `now` by the wall clock, `running` by the one that nobody sets.

A schedule goes by the clock that nobody sets. How long the agent was off only the wall clock can tell, and it
may be wrong: what it says brings a run forward once in a life of the agent, by no more than one run, and puts
none off for longer than the rule's interval.
"""

from typing import Final
from zlib import crc32

LEAST_S, MOST_S, DEFAULT_S = 60, 2_592_000, 3600
"""Seconds between two runs."""

SOON_MS: Final = 5_000
SPREAD_MS: Final = 55_000
"""Runs that are due at a start begin within that time after, each at its own place in it: all of them within
the first minute."""
JITTER: Final = 0.02
"""The share of its interval by which a rule is later than it, so that equal ones drift apart."""


class Schedule:
    """Of one rule."""

    def __init__(self, uuid: str) -> None:
        self.due_at: int | None = None
        """In running ms; None: never."""
        self._place = crc32(uuid.encode()) / 2**32

    def resume(self, interval: int, next_run_at: int | None, now: int, running: int) -> None:
        """A life of the agent begins; what is kept of the one before says when."""
        left = 0 if next_run_at is None else next_run_at - now
        self.due_at = running + min(max(left, self._soon(interval)), self._interval(interval))

    def change(self, interval: int, last_run_at: int | None, now: int, running: int) -> None:
        """The interval is another one, or the rule is to run again."""
        left = 0 if last_run_at is None else last_run_at + interval - now
        self.due_at = running + min(max(left, self._soon(interval)), self._interval(interval))

    def ran(self, interval: int, running: int) -> None:
        """A run has begun."""
        self.due_at = running + self._interval(interval)

    def put_off(self, wait: int, running: int) -> None:
        self.due_at = running + wait

    def stop(self) -> None:
        self.due_at = None

    def is_due(self, running: int) -> bool:
        return self.due_at is not None and running >= self.due_at

    def next_at(self, now: int, running: int) -> int | None:
        """By the wall clock."""
        return None if self.due_at is None else now + max(0, self.due_at - running)

    def _soon(self, interval: int) -> int:
        """Not all at once: a start has enough to do."""
        return SOON_MS + int(self._place * min(SPREAD_MS, interval))

    def _interval(self, interval: int) -> int:
        return interval + int(self._place * JITTER * interval)
