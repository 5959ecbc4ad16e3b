"""What commands print: one JSON document, or tables and lines for people."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from api.cli.exits import FAILED, CommandError, ReaderGone
from api.printable import one_line

STYLES = {
    "ok": "green",
    "healthy": "green",
    "connected": "green",
    "RUNNING": "green",
    "warning": "yellow",
    "warn": "yellow",
    "degraded": "yellow",
    "problem": "red",
    "error": "red",
    "unhealthy": "red",
    "disconnected": "red",
    "disabled": "dim",
    "off": "dim",
}
"""How a cell is drawn that says just this."""

COLOURS = {"green": "32", "yellow": "33", "red": "31"}


class Output:
    """Standard output, as JSON or for people."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def show(self, document: Any, draw: Callable[[], None]) -> None:
        """The document, or what `draw` prints of it."""
        if self.as_json:
            self.document(document)
        else:
            draw()

    def document(self, document: Any) -> None:
        write_lines([harmless(json.dumps(document, indent=2, ensure_ascii=not _speaks_utf8()))])

    def one_of_many(self, document: Any) -> None:
        """A line of newline-delimited JSON."""
        write_lines([harmless(json.dumps(document, ensure_ascii=not _speaks_utf8()))])

    def done(self, document: Any, sentence: str) -> None:
        """The outcome of a command that does something."""
        self.show(document, lambda: self.line(sentence))

    def line(self, text: str = "", style: str = "") -> None:
        """`style` is a key of `STYLES`: its colour is that of the line."""
        colour = COLOURS.get(STYLES.get(style, "")) if style and in_colour() else None
        write_lines([f"\x1b[{colour}m{one_line(text)}\x1b[0m" if colour else one_line(text)])

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], none: str = "none") -> None:
        """Rows under headings; `none` is said instead of no rows."""
        cells = [[cell(value) for value in row] for row in rows]
        if not cells:
            self.line(none)
        elif _is_terminal():
            _draw_table(columns, cells)
        else:
            write_lines(_aligned([[one_line(name).upper() for name in columns], *cells]))

    def pairs(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Names and values, one a line."""
        cells = [[one_line(name), cell(value)] for name, value in rows]
        if _is_terminal():
            _draw_pairs(cells)
        else:
            write_lines(_aligned(cells))


def cell(value: Any) -> str:
    """A value as people write it, on one line."""
    match value:
        case None | "":
            return "-"
        case True | False:
            return "yes" if value else "no"
        case str():
            return one_line(value)
        case _:
            return one_line(json.dumps(value, ensure_ascii=False))


def harmless(text: str) -> str:
    """JSON of the same meaning in which nothing is left that a terminal would obey."""
    if text.isascii() and "\x7f" not in text:
        return text  # JSON has no other control characters but line ends between its parts
    return "".join(
        one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text
    ).replace("\x7f", "\\u007f")


def write_lines(lines: Iterable[str]) -> None:
    """To standard output, at once. Raises `ReaderGone`, and `CommandError` when there is no room for it."""
    text = "".join(f"{line}\n" for line in lines)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise CommandError(f"the output cannot be written: {error.strerror}", FAILED) from error


def in_colour() -> bool:
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _speaks_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart, and nothing cut off."""
    widths = [max(len(one) for one in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{one:<{width}}" for one, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _draw_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(one_line(name), overflow="fold")
    _draw(table, cells)


def _draw_pairs(cells: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    _draw(table, cells)


def _draw(table: Any, cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.text import Text

    for row in cells:
        table.add_row(*(Text(one, style=STYLES.get(one, "")) for one in row))
    text = io.StringIO()
    size = os.get_terminal_size(sys.stdout.fileno())
    console = Console(file=text, force_terminal=True, no_color=not in_colour(), width=size.columns or 80)
    if not in_colour():
        console = Console(file=text, color_system=None, width=size.columns or 80)
    console.print(table)
    write_lines(line.rstrip() for line in text.getvalue().rstrip("\n").split("\n"))
