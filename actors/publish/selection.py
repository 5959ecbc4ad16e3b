"""What of the polls of a source a subscription wants, and how it is divided into messages.

In the order of spec 02 section 2: interval, qualities, metrics, devices, points per message. What does not
change from poll to poll (`select`) is worked out once per source.
"""

from collections.abc import Iterator, Sequence

from actors.publish import topics
from actors.publish.formats import Piece, Points
from actors.publish.routes import QUALITIES, Route
from actors.readings.batch import Batch, Source, quality

JITTER = 250
"""How many ms a poll may be early or late, at intervals long enough for that."""


def select(route: Route, source: Source) -> Points:
    """The source's points that the route wants: None is all of them, () none.

    No topic filter at all wants everything, and so does one that selects the protocol's name (spec 02
    section 4). A device is meant by its name or by its endpoint's. Costs filters x points.
    """
    if not _wants_device(route, source):
        return ()
    matched = _match(route.topics, source)
    if not route.include_metrics and not route.exclude_metrics:
        return matched
    included, excluded = frozenset(route.include_metrics), frozenset(route.exclude_metrics)
    return _as_points(
        source,
        tuple(
            index
            for index in _indices(matched, source)
            if (not included or source.points[index].name in included)
            and source.points[index].name not in excluded
        ),
    )


def _wants_device(route: Route, source: Source) -> bool:
    names = {source.device, source.endpoint}
    included = not route.include_devices or not names.isdisjoint(route.include_devices)
    return included and names.isdisjoint(route.exclude_devices)


def _match(filters: Sequence[str], source: Source) -> Points:
    if not filters or any(topics.matches(wanted, source.protocol) for wanted in filters):
        return None
    return _as_points(
        source,
        tuple(
            index
            for index, known in enumerate(source.topics)
            if any(topics.matches(wanted, topic) for wanted in filters for topic in known)
        ),
    )


def _as_points(source: Source, chosen: tuple[int, ...]) -> Points:
    return None if chosen and len(chosen) == len(source.points) else chosen


def _indices(points: Points, source: Source) -> Sequence[int]:
    return range(len(source.points)) if points is None else points


def messages(
    route: Route, selected: Points, batches: Sequence[Batch], per_poll: bool
) -> list[tuple[Piece, ...]]:
    """The messages, in order, that batches of one source make; `selected` is what `select` said of it.

    All batches go into one message, or each into its own if `per_poll`; a message that would have more
    than `max_points_per_message` points is continued in the next.
    """
    if selected == ():
        return []
    pieces = [(batch, selected) for batch in batches]
    if route.qualities:
        passing = [(batch, _passing(route.qualities, batch, selected)) for batch in batches]
        pieces = [piece for piece in passing if piece[1] != ()]
    if per_poll or len(pieces) == 1:
        together: list[tuple[Piece, ...]] = [(piece,) for piece in pieces]
    else:
        together = [tuple(pieces)] if pieces else []
    limit = route.max_points_per_message
    if limit:
        return [part for message in together for part in _split(message, limit)]
    return together


def _passing(wanted: Sequence[str], batch: Batch, points: Points) -> Points:
    """Those of the points whose readings have a wanted quality."""
    if len(set(wanted)) == len(QUALITIES):
        return points
    codes = batch.qualities
    if codes is None:
        return points if "GOOD" in wanted else ()
    values = batch.values
    indices = _indices(points, batch.source)
    passing = tuple(index for index in indices if quality(values[index], codes[index]) in wanted)
    return points if len(passing) == len(indices) else passing


def _split(message: tuple[Piece, ...], limit: int) -> Iterator[tuple[Piece, ...]]:
    """The message in parts of at most `limit` points; a poll that fits into one part is not divided."""
    part: list[Piece] = []
    room = limit
    for piece, size in _portions(message, limit):
        if size > room:
            yield tuple(part)
            part, room = [], limit
        part.append(piece)
        room -= size
    if part:
        yield tuple(part)


def _portions(message: tuple[Piece, ...], limit: int) -> Iterator[tuple[Piece, int]]:
    """Pieces of at most `limit` points, and how many they have."""
    for batch, points in message:
        indices = _indices(points, batch.source)
        if len(indices) <= limit:
            yield (batch, points), len(indices)
            continue
        for start in range(0, len(indices), limit):
            taken = tuple(indices[start : start + limit])
            yield (batch, taken), len(taken)


class Throttle:
    """At most one poll of an endpoint per `interval`, in ms, by the polls' own time.

    Two polls may be nearer than the interval by `slack`, so that all pass that come as often as the
    interval is long, a little late or early; in the long run there is still at most one per interval.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.slack = max(1, min(interval // 10, JITTER))
        self.due: int | None = None

    def admits(self, timestamp: int) -> bool:
        """Whether the poll of that time, in Unix ms, is to be published."""
        due = self.due
        # So far in the past no poll can follow those that have passed: the clock was set back.
        if due is None or timestamp < due - self.interval - self.slack:
            due = timestamp - self.slack
        if timestamp < due:
            return False
        self.due = max(due, timestamp - self.slack) + self.interval
        return True
