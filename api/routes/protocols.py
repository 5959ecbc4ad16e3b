"""What protocols there are, with all that a page needs to make forms for their endpoints."""

import asyncio
from typing import Any

import msgspec

from actors.endpoints import protocols
from actors.endpoints.protocol import Capabilities, Example
from actors.endpoints.third_party import Broken
from actors.system.failure import Refusal
from api.errors import not_found
from api.routing import Call, route
from conf.json_schema import json_schema


class ProtocolRow(msgspec.Struct, frozen=True):
    """One protocol; `reason` says why it is not available. `package` brings it, null: callboard itself. The
    schemas are JSON Schemas of an endpoint's `connection`, of each of its `data_points`, and of the options
    of a scan; they, and the capabilities, are null where the package that brings it is broken, and the last
    one where it cannot be looked for."""

    name: str
    title: str
    description: str
    available: bool
    reason: str | None
    package: str | None
    capabilities: Capabilities | None
    connection_schema: dict[str, Any] | None
    data_point_schema: dict[str, Any] | None
    discovery_schema: dict[str, Any] | None
    example: Example | None


class ProtocolList(msgspec.Struct, frozen=True):
    """`not_used` is what packages bring under names that cannot be theirs."""

    protocols: list[ProtocolRow]
    not_used: list[Broken]


@route("GET", "/v1/protocols", reply=ProtocolList, summary="What protocols endpoints may have")
async def list_protocols(call: Call) -> ProtocolList:
    # In a thread: a package that others bring may take its time to be imported.
    return await asyncio.to_thread(_all)


@route(
    "GET", "/v1/protocols/{name}", reply=ProtocolRow, errors=(404,), summary="One protocol, with its schemas"
)
async def show_protocol(call: Call) -> ProtocolRow:
    name = call.text("name")
    try:
        return await asyncio.to_thread(_row, name)
    except Refusal as refusal:
        raise not_found(f"Protocol not found: {name}") from refusal


def _all() -> ProtocolList:
    return ProtocolList([_row(name) for name in protocols.names()], protocols.not_used())


def _row(name: str) -> ProtocolRow:
    """Raises `Refusal` for one that is not known."""
    known = protocols.look_up(name)
    found = known.protocol
    return ProtocolRow(
        name=name,
        title=(found.title if found else "") or name,
        description=found.description if found else "",
        available=known.unavailable is None,
        reason=known.unavailable,
        package=known.package,
        capabilities=found.capabilities if found else None,
        connection_schema=json_schema(found.connection) if found else None,
        data_point_schema=json_schema(found.data_point) if found else None,
        discovery_schema=json_schema(found.discovery.options) if found and found.discovery else None,
        example=found.example if found else None,
    )
