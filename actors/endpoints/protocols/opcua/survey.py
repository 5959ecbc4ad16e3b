"""What there is to read on a server that was found: one session, one look around, one read of everything."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.connections.connection import NoConnection, Transient
from actors.endpoints.protocol import BrowsedNode, BrowseRequest
from conf.texts import without_controls

from . import browse, faults, quality, server, sighting, trust
from .addressing import node_id
from .asking import in_parts
from .channel import Channel
from .connection import Connection, read_connection
from .limits import Limit
from .nodes import NodeRef, parse_node_id
from .reading import Reader
from .sighting import Sighting

WITHIN: Final = 45.0
"""Seconds for all of it."""
MOST_BYTES: Final = 16_777_216
"""Of one server."""
_START: Final = 2257
"""The node of a server's StartTime (part 5)."""
_PLAUSIBLE: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NO_ACCESS: Final = frozenset(
    {"BadNotReadable", "BadUserAccessDenied", "BadAttributeIdInvalid", "BadNodeIdUnknown"}
)
"""What says that a variable will never be read."""
_SHOWN: Final = 20
"""Values that are told."""
_LONGEST: Final = 128
_LONGEST_VALUE: Final = 200
_UNIT: Final = 32


class Survey(msgspec.Struct):
    """`reason` None: it was read. `subscribes` None: nobody knows."""

    reason: str | None = None
    data_points: list[dict[str, Any]] = []
    readable: int = 0
    bad: int = 0
    complete: bool = True
    subscribes: bool | None = None
    values: dict[str, Any] = {}

    def told(self) -> dict[str, Any]:
        if self.reason is not None:
            return {"reason": self.reason}
        return {
            "totalPoints": len(self.data_points),
            "readableCount": self.readable,
            "errorCount": self.bad,
            "complete": self.complete,
            "values": self.values,
        }


def anonymous(one: Sighting, base: Connection) -> Connection | None:
    """A session that anybody may have, without security; None where there is none, or none is needed: its
    endpoint has one."""
    open_to_all = [each for each in one.usable if sighting.mode_of(each) == "None"]
    if one.polled is not None or "Anonymous" not in sighting.users_of(open_to_all):
        return None
    url = sighting.url_of(one, sighting.Selected("None", "None"))
    return read_connection({"endpointUrl": url, "connectionTimeout": int(base.connection_timeout * 1000)})


async def start_of(connection: Connection) -> int | None:
    """When a server says that it was started, Unix us. Raises `NoConnection`."""
    channel = Channel(connection, connection.address, _nobody, most=MOST_BYTES)
    try:
        async with asyncio.timeout(WITHIN):
            await channel.open()
            [start] = await _values(channel, [ua.NodeId(_START)])
    except TimeoutError as error:
        raise faults.trouble(error, "asking since when it runs", WITHIN) from error
    finally:
        await channel.close()
    if not isinstance(start, datetime):
        return None
    start = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    return round(start.timestamp() * 1_000_000) if start > _PLAUSIBLE else None


async def survey(one: Sighting, connection: Connection, folder: Path | None, depth: int, most: int) -> Survey:
    """Look around on a server and read its variables, where that takes nothing that nobody has given. Raises
    `NoConnection`."""
    reason = await _hindrance(one, connection, folder)
    if reason is not None:
        return Survey(reason=reason)
    channel = Channel(connection, connection.address, _nobody, folder, MOST_BYTES)
    try:
        async with asyncio.timeout(WITHIN):
            await channel.open()
            return await _surveyed(channel, depth, most)
    except TimeoutError as error:
        raise faults.trouble(error, "looking around", WITHIN) from error
    finally:
        await channel.close()


def _nobody(error: NoConnection) -> None:
    """Who waits for an answer learns it, too."""


async def _hindrance(one: Sighting, connection: Connection, folder: Path | None) -> str | None:
    """Why there is to be no session. Whom to trust is for people to say, and not for a search."""
    mode, policy = connection.security_mode, connection.security_policy
    offered = [
        each
        for each in one.usable
        if sighting.Selected(sighting.mode_of(each), sighting.policy_of(each))
        == sighting.Selected(mode, policy)
    ]
    if not offered:
        return "it offers no security that is known here"
    users = sighting.users_of(offered)
    if connection.username is None and "Anonymous" not in users:
        return f"it lets nobody in without a user ({', '.join(users) or 'none'})"
    if not connection.secured or connection.thumbprint is not None:
        return None
    if connection.trust_mode == "trust-on-first-use" and folder is not None:
        place = one.place
        if await asyncio.to_thread(trust.remembers, place.host, place.port, folder):
            return None
    return "somebody has to trust its certificate first"


async def _surveyed(channel: Channel, depth: int, most: int) -> Survey:
    found = await browse.browse(channel, BrowseRequest(None, depth, 4 * most), lean=True)
    variables = [one for one in found.nodes if one.kind == "Variable"]
    complete = found.complete and len(variables) <= most
    variables = variables[:most]
    nodes = [_node(one) for one in variables]
    read = await Reader(channel, Limit(), [server.value_of(node) for node in nodes]).read() if nodes else None
    statuses = (read.statuses if read is not None else None) or [0] * len(nodes)
    values = read.values if read is not None else []
    uris = await server.namespaces_of(channel)
    names = _names(variables, {one.node: one for one in found.nodes})
    units = await _units(channel, nodes, values)
    made = Survey(complete=complete, subscribes=await _subscribes(channel))
    for index, one in enumerate(variables):
        bad = quality.is_bad(statuses[index])
        if bad and quality.name_of(statuses[index]) in _NO_ACCESS:
            continue
        made.bad += bad
        made.readable += not bad
        point = {"name": names[index], "nodeId": _spelled(one.node, uris)}
        kind = None if bad else _kind(values[index], one.data_type)
        if kind is not None:
            point["dataType"] = kind
        unit = units[index]
        if unit is not None:
            point["unit"] = unit
        made.data_points.append(point)
        if not bad and len(made.values) < _SHOWN and isinstance(values[index], bool | int | float | str):
            value = values[index]
            made.values[names[index]] = value[:_LONGEST_VALUE] if isinstance(value, str) else value
    if not made.readable:
        made.reason = "it lets nothing be read" if made.data_points or variables else "it has no variables"
    return made


# Nodes


def _node(one: BrowsedNode) -> ua.NodeId:
    there = parse_node_id(one.node)
    assert isinstance(there.namespace, int)
    return node_id(there.namespace, there.identifier)


def _spelled(text: str, uris: Sequence[str]) -> str:
    """With the namespace's URI instead of its index, which is the server's to choose anew."""
    there = parse_node_id(text)
    index = there.namespace
    if not isinstance(index, int) or index < 2 or index >= len(uris):
        return text
    uri = uris[index]
    if not uri or ";" in uri or not uri.isprintable() or uris.count(uri) > 1:
        return text
    return str(NodeRef(uri, there.identifier))


def _names(variables: Sequence[BrowsedNode], known: dict[str, BrowsedNode]) -> list[str]:
    """The shortest names that tell them apart: their own, else with as many as there must be of those that
    they are below."""
    paths = [_path(one, known) for one in variables]
    lengths = [1] * len(paths)
    for length in range(1, max(map(len, paths), default=0) + 1):
        names = [_joined(path, own) for path, own in zip(paths, lengths, strict=True)]
        taken = Counter(names)
        again = [index for index, name in enumerate(names) if taken[name] > 1 and len(paths[index]) > length]
        if not again:
            break
        for index in again:
            lengths[index] = length + 1
    return _numbered([_joined(path, own) for path, own in zip(paths, lengths, strict=True)])


def _path(one: BrowsedNode, known: dict[str, BrowsedNode]) -> list[str]:
    """From the top to it."""
    path = [one.name]
    while one.parent is not None and one.parent in known and len(path) < 32:
        one = known[one.parent]
        path.insert(0, one.name)
    return path


def _joined(path: Sequence[str], length: int) -> str:
    return without_controls(".".join(path[-length:])).strip()[-_LONGEST:].strip() or "value"


def _numbered(names: Sequence[str]) -> list[str]:
    """Those that are still the same, told apart by numbers."""
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    found = []
    for name in names:
        one = name
        while one in taken:
            counts[name] += 1
            one = f"{name}_{counts[name] + 1}"
        taken.add(one)
        found.append(one)
    return found


def _kind(value: Any, data_type: str | None) -> str | None:
    """The `dataType` of a point; None where it is to be as it comes."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float) and data_type not in ("StatusCode", None):
        return "number"
    return "string" if isinstance(value, str) and data_type in ("String", "LocalizedText") else None


# Services


async def _values(channel: Channel, nodes: Sequence[ua.NodeId]) -> list[Any]:
    """As the library reads them; None of what cannot be read."""

    async def ask(part: Sequence[ua.NodeId]) -> list[Any]:
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [server.value_of(node) for node in part]
        response = await channel.ask(request, ua.ReadResponse)
        return [None if one.Value is None else one.Value.Value for one in response.Results]

    return await in_parts(Limit(), nodes, ask)


async def _units(channel: Channel, nodes: Sequence[ua.NodeId], values: Sequence[Any]) -> list[str | None]:
    """What their EngineeringUnits are called (part 8, 5.6.3)."""
    found: list[str | None] = [None] * len(nodes)
    asked = [
        index
        for index, value in enumerate(values)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    try:
        properties = await _properties(channel, [nodes[index] for index in asked])
        there = [(index, one) for index, one in zip(asked, properties, strict=True) if one is not None]
        read = await _values(channel, [one for _, one in there])
    except Transient:
        return found  # what can be read counts, with units or without
    for (index, _), value in zip(there, read, strict=True):
        if isinstance(value, ua.EUInformation) and value.DisplayName is not None:
            found[index] = sighting.text(value.DisplayName.Text)[:_UNIT] or None
    return found


async def _properties(channel: Channel, nodes: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
    async def ask(part: Sequence[ua.NodeId]) -> list[ua.NodeId | None]:
        request = ua.TranslateBrowsePathsToNodeIdsRequest()
        request.Parameters.BrowsePaths = [_to_units(node) for node in part]
        response = await channel.ask(request, ua.TranslateBrowsePathsToNodeIdsResponse)
        return [_first(one) for one in response.Results]

    return await in_parts(Limit(), nodes, ask)


def _to_units(node: ua.NodeId) -> ua.BrowsePath:
    path = ua.BrowsePath(StartingNode=node)
    step = ua.RelativePathElement()
    step.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    step.IsInverse = False
    step.IncludeSubtypes = True
    step.TargetName = ua.QualifiedName("EngineeringUnits", 0)
    path.RelativePath.Elements.append(step)
    return path


def _first(result: Any) -> ua.NodeId | None:
    targets = [] if quality.is_bad(result.StatusCode.value) else list(result.Targets or ())
    if not targets:
        return None
    there = targets[0].TargetId
    return ua.NodeId(there.Identifier, there.NamespaceIndex, there.NodeIdType)


async def _subscribes(channel: Channel) -> bool | None:
    """Whether the server takes a subscription, which is removed at once."""
    wanted = ua.CreateSubscriptionRequest()
    wanted.Parameters.RequestedPublishingInterval = 1000
    wanted.Parameters.RequestedLifetimeCount = 30
    wanted.Parameters.RequestedMaxKeepAliveCount = 10
    wanted.Parameters.PublishingEnabled = False
    try:
        made = await channel.ask(wanted, ua.CreateSubscriptionResponse)
        removed = ua.DeleteSubscriptionsRequest()
        removed.Parameters.SubscriptionIds = [made.Parameters.SubscriptionId]
        await channel.ask(removed, ua.DeleteSubscriptionsResponse)
    except NoConnection as error:
        return False if error.code == "BadServiceUnsupported" else None
    return True
