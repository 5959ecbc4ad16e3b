"""Configured endpoints (spec 01 section 6)."""

from typing import Annotated, Any, ClassVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Raw, UnsetType

from actors.endpoints.messages import (
    AddEndpoint,
    ChangeEndpoint,
    EndpointChanged,
    EndpointRow,
    EndpointsListed,
    EndpointsRemoved,
    HealthReported,
    ListEndpoints,
    RemoveAllEndpoints,
    RemoveEndpoint,
)
from api.device_status import DISABLED, DeviceHealth, ask_health, broken, health_of
from api.masking import shown
from api.portions import json_list
from api.routing import Call, route


def _json(*kinds: dict[str, Any]) -> Any:
    """JSON as it is stored; encoding it again would take longer than all the rest of a listing."""
    return Meta(extra_json_schema={"anyOf": list(kinds)} if len(kinds) > 1 else kinds[0])


Object = Annotated[Raw, _json({"type": "object"})]
ObjectOrNull = Annotated[Raw, _json({"type": "object"}, {"type": "null"})]
ObjectsOrNull = Annotated[Raw, _json({"type": "array", "items": {"type": "object"}}, {"type": "null"})]


class ProtocolFilter(msgspec.Struct, frozen=True):
    protocol: str | None = None


class EndpointBody(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    protocol: Annotated[str, Meta(min_length=1)]
    connection: dict[str, Any]
    poll_interval: int = 5000
    enabled: bool = True
    data_points: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    fingerprint: str | None = None

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "plc-line-1",
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": 502, "unitId": 1},
        "poll_interval": 5000,
        "enabled": True,
        "data_points": [{"name": "speed", "register": "holding:0", "type": "uint16", "scale": 0.1}],
        "metadata": {"location": "Assembly Line 1"},
    }


class EndpointPatch(msgspec.Struct, frozen=True):
    enabled: bool | UnsetType = UNSET
    poll_interval: int | UnsetType = UNSET

    EXAMPLE: ClassVar[dict[str, Any]] = {"enabled": False, "poll_interval": 10000}


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """`health` is there when it is known; secrets in `connection` are masked."""

    id: int
    uuid: str
    fingerprint: str | None
    name: str
    protocol: str
    group_name: str | None = msgspec.field(name="groupName", default=None)
    enabled: bool
    poll_interval: int
    connection: Object
    data_points: ObjectsOrNull
    metadata: ObjectOrNull
    last_seen_at: str | None = msgspec.field(name="lastSeenAt", default=None)
    created_at: str
    updated_at: str
    health: DeviceHealth | UnsetType = UNSET


class EndpointReply(EndpointView, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    topic: str | UnsetType = UNSET
    endpoint: EndpointView


class EndpointList(msgspec.Struct, frozen=True):
    endpoints: list[EndpointView]


class Removed(msgspec.Struct, frozen=True):
    message: str
    removed: int | UnsetType = UNSET


@route(
    "GET",
    "/v1/endpoints",
    reply=EndpointList,
    query=ProtocolFilter,
    shared=0.1,
    summary="Endpoints with live health",
)
async def list_endpoints(call: Call, query: ProtocolFilter) -> web.Response:
    listed = await call.context.request("endpoints", ListEndpoints(query.protocol or None), EndpointsListed)
    reports = await ask_health(call.context, listed.endpoints)
    pairs = list(zip(listed.endpoints, reports, strict=True))
    return await json_list("endpoints", pairs, lambda pair: _endpoint(*pair))


@route(
    "POST",
    "/v1/endpoints",
    reply=EndpointReply,
    body=EndpointBody,
    status=201,
    errors=(409,),
    summary="Add an endpoint and start polling it",
)
async def add_endpoint(call: Call, body: EndpointBody) -> EndpointReply:
    message = AddEndpoint(**msgspec.structs.asdict(body))
    changed = await call.context.request("endpoints", message, EndpointChanged)
    return _reply(changed.endpoint)


@route(
    "PATCH",
    "/v1/endpoints/{uuid}",
    reply=EndpointReply,
    body=EndpointPatch,
    errors=(404, 409),
    summary="Enable or disable an endpoint, or change its poll interval; by uuid or name",
)
async def change_endpoint(call: Call, body: EndpointPatch) -> EndpointReply:
    message = ChangeEndpoint(call.text("uuid"), body.enabled, body.poll_interval)
    changed = await call.context.request("endpoints", message, EndpointChanged)
    return _reply(changed.endpoint)


@route("DELETE", "/v1/endpoints/{uuid}", reply=Removed, errors=(404,), summary="Remove an endpoint by uuid")
async def remove_endpoint(call: Call) -> Removed:
    await call.context.request("endpoints", RemoveEndpoint(call.text("uuid")), EndpointsRemoved)
    return Removed("Endpoint removed")


@route("DELETE", "/v1/endpoints", reply=Removed, summary="Remove all endpoints")
async def remove_all_endpoints(call: Call) -> Removed:
    removed = await call.context.request("endpoints", RemoveAllEndpoints(), EndpointsRemoved)
    return Removed(f"Removed {removed.removed} endpoint(s)", removed.removed)


def _endpoint(row: EndpointRow, report: HealthReported | None = None) -> EndpointView:
    health = _health(row, report)
    seen = health.last_seen if isinstance(health, DeviceHealth) else None
    return EndpointView(**_columns(row), last_seen_at=seen, health=health)


def _health(row: EndpointRow, report: HealthReported | None) -> DeviceHealth | UnsetType:
    if row.error is not None:
        return broken(row.error)
    if report is not None:
        return health_of(report)
    return UNSET if row.enabled else DISABLED


def _reply(row: EndpointRow) -> EndpointReply:
    topic = msgspec.json.decode(row.connection).get("topic")
    return EndpointReply(
        **_columns(row),
        topic=topic if isinstance(topic, str) else UNSET,
        endpoint=EndpointView(**_columns(row)),
    )


def _columns(row: EndpointRow) -> dict[str, Any]:
    columns = msgspec.structs.asdict(row)
    del columns["address"], columns["error"]
    columns["connection"] = shown(row.connection)
    return columns
