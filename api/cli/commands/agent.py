"""`callboard run`."""

import argparse
from pathlib import Path


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file that overrides the defaults")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the agent keeps its data")
    parser.add_argument("--demo", action="store_true", help="with simulated devices and a broker")
    parser.set_defaults(do=_run)


def _run(arguments: argparse.Namespace) -> int:
    from api.cli.run import run

    return run(arguments.config, arguments.data_dir, arguments.demo)
