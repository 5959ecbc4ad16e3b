"""Whether what is resident calls for a restart."""

import msgspec

CHECKS = 3
"""In a row above the limit: what comes and goes is no reason."""
CRITICAL = 1.5
"""Times the limit that is at once too much."""
NEVER_BELOW = "it has never been below the limit, so that a restart would change nothing"


class MemoryLimit:
    """`limit` is MB of resident memory, None: there is none."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.over = 0
        self._lowest: float | None = None

    def add(self, resident: float) -> None:
        self._lowest = resident if self._lowest is None else min(self._lowest, resident)
        if self.limit is None or resident <= self.limit:
            self.over = 0
        else:
            self.over += CHECKS if resident > self.limit * CRITICAL else 1

    def change(self, limit: float | None) -> None:
        if limit != self.limit:
            self.limit, self.over = limit, 0

    @property
    def exceeded(self) -> bool:
        return self.over >= CHECKS

    @property
    def helps(self) -> bool:
        """Whether a restart would: one changes nothing for a process that was never below its limit."""
        return self.limit is not None and self._lowest is not None and self._lowest <= self.limit

    @property
    def critical(self) -> float | None:
        return None if self.limit is None else self.limit * CRITICAL


class Verdict(msgspec.Struct, frozen=True):
    """`error` is a line of the health report, None when all is well; `restart` says that one is due."""

    error: str | None = None
    restart: bool = False


def judge(limit: MemoryLimit, resident: float, leak: str | None, blocked: str | None) -> Verdict:
    """`leak` is what is suspected, `blocked` why there can be no restart."""
    if not limit.exceeded:
        return Verdict(leak)
    over = f"{resident:.0f} MB are resident, more than the limit of {limit.limit:.0f} MB"
    if blocked is None:
        return Verdict(over, restart=True)
    return Verdict(f"{over}; no restart: {blocked}")
