"""Whether memory grows as it does when it leaks.

A false alarm is worse than none: memory rises for many reasons, and falls for few, for what an allocator has
once had it keeps. A leak rises all the time, at about the same rate, to where it has never been.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

Standing = Literal["warming-up", "stable", "growing", "leaking"]

SIZE = 20
"""Buckets that are looked at together: 10 minutes of 30 s each, and 5 hours of 15 minutes."""
QUARTERS = 4
BUCKET = 30.0
LONG_BUCKET = 900.0
REMEMBERED = 120
"""Long buckets whose peaks are remembered: 30 hours, in which all that a day brings has been there once."""
IGNORED = 60.0  # seconds after the start, in which everything is loaded
RATE = 0.3  # MB a minute below which growth is no growth, over the short window
NOISE = 0.25  # MB that each quarter of a window rises above the one before it, at least
EVEN = 0.6  # of the largest rise from quarter to quarter, what the last is at least: else it comes to an end
SHARE = 0.1
"""Of the baseline, what a leak takes at least: the counts of thousands of endpoints grow for a while."""
PATIENCE = 10  # buckets in a row that grow before there is talk of a leak


class Bucket(NamedTuple):
    """The least and the most within it; `at` is the seconds of its end."""

    at: float
    low: float
    high: float


class Window:
    """The latest buckets of `seconds` each. A bucket's least value is what counts: what comes and goes within
    it does not."""

    def __init__(self, seconds: float, size: int = SIZE) -> None:
        self.seconds = seconds
        self.earlier: deque[Bucket] = deque(maxlen=REMEMBERED)
        self.buckets: deque[Bucket] = deque(maxlen=size)
        self._began: float | None = None
        self._values: list[float] = []

    def add(self, now: float, value: float) -> bool:
        """Whether that has filled a bucket."""
        if self._began is None:
            self._began = now
        self._values.append(value)
        if now - self._began < self.seconds:
            return False
        if self.full:
            self.earlier.append(self.buckets[0])
        self.buckets.append(Bucket(now, min(self._values), max(self._values)))
        self._began, self._values = now, []
        return True

    @property
    def full(self) -> bool:
        return len(self.buckets) == self.buckets.maxlen

    @property
    def rate(self) -> float:
        """By least squares, per minute; 0 of too few."""
        if len(self.buckets) < QUARTERS:
            return 0.0
        return 60 * slope([(one.at, one.low) for one in self.buckets])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line that fits them best; the library's statistics take a megabyte to import."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def floors(buckets: Sequence[Bucket]) -> list[float]:
    """The least of each quarter."""
    part = len(buckets) // QUARTERS
    return [min(one.low for one in buckets[i * part : (i + 1) * part]) for i in range(QUARTERS)]


def climbs(buckets: Iterable[Bucket], peak: float = 0.0) -> bool:
    """Whether they rise as a leak does: from quarter to quarter, without slowing down, above what was reached
    before them (`peak`)."""
    lows = floors(list(buckets))
    rises = [after - before for before, after in pairwise(lows)]
    return min(rises) > NOISE and rises[-1] >= EVEN * max(rises) and lows[-1] > peak


class Growth:
    """Takes what is resident, in MB, again and again. `threshold` is how many MB a leak has taken at least;
    times are monotonic seconds since the process started."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.initial: float | None = None
        self.baseline: float | None = None
        self.current: float | None = None
        self.samples = 0
        self.count = 0
        """buckets in a row that have grown"""
        self._calm = 0
        self._short = Window(BUCKET)
        self._long = Window(LONG_BUCKET)
        self._long_leak = False

    @property
    def rate(self) -> float:
        """MB a minute."""
        return self._short.rate

    @property
    def grown(self) -> float:
        """MB above the baseline."""
        if self.current is None or self.baseline is None:
            return 0.0
        return self.current - self.baseline

    @property
    def leaking(self) -> bool:
        """Either much within minutes, or slowly through hours; no longer once it has stopped growing."""
        fast = self.count >= PATIENCE and self.grown >= self._needed
        return fast or self._long_leak

    @property
    def _needed(self) -> float:
        return max(self.threshold, SHARE * (self.baseline or 0.0))

    @property
    def standing(self) -> Standing:
        if self.leaking:
            return "leaking"
        if not self._short.full:
            return "warming-up"
        return "growing" if self.count else "stable"

    def add(self, now: float, resident: float) -> None:
        self.current = resident
        self.samples += 1
        if self.initial is None:
            self.initial = resident
        if now < IGNORED:
            return
        if self.baseline is None:
            self.baseline = resident
        if self._long.add(now, resident) and self._long.full:
            lows = floors(list(self._long.buckets))
            peak = max((one.high for one in self._long.earlier), default=0.0)
            self._long_leak = climbs(self._long.buckets, peak) and lows[-1] - lows[0] >= self._needed
        if self._short.add(now, resident) and self._short.full:
            self._judge()

    def _judge(self) -> None:
        """A baseline moves to where memory has been calm for half of the window."""
        if self.rate >= RATE and climbs(self._short.buckets, self._peak()):
            self.count += 1
            self._calm = 0
            return
        self.count = 0
        self._calm = self._calm + 1 if abs(self.rate) < RATE else 0
        if self._calm >= SIZE // 2:
            self._calm = 0
            self.baseline = sorted(one.low for one in self._short.buckets)[SIZE // 2]

    def _peak(self) -> float:
        """The most that was resident before the short window, as far back as is remembered."""
        since, long = self._short.buckets[0].at, self._long
        return max((one.high for one in (*long.earlier, *long.buckets) if one.at < since), default=0.0)
