"""What there is below a node of a server's address space (part 4, 5.9)."""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.system.failure import Refusal

from . import quality
from .asking import in_parts
from .channel import Channel
from .limits import Limit
from .nodes import OBJECTS, BrowsePath, NodeRef, parse_place

SECONDS: Final = 15.0
"""That all of it may take; what has been found by then is the answer."""
AT_ONCE: Final = 100
"""Nodes in one Browse request."""
_REFERENCES: Final = 1000
"""Of one node in one answer; the rest is asked for."""
_WRITABLE: Final = 2
"""A bit of an access level (part 3, 8.57)."""
_HOLDING: Final = frozenset({ua.NodeClass.Object, ua.NodeClass.ObjectType})
"""Of what is below these, too, an answer tells."""
_PROPERTY: Final = ua.NodeId(ua.ObjectIds.HasProperty)
_EVERYWHERE: Final = frozenset({"Server", "ServerInfo", "Types", "Views", "Aliases", "Locations"})
"""Of OPC UA's own nodes."""
_FULL: Final = "BadNoContinuationPoints"


class _Found(msgspec.Struct):
    node: ua.NodeId
    text: str
    name: str
    kind: ua.NodeClass
    parent: str | None
    data_type: ua.NodeId | None = None
    writable: bool | None = None


def text_of(node: Any) -> str:
    """As clients may send it."""
    return str(NodeRef(node.NamespaceIndex, node.Identifier))


async def browse(channel: Channel, request: BrowseRequest, lean: bool = False) -> Browsed:
    """Level by level; what is there twice is where it was first found. With `lean` what every server has is
    left out, and what only describes other nodes. Raises `Refusal` for a node that is none,
    `NoConnection`."""
    return await _Browsing(channel, request.limit, lean).browse(_root(request.node), request.depth)


def _root(text: str | None) -> ua.NodeId:
    if text is None:
        return ua.NodeId(OBJECTS)
    try:
        place = parse_place(text)
    except ValueError as error:
        raise Refusal(str(error), "node") from error
    if isinstance(place, BrowsePath) or isinstance(place.namespace, str):
        raise Refusal("must be a node id with the index of its namespace", "node")
    return ua.NodeId(place.identifier, place.namespace)


class _Browsing:
    def __init__(self, channel: Channel, limit: int, lean: bool = False) -> None:
        self._channel = channel
        self._limit = limit
        self._lean = lean
        self._at_once = Limit(AT_ONCE)
        self._until = monotonic() + SECONDS
        self._found: list[_Found] = []
        self._seen: set[str] = set()
        self._complete = True

    @property
    def _over(self) -> bool:
        """Whether that is enough, and there may be more."""
        if len(self._found) >= self._limit or monotonic() > self._until:
            self._complete = False
        return not self._complete

    async def browse(self, root: ua.NodeId, depth: int) -> Browsed:
        self._seen.add(text_of(root))
        level: list[tuple[ua.NodeId, str | None]] = [(root, None)]
        for _ in range(depth):
            start = len(self._found)
            await self._browse_level(level)
            level = [(one.node, one.text) for one in self._found[start:] if one.kind in _HOLDING]
            if not level or not self._complete:
                break
        names = await self._describe()
        deeper = {one.parent for one in self._found} | {text for _, text in level}
        return Browsed([_shown(one, names, deeper) for one in self._found], self._complete)

    async def _browse_level(self, level: Sequence[tuple[ua.NodeId, str | None]]) -> None:
        waiting = list(level)
        while waiting and not self._over:
            part, waiting = waiting[: self._at_once.most], waiting[self._at_once.most :]
            results = await in_parts(self._at_once, part, self._ask)
            refused: list[tuple[ua.NodeId, str | None]] = []
            for (node, parent), result in zip(part, results, strict=True):
                name = quality.name_of(result.StatusCode.value)
                if name == _FULL and len(part) > 1:
                    refused.append((node, parent))
                elif quality.is_bad(result.StatusCode.value) and parent is None:
                    raise Refusal(f"Node not found: {text_of(node)} ({name})", "node", "not_found")
                self._take(parent, result.References)
            await self._go_on(
                [(parent, one.ContinuationPoint) for (_, parent), one in zip(part, results, strict=True)]
            )
            if refused:  # it keeps only so many places to go on from
                self._at_once.learn(len(part))
                waiting = refused + waiting

    async def _ask(self, nodes: Sequence[tuple[ua.NodeId, str | None]]) -> list[Any]:
        request = ua.BrowseRequest()
        request.Parameters.RequestedMaxReferencesPerNode = _REFERENCES
        for node, _ in nodes:
            wanted = ua.BrowseDescription()
            wanted.NodeId = node
            wanted.BrowseDirection = ua.BrowseDirection.Forward
            wanted.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
            wanted.IncludeSubtypes = True
            wanted.ResultMask = (
                ua.BrowseResultMask.BrowseName
                | ua.BrowseResultMask.NodeClass
                | ua.BrowseResultMask.ReferenceTypeId
            )
            request.Parameters.NodesToBrowse.append(wanted)
        return list((await self._channel.ask(request, ua.BrowseResponse)).Results)

    async def _go_on(self, points: Sequence[tuple[str | None, bytes | None]]) -> None:
        """With those nodes that have more references, and tell the server when that is enough."""
        waiting = [(parent, point) for parent, point in points if point]
        while waiting and not self._over:
            results = await self._next([point for _, point in waiting])
            for (parent, _), result in zip(waiting, results, strict=True):
                self._take(parent, result.References)
            waiting = [
                (parent, result.ContinuationPoint)
                for (parent, _), result in zip(waiting, results, strict=True)
                if result.ContinuationPoint
            ]
        if waiting:
            await self._next([point for _, point in waiting], release=True)

    async def _next(self, points: list[bytes], release: bool = False) -> list[Any]:
        request = ua.BrowseNextRequest()
        request.Parameters.ReleaseContinuationPoints = release
        request.Parameters.ContinuationPoints = points
        response = await self._channel.ask(request, ua.BrowseNextResponse)
        results = list(response.Parameters.Results or ())
        return results if len(results) == len(points) else [ua.BrowseResult()] * len(points)

    def _take(self, parent: str | None, references: Sequence[Any] | None) -> None:
        for reference in references or ():
            there = reference.NodeId
            node = ua.NodeId(there.Identifier, there.NamespaceIndex, there.NodeIdType)
            text = text_of(node)
            if getattr(there, "ServerIndex", 0) or text in self._seen:
                continue
            if self._lean and _is_left_out(reference, parent):
                continue
            if len(self._found) >= self._limit:
                self._complete = False
                return
            self._seen.add(text)
            name = reference.BrowseName.Name or ""
            self._found.append(_Found(node, text, name, ua.NodeClass(reference.NodeClass), parent))

    # Variables

    async def _describe(self) -> dict[ua.NodeId, str]:
        """Their types, and whether they can be written; returns the names of the server's own types."""
        variables = [one for one in self._found if one.kind == ua.NodeClass.Variable]
        nodes = [one.node for one in variables]
        types = await self._read(nodes, ua.AttributeIds.DataType)
        levels = await self._read(nodes, ua.AttributeIds.UserAccessLevel)
        for one, kind, level in zip(variables, types, levels, strict=True):
            one.data_type = kind if isinstance(kind, ua.NodeId) else None
            one.writable = isinstance(level, int) and bool(level & _WRITABLE)
        own = list({one.data_type for one in variables if one.data_type and one.data_type.NamespaceIndex})
        names = await self._read(own, ua.AttributeIds.BrowseName)
        return {
            node: name.Name
            for node, name in zip(own, names, strict=True)
            if isinstance(name, ua.QualifiedName)
        }

    async def _read(self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds) -> list[Any]:
        """The values; None of what cannot be read."""

        async def ask(part: Sequence[ua.NodeId]) -> list[Any]:
            request = ua.ReadRequest()
            wanted = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in part]
            request.Parameters.NodesToRead = wanted
            response = await self._channel.ask(request, ua.ReadResponse)
            return [None if one.Value is None else one.Value.Value for one in response.Results]

        return await in_parts(Limit(), nodes, ask)


def _is_left_out(reference: Any, parent: str | None) -> bool:
    if reference.ReferenceTypeId == _PROPERTY:
        return True
    if reference.BrowseName.Name == "ServerInfo" and parent is None:
        return True
    return not reference.NodeId.NamespaceIndex and reference.BrowseName.Name in _EVERYWHERE


def _shown(one: _Found, names: dict[ua.NodeId, str], deeper: set[str | None]) -> BrowsedNode:
    variable = one.kind == ua.NodeClass.Variable
    return BrowsedNode(
        node=one.text,
        name=one.name,
        kind=one.kind.name,
        parent=one.parent,
        has_children=one.text in deeper,
        data_type=None if one.data_type is None else _name_of(one.data_type, names),
        writable=one.writable,
        data_point={"name": one.name, "nodeId": one.text} if variable else None,
    )


def _name_of(kind: ua.NodeId, names: dict[ua.NodeId, str]) -> str:
    if kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int):
        return str(ua.ObjectIdNames.get(kind.Identifier, text_of(kind)))
    return names.get(kind) or text_of(kind)
