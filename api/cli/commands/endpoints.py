"""`callboard endpoints`."""

import argparse
from pathlib import Path
from typing import Any

from api.cli.agent_client import AgentClient, segment
from api.cli.amounts import moment
from api.cli.asking import confirm
from api.cli.connecting import add_verb, add_verbs, agent_of, whole_number
from api.cli.endpoint_files import export, take
from api.cli.exits import FAILED, NOT_FOUND, OK, USAGE, CommandError
from api.cli.given import document_of, fields_of, object_of
from api.cli.output import Output

ENDPOINTS = "/v1/endpoints"
EVERY = "all"
"""Instead of a name: every endpoint, but where one is called so."""
TRYING_SECONDS = 30.0
"""A device may be slow; the agent gives it 20."""


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    listing = add_verb(verbs, "list", "list endpoints and how they are", _list)
    listing.add_argument("--protocol", metavar="NAME", help="only of this protocol")
    show = add_verb(verbs, "show", "show one endpoint", _show)
    add = add_verb(verbs, "add", "add an endpoint", _add)
    add.add_argument("name", metavar="NAME", nargs="?", help="of the new endpoint")
    test = add_verb(verbs, "test", "connect and read once, of an endpoint or of what would be one", _test)
    test.add_argument("name", metavar="ENDPOINT", nargs="?", help="name or uuid")
    for one in (add, test):
        _add_description(one)
    add.add_argument("--interval", type=whole_number(10, 86_400_000), metavar="MS", help="between polls")
    add.add_argument("--disabled", action="store_true", help="do not poll it yet")
    enable = add_verb(verbs, "enable", "poll an endpoint, or all", _enable)
    disable = add_verb(verbs, "disable", "stop polling an endpoint, or all", _disable)
    for one in (enable, disable):
        one.add_argument("name", metavar="ENDPOINT", nargs="?", help="name or uuid; all for every endpoint")
        one.add_argument("--all", action="store_true", help="every endpoint, also if one is called all")
        one.add_argument("--protocol", metavar="NAME", help="with --all: of this protocol")
    remove = add_verb(verbs, "remove", "remove an endpoint", _remove)
    for one in (show, remove):
        one.add_argument("name", metavar="ENDPOINT", help="name or uuid")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    imported = add_verb(verbs, "import", "add the endpoints of a file, all of them or none", take)
    imported.add_argument("file", type=Path, metavar="FILE", help="JSON or CSV; - is standard input")
    exported = add_verb(verbs, "export", "write all endpoints to a file that can be imported", export)
    exported.add_argument("--output", "-o", type=Path, metavar="FILE", help="where to (default: print it)")
    exported.add_argument("--protocol", metavar="NAME", help="only of this protocol")
    for one in (imported, exported):
        one.add_argument(
            "--format",
            choices=("json", "csv"),
            help="CSV has a row for each data point (default: by the file's name, else json)",
        )


def _add_description(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", metavar="PROTOCOL", help="see `callboard protocols list`")
    parser.add_argument(
        "--connection",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="fields of the connection; KEY=@FILE takes a text from a file, as secrets must be",
    )
    parser.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="POINT",
        help="a data point, as JSON or as name=speed,register=holding:0; may be repeated",
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="JSON of the whole endpoint; - is standard input"
    )


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


# Adding and trying


def _described(arguments: argparse.Namespace) -> dict[str, Any]:
    """The endpoint that a file and options describe, options before what the file says. Raises
    `CommandError`."""
    found: dict[str, Any] = {}
    if arguments.file is not None:
        found = document_of(arguments.file, "--file")
        if not isinstance(found, dict):
            raise CommandError("--file: holds no endpoint; `endpoints import` adds a list of them", USAGE)
    if arguments.protocol:
        found["protocol"] = arguments.protocol
    if arguments.connection or "connection" not in found:
        more = fields_of(arguments.connection, "--connection")
        before = found.get("connection")
        found["connection"] = {**(before if isinstance(before, dict) else {}), **more}
    if arguments.point:
        found["data_points"] = [object_of(text, "--point") for text in arguments.point]
    if not found.get("protocol"):
        raise CommandError("say the --protocol of the endpoint, or a --file that holds it", USAGE)
    return found


def _add(arguments: argparse.Namespace) -> int:
    body = _described(arguments)
    if arguments.name:
        body["name"] = arguments.name
    if not body.get("name"):
        raise CommandError("say the NAME of the new endpoint", USAGE)
    if arguments.interval is not None:
        body["poll_interval"] = arguments.interval
    if arguments.disabled:
        body["enabled"] = False
    with agent_of(arguments) as (agent, output):
        reply = agent.call("POST", ENDPOINTS, body)
        how = "polled" if reply.get("enabled") else "not polled"
        output.done(reply, f"{reply.get('name')} is added, and {how}")
    return OK


def _test(arguments: argparse.Namespace) -> int:
    given = arguments.protocol or arguments.connection or arguments.point or arguments.file
    if bool(arguments.name) == bool(given):
        raise CommandError("say which ENDPOINT, or describe one by --protocol and --connection", USAGE)
    with agent_of(arguments) as (agent, output):
        body = None if arguments.name else _described(arguments)
        path = f"{ENDPOINTS}/{segment(arguments.name)}/test" if arguments.name else f"{ENDPOINTS}/test"
        found = agent.call("POST", path, body, timeout=max(agent.timeout, TRYING_SECONDS))
        output.show(found, lambda: _draw_trial(output, found))
        return OK if found.get("ok") is True else FAILED


def _draw_trial(output: Output, found: dict[str, Any]) -> None:
    if values := found.get("values", ()):
        rows = [
            (
                one.get("device"),
                one.get("name"),
                one.get("value"),
                one.get("unit"),
                f"{one.get('quality')} {one.get('quality_code', '')}".rstrip(),
                moment(one.get("timestamp")),
            )
            for one in values
        ]
        output.table(("device", "point", "value", "unit", "quality", "at"), rows)
    said = found.get("message") if found.get("ok") else found.get("error")
    quality = found.get("quality_code")
    code = f" ({quality})" if quality and str(quality) not in str(said) else ""
    took = f", {found.get('duration_ms')} ms"
    output.line(f"{said}{code}{took}", "ok" if found.get("ok") else "error")


# Changing


def _enable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=True)


def _disable(arguments: argparse.Namespace) -> int:
    return _switch(arguments, enabled=False)


def _switch(arguments: argparse.Namespace, *, enabled: bool) -> int:
    every = arguments.all or arguments.name == EVERY
    named = arguments.name not in (None, EVERY)
    if named == every or (arguments.protocol and not every):
        raise CommandError("say which ENDPOINT, or --all, with --protocol or without", USAGE)
    how = "polled" if enabled else "not polled any more"
    with agent_of(arguments) as (agent, output):
        if named or (not (arguments.all or arguments.protocol) and _is_there(agent, EVERY)):
            reply = agent.call("PATCH", f"{ENDPOINTS}/{segment(arguments.name)}", {"enabled": enabled})
            output.done(reply, f"{arguments.name} is {how}")
            return OK
        query = {"protocol": arguments.protocol} if arguments.protocol else None
        wanted = [
            one for one in agent.get(ENDPOINTS, query).get("endpoints", ()) if one.get("enabled") != enabled
        ]
        for one in wanted:
            agent.call("PATCH", f"{ENDPOINTS}/{segment(str(one.get('uuid')))}", {"enabled": enabled})
        names = [one.get("name") for one in wanted]
        output.done({"endpoints": names, "enabled": enabled}, f"{len(names)} endpoint(s): {how}")
    return OK


def _is_there(agent: AgentClient, name: str) -> bool:
    return any(
        name in (one.get("name"), one.get("uuid")) for one in agent.get(ENDPOINTS).get("endpoints", ())
    )


def _remove(arguments: argparse.Namespace) -> int:
    confirm(f"Remove the endpoint {arguments.name}?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        uuid = _find(agent, arguments.name)["uuid"]
        reply = agent.call("DELETE", f"{ENDPOINTS}/{segment(uuid)}")
        output.done(reply, f"{arguments.name} is removed")
    return OK
