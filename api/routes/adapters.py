"""Live state of the running adapters (spec 01 section 7)."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from thespian.actors import ActorAddress

from actors.endpoints import protocols
from actors.endpoints.messages import (
    DescribeDevice,
    DeviceDescribed,
    DeviceRow,
    DevicesListed,
    ListDevices,
    MetricsSummarised,
    RegisterWritten,
    SummariseMetrics,
    WriteRegister,
)
from actors.endpoints.writing import tell_refused
from actors.system.failure import Failed, Refusal
from api.device_status import DeviceStatus, ask_devices, device_status, silent_status, status_of
from api.errors import ApiError, Error, api_error, not_found
from api.routing import Call, route
from api.sessions import who
from conf.annotations import says

MEANT = 20
"""Devices of one name that are told."""
MAX_VALUE = 64 << 10
"""Bytes of JSON that a value to be written may have."""
NOT_INITIALIZED = "devices feature not initialized"


class StatusList(msgspec.Struct, frozen=True):
    devices: list[DeviceStatus]


class RegisterValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`register` is a data point's name, or an address as the protocol spells it, such as `holding:10`;
    `type` is the protocol's own name of one, `unit` what `value` is in, `priority` BACnet's, where null
    releases what was written with that priority. Another key is refused: what is written is not to be another
    thing than was meant."""

    register: Annotated[str, Meta(min_length=1, max_length=500), says("Missing or invalid register field")]
    value: Annotated[
        Any,
        Meta(extra_json_schema={"type": ["number", "boolean", "string", "array", "object", "null"]}),
        says("Missing value field"),
    ]
    type: str | None = None
    unit: str | None = None
    priority: Annotated[int, Meta(ge=1, le=16)] | None = None
    verify: bool = False

    EXAMPLE: ClassVar[dict[str, Any]] = {"register": "holding:10", "value": 1500}


class Written(msgspec.Struct, frozen=True, rename="camel"):
    """`verified` and `readBack` where it was to be verified."""

    device_name: str
    register: str
    value: Any
    success: bool = True
    verified: bool | UnsetType = UNSET
    read_back: Any = UNSET


class NotVerified(Error, frozen=True, rename="camel", kw_only=True):
    """With what follows: it was written, but the device has another value now."""

    device_name: str | UnsetType = UNSET
    register: str | UnsetType = UNSET
    value: Any = UNSET
    read_back: Any = UNSET
    verified: bool | UnsetType = UNSET


@route(
    "GET",
    "/v1/adapters/{protocol}/devices",
    reply=StatusList,
    errors=(404,),
    summary="Live status of a protocol's devices",
)
async def list_statuses(call: Call) -> StatusList:
    rows = await _rows(call)
    reports = await ask_devices(call.context, rows)
    return StatusList([device_status(row, report) for row, report in zip(rows, reports, strict=True)])


@route(
    "GET",
    "/v1/adapters/{protocol}/devices/{deviceName}",
    reply=DeviceStatus,
    errors=(404, 409),
    summary="One device's status with its metrics and registers",
)
async def describe_device(call: Call) -> DeviceStatus:
    row = await device_row(call)
    if row.address is None or not row.enabled:
        return silent_status(row)
    described = await call.context.request(row.address, DescribeDevice(row.uuid), DeviceDescribed)
    return status_of(
        row.name, described.health, described.metrics, described.registers, described.identification
    )


@route(
    "GET",
    "/v1/adapters/{protocol}/devices/{deviceName}/metrics",
    reply=dict[str, Any],
    errors=(404, 409, 501),
    summary="One device's poll statistics",
)
async def device_metrics(call: Call) -> dict[str, Any]:
    row = await device_row(call)
    unsupported = f"Metrics summary not supported for protocol: {call.text('protocol')}"
    summarised = await call.context.request(
        running(row), SummariseMetrics(row.uuid), MetricsSummarised, unsupported=unsupported
    )
    return summarised.summary


@route(
    "GET",
    "/v1/adapters/{protocol}/metrics",
    reply=dict[str, dict[str, Any]],
    errors=(404, 501),
    summary="Poll statistics of all running devices of a protocol, by device name",
)
async def adapter_metrics(call: Call) -> dict[str, dict[str, Any]]:
    rows = [row for row in await _rows(call) if row.enabled and row.address is not None]
    unsupported = f"Device metrics not supported for protocol: {call.text('protocol')}"
    answers = await asyncio.gather(
        *(
            call.context.peek(
                row.address, SummariseMetrics(row.uuid), MetricsSummarised, unsupported=unsupported
            )
            for row in rows
        )
    )
    keys = _keys(rows)
    return {key: answer.summary for key, answer in zip(keys, answers, strict=True) if answer}


def _keys(rows: Sequence[DeviceRow]) -> list[str]:
    """What each device is found by: its name, or its uuid where another is meant by that name."""
    owners = {row.name for row in rows if row.name == row.endpoint}
    counts = Counter(row.name for row in rows)
    return [
        row.name
        if row.name == row.endpoint or (row.name not in owners and counts[row.name] == 1)
        else row.uuid
        for row in rows
    ]


@route(
    "POST",
    "/v1/adapters/{protocol}/devices/{deviceName}/write",
    reply=Written,
    body=RegisterValue,
    errors=(404, 501),
    also={409: NotVerified},
    summary="Write one register",
)
async def write_register(call: Call, body: RegisterValue) -> Written:
    if body.value is None and not _releases(call.text("protocol")):
        raise Refusal("Missing value field", "value")
    message = WriteRegister(
        body.register,
        body.value,
        data_type=body.type,
        priority=body.priority,
        unit=body.unit,
        verify=body.verify,
        by=await who(call.context, call.request),
    )
    try:
        _check_size(body.value)
        row = await device_row(call)
        address = running(row)
    except Refusal as refusal:
        tell_refused(call.text("deviceName"), message, refusal.message)
        raise
    except ApiError as refused:
        tell_refused(call.text("deviceName"), message, _said(refused))
        raise
    written = await call.context.request(address, replace(message, device_uuid=row.uuid), RegisterWritten)
    if written.verified is None:
        return Written(row.name, written.register, written.value)
    if not written.verified:
        raise ApiError(409, _not_verified(row, written))
    return Written(row.name, written.register, written.value, verified=True, read_back=written.read_back)


def _releases(protocol: str) -> bool:
    """Whether null means something there."""
    try:
        return protocols.find(protocol).releases
    except Refusal:
        return False


def _not_verified(row: DeviceRow, written: RegisterWritten) -> NotVerified:
    return NotVerified(
        written.note or "Written, but the device has another value now",
        field="value",
        device_name=row.name,
        register=written.register,
        value=written.value,
        read_back=written.read_back,
        verified=False,
    )


def _check_size(value: Any) -> None:
    if len(msgspec.json.encode(value)) > MAX_VALUE:
        raise Refusal(f"value has more than {MAX_VALUE >> 10} KB", "value")


def _said(refused: ApiError) -> str:
    body = refused.body
    return (body.message or body.error) if isinstance(body, Error) else str(refused.status)


async def _rows(call: Call, name: str | None = None) -> list[DeviceRow]:
    message = ListDevices(call.text("protocol"), running=True, name=name)
    listed = await call.context.request("endpoints", message, DevicesListed, silence=NOT_INITIALIZED)
    return listed.devices


async def device_row(call: Call) -> DeviceRow:
    """An endpoint's own of that name, else the one of that name, else of that uuid."""
    name = call.text("deviceName")
    rows = await _rows(call, name)
    if len(rows) > 1:
        uuids = ", ".join(f"{row.uuid} (endpoint {row.endpoint})" for row in rows[:MEANT])
        text = f"{len(rows)} devices have the name {name}; say which by its uuid: {uuids}"
        raise api_error(Failed("conflict", text, "deviceName"))
    for row in rows:
        return row
    raise not_found(f"Device not found: {name}")


def running(row: DeviceRow) -> ActorAddress:
    if row.address is None or not row.enabled:
        raise api_error(Failed("conflict", f"Device is not running: {row.name}"))
    return row.address
