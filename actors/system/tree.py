"""The tree dump: what operators watch."""

from time import perf_counter

import msgspec

from actors.system.actor import Actor
from actors.system.mailboxes import Cell, System
from actors.system.messages import ActorNode, TreeDumped


def dump(root: Cell) -> TreeDumped:
    """The actors below and including `root`, children in the order of their creation, then those that gave
    up."""
    system = root.system
    return TreeDumped(_node(root), round(system.lag * 1000, 3), round(system.lag_max * 1000, 3))


def _node(cell: Cell, gave_up: bool = False) -> ActorNode:
    return ActorNode(
        name=cell.name or cell.address.addressDetails,
        actor_class=cell.actor_class.__name__,
        address=cell.address.addressDetails,
        state="gave up" if gave_up else state(cell),
        health=_health(cell),
        uptime=round(perf_counter() - cell.started, 1),
        mailbox=len(cell.mailbox or ()),
        mailbox_high=cell.high,
        mailbox_dropped=cell.dropped,
        handled=cell.handled,
        mean_ms=round(1000 * cell.busy / cell.handled, 4) if cell.handled else 0.0,
        max_ms=round(1000 * cell.busy_max, 3),
        restarts=cell.crashes.restarts if cell.crashes else 0,
        last_error=cell.last_error,
        children=[
            *(_node(child) for child in (cell.children or {}).values()),
            *(_node(lost.cell, gave_up=True) for lost in (cell.lost or {}).values()),
        ],
    )


def state(cell: Cell) -> str:
    """running, restarting or degraded (by its own word, or because a child gave up)."""
    if cell.instance is None:
        return "restarting"
    health = _health(cell)
    return "degraded" if cell.lost or (health is not None and health.startswith("degraded")) else "running"


def _health(cell: Cell) -> str | None:
    """What one of our actors says of itself; what a plain one means by that word, nobody knows."""
    return cell.instance.health if isinstance(cell.instance, Actor) else None


class Tally(msgspec.Struct, frozen=True):
    """What a system has, and what has befallen it since its start; lags are seconds, `lag_recent` the worst
    of the last minute."""

    actors: int
    restarting: int
    gave_up: int
    restarts: int
    dropped: int
    dead_letters: int
    lag: float
    lag_recent: float


def tally(system: System) -> Tally:
    """Takes a fraction of a microsecond for each actor."""
    cells = [cell for cell in system.mailboxes.values() if isinstance(cell, Cell)]
    return Tally(
        actors=len(cells),
        restarting=sum(cell.instance is None for cell in cells),
        gave_up=sum(len(cell.lost) for cell in cells if cell.lost),
        restarts=system.restarts,
        dropped=system.dropped,
        dead_letters=system.dead_letters,
        lag=system.lag,
        lag_recent=max(system.lags, default=0.0),
    )
