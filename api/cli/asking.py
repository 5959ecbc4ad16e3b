"""Asking before something is done that cannot be undone."""

import sys

from api.cli.exits import FAILED, USAGE, CommandError
from api.printable import one_line


def confirm(question: str, *, yes: bool) -> None:
    """Go on when `yes`, or when whoever sits at the terminal says so; else raise `CommandError`."""
    if yes:
        return
    if not sys.stdin or not sys.stdin.isatty():
        raise CommandError(f"{question} There is no terminal to ask: say --yes to go on", USAGE)
    print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done", FAILED)
