"""`callboard completion`: a script for a shell, which then needs no Python to complete."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.cli.exits import OK
from api.cli.output import write_lines

SHELLS = ("bash", "zsh", "fish")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(do=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    import shtab

    from api.cli.registry import parser_for

    parser = parser_for(None)
    _complete_paths(parser, shtab.FILE)
    write_lines([shtab.complete(parser, arguments.shell).rstrip("\n")])
    return OK


def _complete_paths(parser: argparse.ArgumentParser, how: Mapping[str, Any]) -> None:
    """Have the shell complete the names of files where they are meant."""
    for action in parser._actions:
        if action.type is Path:
            action.complete = how  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_paths(inner, how)
