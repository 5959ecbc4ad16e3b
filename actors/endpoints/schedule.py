"""When to poll: without drift, without pile-up."""

from math import floor

GOLDEN = 0.6180339887498949


def phase(position: int) -> float:
    """Where in its interval the endpoint at `position` polls, 0 <= phase < 1.

    Multiples of the golden ratio spread any number of endpoints evenly over the interval, so that
    endpoints of one interval do not all poll in the same instant.
    """
    return (position * GOLDEN) % 1.0


class Schedule:
    """Ticks at `origin + n * interval`; times are monotonic seconds."""

    def __init__(self, interval: float, origin: float) -> None:
        self.interval = interval
        self.origin = origin
        self._last = -1

    def next_delay(self, now: float) -> float:
        """Seconds until the first tick after `now`; ticks that have passed meanwhile are not made up."""
        tick = max(floor((now - self.origin) / self.interval) + 1, self._last + 1)
        self._last = tick
        return max(0.0, self.origin + tick * self.interval - now)
