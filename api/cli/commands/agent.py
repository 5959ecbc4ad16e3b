"""`callboard run`."""

import argparse
from pathlib import Path

from api.cli.exits import FAILED, CommandError


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file that overrides the defaults")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the agent keeps its data")
    parser.add_argument("--demo", action="store_true", help="with simulated devices and a broker")
    parser.set_defaults(do=_run)


def _run(arguments: argparse.Namespace) -> int:
    from api.cli.run import run

    try:
        return run(arguments.config, arguments.data_dir, arguments.demo)
    except BrokenPipeError as error:  # which is no error of commands that print, but of an agent
        raise CommandError(f"the agent has ended: {error.strerror}", FAILED) from error
