"""`callboard browse`: what a device has to read, as a tree."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from api.cli.agent_client import segment
from api.cli.connecting import add_agent_options, agent_of, whole_number
from api.cli.event_stream import say
from api.cli.exits import OK, USAGE, CommandError
from api.cli.given import fields_of
from api.cli.output import Output, write_lines
from api.printable import one_line

BROWSING_SECONDS = 30.0
"""The agent gives a device 25."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        help="opc.tcp://host:4840, bacnet://host/instance, snmp://host/oid, or PROTOCOL with --connection",
    )
    parser.add_argument(
        "--depth", type=whole_number(1, 20), default=3, metavar="N", help="levels (default: 3)"
    )
    parser.add_argument(
        "--limit", type=whole_number(1, 20_000), default=1000, metavar="N", help="nodes (default: 1000)"
    )
    parser.add_argument("--node", metavar="NODE", help="begin there, as the tree shows it")
    parser.add_argument(
        "--connection",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="further fields of a connection; KEY=@FILE takes a text from a file, as secrets must be",
    )
    parser.add_argument(
        "--points", action="store_true", help="print data points for an endpoint, one JSON object a line"
    )
    add_agent_options(parser)
    parser.set_defaults(do=_browse)


def _browse(arguments: argparse.Namespace) -> int:
    protocol, connection, node = place_of(arguments.address)
    connection |= fields_of(arguments.connection, "--connection")
    body = {"connection": connection, "maxDepth": arguments.depth, "limit": arguments.limit}
    if (start := arguments.node or node) is not None:
        body["node"] = start
    with agent_of(arguments) as (agent, output):
        path = f"/v1/discover/{segment(protocol)}/browse"
        found = agent.call("POST", path, body, timeout=max(agent.timeout, BROWSING_SECONDS))
        if arguments.points:
            for point in _points(found.get("nodes", ())):
                output.one_of_many(point)
        else:
            output.show(found, lambda: _draw(output, found))
        if found.get("complete") is False:
            say("there is more: say a --node to begin at, or more of --depth or --limit")
    return OK


def place_of(address: str) -> tuple[str, dict[str, Any], str | None]:
    """Protocol, connection, and the node to begin at, of an address; one without a scheme is the name of a
    protocol. Raises `CommandError`."""
    if not address.strip():
        raise CommandError("say the ADDRESS of a device, such as opc.tcp://host:4840", USAGE)
    if "://" not in address:
        return address, {}, None
    scheme = address.partition("://")[0].lower()
    if scheme.startswith("opc."):
        return "opcua", {"endpointUrl": address}, None
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise CommandError(f"{one_line(address)!r} is no address: {error}", USAGE) from error
    if parts.username is not None or not host or scheme not in _CONNECTIONS:
        known = ", ".join(["opc.tcp", *_CONNECTIONS])
        raise CommandError(f"{one_line(address)!r} is not an address such as {known}://host", USAGE)
    place: dict[str, Any] = {"host": host} | ({} if port is None else {"port": port})
    more, node = _CONNECTIONS[scheme](parts)
    return scheme, place | more, node


def _bacnet(parts: SplitResult) -> tuple[dict[str, Any], str | None]:
    instance = parts.path.strip("/")
    if not instance:
        return {}, None
    if not instance.isdecimal():
        raise CommandError(f"{one_line(instance)!r} is not the instance of a device", USAGE)
    return {"deviceInstance": int(instance)}, None


def _snmp(parts: SplitResult) -> tuple[dict[str, Any], str | None]:
    return {}, unquote(parts.path).strip("/") or None


_CONNECTIONS = {"bacnet": _bacnet, "snmp": _snmp}


# The tree


def _draw(output: Output, found: dict[str, Any]) -> None:
    nodes = found.get("nodes") or ()
    if not nodes:
        output.line("nothing")
        return
    write_lines(one_line(line) for line in _lines(nodes, ""))


def _lines(nodes: Sequence[dict[str, Any]], indent: str) -> Iterator[str]:
    """The indentation is a tree's, which `one_line` keeps."""
    for index, node in enumerate(nodes, 1):
        last = index == len(nodes)
        yield f"{indent}{'└── ' if last else '├── '}{_shown(node)}"
        below = node.get("children") or ()
        if below:
            yield from _lines(below, indent + ("    " if last else "│   "))


def _shown(node: dict[str, Any]) -> str:
    kind = node.get("dataType") or ("" if node.get("children") else node.get("nodeClass") or "")
    more = [str(kind)] if kind else []
    more += [str(node["unit"])] if node.get("unit") else []
    more += ["writable"] if node.get("writable") else []
    more += ["..."] if node.get("hasChildren") and not node.get("children") else []
    about = f" ({', '.join(more)})" if more else ""
    return one_line(f"{node.get('browseName')}{about}  {node.get('nodeId')}")


def _points(nodes: Sequence[dict[str, Any]]) -> Iterator[Any]:
    for node in nodes:
        if node.get("dataPoint") is not None:
            yield node["dataPoint"]
        yield from _points(node.get("children") or ())
