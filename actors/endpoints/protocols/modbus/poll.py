"""One read of all points of a device: whatever it does not like, what can be read is."""

from math import inf
from time import monotonic
from typing import Any

from actors.connections.connection import Transient
from actors.endpoints.protocol import PollResult

from . import quality
from .connection import Connection
from .exchange import UNFIT, Answer, Patience, Unreachable
from .learning import Block, Fault, Lessons, Piece, Stretch
from .link import Link, insist

_SHARE = 0.25
"""Of the time for a poll: how long a reply is waited for that did not come the last time."""
_SHARE_OF_ALL = 0.5
"""The same of all such replies together, but for the first."""
_TIMES_RESTED = 20
"""A point that was waited for in vain rests at least so many times as long."""
_GATEWAY_AGAIN = 4.0
"""Seconds until a device is asked for again that its gateway does not reach, if the gateway says so at
once."""
_VAIN = 24
"""So many requests are refused before it is left for other polls to find out what is not."""


class Poll:
    """To be used once. `within` is the time for it in seconds; what is missing then is not asked for
    again."""

    codes: list[str | None] | None = None
    _answered = False
    """Whether the device was heard of."""
    _fruitful = False
    """Whether any value was read."""
    _failure: Transient | None = None
    """Why it was not heard of."""
    _silence = Transient("", code=quality.TIMEOUT)
    """The latest of them."""
    _silences = 0
    _quiet = False
    """Whether the latest request was not answered."""
    _vain = 0
    _patient = True
    _tried: Piece | None = None
    _troubled = False
    """Whether there is a piece that could not be read, in this poll or before."""

    def __init__(
        self, link: Link, connection: Connection, lessons: Lessons, points: int, within: float
    ) -> None:
        self.values: list[Any] = [None] * points
        self._link = link
        self._lessons = lessons
        self._connection = connection
        self._within = within
        self._began = monotonic()
        self._until = link.loop.time() + within

    async def run(self) -> PollResult:
        """Raises `Transient` when the device was not heard of."""
        lessons = self._lessons
        try:
            if not lessons.barren or await self._try():
                await self._read_sound()
                if self._troubled:
                    await self._read_others()
        except Transient:
            lessons.barren = True
            raise
        lessons.barren = not self._fruitful and bool(self.values)
        if not self._answered and self.values:
            raise self._failure or Transient("the device was not asked", code=quality.DEVICE_OFFLINE)
        if self._troubled or not self._fruitful:
            self._name_faults()
        return PollResult(self.values, self.codes)

    # What to ask

    async def _try(self) -> bool:
        """Whether the device gives anything now, after it gave nothing in the last poll."""
        piece = self._lessons.trial()
        found = await self._ask(piece.block, Patience(self._connection.timeout))
        if isinstance(found, bytes):
            piece.accept()
            self._tried = piece
            self._lessons.wake()
            return True
        if found is not None and self._answered:
            code = _code(found)
            self._failure = Transient("no data point can be read", code=code)
            for _, other in self._lessons.pieces:
                if other.fault in (Fault.troubled, Fault.busy):
                    other.code = code
        return False

    async def _read_sound(self) -> None:
        """Read what could be read the last time."""
        for stretch in self._lessons.stretches:
            if stretch.is_limited:
                stretch.reconsider(self._began)
            pieces: list[Piece] | None = None
            for index, piece in enumerate(stretch.pieces):
                resolved = None
                if piece.fault is not None or piece is self._tried or self._is_away():
                    self._troubled = True
                else:
                    resolved = await self._resolve(stretch, piece, self._patience())
                if resolved is not None and pieces is None:
                    pieces = stretch.pieces[:index]
                if pieces is not None:
                    pieces += resolved or (piece,)
            if pieces is not None:
                stretch.settle(pieces)

    async def _read_others(self) -> None:
        """Read what could not, if its time has come and others are not kept waiting for long; one of it even
        if there is no time."""
        now, woken = monotonic(), False
        called, overdue = self._lessons.call(now), self._lessons.overdue(now)
        for stretch in self._lessons.stretches:
            pieces: list[Piece] = []
            for piece in stretch.pieces:
                due = piece.fault is not None and (piece is called or not piece.rests(now))
                if not due or piece.failed_at >= self._began or not self._time_for(piece, overdue):
                    pieces.append(piece)
                    continue
                had_rested = piece.rest > 0
                resolved = await self._resolve(stretch, piece, self._short_patience())
                woken = woken or (had_rested and piece.fault is None)
                pieces += resolved or (piece,)
            stretch.settle(pieces)
        if woken:
            self._name_faults()
            self._lessons.wake()

    def _is_away(self) -> bool:
        """Whether two different requests went unanswered and none was answered."""
        return self._silences > 1 and not self._answered

    def _patience(self) -> Patience:
        attempts = 1 if self._quiet else 1 + self._connection.retry_attempts
        return Patience(self._connection.timeout, attempts, self._until)

    def _short_patience(self) -> Patience:
        return Patience(self._connection.timeout, 1, self._link.loop.time() + _SHARE * self._within)

    def _time_for(self, piece: Piece, overdue: Piece | None = None) -> bool:
        """Whether a piece that failed before can be asked for in this poll."""
        if self._is_away():
            return False
        if piece is overdue:
            return True
        share = 1.0 if piece.fault is not Fault.silent else _SHARE_OF_ALL if self._silences else inf
        return monotonic() - self._began < share * self._within

    # Asking

    async def _resolve(self, stretch: Stretch, piece: Piece, patience: Patience) -> list[Piece] | None:
        """Read a piece, cut further where the device refuses; the pieces that it ended up as, None when it
        was read as it is."""
        began = self._link.loop.time()
        found = await self._ask(piece.block, patience)
        if isinstance(found, bytes):
            piece.accept()
            return None
        self._troubled = True
        took = self._link.loop.time() - began
        piece.fail(_fault(found), self._code(found), monotonic(), _TIMES_RESTED * took)
        self._vain += 1
        if not piece.is_to_cut or not self._may_cut(piece):
            return [piece]
        pieces: list[Piece] = []
        for half in stretch.halves(piece):
            if self._time_for(piece):
                pieces += await self._resolve(stretch, half, self._short_patience()) or (half,)
            else:
                half.fault, half.code = piece.fault, piece.code
                pieces.append(half)
        stretch.cut(piece, pieces)
        return pieces

    def _may_cut(self, piece: Piece) -> bool:
        """Where nothing can be read it is not for the addresses, or not worth so many requests at once."""
        if self._fruitful or piece.joined:
            return True
        return piece.fault in (Fault.refused, Fault.troubled) and self._vain < _VAIN

    async def _ask(self, block: Block, patience: Patience) -> Answer | None:
        """The bytes read, the exception's number (0 for a reply that does not fit), None when there was no
        reply. Raises `Transient` when there is no connection."""
        try:
            found = await self._link.ask(block.request, patience)
            if found in quality.BUSY and self._patient:
                # Not for every request of one that stays busy.
                found = await insist(self._link, block.request, patience, found)
                self._patient = found not in quality.BUSY
        except Transient as failure:
            if isinstance(failure, Unreachable):
                raise
            self._failure = self._failure or failure
            self._silence = failure
            self._silences += 1
            self._quiet = True
            return None
        self._quiet = False
        if isinstance(found, bytes):
            self._answered = self._fruitful = True
            self._take(block, found)
        elif found in quality.SILENT_BEHIND_GATEWAY:
            self._silences += 1
            self._failure = self._failure or self._beyond_gateway()
        else:
            self._answered = True
        return found

    def _beyond_gateway(self) -> Transient:
        """A gateway answers for a device that it does not reach: asking again costs as long as that took
        it."""
        took = monotonic() - self._began
        within = max(_GATEWAY_AGAIN, self._within, _TIMES_RESTED * took)
        reason = "the gateway does not reach the device"
        return Transient(reason, code=quality.DEVICE_OFFLINE, retry_within=within)

    # What came of it

    def _take(self, block: Block, reply: bytes) -> None:
        codes = block.decoder.fill(self.values, reply)
        if codes is not None:
            for place, code in codes.items():
                self._mark(place, code)

    def _name_faults(self) -> None:
        """See that no point without a value is without a code."""
        for _, piece in self._lessons.pieces:
            if piece.fault is not None:
                for place in piece.block.places:
                    self._mark_absent(place, piece.code)
        rest = quality.DEVICE_OFFLINE if self._failure is None else self._failure.code
        for place in range(len(self.values)):
            self._mark_absent(place, rest or quality.DEVICE_OFFLINE)

    def _mark_absent(self, place: int, code: str) -> None:
        if self.values[place] is None and (self.codes is None or self.codes[place] is None):
            self._mark(place, code)

    def _mark(self, place: int, code: str) -> None:
        if self.codes is None:
            self.codes = [None] * len(self.values)
        self.codes[place] = code

    def _code(self, found: int | None) -> str:
        if found is None:
            return self._silence.code or quality.TIMEOUT
        return _code(found)


def _code(found: int) -> str:
    return quality.code_of_exception(found) if found else quality.READ_ERROR


def _fault(found: int | None) -> Fault:
    if found is None or found in quality.SILENT_BEHIND_GATEWAY:
        return Fault.silent
    if found in quality.BUSY:
        return Fault.busy
    return Fault.refused if found in (UNFIT, *quality.OF_THE_ADDRESS) else Fault.troubled
