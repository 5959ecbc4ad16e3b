"""`callboard devices` and `write`: what is behind the endpoints, and writing to it."""

import argparse
from typing import Any

from api.cli.agent_client import AgentClient, segment
from api.cli.amounts import moment
from api.cli.asking import confirm
from api.cli.connecting import add_agent_options, add_verb, add_verbs, agent_of, whole_number
from api.cli.exits import NOT_FOUND, OK, USAGE, CommandError
from api.cli.given import value_of

DEVICES = "/v1/devices"


def declare(parser: argparse.ArgumentParser) -> None:
    if parser.prog.endswith("write"):
        _declare_write(parser)
        return
    verbs = add_verbs(parser)
    listing = add_verb(verbs, "list", "list devices, configured and found", _list)
    listing.add_argument("--protocol", metavar="NAME", help="only of this protocol")
    remove = add_verb(verbs, "remove", "remove a device that was found", _remove)
    remove.add_argument("name", metavar="DEVICE", help="name or uuid")
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _declare_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="DEVICE", help="name or uuid")
    parser.add_argument("register", metavar="POINT", help="name of a data point, or an address")
    parser.add_argument("value", metavar="VALUE", help="JSON, or else a text")
    parser.add_argument("--protocol", metavar="NAME", help="of the device, where names are ambiguous")
    parser.add_argument("--type", metavar="TYPE", help="of what is at the address, as the protocol calls it")
    parser.add_argument("--unit", metavar="UNIT", help="refuse to write unless the data point has this unit")
    parser.add_argument(
        "--priority", type=whole_number(1, 16), metavar="N", help="where the protocol has any"
    )
    parser.add_argument("--verify", action="store_true", help="read it back")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_agent_options(parser)
    parser.set_defaults(do=_write)


def _list(arguments: argparse.Namespace) -> int:
    query = {"protocol": arguments.protocol} if arguments.protocol else None
    with agent_of(arguments) as (agent, output):
        reply = agent.get(DEVICES, query)
        rows = [
            (
                one.get("name"),
                one.get("protocol"),
                one.get("identifier"),
                one.get("enabled"),
                moment(one.get("lastSeenAt")),
                one.get("uuid"),
            )
            for one in reply.get("devices", ())
        ]
        columns = ("device", "protocol", "identifier", "enabled", "last seen", "uuid")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _write(arguments: argparse.Namespace) -> int:
    confirm(f"Write {arguments.value} to {arguments.register} of {arguments.name}?", yes=arguments.yes)
    more = {name: getattr(arguments, name) for name in ("type", "unit", "priority")}
    body = {"register": arguments.register, "value": value_of(arguments.value)}
    body |= {name: value for name, value in more.items() if value is not None}
    if arguments.verify:
        body["verify"] = True
    with agent_of(arguments) as (agent, output):
        protocol = arguments.protocol or _find(agent, arguments.name)["protocol"]
        path = f"/v1/adapters/{segment(protocol)}/devices/{segment(arguments.name)}/write"
        reply = agent.call("POST", path, body)
        done = f"{reply.get('register')} of {reply.get('deviceName')} is {reply.get('value')}"
        output.done(reply, done + (", verified" if reply.get("verified") else ""))
    return OK


def _remove(arguments: argparse.Namespace) -> int:
    confirm(f"Remove the device {arguments.name}?", yes=arguments.yes)
    with agent_of(arguments) as (agent, output):
        uuid = _find(agent, arguments.name)["uuid"]
        reply = agent.call("DELETE", f"{DEVICES}/{segment(uuid)}")
        output.done(reply, f"{arguments.name} is removed")
    return OK


def _find(agent: AgentClient, name: str) -> dict[str, Any]:
    """By uuid, or by name. Raises `CommandError`, also when several are meant."""
    found: list[dict[str, Any]] = [
        one for one in agent.get(DEVICES).get("devices", ()) if name in (one.get("uuid"), one.get("name"))
    ]
    if not found:
        raise CommandError(f"Device not found: {name}", NOT_FOUND)
    if len(found) > 1:
        uuids = ", ".join(f"{one.get('uuid')} ({one.get('protocol')})" for one in found)
        raise CommandError(f"Several devices have the name {name}; say which by its uuid: {uuids}", USAGE)
    return found[0]
