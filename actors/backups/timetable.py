"""When the next scheduled backup is due.

Hours are counted on the clock that nobody can set. What that cannot know, how long the agent was off, the
wall clock tells; it may be wrong, so that it brings a backup forward once in a life of the agent and no more.
"""

from typing import Final

from storage.backup_schedule import Schedule

HOUR_MS: Final = 3_600_000
AFTER_START_MS: Final = 60_000
"""A start has enough to do."""

RETRY_MS: Final = 60_000
"""Until the next try after a failure, twice as long after each further one."""


class Timetable:
    """Times are ms: `now` by the wall clock, `running` by the one that is never set."""

    def __init__(self) -> None:
        self.due_at: int | None = None
        """In running ms; None: never."""
        self._schedule = Schedule()
        self._by_clock = True
        self._failures = 0

    def follow(self, schedule: Schedule, now: int, running: int) -> None:
        """From now on."""
        self._schedule = schedule
        if not schedule.enabled:
            self.due_at = None
            return
        wait = 0
        if schedule.last_run_at is not None:
            elapsed = now - schedule.last_run_at
            # One that is still to come says nothing of how long ago it was: not to be put off at every start.
            wait = self._interval - elapsed if elapsed >= 0 else min(self._interval, HOUR_MS)
        self.due_at = running + max(AFTER_START_MS, wait)

    def is_due(self, now: int, running: int) -> bool:
        if self.due_at is None:
            return False
        if running < self.due_at and self._by_clock and not self._failures:
            last = self._schedule.last_run_at
            if last is not None and now - last >= self._interval:
                self.due_at = running
        return running >= self.due_at

    def ran(self, schedule: Schedule, running: int) -> None:
        """It was made; `schedule` says when."""
        self._schedule = schedule
        self._failures = 0
        self._by_clock = False
        self.due_at = running + self._interval if schedule.enabled else None

    def failed(self, running: int) -> None:
        self._failures += 1
        if self.due_at is not None:
            pause = RETRY_MS * 2 ** min(self._failures - 1, 10)
            self.due_at = running + min(pause, self._interval, HOUR_MS)

    def next_at(self, now: int, running: int) -> int | None:
        """By the wall clock."""
        return None if self.due_at is None else now + max(0, self.due_at - running)

    @property
    def _interval(self) -> int:
        return self._schedule.interval_hours * HOUR_MS
