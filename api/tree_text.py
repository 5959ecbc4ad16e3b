"""The tree of actors as aligned text."""

from collections.abc import Iterator, Sequence

from actors.system.messages import ActorNode, TreeDumped
from api.printable import one_line

HEADINGS = tuple(
    ["ACTOR", "STATE", "UP", "MAILBOX", "HIGH", "DROPPED", "HANDLED", "MEAN", "MAX", "RESTARTS", "NOTES"]
)
LEFT = frozenset({"ACTOR", "STATE", "NOTES"})


def render(tree: TreeDumped) -> str:
    """A line on the event loop, then one row an actor, children indented under their parent."""
    rows = [HEADINGS, *_rows(tree.root, "", "")]
    lag = f"event loop lag {_ms(tree.loop_lag_ms)}, worst {_ms(tree.loop_lag_max_ms)}"
    return f"{len(rows) - 1} actors, {lag}\n\n" + "".join(_aligned(rows))


def _rows(node: ActorNode, branch: str, indent: str) -> Iterator[tuple[str, ...]]:
    yield _row(node, branch)
    for index, child in enumerate(node.children, 1):
        last = index == len(node.children)
        yield from _rows(child, indent + ("└── " if last else "├── "), indent + ("    " if last else "│   "))


def _row(node: ActorNode, branch: str) -> tuple[str, ...]:
    return (
        branch + one_line(node.name),
        node.state,
        _span(node.uptime),
        str(node.mailbox),
        str(node.mailbox_high),
        str(node.mailbox_dropped),
        str(node.handled),
        _ms(node.mean_ms),
        _ms(node.max_ms),
        str(node.restarts),
        _notes(node),
    )


def _notes(node: ActorNode) -> str:
    error = f"last error: {node.last_error}" if node.last_error else None
    return one_line("; ".join(note for note in (node.health, error) if note))


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if heading in LEFT else cell.rjust(width)
            for cell, width, heading in zip(row, widths, HEADINGS, strict=True)
        ]
        yield "  ".join(cells).rstrip() + "\n"


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _span(seconds: float) -> str:
    """The two largest units: `42s`, `3m05s`, `2h10m`, `5d03h`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d{hours_left:02}h"
    if hours:
        return f"{hours}h{minutes_left:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
