"""The time that tokens are made by.

A token by a clock that is wrong is refused. That a clock becomes wrong while the agent runs need not matter:
by what time the latest token was accepted is known, and how long ago that was too.
"""

from functools import lru_cache

from actors.system.clock import STEP, running_ms
from storage.timestamps import unix_ms


class TokenClock:
    """Of one login, over all its connections. What the clock says comes first; if that is another time than
    the one that was accepted, gone on with, then both by turns until one is accepted."""

    def __init__(self) -> None:
        # Unix ms less the ms that the machine has been running: a clock is told by that.
        self._accepted: int | None = None
        self._offered = 0
        self._doubted = False

    def unix_ms(self) -> int:
        """For the next token."""
        running = running_ms()
        self._offered = unix_ms() - running
        if self._accepted is not None and abs(self._offered - self._accepted) >= 1000 * STEP:
            if self._doubted:
                self._offered = self._accepted
            self._doubted = not self._doubted
        return running + self._offered

    def accepted(self) -> None:
        """The latest token was."""
        self._accepted = self._offered
        self._doubted = False


@lru_cache(maxsize=1000)
def token_clock(server: str, client_id: str) -> TokenClock:
    """That of a login, the same as long as this process lives."""
    return TokenClock()
