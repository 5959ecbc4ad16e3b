"""Message ids (spec 02 section 3)."""

import random
from collections.abc import Callable

from storage.timestamps import unix_ms


class MessageIds:
    """Makes the `msgId` of every payload of one agent; `clock` is Unix ms."""

    def __init__(self, agent_uuid: str, clock: Callable[[], int] = unix_ms) -> None:
        self.clock = clock
        self._agent_uuid = agent_uuid
        self._latest = 0
        self._sequence = 0
        self._highest = 0

    def next(self) -> bytes:
        """`<agent uuid>-<unix ms>-<sequence within that ms>-<at most 5 of [a-z0-9]>`.

        While a clock that was set back says what it has said before, the sequence goes on from the highest.
        """
        now = self.clock()
        if now > self._latest:
            self._latest = now
            self._sequence = 0
        else:
            self._sequence = self._sequence + 1 if now == self._latest else self._highest + 1
        self._highest = max(self._highest, self._sequence)
        # Hexadecimal digits suffice: the random part only tells apart agents and restarts that share
        # an identity and a millisecond.
        return f"{self._agent_uuid}-{now}-{self._sequence}-{random.getrandbits(20):x}".encode()
