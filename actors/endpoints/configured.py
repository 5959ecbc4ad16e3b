"""Endpoints as scans for devices are planned with them."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import msgspec

from actors.endpoints import protocols
from actors.endpoints.candidates import SLICE
from actors.endpoints.discovering import Configured
from actors.endpoints.messages import ConfiguredEndpoint, ConfiguredListed, EndpointRow
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.rows import completed
from actors.system.failure import Refusal
from conf.settings import Settings


async def configured(rows: Sequence[EndpointRow], settings: Settings, agent_uuid: str) -> ConfiguredListed:
    """Those that can be understood. Thousands of them keep others waiting for no longer than a slice."""
    found = []
    until = perf_counter() + SLICE
    for row in rows:
        if row.error is None:
            found.append(_configured(row, settings, agent_uuid))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return ConfiguredListed(tuple(found))


def _configured(row: EndpointRow, settings: Settings, agent_uuid: str) -> ConfiguredEndpoint:
    connection = msgspec.json.decode(completed(row, settings, agent_uuid))
    points = tuple(msgspec.json.decode(row.data_points) or ())
    found = where(row.protocol, connection)
    return ConfiguredEndpoint(
        uuid=row.uuid,
        protocol=row.protocol,
        configured=Configured(row.name, row.enabled, connection, points),
        fingerprint=row.fingerprint,
        place=None if found is None else found.address,
        address=row.address,
        at=() if found is None else found.at,
        known_by=() if found is None else found.known_by,
    )


def where(protocol: str, connection: dict[str, Any]) -> CheckedEndpoint | None:
    """What a complete connection says of where its device is; None where that cannot be said."""
    try:
        return protocols.find(protocol).check(connection, ())
    except Refusal:
        return None
