"""Reading the values of many nodes at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncua import ua

from . import values
from .channel import Channel
from .publishing import unix_ms_of


class Found(NamedTuple):
    """One for each node that was read, in order: value as JSON, status code, Unix ms or None."""

    values: list[Any]
    statuses: list[int]
    times: list[int | None]


async def read(channel: Channel, nodes: Sequence[ua.ReadValueId]) -> Found:
    """One Read request for all of them. Raises `NoConnection`."""
    request = ua.ReadRequest()
    request.Parameters.NodesToRead = list(nodes)
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    response = await channel.ask(request, ua.ReadResponse)
    found = Found([], [], [])
    for value in response.Results:
        found.values.append(values.to_json(value.Value))
        found.statuses.append(0 if value.StatusCode is None else value.StatusCode.value)
        found.times.append(unix_ms_of(value.SourceTimestamp or value.ServerTimestamp))
    return found
