"""How many payloads go out at a time: what a connection is trusted with, and what a backlog may take. Plain.

As TCP does with its congestion window: a new connection gets a few, each acknowledgement lets in more, and
what proved too much is halved, kept in mind over the connections that follow, and forgotten slowly.
"""

import msgspec

FIRST = 4
"""Payloads that a connection is handed before it has acknowledged any."""
LEAST = 2
"""Not one: that others are acknowledged, and one is not, shows only with another behind it."""


BURST = 0.2
"""Seconds of the rate of a backlog that may go out at once."""


class Flow(msgspec.Struct, frozen=True):
    """How a destination is sent to: `window` payloads in flight at most, `replay_per_second` of a backlog
    (0: as many as go), `attempts_per_minute` to connect (0: as the absence suggests)."""

    window: int
    replay_per_second: int = 0
    attempts_per_minute: int = 0


class Replay:
    """Lets so many payloads of a backlog out per second, evenly; times are monotonic seconds."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._filled_at = 0.0

    def room(self, per_second: int, now: float) -> int:
        """How many may go now."""
        most = max(1.0, BURST * per_second)
        self._tokens = min(most, self._tokens + (now - self._filled_at) * per_second)
        self._filled_at = now
        return int(self._tokens)

    def used(self, count: int) -> None:
        self._tokens -= count


class Pace:
    """Tell it what becomes of connections and of payloads."""

    def __init__(self) -> None:
        self._limit: float = float("inf")
        self._room: float = FIRST
        self._delivered = 0

    def room(self, window: int) -> int:
        """How many may be in flight now, `window` at most."""
        return min(window, int(self._room))

    def connected(self) -> None:
        self._room = min(FIRST, self._limit)
        self._delivered = 0

    def delivered(self, count: int) -> None:
        """Twice as many from one window to the next; beyond the limit one more per window."""
        self._delivered += count
        if self._room < self._limit:
            self._room = min(self._room + count, self._limit)
        else:
            self._room = self._limit = self._limit + count / self._limit

    def ended(self, in_flight: int) -> None:
        """The connection ended with so many in flight: too many, if that is more than it ever delivered."""
        if in_flight > self._delivered:
            self._limit = max(LEAST, min(self._limit, in_flight) / 2)
