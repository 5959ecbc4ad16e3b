"""What a reader learns about which registers of a device can be read together.

A read request that the device refuses is cut until only single points are refused. The pieces are kept,
so that the next polls need not cut again; a refused point rests, and is asked again from time to time.
"""

from collections.abc import Sequence
from time import monotonic

from . import quality
from .decode import Decoder
from .frames import Request
from .plan import Span, span_of

_FIRST_REST = 4
_LONGEST_REST = 60
_REST_SECONDS = 300.0
"""After so long a refused point is asked again whatever its rest: polls may be hours apart."""


class Block:
    """A span with everything that reading it needs, made once."""

    __slots__ = ("decoder", "function", "places", "request", "size", "span")

    def __init__(self, span: Span, unit: int) -> None:
        body = span.address.to_bytes(2, "big") + span.count.to_bytes(2, "big")
        self.span = span
        self.function = int(span.table)
        self.request = Request(self.function, unit, body)
        self.decoder = Decoder(span.points, span.address, span.count)
        self.size = self.decoder.size
        self.places = tuple(place for place, _ in span.points)


class Piece:
    """A block and what became of it. `code` is None while the block can be read; a refused piece is a
    single point and rests until poll number `due`, for some minutes at most."""

    __slots__ = ("block", "code", "due", "refused_at", "rest")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.code: str | None = None
        self.due = 0
        self.refused_at = 0.0
        self.rest = 0

    def rests(self, poll: int) -> bool:
        """Whether it is not to be read at that poll."""
        return self.code is not None and poll < self.due and monotonic() - self.refused_at < _REST_SECONDS

    def accept(self) -> None:
        """The block was read."""
        self.code, self.rest = None, 0

    def refuse(self, code: str, poll: int) -> None:
        """The block, a single point, was refused at that poll; a device that is busy is no reason to rest."""
        busy = code in (quality.code_of_exception(exception) for exception in quality.BUSY)
        self.code = code
        self.rest = 0 if busy else min(2 * self.rest or _FIRST_REST, _LONGEST_REST)
        self.due = poll + self.rest
        self.refused_at = monotonic()


class Stretch:
    """One span of the plan, in the pieces that the device allows; sorted by address."""

    __slots__ = ("limit", "pieces", "unit")

    def __init__(self, span: Span, unit: int) -> None:
        self.unit = unit
        self.pieces = [Piece(Block(span, unit))]
        self.limit = span.count + 1
        """Pieces are joined only to less registers than this: so many were refused for their number, or
        for a register between the points."""

    def cut(self, failed: Block, pieces: Sequence[Piece]) -> None:
        """Note that a block failed as a whole and was read in these pieces."""
        if all(piece.code is None for piece in pieces):
            self.limit = min(self.limit, failed.span.count)

    def settle(self, pieces: Sequence[Piece]) -> None:
        """Take the pieces of the latest read over, neighbours that can be read joined again."""
        joined: list[Piece] = []
        for piece in pieces:
            if joined and self._joinable(joined[-1], piece):
                points = joined[-1].block.span.points + piece.block.span.points
                joined[-1] = Piece(Block(span_of(points), self.unit))
            else:
                joined.append(piece)
        self.pieces = joined

    def _joinable(self, piece: Piece, following: Piece) -> bool:
        before, after = piece.block.span, following.block.span
        return (
            piece.code is None
            and following.code is None
            and after.address <= before.end
            and max(before.end, after.end) - before.address < self.limit
        )
