"""How much to ask of a destination in one request, and how long to wait for it; learnt from how it went.

Outlives connections: what proved too much is not tried again by the next one. No I/O; times are seconds.
"""

REST = 60.0
"""For so long nothing is tried that comes near to what failed; then twice as much, and so on."""
LEAST_SPEED = 250.0
"""Bytes a second; nothing is waited for longer than its size would take over such a line."""
LEAST_ROOM, MOST_ROOM = 10.0, 600.0
"""Seconds that anything may be given, whatever its size."""


class RequestPace:
    """At most `most` payloads, and at least `timeout` of silence.

    A request that fails is followed by one half as large, down to a single payload; only then silence may
    last longer. One that succeeds is followed by one that is an eighth larger, now and then only when it took
    long: what takes long because of its size would soon take too long. `now` is monotonic.
    """

    def __init__(self, most: int, timeout: float) -> None:
        self._most = most
        self._timeout = timeout
        self._ceiling = most
        self._ceiling_until = 0.0
        self._slow_until = 0.0
        self.count = most
        """How many payloads the next request may hold."""
        self.silence = timeout
        """How long nothing may move before it is given up."""

    def failed(self, count: int, now: float, *, silent: int | None = None) -> None:
        """A request of `count` payloads was not answered, or was too much; `silent`: nothing moved of so many
        bytes."""
        if count > 1:
            self.count = min(self.count, count // 2)
            self._ceiling = max(self.count, 3 * count // 4)
            self._ceiling_until = self._slow_until = now + REST
        elif silent is not None:
            room = max(self._timeout, LEAST_ROOM, min(silent / LEAST_SPEED, MOST_ROOM))
            self.silence = max(self.silence, min(2 * self.silence, room))

    def succeeded(self, count: int, took: float, now: float) -> None:
        """A request of `count` payloads was answered after `took`."""
        if self._ceiling < self._most and now > self._ceiling_until:
            self._ceiling = min(2 * self._ceiling, self._most)
            self._ceiling_until = now + REST
        slow = took > self.silence / 2
        if count >= self.count and not (slow and now < self._slow_until):
            self._slow_until = now + REST
            self.count = min(self.count + max(1, self.count // 8), self._ceiling)
        if self.silence > self._timeout:
            self.silence = max(self._timeout, min(self.silence, 2 * took), 0.75 * self.silence)
