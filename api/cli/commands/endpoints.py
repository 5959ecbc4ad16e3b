"""`callboard endpoints`."""

import argparse
from typing import Any

from api.cli.agent_client import AgentClient, segment
from api.cli.amounts import moment
from api.cli.asking import confirm
from api.cli.connecting import add_verb, add_verbs, agent_of
from api.cli.exits import NOT_FOUND, OK, CommandError
from api.cli.output import Output

ENDPOINTS = "/v1/endpoints"


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    listing = add_verb(verbs, "list", "list endpoints and how they are", _list)
    listing.add_argument("--protocol", metavar="NAME", help="only of this protocol")
    show = add_verb(verbs, "show", "show one endpoint", _show)
    enable = add_verb(verbs, "enable", "poll an endpoint", _enable)
    disable = add_verb(verbs, "disable", "stop polling an endpoint", _disable)
    remove = add_verb(verbs, "remove", "remove an endpoint", _remove)
    for one in (show, enable, disable, remove):
        one.add_argument("name", metavar="ENDPOINT", help="name or uuid")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _list(arguments: argparse.Namespace) -> int:
    query = {"protocol": arguments.protocol} if arguments.protocol else None
    with agent_of(arguments) as (agent, output):
        reply = agent.get(ENDPOINTS, query)
        rows = [_row(one) for one in reply.get("endpoints", ())]
        columns = ("endpoint", "protocol", "status", "quality", "every", "points", "last seen", "error")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    health = one.get("health") or {}
    quality = health.get("communicationQuality")
    return (
        one.get("name"),
        one.get("protocol"),
        health.get("status") or ("unknown" if one.get("enabled") else "disabled"),
        f"{quality} %" if isinstance(quality, int | float) else None,
        f"{one.get('poll_interval')} ms",
        len(one.get("data_points") or ()),
        moment(health.get("lastSeen") or one.get("lastSeenAt")),
        health.get("lastError"),
    )


def _show(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        one = _find(agent, arguments.name)
        output.show(one, lambda: _draw(output, one))
    return OK


def _draw(output: Output, one: dict[str, Any]) -> None:
    points = one.get("data_points") or []
    output.pairs(
        [
            *((name, value) for name, value in one.items() if not isinstance(value, list | dict)),
            *((f"connection: {name}", value) for name, value in (one.get("connection") or {}).items()),
            *((f"health: {name}", value) for name, value in (one.get("health") or {}).items()),
        ]
    )
    if points:
        output.line()
        columns = list(dict.fromkeys(name for point in points for name in point))
        output.table(columns, [[point.get(column) for column in columns] for point in points])


def _find(agent: AgentClient, name: str) -> dict[str, Any]:
    """By uuid, or by name. Raises `CommandError`."""
    for one in agent.get(ENDPOINTS).get("endpoints", ()):
        if name in (one.get("uuid"), one.get("name")):
            found: dict[str, Any] = one
            return found
    raise CommandError(f"Endpoint not found: {name}", NOT_FOUND)


def _enable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=True)


def _disable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=False)


def _switch(arguments: argparse.Namespace, *, enabled: bool) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.call("PATCH", f"{ENDPOINTS}/{segment(arguments.name)}", {"enabled": enabled})
        output.done(reply, f"{arguments.name} is {'polled' if enabled else 'not polled any more'}")
    return OK


def _remove(arguments: argparse.Namespace) -> int:
    confirm(f"Remove the endpoint {arguments.name}?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        uuid = _find(agent, arguments.name)["uuid"]
        reply = agent.call("DELETE", f"{ENDPOINTS}/{segment(uuid)}")
        output.done(reply, f"{arguments.name} is removed")
    return OK
