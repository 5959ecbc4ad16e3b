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
    levels = spelled(topic_filter.removesuffix("/#")).split("/")
    depth, present, example = -1, dict[str, None](), ""
    for source in sources:
        for parts in _topics(levels, source):
            agreed = _agreed(levels, parts)
            if agreed > depth:
                depth, present, example = agreed, {}, "/".join(parts)
            if agreed == depth and agreed < len(parts):
                present[parts[agreed]] = None
    return _reason(topic_filter, levels, depth, present, example)


def _topics(levels: list[str], source: Source) -> Iterator[list[str]]:
    """Topics of the source that come nearest to the filter: one for each beginning, unless that agrees."""
    for prefix in source.prefixes:
        parts = prefix.split("/")[:-1]
        if not source.points or _agreed(levels, parts) < len(parts):
            yield [*parts, *(endings(source.points[0].name)[0] if source.points else ())]
            continue
        for point in source.points:
            yield from ([*parts, *ending] for ending in endings(point.name))


def _agreed(levels: list[str], parts: list[str]) -> int:
    """How many levels they have in common from the beginning."""
    shorter = min(len(levels), len(parts))
    return next((at for at in range(shorter) if levels[at] not in ("+", parts[at])), shorter)


def _reason(topic_filter: str, levels: list[str], depth: int, present: dict[str, None], example: str) -> str:
    most = example.count("/") + 1
    ends_alike = f"{topic_filter} has {_levels(len(levels))}, but the topics that begin so have"
    if depth == len(levels):
        return f"{ends_alike} {most} ({example}); {topic_filter}/# selects all below"
    if depth == most:
        return f"{ends_alike} {most} ({example})"
    place = f"level {depth + 1} of {topic_filter}"
    written = topic_filter.split("/")[depth]
    if not written:
        return f"{place} is empty: there is a slash too many"
    below = f" below {'/'.join(levels[:depth])}" if depth else ""
    return f"there is no {written}{below} ({place}), but {_near(levels[depth], present)}"


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
