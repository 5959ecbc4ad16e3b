"""A loop that is held up for good: nothing in it can say so, and nobody in it can help."""

import logging
import os
import sys
import threading
import traceback
from types import FrameType

from actors.system import whose
from actors.system.dispatch import Dispatch

log = logging.getLogger(__name__)

LIMIT = 60
"""Seconds without a sign of life after which the process ends, for who started it to start it again."""
TICK = 1.0
LAST_WORDS = 5.0
"""Seconds for saying why: whoever reads the log may be what the loop waits for."""


class Watchdog:
    """Watches the loop of `system`, from a thread of its own, until `stop`.

    Time is counted in its own ticks: a process that was stopped, or a machine that slept, has not hung.
    A call that keeps the interpreter's lock stops them too, and is for who watches the process from outside.
    """

    def __init__(self, system: Dispatch, limit: int = LIMIT, tick: float = TICK) -> None:
        self._system = system
        self._limit = limit
        self._tick = tick
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        beats, still = self._system.beats, 0
        while not self._stopped.wait(self._tick):
            still = still + 1 if self._system.beats == beats else 0
            beats = self._system.beats
            if still >= self._limit:
                self._end()

    def _end(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        where = "".join(traceback.format_stack(frame))
        saying = threading.Thread(target=_say, args=(holder(frame), where), daemon=True)
        saying.start()
        saying.join(LAST_WORDS)
        os._exit(1)


def _say(who: str, where: str) -> None:
    log.critical("the event loop stands still: %s holds it up\n%s", who, where)
    logging.shutdown()


def holder(frame: FrameType | None) -> str:
    """Which actor is having its turn on that stack."""
    found = whose.holder(frame)
    return "no actor" if found is None else str(found.address.addressDetails)
