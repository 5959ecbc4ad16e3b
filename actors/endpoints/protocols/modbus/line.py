"""What is known of a line whoever has it open: who still owes replies, and what pace its devices need.

A reply that comes after its time-out could be taken for that to a later request. Its number does not rule
that out: a gateway may put 0 into any reply, or the number of the request that came last, or that of the one
that it is at. Only the shape of a reply (function and size) tells it apart, and that devices answer in order:
once a request is answered, nothing that was asked before it is.
"""

import asyncio
from math import inf
from typing import NamedTuple
from weakref import WeakKeyDictionary

from .frames import READS, Frame, Request, alike, answer, variant
from .quality import SILENT_BEHIND_GATEWAY

_LATEST = 60.0
"""Seconds after which nobody answers any more, unless the time-out is longer than a tenth of it."""
_MOST_OWED = 64
"""Requests that no device has still to answer."""
_FEW = range(1, 5)
"""Registers, or bytes of bits, that are asked for only to see what comes: the less, the likelier."""
_FORGET_AFTER = 600.0
_LONG_AGO = 3
"""So many times as many misses make void what was once found to be enough."""
_SAME = 0.01
"""Pauses that differ by less do not differ."""


class Sent(NamedTuple):
    """A request that may yet be answered; moments are those of the loop. What it reads was asked for at
    `since`, it went out at `at`."""

    request: Request
    since: float
    at: float
    until: float

    def is_older(self, request: Request, since: float) -> bool:
        """Whether its reply does not say what that to the request would."""
        return self.since < since or self.request.body != request.body


class Unit:
    """A device on the line."""

    def __init__(self) -> None:
        self.owed: list[Sent] = []
        """What was sent and not answered yet, the oldest first."""
        self.answered: dict[tuple[int, bytes], Request] = {}
        """The latest read requests of two shapes that were answered."""
        self.slowest: float | None = None
        """Seconds that a reply lately took at most; None before the first."""
        self._narrow = False

    def owes(self, request: Request, since: float, now: float, timeout: float) -> None:
        """Note that a request was sent."""
        self.owed.append(Sent(request, since, now, now + max(_LATEST, 10 * timeout)))
        if len(self.owed) > _MOST_OWED:
            del self.owed[0]

    def is_answered(self, frame: Frame, found: bytes | int) -> None:
        """Note the reply to what was sent last."""
        if len(self.owed) == 1 and isinstance(found, bytes):
            self.owed.clear()
        else:
            self.pays(frame)

    def pays(self, frame: Frame, *, others: bool = False) -> bool:
        """Whether a reply was owed. It may be that to the first request that it fits or to a later one: the
        device has done with what is older. With `others` it is none to what was sent last."""
        for index in range(len(self.owed) - others):
            found = answer(self.owed[index].request, frame)
            if found in SILENT_BEHIND_GATEWAY:
                return True  # the gateway has given up, the device perhaps not
            if found is not None:
                del self.owed[: index + 1]
                return True
        return False

    def doubts(self, request: Request, since: float, now: float) -> bool:
        """Whether a reply to the request could be that to another one, or to the same one asked before
        `since`."""
        while self.owed and self.owed[0].until < now:
            del self.owed[0]
        return any(sent.is_older(request, since) and alike(sent.request, request) for sent in self.owed)

    def doubts_exception(self, request: Request, since: float) -> bool:
        """Whether an exception could be the answer to an earlier request of that function."""
        return any(
            sent.is_older(request, since) and sent.request.function == request.function for sent in self.owed
        )

    def forget(self, before: float) -> None:
        """Take it that nothing that was sent before that moment is answered any more."""
        self.owed = [sent for sent in self.owed if sent.at >= before]

    def probe(self, request: Request) -> Request | None:
        """A request whose reply cannot be taken for one that is owed, and that the device is likely to
        answer; None when there is none."""
        for known in self.answered.values():
            if not self._is_alike(known):
                return known
        if request.function not in READS:
            return None
        for units in _FEW:
            found = variant(request, units)
            if found is None or (self._narrow and found.expects > request.expects):
                continue
            if found.shape != request.shape and not self._is_alike(found):
                return found
        return None

    def _is_alike(self, request: Request) -> bool:
        return any(alike(sent.request, request) for sent in self.owed)

    def probe_failed(self) -> None:
        """The device did not like a probe: what it has never been asked for is not asked for again."""
        self._narrow = True

    def answers(self, request: Request, seconds: float) -> None:
        """Note that a request was answered, and took so long."""
        self.slowest = seconds if self.slowest is None else max(seconds, 0.98 * self.slowest)
        if request.function in READS and self.answered.get(request.shape) is not request:
            self.answered.pop(request.shape, None)
            self.answered[request.shape] = request
            if len(self.answered) > 2:
                del self.answered[next(iter(self.answered))]


class Pause:
    """A pause that devices of the line seem to need, found by trying: while requests come to grief it grows,
    once `misses` in a row have. With `guessed` there may be another reason, and until one is answered every
    other request goes out without it. What was found is doubted in the long run."""

    def __init__(self, first: float, longest: float, misses: int, *, guessed: bool) -> None:
        self.seconds = 0.0
        self._misses = misses
        self._guessed = guessed
        self._first = first
        self._longest = longest
        self._found = 0.0
        self._enough = inf
        self._missed = 0
        self._longest_missed = -inf
        self._changed_at = 0.0

    def too_soon(self, gap: float, now: float) -> None:
        """A request came to grief that was sent `gap` seconds after a reply, or after connecting."""
        self._missed += 1
        self._longest_missed = max(gap, self._longest_missed)
        if self._missed > _LONG_AGO * self._misses:
            self._enough = inf
        if gap > self._enough - _SAME or self._missed < self._misses:
            return
        if self.seconds or not self._found:
            self._found = min(max(2 * self._found, self._first), self._longest)
            self._changed_at = now
        without = self._guessed and self.seconds and self._enough == inf
        self.seconds = 0.0 if without else self._found

    def is_found(self, gap: float) -> bool:
        """Whether there is anything to learn from a request that was answered so many seconds after."""
        return self._missed > 0 or self._found > 0 or gap < self._enough

    def in_time(self, gap: float, now: float) -> None:
        """A request was answered that was sent `gap` seconds after."""
        if gap < self._longest_missed + _SAME:
            self._missed, self._longest_missed = 0, -inf
        self._enough = min(gap, self._enough)
        if gap < self._found:
            self._found = self.seconds = gap if gap >= self._first else 0.0
        elif self._found:
            self.seconds = self._found
        if now - self._changed_at > _FORGET_AFTER:
            self._changed_at, self._enough = now, inf
            self._found = self.seconds = self.seconds / 2 if self.seconds > self._first else 0.0


class Line:
    """A host and port, or a serial port."""

    def __init__(self) -> None:
        self.units: dict[int, Unit] = {}
        self.echoes: bool | None = None
        """Whether what is sent comes back before the reply; None before the first reply."""
        self.between = Pause(0.12, 1.0, 2, guessed=False)
        """From a reply to the next request."""
        self.connected = Pause(0.3, 3.0, 1, guessed=True)
        """From a connection to the first request."""

    def unit(self, number: int) -> Unit:
        found = self.units.get(number)
        if found is None:
            found = self.units[number] = Unit()
        return found

    def matters(self, now: float) -> bool:
        """Whether there is anything that a later connection has to know."""
        return bool(self.between.seconds or self.connected.seconds) or any(
            sent.until > now for unit in self.units.values() for sent in unit.owed
        )


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Line]] = WeakKeyDictionary()
_MANY = 1000


def line_at(place: str) -> Line:
    """The line of the running loop at that place."""
    loop = asyncio.get_running_loop()
    lines = _lines.setdefault(loop, {})
    if len(lines) > _MANY:
        for other in [other for other, line in lines.items() if not line.matters(loop.time())]:
            del lines[other]
    return lines.setdefault(place, Line())


def forget_line(place: str) -> None:
    """What is known of the line at that place: nobody is there who would need it."""
    _lines.get(asyncio.get_running_loop(), {}).pop(place, None)
