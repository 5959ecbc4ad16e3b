"""JSON whose constant parts are encoded once per source, not once per poll.

Measured for 100 points, per payload: structs made per poll 12-18 us, prepared structs with their
values set 10-15 us, fragments with the values put between them 5-12 us. The more constant text an
entry has (`custom`: names and uuids), the more fragments win.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

import msgspec

from actors.readings.batch import Source
from actors.readings.by_source import BySource
from actors.readings.interest import Points, Positions

ROOM = 16
"""How many times the points of its source are remembered, in one selection or another."""

_encoder = msgspec.json.Encoder()
T = TypeVar("T")

Frame = tuple[bytes, bytes]
"""The constant text before and after a value."""


def text(value: str) -> bytes:
    """A string as JSON."""
    return _encoder.encode(value)


def encode_each(values: Sequence[Any]) -> list[bytes]:
    """Every value as JSON, and an empty one at the end; NaN and infinities become `null`."""
    # One call for all values. JSON never holds a raw line feed, so splitting at them is exact.
    return _encoder.encode_lines(values).split(b"\n")


def choose(values: list[T], chosen: Points) -> list[T]:
    """Those of these points, or positions."""
    return values if chosen is None else [values[index] for index in chosen]


def pick(prepared: Sequence[T], held: Sequence[int] | None, positions: Positions) -> list[T]:
    """Of what is prepared for all points of a source, that of the points at these positions; `held` are the
    batch's `indices`.

    What a batch of some points has is prepared with all points: there is no end of ways to be some of them.
    """
    if held is None:
        return choose(list(prepared), positions)
    if positions is None:
        return [prepared[index] for index in held]
    return [prepared[held[position]] for position in positions]


def join(frames: Iterable[Frame], values: Sequence[Any]) -> bytes:
    """The values in these frames, as comma-separated JSON."""
    encoded = encode_each(values)
    return b",".join([head + json + tail for (head, tail), json in zip(frames, encoded, strict=False)])


class Entries:
    """The entries of a payload, one per chosen point; like `join`, for frames that are used often."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._gaps = _gaps(frames)

    def render(self, values: Sequence[Any]) -> bytes:
        """`values` are those of the chosen points."""
        pieces = self._gaps.copy()
        pieces[1::2] = encode_each(values)
        return b"".join(pieces)


def _gaps(frames: Sequence[Frame]) -> list[bytes]:
    """The text around n values, at even positions; odd ones are left for the values and the empty
    piece with which `encode_each` ends."""
    pieces = [b""] * (2 * len(frames) + 2)
    if frames:
        pieces[0] = frames[0][0]
        pieces[2:-2:2] = [b"%b,%b" % (before[1], after[0]) for before, after in pairwise(frames)]
        pieces[-2] = frames[-1][1]
    return pieces


class _Kept(Generic[T]):
    """What is remembered for the selections of one source, oldest first; `points` is their sum."""

    def __init__(self) -> None:
        self.built: dict[Points, T] = {}
        self.points = 0


class PerSource(Generic[T]):
    """`build(source, points)`, remembered for as long as the source lives and there is room.

    Room is counted in points, so that the many small selections of one poll that is split are as
    welcome as a few large ones.
    """

    def __init__(self, build: Callable[[Source, Points], T]) -> None:
        self._build = build
        self._kept: BySource[_Kept[T]] = BySource(lambda _: _Kept())

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, source: Source, points: Points) -> T:
        kept = self._kept.get(source)
        built = kept.built.get(points)
        if built is None:
            built = self._build(source, points)
            _make_room(kept, source, points)
            kept.built[points] = built
        return built


def _make_room(kept: _Kept[T], source: Source, points: Points) -> None:
    whole = len(source.points)
    kept.points += _size(points, whole)
    while kept.built and kept.points > ROOM * whole:
        oldest = next(iter(kept.built))
        del kept.built[oldest]
        kept.points -= _size(oldest, whole)


def _size(points: Points, whole: int) -> int:
    return whole if points is None else len(points)
