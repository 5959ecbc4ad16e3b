"""Which points of a source somebody wants."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from actors.readings.batch import Batch, Source
from actors.readings.filters import below
from actors.readings.source_topics import level, levels
from conf.topic_filters import fit, matches

Points: TypeAlias = tuple[int, ...] | None
"""Indices into `source.points`, rising; None is all of them."""

Positions: TypeAlias = tuple[int, ...] | None
"""Positions in a batch, rising; None is all of them. In a batch of all points they are as `Points`."""


class Interest(msgspec.Struct, frozen=True):
    """Everything, unless something is said. `topics` are topic filters, as `filters.spelled` has them, or
    protocols' names; an empty tuple filters nothing. A device is meant by its name or by its endpoint's."""

    topics: tuple[str, ...] = ()
    include_devices: tuple[str, ...] = ()
    exclude_devices: tuple[str, ...] = ()
    include_metrics: tuple[str, ...] = ()
    exclude_metrics: tuple[str, ...] = ()


EVERYTHING = Interest()


def select(interest: Interest, source: Source) -> Points:
    """The source's points that are wanted; () is none.

    No topic filter at all wants everything, and so does one that selects the protocol's name (spec 02
    section 4). Costs little where filters end before the names of points, else filters x points.
    """
    if not _wants_device(interest, source):
        return ()
    matched = _match(interest.topics, source)
    if not interest.include_metrics and not interest.exclude_metrics:
        return matched
    included, excluded = frozenset(interest.include_metrics), frozenset(interest.exclude_metrics)
    return _as_points(
        source,
        tuple(
            index
            for index in indices(matched, source)
            if (not included or source.points[index].name in included)
            and source.points[index].name not in excluded
        ),
    )


def indices(points: Points, source: Source) -> Sequence[int]:
    """The points by number."""
    return range(len(source.points)) if points is None else points


def places(positions: Positions, batch: Batch) -> Sequence[int]:
    """The positions by number."""
    return range(len(batch.values)) if positions is None else positions


class Choice:
    """Points of a source that somebody wants, and where in its batches they are."""

    __slots__ = ("_numbers", "points")

    def __init__(self, points: Points) -> None:
        self.points = points
        self._numbers: frozenset[int] | None = None

    def positions(self, batch: Batch) -> Positions:
        """Costs as much as the batch has readings, if those are not of all points, else nothing."""
        points, held = self.points, batch.indices
        if points is None or points == () or held is None:
            return points
        if self._numbers is None:
            self._numbers = frozenset(points)
        numbers = self._numbers
        chosen = tuple([position for position, index in enumerate(held) if index in numbers])
        return None if len(chosen) == len(held) else chosen


def _wants_device(interest: Interest, source: Source) -> bool:
    names = {source.device, source.endpoint}
    included = not interest.include_devices or not names.isdisjoint(interest.include_devices)
    return included and names.isdisjoint(interest.exclude_devices)


def _match(filters: Sequence[str], source: Source) -> Points:
    if not filters or any(matches(wanted, source.protocol) for wanted in filters):
        return None
    asked = [below(wanted, prefix) for wanted in filters for prefix in source.prefixes]
    rests = [rest for rest in asked if rest is not None]
    if not rests or ["#"] in rests:
        return None if rests else ()
    # What fits a name that is one level; the others are few.
    heads = {rest[0] for rest in rests if len(rest) == 1 or rest[1:] == ["#"]}
    return _as_points(
        source,
        tuple(
            index
            for index, point in enumerate(source.points)
            if "+" in heads or level(point.name) in heads or _fits_levels(rests, point.name)
        ),
    )


def _fits_levels(rests: Sequence[Sequence[str]], name: str) -> bool:
    """Whether the name's slashes, taken as such, make levels that are asked for."""
    return "/" in name and any(fit(rest, levels(name)) for rest in rests)


def _as_points(source: Source, chosen: tuple[int, ...]) -> Points:
    return None if chosen and len(chosen) == len(source.points) else chosen
