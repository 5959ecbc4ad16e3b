"""Data types of a server, and the built-in ones that they are made of (part 3, 8)."""

from typing import Final

from asyncua import ua

from .channel import Channel

_LONGEST_LINE: Final = 16
"""Supertypes that are followed from a data type to the built-in one."""
_ENUMERATION: Final = 29
_INT32: Final = 6
_LAST: Final = 28
"""Built-in types, and the abstract ones of numbers."""


async def built_in(channel: Channel, data_type: ua.NodeId) -> int | None:
    """The number of the built-in type that a data type is made of, 26 to 28 for one of any number; None when
    that cannot be found out. Raises `NoConnection`."""
    found: ua.NodeId | None = data_type
    for _ in range(_LONGEST_LINE):
        if found is None:
            break
        if found.NamespaceIndex == 0 and isinstance(found.Identifier, int):
            if found.Identifier == _ENUMERATION:
                return _INT32
            if found.Identifier <= _LAST:
                return int(found.Identifier)
        found = await target(channel, found, ua.ObjectIds.HasSubtype, inverse=True)
    return None


async def target(channel: Channel, node: ua.NodeId, reference: int, inverse: bool) -> ua.NodeId | None:
    """The first node that such a reference leads to. Raises `NoConnection`."""
    what = ua.BrowseDescription()
    what.NodeId = node
    what.BrowseDirection = ua.BrowseDirection.Inverse if inverse else ua.BrowseDirection.Forward
    what.ReferenceTypeId = ua.NodeId(reference)
    what.IncludeSubtypes = True
    what.NodeClassMask = ua.NodeClass.Unspecified
    what.ResultMask = ua.BrowseResultMask(0)
    request = ua.BrowseRequest()
    request.Parameters.NodesToBrowse = [what]
    request.Parameters.RequestedMaxReferencesPerNode = 1
    response = await channel.ask(request, ua.BrowseResponse)
    for result in response.Results or ():
        for one in result.References or ():
            found = one.NodeId
            return ua.NodeId(found.Identifier, found.NamespaceIndex, found.NodeIdType)
    return None
