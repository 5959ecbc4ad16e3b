"""`callboard tap`."""

import argparse

from api.cli.connecting import add_agent_options, agent_of

FILTERS = ("endpoint", "device", "metric", "quality", "protocol")


def declare(parser: argparse.ArgumentParser) -> None:
    for name in FILTERS:
        values = "GOOD, UNCERTAIN or BAD" if name == "quality" else "a `*` stands for any characters"
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            type=str.upper if name == "quality" else str,
            metavar=name.upper(),
            help=f"only of this {name}: {values}; may be repeated, or separated by commas",
        )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as the agent sends it")
    parser.add_argument("--latest", action="store_true", help="print the latest readings and exit")
    add_agent_options(parser, json=False)
    parser.set_defaults(do=_tap)


def _tap(arguments: argparse.Namespace) -> int:
    from api.cli.tap import tap

    chosen = {name: getattr(arguments, name) for name in FILTERS}
    with agent_of(arguments) as (agent, output):
        return tap(agent, chosen, as_json=output.as_json, latest=arguments.latest)
