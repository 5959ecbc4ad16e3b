"""Devices behind the endpoints (spec 01 section 6)."""

from typing import Any

import msgspec

from actors.endpoints.messages import (
    DeviceRemoved,
    DeviceRow,
    DevicesListed,
    HealthReported,
    ListDevices,
    RemoveDevice,
)
from api.device_status import Unheard, ask_devices
from api.routing import Call, route
from storage.timestamps import iso


class DeviceFilter(msgspec.Struct, frozen=True):
    protocol: str | None = None


class ListedDevice(msgspec.Struct, frozen=True, kw_only=True):
    uuid: str
    endpoint_id: int
    name: str
    protocol: str
    enabled: bool
    identifier: str
    metadata: dict[str, Any] | None
    last_seen_at: str | None = msgspec.field(name="lastSeenAt")
    created_at: str
    updated_at: str


class DeviceList(msgspec.Struct, frozen=True):
    devices: list[ListedDevice]


@route("GET", "/v1/devices", reply=DeviceList, query=DeviceFilter, summary="Devices found or configured")
async def list_devices(call: Call, query: DeviceFilter) -> DeviceList:
    listed = await call.context.request("endpoints", ListDevices(query.protocol or None), DevicesListed)
    reports = await ask_devices(call.context, listed.devices)
    return DeviceList([_device(row, report) for row, report in zip(listed.devices, reports, strict=True)])


class Removed(msgspec.Struct, frozen=True):
    message: str


@route(
    "DELETE",
    "/v1/devices/{uuid}",
    reply=Removed,
    errors=(404, 409),
    summary="Remove a device that was found by its endpoint; it comes back when it is heard of again",
)
async def remove_device(call: Call) -> Removed:
    await call.context.request("endpoints", RemoveDevice(call.text("uuid")), DeviceRemoved)
    return Removed("Device removed")


def _device(row: DeviceRow, report: HealthReported | Unheard | None) -> ListedDevice:
    return ListedDevice(
        uuid=row.uuid,
        endpoint_id=row.endpoint_id,
        name=row.name,
        protocol=row.protocol,
        enabled=row.enabled,
        identifier=row.identifier,
        metadata=row.metadata,
        last_seen_at=iso(report.last_seen) if isinstance(report, HealthReported) else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
