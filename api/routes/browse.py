"""What a device has to read, for pages that make data points of it (spec 01 section 13)."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.endpoints.browsing import WITHIN
from actors.endpoints.messages import BrowseDevice
from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from api.routing import Call, route
from conf.annotations import says

ANSWERING = 5.0
"""Seconds beyond those that a device is given."""
DEEPEST = 20
MOST = 20_000
"""Nodes in an answer."""


class BrowseBody(msgspec.Struct, frozen=True, rename="camel"):
    """What is below `node` (null: the top), so many levels of it, and `limit` nodes at most. `connection` is
    as in an endpoint of that protocol; the fields below it are an OPC UA server's, and may stand beside it
    or alone."""

    max_depth: Annotated[
        int, Meta(ge=1, le=DEEPEST), says(f"maxDepth must be an integer between 1 and {DEEPEST}")
    ] = DEEPEST
    node: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST), says(f"limit must be an integer between 1 and {MOST}")] = MOST
    connection: dict[str, Any] = {}
    endpoint_url: str | UnsetType = UNSET
    security_mode: str | UnsetType = UNSET
    security_policy: str | UnsetType = UNSET
    certificate_trust_mode: str | UnsetType = UNSET
    expected_server_thumbprint: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    password: str | UnsetType = UNSET

    EXAMPLE: ClassVar[dict[str, Any]] = {"endpointUrl": "opc.tcp://127.0.0.1:4840", "maxDepth": 5}

    def complete(self) -> dict[str, Any]:
        beside = {key: value for key, value in msgspec.to_builtins(self).items() if key in _BESIDE}
        return {**self.connection, **beside}


_BESIDE = frozenset(
    {
        *("endpointUrl", "securityMode", "securityPolicy", "certificateTrustMode"),
        *("expectedServerThumbprint", "username", "password"),
    }
)


class TreeNode(msgspec.Struct, rename="camel"):
    """`dataType` is null of what is no variable, `hasChildren` is true of what was not looked into, too. What
    can be read has a `dataPoint`, as an endpoint takes it."""

    node_id: str
    browse_name: str
    node_class: str
    data_type: str | None
    writable: bool
    has_children: bool
    children: list["TreeNode"]
    unit: str | UnsetType = UNSET
    data_point: dict[str, Any] | UnsetType = UNSET


class Tree(msgspec.Struct, frozen=True, rename="camel"):
    """`complete` is false where there are more nodes than an answer holds, or can be asked for in time."""

    nodes: list[TreeNode]
    complete: bool
    endpoint_url: str | UnsetType = UNSET


@route(
    "POST",
    "/v1/discover/{protocol}/browse",
    reply=Tree,
    body=BrowseBody,
    errors=(404, 501),
    summary="What a device has to read, asked over a connection of its own",
)
async def browse_device(call: Call, body: BrowseBody) -> Tree:
    connection = body.complete()
    request = BrowseRequest(body.node, body.max_depth, body.limit)
    message = BrowseDevice(call.text("protocol"), connection, request)
    found = await call.context.request("endpoints", message, Browsed, within=WITHIN + ANSWERING)
    url = connection.get("endpointUrl", UNSET)
    return Tree(tree(found), found.complete, url if isinstance(url, str) else UNSET)


def tree(found: Browsed) -> list[TreeNode]:
    """Parents come before their children."""
    top: list[TreeNode] = []
    known: dict[str, TreeNode] = {}
    for one in found.nodes:
        node = _node(one)
        above = top if one.parent is None or one.parent not in known else known[one.parent].children
        above.append(node)
        known[one.node] = node  # not before: none is below itself
    return top


def _node(one: BrowsedNode) -> TreeNode:
    return TreeNode(
        one.node,
        one.name,
        one.kind,
        one.data_type,
        bool(one.writable),
        one.has_children,
        [],
        UNSET if one.unit is None else one.unit,
        UNSET if one.data_point is None else one.data_point,
    )
