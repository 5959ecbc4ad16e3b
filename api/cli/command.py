"""The `callboard` command."""

import sys
from collections.abc import Sequence
from functools import partial

from api.cli.ending import ended
from api.cli.exits import OK, USAGE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the process's exit code."""
    return ended(partial(_main, sys.argv[1:] if argv is None else argv))


def _main(argv: Sequence[str]) -> int:
    if list(argv) == ["--version"]:  # what scripts ask often: without the rest of the command line
        return _version()
    from api.cli.registry import parser_for

    parser = parser_for(argv)
    arguments = parser.parse_args(argv)
    if arguments.show_version:
        return _version()
    if arguments.command is None:
        parser.print_usage(sys.stderr)
        return USAGE
    code: int = arguments.do(arguments)
    return code


def _version() -> int:
    from api.version import version

    print(f"callboard {version()}")
    return OK
