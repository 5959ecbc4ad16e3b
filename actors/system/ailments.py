"""What is wrong with a tree of actors, as far as supervision can tell."""

from collections.abc import Iterator
from math import inf
from typing import Literal, NamedTuple

from actors.system.mailboxes import Cell

LOOPING = 3  # crashes within the period of an actor's policy from which on they are no accident
STUCK = 2.0  # seconds in which an actor with mail handles at least some of it
LONG = 30.0  # seconds that nothing an actor waits for takes
RECENT = 60.0  # seconds for which an actor that held the loop up, or lost mail, is spoken of


Sort = Literal["failing", "blocking", "dropping"]


class Ailment(NamedTuple):
    """`path` is the actor's names below the root that was looked at, empty for itself; `what` is for people.

    failing: it does not do its work. blocking: it has kept all others from theirs. dropping: it has lost
    mail.
    """

    path: str
    sort: Sort
    what: str


class _Seen(NamedTuple):
    """How far an actor was at a look. `waits_since` is the look (loop time) that first saw it with mail while
    it had handled no more than this, None when it has no mail or is away."""

    handled: int
    waits_since: float | None


class Examination:
    """Looks at a tree again and again: some ailments show only in what did not change."""

    def __init__(self) -> None:
        self._seen: dict[Cell, _Seen] = {}
        """Those with mail."""

    @property
    def suspects(self) -> bool:
        """Whether an actor had mail at the latest look that it may not be handling."""
        return bool(self._seen)

    def look(self, root: Cell, now: float) -> list[Ailment]:
        """Everything that is wrong at `now` (the loop's time): who gave up, restarts, crashes over and over,
        does not handle its mail, waits for long, held the loop up, lost mail."""
        before, self._seen = self._seen, {}
        return list(self._below(root, "", now, before))

    def _below(self, cell: Cell, path: str, now: float, before: dict[Cell, _Seen]) -> Iterator[Ailment]:
        seen = _note(cell, now, before.get(cell))
        if seen.waits_since is not None:
            self._seen[cell] = seen
        for sort, what in _of(cell, now, seen):
            yield Ailment(path, sort, what)
        for child in (cell.children or {}).values():
            if not _at_rest(child):
                yield from self._below(child, _join(path, child), now, before)
        for lost in (cell.lost or {}).values():
            yield Ailment(_join(path, lost.cell), "failing", f"gave up: {lost.cell.last_error}")


def _at_rest(cell: Cell) -> bool:
    """Whether there is nothing to say of an actor, nor of any below it; of thousands that is said of most."""
    return (
        cell.instance is not None
        and not (cell.mailbox or cell.tasks or cell.children or cell.lost)
        and not (cell.crashes and cell.crashes.recent)
        and cell.address.addressDetails not in cell.system.dropped_at
        and cell.address.addressDetails not in cell.system.blockages
    )


def _note(cell: Cell, now: float, before: _Seen | None) -> _Seen:
    """Mail counts as waiting from the look that saw it: how long it had waited before, nobody knows."""
    if not cell.mailbox or cell.instance is None:
        return _Seen(cell.handled, None)
    if before is None or before.waits_since is None or before.handled != cell.handled:
        return _Seen(cell.handled, now)
    return before


def _of(cell: Cell, now: float, seen: _Seen) -> Iterator[tuple[Sort, str]]:
    crashes = cell.crashes.within(now) if cell.crashes else 0
    if cell.instance is None:
        yield "failing", f"restarts: {cell.last_error}"
    elif crashes >= LOOPING:
        assert cell.crashes is not None
        period = cell.crashes.policy.period
        yield "failing", f"crashed {crashes} times in {period:.0f} s: {cell.last_error}"
    if seen.waits_since is not None and now - seen.waits_since >= STUCK:
        yield "failing", f"does not handle its mail ({len(cell.mailbox or ())} messages wait)"
    if now - cell.system.dropped_at.get(cell.address.addressDetails, -inf) < RECENT:
        yield "dropping", f"its mailbox was full: {cell.dropped} messages dropped"
    waited = cell.system.waits(cell)
    if waited >= LONG:
        yield "failing", f"has been waiting for {waited:.0f} s"
    blocked = cell.system.blockages.get(cell.address.addressDetails)
    if blocked is not None and now - blocked.at < RECENT:
        yield "blocking", f"held the loop up for {blocked.seconds:.1f} s with {blocked.message}"


def _join(path: str, cell: Cell) -> str:
    name = cell.name or cell.address.addressDetails
    return f"{path}/{name}" if path else name
