"""What happens many times in a row is logged twice: when it begins, and with its count when it is over."""

import logging
from time import monotonic
from typing import Final

logger = logging.getLogger(__name__)

QUIET: Final = 60.0
"""Seconds after the last of them when an episode is over."""


class Episode:
    """`begins` is the line at the beginning; `ends` that at the end, with `%d` for how many there were."""

    def __init__(self, begins: str, ends: str) -> None:
        self._begins = begins
        self._ends = ends
        self._count = 0
        self._latest = 0.0

    def happened(self, detail: object) -> None:
        """Once more; `detail` is of the first one only."""
        self._latest = monotonic()
        self._count += 1
        if self._count == 1:
            logger.warning(f"{self._begins}: %s", detail)

    def look(self, quiet: float = QUIET) -> bool:
        """To be called from time to time; whether it goes on."""
        if self._count and monotonic() - self._latest >= quiet:
            logger.warning(self._ends, self._count)
            self._count = 0
        return bool(self._count)
