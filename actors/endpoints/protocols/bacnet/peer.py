"""What is under way to one station."""

import asyncio
from collections import deque
from typing import Final

from actors.connections.connection import Transient

from . import quality
from .station import Station

OURS: Final = 128
"""Invoke ids from here to 255 are ours, those below the library's."""
_LATEST: Final = 60.0
"""Seconds after which nobody answers any more: until then the invoke id is not used again."""


class Peer:
    """Its requests, by invoke id, and who waits until there are fewer."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.silent = False
        """Whether the latest request was not answered: then there is one at a time."""
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self._owed: dict[int, float] = {}
        """Invoke ids of what was not answered, the oldest first, with their moments."""
        self._latest = 255
        self._under_way = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def idle(self) -> bool:
        return not (self._under_way or self._queue)

    # Turns

    async def turn(self, at_once: int) -> None:
        """Wait until fewer than that are under way; `done` gives the turn back."""
        if not self._queue and self._under_way < self._most(at_once):
            self._under_way += 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((at_once, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.done()
            raise

    def done(self) -> None:
        self._under_way -= 1
        while self._queue:
            at_once, waiting = self._queue[0]
            if not waiting.done():
                if self._under_way >= self._most(at_once):
                    return
                self._under_way += 1
                waiting.set_result(None)
            self._queue.popleft()

    def _most(self, at_once: int) -> int:
        return 1 if self.silent else at_once

    # Requests

    def begin(self, now: float) -> tuple[int, asyncio.Future[bytes | None]]:
        """An invoke id that nobody else can be answered by, and what its reply will be."""
        invoke_id = self._free(now)
        reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting[invoke_id] = reply
        self._owed.pop(invoke_id, None)
        self._owed[invoke_id] = now
        return invoke_id, reply

    def _free(self, now: float) -> int:
        while self._owed:
            oldest = next(iter(self._owed))
            if self._owed[oldest] > now - _LATEST or oldest in self._waiting:
                break
            del self._owed[oldest]
        invoke_id = self._latest
        for _ in range(OURS):
            invoke_id = OURS + (invoke_id + 1) % OURS
            if invoke_id not in self._owed and invoke_id not in self._waiting:
                break
        else:  # all are owed: the oldest that nobody waits for
            invoke_id = next(owed for owed in self._owed if owed not in self._waiting)
        self._latest = invoke_id
        return invoke_id

    def answer(self, invoke_id: int, apdu: bytes) -> bool:
        """Whether that was waited for."""
        self._owed.pop(invoke_id, None)
        reply = self._waiting.get(invoke_id)
        if reply is None or reply.done():
            return False
        self.silent = False
        reply.set_result(apdu)
        return True

    def expire(self, invoke_id: int) -> None:
        reply = self._waiting.get(invoke_id)
        if reply is not None and not reply.done():
            self.silent = True
            reply.set_result(None)

    def end(self, invoke_id: int) -> None:
        del self._waiting[invoke_id]

    def give_up(self) -> None:
        """Nobody gets an answer any more."""
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(Transient("the port was closed", code=quality.DEVICE_OFFLINE))
