"""The objects of a BACnet device that was discovered, page by page."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.endpoints.messages import BrowseDevice
from actors.endpoints.protocol import Browsed, BrowsedNode, BrowseRequest
from actors.system.failure import Refusal
from api.errors import ApiError, Error
from api.routing import Call, route

MOST = 1000
"""Objects of an answer."""
_LAST = 4_194_302


class ObjectsQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Where the device is, as in an endpoint's connection; without `host` it is found by its instance."""

    host: str | UnsetType = UNSET
    port: Annotated[int, Meta(ge=1, le=65_535)] | UnsetType = UNSET
    network: Annotated[int, Meta(ge=1, le=65_534)] | UnsetType = UNSET
    mac: str | UnsetType = UNSET
    bbmd: str | UnsetType = UNSET
    local_port: Annotated[int, Meta(ge=1, le=65_535)] | UnsetType = UNSET
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100


class DeviceObject(msgspec.Struct, frozen=True, rename="camel"):
    """`dataPoint` is as clients may send it in `data_points`; null of what has no present value."""

    object: str
    name: str
    type: str
    unit: str | None
    writable: bool
    data_point: dict[str, Any] | None


class DeviceObjects(msgspec.Struct, frozen=True, rename="camel"):
    """`complete` is false where there are more behind these."""

    device_instance: int
    name: str | None
    objects: list[DeviceObject]
    offset: int
    complete: bool


@route(
    "GET",
    "/v1/discover/bacnet/{instance}/objects",
    reply=DeviceObjects,
    query=ObjectsQuery,
    errors=(404, 501),
    summary="The objects of a BACnet device, asked over a connection of its own",
)
async def list_objects(call: Call, query: ObjectsQuery) -> DeviceObjects:
    instance = _instance(call.text("instance"))
    given = msgspec.to_builtins(query)
    place = {key: value for key, value in given.items() if key not in ("offset", "limit")}
    # The device itself stands before its objects.
    request = BrowseRequest(None, 1, query.limit + 1, query.offset)
    message = BrowseDevice("bacnet", {"deviceInstance": instance, **place}, request, "unavailable")
    try:
        found = await call.context.request("endpoints", message, Browsed)
    except ApiError as error:
        raise _as_spelled(error) from error
    root = found.nodes[0] if found.nodes else None
    return DeviceObjects(
        instance,
        None if root is None else root.name,
        [_shown(node) for node in found.nodes[1:]],
        query.offset,
        found.complete,
    )


def _instance(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:8]) <= _LAST):
        raise Refusal(f"the instance must be a number from 0 to {_LAST}", "instance")
    return int(text)


def _as_spelled(error: ApiError) -> ApiError:
    """With the names that the fields of the connection have in the query."""
    body = error.body
    if isinstance(body, Error) and isinstance(body.field, str):
        field = body.field.removeprefix("connection.")
        body = msgspec.structs.replace(body, field="instance" if field == "deviceInstance" else field)
    return ApiError(error.status, body, error.headers)


def _shown(node: BrowsedNode) -> DeviceObject:
    return DeviceObject(node.node, node.name, node.kind, node.unit, bool(node.writable), node.data_point)
