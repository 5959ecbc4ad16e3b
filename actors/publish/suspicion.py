"""Whether a destination ends its connections over one payload. Plain; time is monotonic seconds.

MQTT 3.1.1 cannot refuse a message, so a broker that will not have one (too large, a topic that its policy
forbids) closes the connection, and everything behind waits. A broker that is in trouble does the same. To
tell them apart, a payload that was the oldest in flight at several ends in a row is tried alone, on a
connection that has first stood idle for a while: only ends that come right after it, of connections that
would have lasted, count against it.
"""

ENDS = 5
"""Connections that must have ended over the same payload before it is suspected."""
IDLE = 5.0
"""Seconds that a connection must stand before a suspect is sent."""
AT_ONCE = 5.0
"""Seconds within which a broker has made up its mind about what it was sent."""
STRIKES = 3
"""Ends that convict a suspect; twice as many each time until something is delivered again, so that a broker
in trouble is not taken for one that refuses payload after payload."""


class Suspicion:
    """`suspected` is the payload's sequence number. Tell it what becomes of the connection."""

    def __init__(self) -> None:
        self.delivered()

    def delivered(self) -> None:
        """Something was: whatever the trouble was, it is over."""
        self.suspected: int | None = None
        self._oldest: int | None = None
        self._ends = 0
        self._strikes = 0
        self._needed = STRIKES

    def ended(self, oldest: int | None, after: float) -> int | None:
        """A connection ended, when `oldest` had been the oldest payload in flight for `after` seconds; None
        when there was none. Returns that payload when it is to be given up."""
        if oldest is None:
            # It does not last when it is idle either: no payload's fault.
            self._ends = self._strikes = 0
            self.suspected = None
            return None
        if oldest != self._oldest:
            self._oldest, self._ends, self._strikes, self.suspected = oldest, 0, 0, None
        if after > AT_ONCE:
            return None
        if self.suspected is None:
            self._ends += 1
            if self._ends >= ENDS:
                self.suspected = oldest
            return None
        self._strikes += 1
        if self._strikes < self._needed:
            return None
        self._needed *= 2
        self._ends = self._strikes = 0
        self.suspected = self._oldest = None
        return oldest
