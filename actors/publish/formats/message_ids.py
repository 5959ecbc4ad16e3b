"""Message ids (spec 02 section 3)."""

import random
import time
from collections.abc import Callable


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class MessageIds:
    """Makes the `msgId` of every payload of one agent; `clock` is Unix ms."""

    def __init__(self, agent_uuid: str, clock: Callable[[], int] = unix_ms) -> None:
        self.clock = clock
        self._agent_uuid = agent_uuid
        self._millisecond = 0
        self._sequence = 0

    def next(self) -> bytes:
        """`<agent uuid>-<unix ms>-<sequence within that ms>-<at most 5 of [a-z0-9]>`."""
        now = self.clock()
        if now == self._millisecond:
            self._sequence += 1
        else:
            self._millisecond = now
            self._sequence = 0
        # Hexadecimal digits suffice: the random part only tells apart agents and restarts that share
        # an identity and a millisecond.
        return f"{self._agent_uuid}-{now}-{self._sequence}-{random.getrandbits(20):x}".encode()
