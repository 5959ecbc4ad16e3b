"""What of the batches of a source a subscription wants, and how it is divided into messages.

In the order of spec 02 section 2: interval, qualities, metrics, devices, points per message. What does not
change from poll to poll (`readings.interest`) is worked out once per source.
"""

from collections.abc import Iterator, Sequence

from actors.publish.formats import Piece
from actors.publish.subscription_route import QUALITIES, SubscriptionRoute
from actors.readings.batch import Batch, quality
from actors.readings.interest import Choice, Positions, places


def messages(
    route: SubscriptionRoute,
    choice: Choice,
    batches: Sequence[Batch],
    per_poll: bool,
    per_time: bool = False,
) -> list[tuple[Piece, ...]]:
    """The messages, in order, that batches of one device make; `choice` is what `select` said of its source.

    All batches go into one message, or each into its own if `per_poll`, or, if `per_time`, even what a batch
    has of each time, in the order of times; a message that would have more than `max_points_per_message`
    points is continued in the next.
    """
    limit, qualities = route.max_points_per_message, route.qualities
    if choice.points == ():
        return []
    if len(batches) == 1 and not limit and not qualities:
        (batch,) = batches
        if batch.indices is None and batch.times is None:
            return [((batch, choice.points),)]  # most polls
    pieces = [(batch, choice.positions(batch)) for batch in batches]
    if qualities:
        pieces = [(batch, passing(qualities, batch, positions)) for batch, positions in pieces]
    pieces = [piece for piece in pieces if piece[1] != ()]
    if per_time:
        pieces = [part for piece in pieces for part in by_time(piece)]
    if per_poll or len(pieces) == 1:
        together: list[tuple[Piece, ...]] = [(piece,) for piece in pieces]
    else:
        together = [tuple(pieces)] if pieces else []
    if limit:
        return [part for message in together for part in _split(message, limit)]
    return together


def passing(wanted: Sequence[str], batch: Batch, positions: Positions) -> Positions:
    """Those of the positions whose readings have a wanted quality."""
    if len(set(wanted)) == len(QUALITIES):
        return positions
    codes = batch.qualities
    if codes is None:
        return positions if "GOOD" in wanted else ()
    values = batch.values
    chosen = places(positions, batch)
    kept = tuple(index for index in chosen if quality(values[index], codes[index]) in wanted)
    return positions if len(kept) == len(chosen) else kept


def by_time(piece: Piece) -> list[Piece]:
    """The piece in parts, each of one time; sooner ones first."""
    batch, positions = piece
    times = batch.times
    if times is None or times.count(times[0]) == len(times):
        return [piece]
    parts: dict[int, list[int]] = {}
    for position in places(positions, batch):
        parts.setdefault(times[position], []).append(position)
    if len(parts) == 1:
        return [piece]
    return [(batch, tuple(parts[time])) for time in sorted(parts)]


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
    for batch, positions in message:
        chosen = places(positions, batch)
        if len(chosen) <= limit:
            yield (batch, positions), len(chosen)
            continue
        for start in range(0, len(chosen), limit):
            taken = tuple(chosen[start : start + limit])
            yield (batch, taken), len(taken)
