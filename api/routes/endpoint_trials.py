"""What an endpoint would read, tried without storing anything."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.endpoints.messages import Tried, TriedValue, TryEndpoint, TryStoredEndpoint
from actors.endpoints.trying import WITHIN
from actors.readings.batch import Quality, quality
from api.routing import Call, route
from storage.timestamps import iso

ANSWERING = 5.0
"""Seconds beyond those that a device is given."""
ANY = Meta(extra_json_schema={"type": ["number", "boolean", "string", "array", "object", "null"]})


class EndpointTrial(msgspec.Struct, frozen=True):
    """As in an endpoint; its other fields may be there, and do not count."""

    protocol: Annotated[str, Meta(min_length=1)]
    connection: dict[str, Any]
    data_points: list[dict[str, Any]] | None = None

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "protocol": "modbus",
        "connection": {"host": "127.0.0.1", "port": 502, "unitId": 1},
        "data_points": [{"name": "speed", "register": "holding:0", "type": "uint16", "scale": 0.1}],
    }


class TrialValue(msgspec.Struct, frozen=True):
    """`quality_code` is why the value is not GOOD, `timestamp` when it was so, `device` which of the
    endpoint's devices has it, where it is not the one of the endpoint's name."""

    name: str
    value: Annotated[Any, ANY]
    quality: Quality
    unit: str | UnsetType = UNSET
    quality_code: str | UnsetType = UNSET
    timestamp: str | UnsetType = UNSET
    device: str | UnsetType = UNSET


class EndpointTrialResult(msgspec.Struct, frozen=True):
    """`ok`: the device was there, and of what it was asked something is GOOD. Else `error` says why not, and
    `quality_code` is what readings would have. A device that tells by itself is given some seconds: that it
    has told nothing until then is no error, and `message` says so."""

    ok: bool
    values: list[TrialValue]
    duration_ms: float
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    quality_code: str | UnsetType = UNSET


@route(
    "POST",
    "/v1/endpoints/test",
    reply=EndpointTrialResult,
    body=EndpointTrial,
    summary="Connect and read once, without adding an endpoint",
)
async def test_endpoint(call: Call, body: EndpointTrial) -> EndpointTrialResult:
    message = TryEndpoint(body.protocol, body.connection, body.data_points or [])
    return _result(await call.context.request("endpoints", message, Tried, within=WITHIN + ANSWERING))


@route(
    "POST",
    "/v1/endpoints/{uuid}/test",
    reply=EndpointTrialResult,
    errors=(404, 409),
    summary="Connect and read once what an endpoint reads; by uuid or name",
)
async def test_stored_endpoint(call: Call) -> EndpointTrialResult:
    message = TryStoredEndpoint(call.text("uuid"))
    return _result(await call.context.request("endpoints", message, Tried, within=WITHIN + ANSWERING))


def _result(tried: Tried) -> EndpointTrialResult:
    values = [_value(one) for one in tried.values]
    duration = round(tried.duration_ms, 1)
    if tried.error is not None:
        return EndpointTrialResult(
            False, values, duration, error=tried.error, quality_code=_given(tried.code)
        )
    good = tried.good
    if good or not values:
        return EndpointTrialResult(True, values, duration, message=f"{good} of {len(values)} values are good")
    if all(one.time is None for one in tried.values):
        return EndpointTrialResult(True, values, duration, message="connected; nothing has been told so far")
    code = tried.values[0].code
    error = f"no data point can be read: {code}"
    return EndpointTrialResult(False, values, duration, error=error, quality_code=_given(code))


def _value(one: TriedValue) -> TrialValue:
    return TrialValue(
        name=one.name,
        value=one.value,
        quality=quality(one.value, one.code),
        unit=_given(one.unit),
        quality_code=_given(one.code),
        timestamp=_given(iso(one.time)),
        device=_given(one.device),
    )


def _given(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text
