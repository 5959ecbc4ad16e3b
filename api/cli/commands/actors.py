"""`callboard actors`."""

import argparse

from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import OK
from api.cli.output import write_lines
from api.printable import one_line


def declare(parser: argparse.ArgumentParser) -> None:
    add_agent_options(parser)
    parser.set_defaults(do=_actors)


def _actors(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        if output.as_json:
            output.document(agent.get("/v1/actors"))
        else:
            tree = agent.text("/v1/actors", {"format": "text"})
            write_lines(one_line(line) for line in tree.rstrip("\n").split("\n"))
    return OK
