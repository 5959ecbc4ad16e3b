"""How many payloads a connection is trusted with at a time. Plain.

As TCP does with its congestion window: a new connection gets a few, each acknowledgement lets in more, and
what proved too much is halved, kept in mind over the connections that follow, and forgotten slowly.
"""

FIRST = 4
"""Payloads that a connection is handed before it has acknowledged any."""
LEAST = 2
"""Not one: that others are acknowledged, and one is not, shows only with another behind it."""


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
