"""What of the polls of a source a subscription wants, and how it is divided into messages.

In the order of spec 02 section 2: interval, qualities, metrics, devices, points per message. What does not
change from poll to poll (`readings.interest`) is worked out once per source.
"""

from collections.abc import Iterator, Sequence

from actors.publish.formats import Piece
from actors.publish.subscription_route import QUALITIES, SubscriptionRoute
from actors.readings.batch import Batch, quality
from actors.readings.interest import Points, indices

JITTER = 250
"""How many ms a poll may be early or late, at intervals long enough for that."""


def messages(
    route: SubscriptionRoute, selected: Points, batches: Sequence[Batch], per_poll: bool
) -> list[tuple[Piece, ...]]:
    """The messages, in order, that batches of one source make; `selected` is what `select` said of it.

    All batches go into one message, or each into its own if `per_poll`; a message that would have more
    than `max_points_per_message` points is continued in the next.
    """
    if selected == ():
        return []
    pieces = [(batch, selected) for batch in batches]
    if route.qualities:
        kept = [(batch, passing(route.qualities, batch, selected)) for batch in batches]
        pieces = [piece for piece in kept if piece[1] != ()]
    if per_poll or len(pieces) == 1:
        together: list[tuple[Piece, ...]] = [(piece,) for piece in pieces]
    else:
        together = [tuple(pieces)] if pieces else []
    limit = route.max_points_per_message
    if limit:
        return [part for message in together for part in _split(message, limit)]
    return together


def passing(wanted: Sequence[str], batch: Batch, points: Points) -> Points:
    """Those of the points whose readings have a wanted quality."""
    if len(set(wanted)) == len(QUALITIES):
        return points
    codes = batch.qualities
    if codes is None:
        return points if "GOOD" in wanted else ()
    values = batch.values
    chosen = indices(points, batch.source)
    kept = tuple(index for index in chosen if quality(values[index], codes[index]) in wanted)
    return points if len(kept) == len(chosen) else kept


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
        chosen = indices(points, batch.source)
        if len(chosen) <= limit:
            yield (batch, points), len(chosen)
            continue
        for start in range(0, len(chosen), limit):
            taken = tuple(chosen[start : start + limit])
            yield (batch, taken), len(taken)


class Throttle:
    """At most one poll of an endpoint per `interval`, in ms, by the polls' own time (see `Clock.steady`).

    Two polls may be nearer than the interval by `slack`, so that all pass that come as often as the
    interval is long, a little late or early; in the long run there is still at most one per interval.
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.slack = max(1, min(interval // 10, JITTER))
        self.due: int | None = None

    def admits(self, timestamp: int) -> bool:
        """Whether the poll of that time, in ms, is to be published."""
        due = self.due
        # So far in the past no poll can follow those that have passed: whoever stamps them has set a clock.
        if due is None or timestamp < due - self.interval - self.slack:
            due = timestamp - self.slack
        if timestamp < due:
            return False
        self.due = max(due, timestamp - self.slack) + self.interval
        return True
