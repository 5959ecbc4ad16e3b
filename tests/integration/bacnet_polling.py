"""Polled sessions of BACnet without an endpoint."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from servers.bacnet_bytes import ByteDevice

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import PollResult
from actors.endpoints.protocols import find
from actors.endpoints.protocols.bacnet.polled import BacnetPolled
from actors.endpoints.protocols.bacnet.port import Port

ONE = {"name": "one", "object": "analog-input:0"}


def some(count: int) -> list[dict[str, Any]]:
    return [{"name": f"p{number}", "object": f"analog-input:{number}"} for number in range(count)]


def made(connection: dict[str, Any], points: list[dict[str, Any]], lines: Lines) -> BacnetPolled:
    protocol = find("bacnet")
    session = protocol.session(protocol.accept(connection, points), Nobody(), lines)
    assert isinstance(session, BacnetPolled)
    return session


@contextlib.asynccontextmanager
async def polling(
    device: ByteDevice, *points: dict[str, Any], lines: Lines | None = None, **options: Any
) -> AsyncIterator[BacnetPolled]:
    session = made(device.connection(**options), list(points) or [ONE], Lines() if lines is None else lines)
    try:
        await session.connect()
        yield session
    finally:
        await session.close()


def port_of(session: BacnetPolled) -> Port:
    assert session._port is not None
    return session._port


def quality(result: PollResult, place: int = 0) -> tuple[Any, str | None]:
    return result.values[place], None if result.qualities is None else result.qualities[place]
