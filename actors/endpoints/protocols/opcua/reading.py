"""Reading the values of many nodes, the same again and again."""

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, Final

from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary

from actors.connections.connection import NoConnection, Transient

from . import decoding, faults
from .channel import Channel
from .decoding import Found
from .limits import TOO_MUCH, Limit
from .posting import Service

_READ = Service("Read")
_BEFORE = struct.pack("<di", 0.0, ua.TimestampsToReturn.Both.value)
"""As old as nothing may a value be; and whose times are wanted."""
AT_ONCE: Final = 4
"""Requests with the server."""


class Reader:
    """Of those nodes, in their order; each is encoded once."""

    def __init__(self, channel: Channel, limit: Limit, nodes: Sequence[ua.ReadValueId]) -> None:
        self._channel = channel
        self._limit = limit
        self._encoded = [struct_to_binary(node) for node in nodes]
        self._requests: list[tuple[int, bytes]] = []
        """How many nodes each has, and its parameters."""

    async def read(self, within: float | None = None) -> Found:
        """Each request is answered within so many seconds (None: the channel's time-out). Raises
        `NoConnection`."""
        within = self._channel.timeout if within is None else within
        while True:
            requests = self._prepared()
            try:
                parts = await self._ask(requests, within)
            except NoConnection as error:
                most = max((count for count, _ in requests), default=0)
                if error.code in TOO_MUCH and self._limit.learn(most):
                    self._requests = []
                    continue
                raise
            return parts[0] if len(parts) == 1 else _joined(parts)

    def _prepared(self) -> list[tuple[int, bytes]]:
        if not self._requests:
            self._requests = [
                (len(part), b"".join((_BEFORE, struct.pack("<i", len(part)), *part)))
                for part in self._limit.parts(self._encoded)
            ]
        return self._requests

    async def _ask(self, requests: Sequence[tuple[int, bytes]], within: float) -> list[Found]:
        found: list[Found] = []
        for start in range(0, len(requests), AT_ONCE):
            several = requests[start : start + AT_ONCE]
            answers: list[asyncio.Future[Any]] = []
            try:
                for _, parameters in several:
                    answers.append(self._channel.post(_READ, parameters, within))
                async with asyncio.timeout(within):
                    for (count, _), answer in zip(several, answers, strict=True):
                        found.append(_checked(count, decoding.results(bytes(await answer))))
            except Exception as error:  # whatever parsing an answer raises
                raise faults.trouble(error, "Read", within) from error
            finally:
                for answer in answers:
                    answer.cancel()
        return found


def _checked(count: int, found: Found) -> Found:
    if len(found.values) != count:
        raise Transient(f"{len(found.values)} results came for {count} operations", code=faults.UNREADABLE)
    return found


def _joined(parts: Sequence[Found]) -> Found:
    values: list[Any] = []
    statuses: list[int] = []
    times: list[int | None] = []
    for part in parts:
        values += part.values
        statuses += part.statuses or [0] * len(part.values)
        times += part.times
    return Found(values, statuses if any(statuses) else None, times)
