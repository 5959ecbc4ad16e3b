"""The tree of actors, for operators."""

from typing import Literal

import msgspec
from aiohttp import web

from actors.system.messages import ActorNode, DumpTree, TreeDumped
from api.routing import Call, route
from api.tree_text import render


class TreeQuery(msgspec.Struct, frozen=True):
    format: Literal["json", "text"] = "json"


class TreeNode(msgspec.Struct, frozen=True, rename="camel"):
    """One actor. Times in ms; `uptime` in seconds since its latest (re)start."""

    name: str
    actor_class: str = msgspec.field(name="class")
    address: str
    state: str
    health: str | None
    uptime: float
    mailbox: int
    mailbox_high: int
    mailbox_dropped: int
    handled: int
    mean_ms: float
    max_ms: float
    restarts: int
    last_error: str | None
    children: list["TreeNode"]


class Tree(msgspec.Struct, frozen=True, rename="camel"):
    """`loop_lag_ms` and `loop_lag_max_ms`: the event loop's latest and worst lag."""

    loop_lag_ms: float
    loop_lag_max_ms: float
    root: TreeNode


@route("GET", "/v1/actors", always=True, reply=Tree, query=TreeQuery, text=True, summary="The tree of actors")
async def tree(call: Call, query: TreeQuery) -> Tree | web.Response:
    dumped = await call.context.request("agent", DumpTree(), TreeDumped)
    if query.format == "text":
        return web.Response(text=render(dumped))
    return Tree(dumped.loop_lag_ms, dumped.loop_lag_max_ms, _node(dumped.root))


def _node(node: ActorNode) -> TreeNode:
    own = {name: getattr(node, name) for name in ActorNode.__struct_fields__ if name != "children"}
    return TreeNode(**own, children=[_node(child) for child in node.children])
