"""`callboard discover`: looking for devices now."""

import argparse
from typing import Any

from api.cli.agent_client import TIMEOUT_SECONDS, AgentClient
from api.cli.connecting import add_agent_options, agent_of
from api.cli.exits import FAILED, OK, USAGE, CommandError
from api.cli.given import fields_of
from api.cli.scanning import draw_found, scan, tell_errors

SCANNING_SECONDS = 300.0


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "protocol",
        metavar="PROTOCOL",
        nargs="?",
        help="only of this protocol (default: all that are configured)",
    )
    add_options(parser)
    parser.add_argument("--validate", action="store_true", help="read what is found")
    parser.add_argument("--save", action="store_true", help="add what is found as endpoints, not polled yet")
    parser.add_argument(
        "--prune", action="store_true", help="with --save: remove those that were saved and missing twice"
    )
    parser.add_argument("--dry-run", action="store_true", help="with --save: only say what would be done")
    add_agent_options(parser, timeout=SCANNING_SECONDS)
    parser.set_defaults(do=_discover)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of where and how to look."""
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="HOSTS",
        help="where: 10.0.1.0/24, 10.0.1.5-20, a host, or several with commas between; may be repeated",
    )
    parser.add_argument(
        "--option",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of a scan, as `callboard protocols show` has them; KEY=@FILE takes a text from a file,"
        " as secrets must be",
    )


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raises `CommandError`."""
    options = fields_of(arguments.option, "--option")
    if arguments.network:
        options["network"] = arguments.network[0] if len(arguments.network) == 1 else arguments.network
    return options


def _discover(arguments: argparse.Namespace) -> int:
    for option, given in (("--prune", arguments.prune), ("--dry-run", arguments.dry_run)):
        if given and not arguments.save:
            raise CommandError(f"{option} goes with --save", USAGE)
    if arguments.option and not arguments.protocol:
        raise CommandError("--option is of one PROTOCOL: say which", USAGE)
    seconds = arguments.timeout
    with agent_of(arguments) as (agent, output):
        agent.timeout = min(seconds, TIMEOUT_SECONDS)
        body = _body(arguments, _overrides(agent, arguments)) | {"timeLimit": int(1000 * max(seconds, 1))}
        reply = scan(agent, "/v1/discover", body, seconds)
        output.show(reply, lambda: draw_found(output, reply))
        return FAILED if tell_errors(reply) else OK


def _body(arguments: argparse.Namespace, overrides: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"validate": arguments.validate}
    if arguments.protocol:
        body["protocols"] = [arguments.protocol]
    if overrides:
        body["overrides"] = overrides
    if arguments.save:
        body |= {"save": True, "prune": arguments.prune, "dryRun": arguments.dry_run}
    return body


def _overrides(agent: AgentClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """A network alone is where every protocol looks that looks in networks."""
    options = options_of(arguments)
    if not options:
        return {}
    if arguments.protocol:
        return {arguments.protocol: options}
    known = agent.get("/v1/protocols").get("protocols", ())
    names = [one.get("name") for one in known if one.get("available") and _in_networks(one)]
    return dict.fromkeys(names, options)


def _in_networks(protocol: dict[str, Any]) -> bool:
    schema = protocol.get("discovery_schema") or {}
    return "network" in (schema.get("properties") or {})
