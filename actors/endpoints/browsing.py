"""What a device has to read, asked over a connection of its own, once."""

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec

from actors.connections.building import build
from actors.connections.connection import NoConnection
from actors.connections.deadlines import Overdue, bounded, close
from actors.endpoints import protocols
from actors.endpoints.guarding import Unfit
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.messages import BrowseDevice
from actors.endpoints.protocol import Browsed, BrowseRequest, CheckedEndpoint, Protocol
from actors.system.failure import Kind, Refusal, described
from actors.system.masks import refuse_masks
from conf.settings import Settings

log = logging.getLogger(__name__)

AT_ONCE = 4
WITHIN = 25.0
"""Seconds for all of it; whoever asks over the API waits for a little longer."""

T = TypeVar("T")


class Browser:
    """Keeps count of those under way."""

    def __init__(self) -> None:
        self._under_way = 0

    async def browse(
        self, message: BrowseDevice, settings: Settings, agent_uuid: str, folder: str | None
    ) -> Browsed:
        """Raises `Refusal`, of the kind `unreachable` when the device cannot be asked. What the connection
        leaves out, the settings of the agent of that uuid may say; in `folder` the protocol keeps files of
        its own."""
        protocol = protocols.find(message.protocol)
        if protocol.browse is None:
            raise Refusal(f"Protocol {protocol.name} cannot be browsed", "protocol", "unsupported")
        refuse_masks(message.connection, "connection")
        endpoint = protocol.accept(protocol.complete(message.connection, settings, agent_uuid), ())
        if "polled" in protocol.modes:  # it is to answer, and not to tell
            endpoint = msgspec.structs.replace(endpoint, mode="polled")
        if self._under_way >= AT_ONCE:
            raise Refusal(f"{AT_ONCE} devices are being browsed; try again", kind="unavailable")
        self._under_way += 1
        try:
            browsing = _browse(protocol, endpoint, message.request, folder)
            return await _answered(browsing, message.unreachable)
        finally:
            self._under_way -= 1


async def _answered(browsing: Awaitable[T], unreachable: Kind) -> T:
    try:
        return await bounded(browsing, WITHIN)
    except Overdue as error:
        raise Refusal(f"the device has not answered within {WITHIN:g} s", kind=unreachable) from error
    except NoConnection as error:
        raise Refusal(str(error), kind=unreachable) from error
    except Unfit as error:
        raise Refusal(str(error), kind="internal") from error
    except Refusal:
        raise
    except Exception as error:
        # Whoever runs it keeps all endpoints: what one device answers is not to be their crash.
        log.exception("browsing has failed")
        raise Refusal(f"browsing has failed: {described(error)}", kind="internal") from error


async def _browse(
    protocol: Protocol, endpoint: CheckedEndpoint, request: BrowseRequest, folder: str | None
) -> Browsed:
    assert protocol.browse is not None
    lines = lines_of(protocol.name)
    if folder is not None:
        lines.folder = Path(folder)
    session = await build(protocol.name, lambda: protocol.session(endpoint, Nobody(), lines))
    try:
        await session.connect()
        return await protocol.browse(session, request)
    finally:
        await asyncio.shield(close(session, endpoint.address))
