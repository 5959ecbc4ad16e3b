"""What a reader learns about which registers of a device can be read, and which of them together.

A read request that comes to grief is cut until only single points are left that do. The pieces are kept, so
that the next polls need not cut again. What was learnt is doubted after a while, and sooner each time it
proves wrong.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from time import monotonic

from .decode import Decoder
from .frames import Request, reading
from .plan import Span, span_of

_FIRST_REST, _LONGEST_FIRST_REST = 10.0, 60.0
_LONGEST_REST = 300.0
_FIRST_DOUBT = 60.0
_LONGEST_DOUBT = 3600.0
_CALL = 5.0
_STRIKES, _STRIKES_OF_SOUND = 2, 4
"""So many times in a row a request must fail for its time, not its address, before it is cut, or rests; more
often one that was read before: replies get lost."""


class Fault(Enum):
    """Why a piece cannot be read: what it says of the addresses."""

    refused = "refused"
    """they are not to be read: it does not help to ask again soon"""
    silent = "silent"
    """perhaps nothing, but asking again costs time"""
    troubled = "troubled"
    """perhaps nothing: the device has other worries"""
    busy = "busy"
    """nothing"""


class Block:
    """A span with everything that reading it needs, made once."""

    __slots__ = ("decoder", "places", "request", "span")

    def __init__(self, span: Span, unit: int) -> None:
        self.span = span
        self.request: Request = reading(span.table, unit, span.address, span.count)
        self.decoder = Decoder(span.points, span.address, span.count)
        self.places = span.places

    @property
    def is_single(self) -> bool:
        return len(self.places) == 1


class Piece:
    """A block and what became of it; times are monotonic seconds. It is sound while `fault` is None."""

    __slots__ = ("block", "code", "due", "failed_at", "fault", "joined", "rest", "strikes", "was_sound")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.fault: Fault | None = None
        self.code = ""
        self.due = 0.0
        self.failed_at = 0.0
        self.rest = 0.0
        self.strikes = 0
        """how often in a row it failed without being refused"""
        self.was_sound = False
        self.joined = False
        """whether its parts could be read by themselves"""

    def rests(self, now: float) -> bool:
        """Whether it is not to be read yet. Only single points rest."""
        return self.fault is not None and now < self.due

    def accept(self) -> None:
        """The block was read."""
        self.fault, self.rest, self.strikes, self.was_sound = None, 0.0, 0, True

    def fail(self, fault: Fault, code: str, now: float, least_rest: float = 0.0) -> None:
        """The block was not read."""
        self.fault, self.code, self.failed_at = fault, code, now
        self.strikes += fault is not Fault.refused
        tired = fault is Fault.refused or (fault is Fault.silent and self.strikes >= self.enough)
        if tired and self.block.is_single:
            least = _FIRST_REST if self.was_sound else min(max(_FIRST_REST, least_rest), _LONGEST_FIRST_REST)
            self.rest = min(max(2 * self.rest, least), _LONGEST_REST)
            self.due = now + self.rest

    @property
    def enough(self) -> int:
        return _STRIKES_OF_SOUND if self.was_sound else _STRIKES

    @property
    def is_to_cut(self) -> bool:
        if self.block.is_single or self.fault is None:
            return False
        return self.fault in (Fault.refused, Fault.troubled) or self.strikes >= self.enough


class Stretch:
    """One span of the plan, in the pieces that the device allows; sorted by address."""

    __slots__ = ("_doubt", "_doubt_at", "_limit", "pieces", "unit")

    def __init__(self, span: Span, unit: int) -> None:
        self.unit = unit
        self.pieces = [Piece(Block(span, unit))]
        self._limit: int | None = None
        self._doubt = 0.0
        self._doubt_at = 0.0

    def halves(self, piece: Piece) -> list[Piece]:
        """Pieces of half the points each. They take over that such a request is known to fail."""
        pieces = [Piece(Block(half, self.unit)) for half in piece.block.span.halves()]
        for half in pieces:
            half.was_sound, half.joined = piece.was_sound, piece.joined
            half.strikes = half.enough - 1 if piece.strikes else 0
        return pieces

    def cut(self, failed: Piece, pieces: Sequence[Piece]) -> None:
        """Note that a piece failed as a whole and was read in these pieces. If all of them were, it was for
        its size, or for a register between the points: pieces are joined only to less, until in doubt.
        Trouble may also have passed meanwhile, as may that of a piece that was read before: that has to
        happen twice."""
        passing = failed.was_sound or failed.fault in (Fault.troubled, Fault.busy)
        once = passing and not failed.joined
        if not once and len(pieces) > 1 and all(piece.fault is None for piece in pieces):
            size = failed.block.span.count
            self._limit = size if self._limit is None else min(self._limit, size)
            self._doubt = min(max(2 * self._doubt, _FIRST_DOUBT), _LONGEST_DOUBT)
            self._doubt_at = monotonic() + self._doubt

    def settle(self, pieces: Sequence[Piece]) -> None:
        """Take the pieces of the latest read over, neighbours that can be read joined again."""
        joined: list[Piece] = []
        for piece in pieces:
            if joined and self._joinable(joined[-1], piece):
                points = joined[-1].block.span.points + piece.block.span.points
                joined[-1] = Piece(Block(span_of(points), self.unit))
                joined[-1].was_sound = joined[-1].joined = True
                joined[-1].strikes = joined[-1].enough - 1
            else:
                joined.append(piece)
        self.pieces = joined

    @property
    def is_limited(self) -> bool:
        return self._limit is not None

    def reconsider(self, now: float) -> None:
        """Join pieces again that were too much for the device once, when that is long ago."""
        if self._limit is not None and now >= self._doubt_at:
            self._limit = None
            self.settle(self.pieces)

    def wake(self) -> None:
        """Take it that what was refused can be read; what is silent goes on resting."""
        for piece in self.pieces:
            if piece.fault is not Fault.silent:
                piece.fault, piece.due, piece.rest = None, 0.0, 0.0
        self.settle(self.pieces)

    def _joinable(self, piece: Piece, following: Piece) -> bool:
        before, after = piece.block.span, following.block.span
        end = max(before.end, after.end)
        return (
            piece.fault is None
            and following.fault is None
            and (self._limit is None or end - before.address < self._limit)
        )


class Lessons:
    """All that is known of one device."""

    def __init__(self, spans: Sequence[Span], unit: int) -> None:
        self.stretches = [Stretch(span, unit) for span in spans]
        self.barren = False
        """Whether the latest poll gave no value at all."""
        self._called_at = 0.0
        self._calls = 0
        self._trials: Iterator[Piece] = iter(())

    @property
    def pieces(self) -> list[tuple[Stretch, Piece]]:
        return [(stretch, piece) for stretch in self.stretches for piece in stretch.pieces]

    @property
    def requests(self) -> int:
        return sum(len(stretch.pieces) for stretch in self.stretches)

    def wake(self) -> None:
        """The device gives again what it refused: the rest of that is read as if nothing had been."""
        for stretch in self.stretches:
            stretch.wake()

    def call(self, now: float) -> Piece | None:
        """One of those that rest but could be read once: every few seconds one stands for them all."""
        if now - self._called_at < _CALL:
            return None
        resting = [
            piece
            for _, piece in self.pieces
            if piece.fault is Fault.refused and piece.was_sound and piece.rests(now)
        ]
        if not resting:
            return None
        self._called_at = now
        self._calls += 1
        return resting[self._calls % len(resting)]

    def overdue(self, now: float) -> Piece | None:
        """Of what could not be read and is to be tried again, what has waited for longest."""
        due = [piece for _, piece in self.pieces if piece.fault is not None and not piece.rests(now)]
        return min(due, key=lambda piece: piece.failed_at, default=None)

    def trial(self) -> Piece:
        """What to ask a device of which nothing could be read: by turns everything that was asked, and ever
        smaller parts of it."""
        found = next(self._trials, None)
        if found is None:
            self._trials = self._all_trials()
            found = next(self._trials)
        return found

    def _all_trials(self) -> Iterator[Piece]:
        wholes = self.pieces
        parts = list(wholes)
        turn = 0
        while parts:
            stretch, piece = wholes[turn % len(wholes)]
            yield piece
            turn += 1
            stretch, piece = parts.pop(0)
            if not piece.block.is_single:
                halves = stretch.halves(piece)
                parts += [(stretch, half) for half in halves]
                yield from halves
