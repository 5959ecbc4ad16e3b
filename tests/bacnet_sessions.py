"""A session with a BACnet device, and what it tells."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from actors.connections.connection import NoConnection
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.protocols.bacnet import PROTOCOL

WITHIN = 8.0


async def until(met: Callable[[], Any], within: float = WITHIN) -> None:
    deadline = monotonic() + within
    while not met():
        assert monotonic() < deadline, "not met in time"
        await asyncio.sleep(0.01)


class Told(Nobody):
    """`readings` has everything in order: name, value, code; `latest` the last of each."""

    def __init__(self, endpoint: CheckedEndpoint) -> None:
        self.points = endpoint.points
        self.readings: list[tuple[str, Any, str | None]] = []
        self.latest: dict[str, tuple[Any, str | None]] = {}
        self.losses: list[NoConnection] = []
        self.alive = 0

    def described(self, description: Description) -> None:
        self.points = description.points

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        for index, value, code in zip(indices, values, codes or [None] * len(values), strict=True):
            self.readings.append((self.points[index].name, value, code))
            self.latest[self.points[index].name] = value, code

    def heard(self, device: str) -> None:
        self.alive += 1

    def lost(self, error: NoConnection) -> None:
        self.losses.append(error)

    def values_of(self, name: str) -> list[Any]:
        return [value for one, value, _ in self.readings if one == name]


POINTS = [
    {"name": "temperature", "object": "analog-input:1"},
    {"name": "setpoint", "object": "analog-value:1", "writable": True},
    {"name": "running", "object": "binary-value:1"},
    {"name": "mode", "object": "multi-state-value:1", "stateText": True},
]


@asynccontextmanager
async def session_with(
    connection: dict[str, Any], points: Sequence[dict[str, Any]] = POINTS, lines: Lines | None = None
) -> AsyncIterator[tuple[Any, Told]]:
    """It is not connected yet."""
    endpoint = PROTOCOL.accept(connection, points)
    told = Told(endpoint)
    session = PROTOCOL.session(endpoint, told, Lines() if lines is None else lines)
    try:
        yield session, told
    finally:
        await session.close()
