"""How what an endpoint has to say reaches the router: as much at a time as it can take."""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

AT_ONCE = 32
"""Messages in a turn: as many as an actor handles in one of its own, so that its mailbox does not fill up."""
MOST = 10_000
"""That wait; then the oldest is dropped of what may be."""


class SendOn(msgspec.Struct, frozen=True):
    """To the endpoint itself: something waits."""


class Outlet:
    """Keeps the order. Devices may tell thousands of things in one turn of the loop, and what is in the
    mailbox of somebody else beyond its bound would be lost. `again` sees that `turn` is called, `dropped` is
    told of what nobody has taken."""

    def __init__(
        self, send: Callable[[Any], None], again: Callable[[], None], dropped: Callable[[], None]
    ) -> None:
        self._send = send
        self._again = again
        self._dropped = dropped
        self._room = AT_ONCE
        self._waiting: deque[Any] = deque()
        self._firm = 0
        """How many at its beginning may not be dropped: it is not asked of each again whenever there is one
        too many."""

    def begin(self) -> None:
        """Another turn begins; what waits has one of its own."""
        if not self._waiting:
            self._room = AT_ONCE

    def put(self, message: Any) -> None:
        if self._room:
            self._room -= 1
            self._send(message)
            return
        if not self._waiting:
            self._again()
        elif len(self._waiting) >= MOST:
            self._make_room()
        self._waiting.append(message)

    def _make_room(self) -> None:
        """What somebody waits for is kept, as in mailboxes: there is no more of it than he sends before he
        hears."""
        for message in islice(self._waiting, self._firm, None):
            if getattr(message, "TELEMETRY", False):
                del self._waiting[self._firm]
                self._dropped()
                return
            self._firm += 1

    def turn(self) -> None:
        """What waits goes on."""
        waiting = self._waiting
        most = min(AT_ONCE, len(waiting))
        for _ in range(most):
            self._send(waiting.popleft())
        self._firm = max(0, self._firm - most)
        if waiting:
            self._again()
        else:
            self._room = AT_ONCE

    def flush(self) -> None:
        """All of it, now: there will be no other turn."""
        while self._waiting:
            self._send(self._waiting.popleft())
        self._firm = 0
        self._room = AT_ONCE

    def clear(self) -> None:
        """Nobody wants it any more."""
        self._waiting.clear()
        self._firm = 0
        self._room = AT_ONCE
