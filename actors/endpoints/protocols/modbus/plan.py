"""Which points are read together (spec 03 section 2.3)."""

from collections.abc import Iterable

import msgspec

from .decode import Indexed
from .points import DataPoint, Table

_MAX_GAP = 2
MAX_REGISTERS = 125
MAX_BITS = 2000


class Span(msgspec.Struct, frozen=True):
    """One read request and the points that it serves, sorted by address. Their `places` in the list of values
    stand beside them: pairs would take more memory than all the rest."""

    table: Table
    places: tuple[int, ...]
    members: tuple[DataPoint, ...]
    address: int
    end: int
    """the first address after it"""

    @property
    def count(self) -> int:
        return self.end - self.address

    @property
    def points(self) -> tuple[Indexed, ...]:
        return tuple(zip(self.places, self.members, strict=True))

    def halves(self) -> "tuple[Span, Span]":
        """Two spans of half the points each; only of a span with several points."""
        middle = len(self.places) // 2
        return span_of(self.points[:middle]), span_of(self.points[middle:])


def span_of(points: Iterable[Indexed]) -> Span:
    """The span over points of one table that are sorted by address."""
    places, members = zip(*points, strict=True)
    first = members[0]
    end = max(point.last_end for point in members)
    return Span(first.table, places, members, first.first, end)


def plan(
    points: Iterable[Indexed], max_registers: int | None = None, max_gap: int | None = None
) -> list[Span]:
    """The read requests for the points, in the order of function code and address. A request has at most
    `max_registers` (None: as many as Modbus allows), or one point that takes more, and reads at most
    `max_gap` addresses in a row that no point needs (None: 2)."""
    gap = _MAX_GAP if max_gap is None else max_gap
    groups: list[list[Indexed]] = []
    alone: list[list[Indexed]] = []
    end = 0
    for indexed in sorted(points, key=_place):
        point = indexed[1]
        if point.alone:
            alone.append([indexed])
            continue
        if groups and _fits(groups[-1], end, indexed, max_registers, gap):
            groups[-1].append(indexed)
            end = max(end, point.last_end)
        else:
            groups.append([indexed])
            end = point.last_end
    return sorted(map(span_of, groups + alone), key=lambda span: (span.table, span.address))


def _place(indexed: Indexed) -> tuple[int, int, int]:
    index, point = indexed
    return point.table, point.first, index


def _fits(group: list[Indexed], end: int, indexed: Indexed, most: int | None, gap: int) -> bool:
    """Whether a point can join a group that reaches up to `end`."""
    first, point = group[0][1], indexed[1]
    limit = MAX_BITS if point.table.is_bits else most or MAX_REGISTERS
    return (
        point.table is first.table
        and point.first - end <= gap
        and max(end, point.last_end) - first.first <= limit
    )
