"""When to poll: without drift, without pile-up."""

from math import floor

GOLDEN = 0.6180339887498949
SLOTS = 20
SLOT_MAX = 0.05


def phase(position: int) -> float:
    """Where in its interval the endpoint at `position` polls, 0 <= phase < 1.

    Multiples of the golden ratio spread any number of endpoints evenly over the interval, so that
    endpoints of one interval do not all poll in the same instant.
    """
    return (position * GOLDEN) % 1.0


def origin(now: float, interval: float, phase: float) -> float:
    """The first tick, at or after `now`: at the phase, but on the clock's grid of slots.

    A slot is a twentieth of the interval, at most 50 ms. Endpoints that fall into the same slot poll
    together, so that the processor wakes once for all of them: at 100 polls a second that halves the
    agent's processor time (0.006 against 0.012 s for 1,000 points), for 1 ms more of latency at p99.
    """
    slot = min(interval / SLOTS, SLOT_MAX)
    return (floor(now / slot) + 1 + floor(phase * interval / slot)) * slot


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

    def remaining(self, now: float) -> float:
        """Seconds until the tick that `next_delay` last told of; below 0 when it has passed."""
        return self.origin + self._last * self.interval - now
