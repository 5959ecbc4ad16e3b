"""What an agent has below an object identifier: a bounded walk."""

from typing import Any

from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.system.failure import Refusal

from . import oids, values
from .client import Client
from .connection import Connection
from .kinds import (
    COUNTER32,
    COUNTER64,
    GAUGE,
    INTEGER,
    IP_ADDRESS,
    OCTETS,
    OID,
    OPAQUE,
    TIME_TICKS,
    UNSIGNED,
)
from .oids import Arcs
from .pdus import Binding
from .values import Unfit
from .walking import Walker

TOP: Arcs = (1, 3, 6, 1, 2, 1)
"""mib-2: what nearly every agent has."""
_TYPES = {
    INTEGER: "integer",
    OCTETS: "string",
    OID: "oid",
    IP_ADDRESS: "ipaddress",
    COUNTER32: "counter32",
    GAUGE: "gauge",
    UNSIGNED: "gauge",
    TIME_TICKS: "timeticks",
    COUNTER64: "counter64",
    OPAQUE: "opaque",
}
_NAMES: dict[Arcs, str] = {
    (1, 3, 6, 1, 2, 1, 1): "system",
    (1, 3, 6, 1, 2, 1, 1, 1): "sysDescr",
    (1, 3, 6, 1, 2, 1, 1, 2): "sysObjectID",
    (1, 3, 6, 1, 2, 1, 1, 3): "sysUpTime",
    (1, 3, 6, 1, 2, 1, 1, 4): "sysContact",
    (1, 3, 6, 1, 2, 1, 1, 5): "sysName",
    (1, 3, 6, 1, 2, 1, 1, 6): "sysLocation",
    (1, 3, 6, 1, 2, 1, 2): "interfaces",
    (1, 3, 6, 1, 2, 1, 2, 1): "ifNumber",
    (1, 3, 6, 1, 2, 1, 2, 2, 1, 2): "ifDescr",
    (1, 3, 6, 1, 2, 1, 2, 2, 1, 5): "ifSpeed",
    (1, 3, 6, 1, 2, 1, 2, 2, 1, 8): "ifOperStatus",
    (1, 3, 6, 1, 2, 1, 2, 2, 1, 10): "ifInOctets",
    (1, 3, 6, 1, 2, 1, 2, 2, 1, 16): "ifOutOctets",
}
"""Of what is met most; there are no MIB files here."""
_TEXT = 80


async def browse(client: Client, connection: Connection, request: BrowseRequest) -> Browsed:
    """Variables below `node`, in the agent's order, however deep they lie: what is between has no names that
    an agent could tell. Raises `Refusal` on `node`."""
    root = TOP
    if request.node is not None:
        try:
            root = oids.parse(request.node.strip())
        except ValueError as error:
            raise Refusal(f"node {error}", "node") from error
    walker = Walker(client, 0 if connection.version == "v1" else connection.max_repetitions)
    walk = await walker.walk(root, request.limit)
    return Browsed([_node(one) for one in walk.found], walk.whole)


def _node(found: Binding) -> BrowsedNode:
    text = oids.shown(found.oid)
    kind = _TYPES.get(found.tag)
    name = _name(found.oid)
    return BrowsedNode(
        node=text,
        name=name if kind is None else f"{name} = {_shown(found)}",
        kind="variable",
        data_type=kind,
        data_point=None if kind is None else point_of(found, name),
    )


def point_of(found: Binding, name: str) -> dict[str, Any]:
    """As clients may send it."""
    point: dict[str, Any] = {"name": name, "oid": oids.shown(found.oid)}
    kind = _TYPES[found.tag]
    if kind == "string" and not isinstance(_value(found), str):
        kind = "octets-hex"
    if kind == "opaque":
        return point
    return point | {"dataType": kind}


def _name(oid: Arcs) -> str:
    for size in range(len(oid), 6, -1):
        known = _NAMES.get(oid[:size])
        if known is not None:
            return ".".join([known, *map(str, oid[size:])])
    return oids.shown(oid)


def _value(found: Binding) -> Any:
    try:
        return values.plain(found.tag, found.raw)
    except Unfit as unfit:
        return unfit.code


def _shown(found: Binding) -> str:
    text = str(_value(found))
    return text if len(text) <= _TEXT else text[:_TEXT] + "…"
