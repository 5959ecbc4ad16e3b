"""Counters as rates: what is added in a second.

A counter that is full begins anew at 0; so does one whose device was started anew, or that was cleared. The
former has a rate all the same, the latter has none until the next sample.
"""

from typing import Final

from . import quality
from .points import DataPoint
from .values import BITS, Unfit, number, scaled

OLDEST: Final = 900.0
"""Seconds from one sample to the next at most: meanwhile a counter may have been full more than once."""
_TICKS: Final = 2**32
_SLACK: Final = 3000
"""Hundredths of a second by which clocks of devices may be wrong."""
_WRONG: Final = 1.25
"""By which they may run too fast or too slow."""


class Uptime:
    """Of a device: from it is seen that it was started anew. `lives` counts how often it was."""

    def __init__(self) -> None:
        self.lives = 0
        self._ticks: int | None = None
        self._at = 0.0

    def take(self, ticks: int | None, now: float) -> None:
        """What sysUpTime is at `now` (monotonic seconds), in hundredths of a second; it is full after 497
        days. None: the device does not say."""
        if ticks is not None and self._ticks is not None:
            passed = (ticks - self._ticks) % _TICKS
            expected = 100 * (now - self._at)
            if not expected / _WRONG - _SLACK <= passed <= expected * _WRONG + _SLACK:
                self.lives += 1
        if ticks is not None:
            self._ticks, self._at = ticks, now


class Rate:
    """Of one data point."""

    def __init__(self, point: DataPoint) -> None:
        self._point = point
        self._last: tuple[int | float, float, int, object] | None = None

    def take(self, tag: int, raw: bytes, now: float, lives: int, since: object = None) -> int | float:
        """The rate, with a sample of `now` (monotonic seconds). `lives` is the device's, `since` what changes
        when the counter begins anew. Raises `Unfit` where there is none."""
        count = number(tag, raw)
        before, self._last = self._last, (count, now, lives, since)
        if before is None or not 0 < now - before[1] <= OLDEST:
            raise Unfit(quality.FIRST_SAMPLE)
        if (lives, since) != before[2:]:
            raise Unfit(quality.COUNTER_RESET)
        added: int | float = count - before[0]
        if added < 0:
            added = _wrapped(added, tag)
        return scaled(self._point, added / (now - before[1]))

    def forget(self) -> None:
        self._last = None


def _wrapped(added: float, tag: int) -> float:
    """Of a counter that is less than it was. One that would have come more than half of the way round was
    cleared, and has not been full."""
    bits = BITS.get(tag)
    if bits is None or added + (1 << bits) >= 1 << (bits - 1):
        raise Unfit(quality.COUNTER_RESET)
    return added + (1 << bits)
