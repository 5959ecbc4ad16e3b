"""Why a topic filter selects nothing, in words."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice

from actors.readings.batch import Source
from actors.readings.filters import spelled
from actors.readings.source_topics import endings

NAMED = 3
"""Names that a reason lists."""


def why_nothing(topic_filter: str, sources: Iterable[Source]) -> str:
    """Where a filter, as a client wrote it, that selects nothing of the sources parts from their topics."""
    nearest = _Nearest(spelled(topic_filter.removesuffix("/#")).split("/"))
    for parts in _topics(nearest.levels, sources):
        nearest.look_at(parts)
    return _reason(topic_filter, nearest)


class _Nearest:
    """The topics that agree with the filter for longest, for `depth` levels. `present` are the levels that
    come next, `example` is one of the topics."""

    def __init__(self, levels: list[str]) -> None:
        self.levels = levels
        self.depth = -1
        self.present: dict[str, None] = {}
        self.example: list[str] = []

    def look_at(self, parts: list[str]) -> None:
        agreed = _agreed(self.levels, parts)
        if agreed > self.depth:
            self.depth, self.present, self.example = agreed, {}, parts
        if agreed == self.depth and agreed < len(parts):
            self.present[parts[agreed]] = None


def _topics(levels: list[str], sources: Iterable[Source]) -> Iterator[list[str]]:
    """Those that come nearest to the filter, and of topics that differ in what it does not ask for, one."""
    agreeing: dict[int, tuple[list[str], dict[str, None]]] = {}
    for source in sources:
        for prefix in source.prefixes:
            parts = prefix.split("/")[:-1]
            if _agreed(levels, parts) < len(parts):
                yield [*parts, *(endings(source.points[0].name)[0] if source.points else ())]
            else:
                names = agreeing.setdefault(len(parts), (parts, {}))[1]
                names.update(dict.fromkeys(point.name for point in source.points))
    for parts, names in agreeing.values():
        if not names:
            yield parts
        yield from ([*parts, *ending] for name in names for ending in endings(name))


def _agreed(levels: list[str], parts: list[str]) -> int:
    """How many levels they have in common from the beginning."""
    shorter = min(len(levels), len(parts))
    return next((at for at in range(shorter) if levels[at] not in ("+", parts[at])), shorter)


def _reason(topic_filter: str, nearest: _Nearest) -> str:
    levels, depth, example = nearest.levels, nearest.depth, nearest.example
    shown = f"{len(example)} ({'/'.join(example)})"
    ends_alike = f"{topic_filter} has {_levels(len(levels))}, but the topics that begin so have {shown}"
    if depth == len(levels):
        return f"{ends_alike}; {topic_filter}/# selects all below"
    if depth == len(example):
        return ends_alike
    place = f"level {depth + 1} of {topic_filter}"
    written = topic_filter.split("/")[depth]
    if not written:
        return f"{place} is empty: there is a slash too many"
    below = f" below {'/'.join(levels[:depth])}" if depth else ""
    return f"there is no {written}{below} ({place}), but {_near(levels[depth], nearest.present)}"


def _levels(count: int) -> str:
    return "one level" if count == 1 else f"{count} levels"


def _near(wanted: str, present: dict[str, None]) -> str:
    """The names that there are, those that are probably meant first."""
    meant = [name for name in present if name.casefold() == wanted.casefold()]
    if meant:
        return f"{meant[0]}: upper and lower case differ"
    close = get_close_matches(wanted, list(islice(present, 1000)), NAMED)
    named = list(islice(dict.fromkeys([*close, *present]), NAMED))
    more = len(present) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
