"""What a server says of itself: its namespaces, how it does, how much it takes in one call."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.connections.connection import NoConnection

from . import faults, quality
from .channel import Channel
from .limits import Limit, Limits
from .reading import Reader

_BUILD: Final = {
    "vendor": ua.ObjectIds.Server_ServerStatus_BuildInfo_ManufacturerName,
    "product": ua.ObjectIds.Server_ServerStatus_BuildInfo_ProductName,
    "revision": ua.ObjectIds.Server_ServerStatus_BuildInfo_SoftwareVersion,
}
_LONGEST: Final = 200
"""Characters of what a server says of itself."""
_NAMESPACES: Final = ua.ObjectIds.Server_NamespaceArray
_LEVEL: Final = ua.ObjectIds.Server_ServiceLevel
_STATE: Final = ua.ObjectIds.Server_ServerStatus_State
_OF_OPERATIONS: Final = "Server_ServerCapabilities_OperationLimits_"
_READ: Final = getattr(ua.ObjectIds, f"{_OF_OPERATIONS}MaxNodesPerRead")
_ITEMS: Final = getattr(ua.ObjectIds, f"{_OF_OPERATIONS}MaxMonitoredItemsPerCall")
_TRANSLATE: Final = getattr(ua.ObjectIds, f"{_OF_OPERATIONS}MaxNodesPerTranslateBrowsePathsToNodeIds")

BEYOND: Final = 999_999_999
"""An index that no array has: a server that has a value there knows no index ranges."""
_BUSY: Final = frozenset(
    {"BadServerTooBusy", "BadTcpServerTooBusy", "BadResourceUnavailable", "BadOutOfMemory"}
)
"""What a server says that is there all the same."""
BEST: Final = 255
"""Of a server that does not say how well it does."""
HEALTHY: Final = 200
"""The least service level of a server that is to be preferred to none (part 4, 6.6.2.4.2)."""


class Facts(msgspec.Struct, frozen=True):
    namespaces: tuple[str, ...]
    """URIs by index; empty when the server does not say."""
    level: int
    """0 to 255: of redundant servers the one with the highest is to be used."""
    limits: Limits
    build: dict[str, str]
    """Who made it, for people."""


async def facts_of(channel: Channel) -> Facts:
    """Raises `NoConnection`."""
    asked = (_NAMESPACES, _LEVEL, _READ, _ITEMS, _TRANSLATE)
    values = await _read(channel, (*asked, *_BUILD.values()))
    uris = values[0] if isinstance(values[0], list) else []
    read, items, translate = (value if isinstance(value, int) else 0 for value in values[2 : len(asked)])
    build = zip(_BUILD, values[len(asked) :], strict=True)
    return Facts(
        tuple(str(uri or "") for uri in uris),
        _level(values[1]),
        Limits(Limit(read), Limit(items), Limit(translate)),
        {key: text[:_LONGEST] for key, text in build if isinstance(text, str) and text},
    )


async def namespaces_of(channel: Channel) -> tuple[str, ...]:
    """Raises `NoConnection`."""
    [uris] = await _read(channel, (_NAMESPACES,))
    return tuple(str(uri or "") for uri in uris) if isinstance(uris, list) else ()


async def level_of(channel: Channel) -> int:
    """Raises `NoConnection`."""
    [level] = await _read(channel, (_LEVEL,))
    return _level(level)


async def without_ranges(
    channel: Channel, limit: Limit, asked: Sequence[tuple[ua.NodeId, str]]
) -> list[bool]:
    """Whether the server sends the whole value of each node, whatever index range it is asked for. Raises
    `NoConnection` when it is not there."""
    beyond = [value_of(node, ",".join(str(BEYOND) for _ in range_.split(","))) for node, range_ in asked]
    try:
        found = await Reader(channel, limit, beyond).read()
    except NoConnection as error:
        if not channel.is_open or error.code == faults.TIMEOUT:
            raise
        return [False] * len(asked)
    statuses = found.statuses or [0] * len(asked)
    return [
        not quality.is_bad(status) and value is not None and value != []
        for value, status in zip(found.values, statuses, strict=True)
    ]


async def probe(channel: Channel, within: float) -> None:
    """See that it is there, and the session. Raises `NoConnection`."""
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = [value_of(ua.NodeId(_STATE))]
    try:
        await channel.ask(request, ua.ReadResponse, within)
    except NoConnection as error:
        if error.code not in _BUSY:
            raise


def value_of(node: ua.NodeId, index_range: str | None = None) -> ua.ReadValueId:
    return ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value, IndexRange=index_range)


def _level(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value <= BEST else BEST


async def _read(channel: Channel, numbers: tuple[int, ...]) -> list[Any]:
    nodes = [value_of(ua.NodeId(number)) for number in numbers]
    return (await Reader(channel, Limit(), nodes).read()).values
