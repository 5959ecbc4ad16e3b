"""From what data points say to node ids of a server as it is in this session."""

import logging
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from asyncua import ua

from . import quality
from .asking import in_parts
from .channel import Channel
from .limits import Limits
from .nodes import BrowsePath, Namespace, NodeRef

log = logging.getLogger(__name__)

NO_NODE: Final = "BadNodeIdUnknown"
NO_PATH: Final = "BadNoMatch"


class Namespaces:
    """Outlives sessions: an index that a client wrote means the namespace that had it when the server was
    first seen, wherever a restart has put that."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._first: tuple[str, ...] = ()
        self._now: dict[str, int] = {}
        self._moved = False

    def learn(self, uris: Sequence[str]) -> None:
        """The server's NamespaceArray, read anew."""
        self._now = {uri: index for index, uri in reversed(list(enumerate(uris)))}
        if not self._first:
            self._first = tuple(uris)
        moved = any(self._now.get(uri, index) != index for index, uri in enumerate(self._first[2:], 2))
        if moved and not self._moved:
            log.warning(
                "%s: the server has other namespace indices than before; they are translated", self._peer
            )
        self._moved = moved
        if len(uris) > len(self._first):
            self._first += tuple(uris[len(self._first) :]) if not moved else ()

    def index(self, namespace: Namespace) -> int | None:
        """The index that it has now; None when the server has no such namespace."""
        if isinstance(namespace, str):
            return self._now.get(namespace)
        if namespace < 2 or namespace >= len(self._first):
            # 0 is OPC UA's own, 1 the server's; of others nothing is known, and the server will say so.
            return namespace
        return self._now.get(self._first[namespace])


async def resolve(
    channel: Channel, limits: Limits, namespaces: Namespaces, places: Iterable[NodeRef | BrowsePath]
) -> list[ua.NodeId | str]:
    """The node id of each place, or the quality code that says why there is none. Raises `NoConnection`."""
    found: list[ua.NodeId | str] = []
    paths: list[tuple[int, ua.BrowsePath]] = []
    for place in places:
        if isinstance(place, NodeRef):
            index = namespaces.index(place.namespace)
            found.append(NO_NODE if index is None else node_id(index, place.identifier))
            continue
        path = _translatable(place, namespaces)
        if path is not None:
            paths.append((len(found), path))
        found.append(NO_PATH)
    results = await in_parts(
        limits.translate, [path for _, path in paths], lambda part: _translate(channel, part)
    )
    for (at, _), result in zip(paths, results, strict=True):
        found[at] = result
    return found


async def _translate(channel: Channel, paths: Sequence[ua.BrowsePath]) -> list[ua.NodeId | str]:
    request = ua.TranslateBrowsePathsToNodeIdsRequest()
    request.Parameters.BrowsePaths = list(paths)
    response = await channel.ask(request, ua.TranslateBrowsePathsToNodeIdsResponse)
    return [_target(result) for result in response.Results]


def _target(result: ua.BrowsePathResult) -> ua.NodeId | str:
    if quality.is_bad(result.StatusCode.value):
        return quality.name_of(result.StatusCode.value)
    for target in result.Targets or ():
        if target.RemainingPathIndex == 0xFFFF_FFFF:
            there = target.TargetId
            return ua.NodeId(there.Identifier, there.NamespaceIndex, there.NodeIdType)
    return NO_PATH


def _translatable(place: BrowsePath, namespaces: Namespaces) -> ua.BrowsePath | None:
    path = ua.BrowsePath(StartingNode=ua.NodeId(place.start))
    for namespace, name in place.steps:
        index = namespaces.index(namespace)
        if index is None:
            return None
        step = ua.RelativePathElement()
        step.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        step.IsInverse = False
        step.IncludeSubtypes = True
        step.TargetName = ua.QualifiedName(name, index)
        path.RelativePath.Elements.append(step)
    return path


def node_id(namespace: int, identifier: int | str | UUID | bytes) -> ua.NodeId:
    return ua.NodeId(identifier, namespace)
