"""Whether a broker that does not answer is slow or gone. Plain; time is monotonic seconds.

Bytes that get through prove that the other host is there, however long they take. What it has all taken may
still lie in a buffer on the way (of a relay, a modem), where it cannot be seen moving: for that there is time
by its size.
"""

from actors.mqtt.link import Flight, Link

RATE = 4_000.0
"""Bytes a second that the slowest line beyond a buffer is first believed to carry."""
_SLOWEST = 100.0
_GROWTH = 1.01


class Line:
    """What has been learned about the line to a broker, over all connections."""

    def __init__(self) -> None:
        self.rate = RATE

    def too_fast(self) -> None:
        """A broker was given up that may only have been slow."""
        self.rate = max(self.rate / 2, _SLOWEST)

    def well(self) -> None:
        self.rate = min(self.rate * _GROWTH, RATE)


class Silence:
    """Of one connection; of what is in flight on it only the oldest tells, for brokers answer in order. With
    `hears` whatever comes is a sign of life: an answer may be behind a lot of it."""

    def __init__(
        self, link: Link, line: Line, seconds: float, ping_seconds: float, hears: bool = False
    ) -> None:
        self._hears = hears
        self._link = link
        self._line = line
        self._seconds = seconds
        self._ping_seconds = min(ping_seconds, seconds)
        self._oldest: Flight | None = None
        self._taken = False
        self._moved_at = 0.0

    def look(self, now: float) -> None:
        """To be called after answers have come, and now and then."""
        oldest = self._link.oldest
        if oldest is not self._oldest:
            self._oldest, self._moved_at, self._taken = oldest, now, False

    def too_long(self, now: float) -> float | None:
        """The seconds that it was given if they have passed, else None. To be asked every few seconds."""
        self.look(now)
        oldest, link = self._oldest, self._link
        if oldest is None or link.outflow is None:
            self._line.well()
            return None
        if link.outflow.moved() and not self._taken:
            self._moved_at = now
        self._taken = self._taken or link.proved >= oldest.end or not link.outflow.unsent
        ahead = max(oldest.end - link.proved, 0) if self._taken else 0
        patience = self._ping_seconds if oldest is link.ping_in_flight else self._seconds
        on_the_way = ahead / self._line.rate
        heard_at = link.heard_at if self._hears else 0.0
        if now - max(oldest.written_at, self._moved_at, heard_at) < patience + on_the_way:
            self._line.well()
            return None
        if on_the_way < 1:
            return patience
        self._line.too_fast()
        return round(patience + on_the_way)
