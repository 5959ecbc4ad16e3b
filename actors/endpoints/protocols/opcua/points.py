"""The `data_points` of an OPC UA endpoint (spec 03 section 3)."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from actors.endpoints.listener import Description
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads, says
from conf.fields import Line, Number, Text, Unused, filled, lower, trimmed

from .kinds import Shown, WriteType, write_type
from .nodes import BrowsePath, NodeRef, parse_path, parse_place

_RANGE = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?(,[0-9]{1,9}(:[0-9]{1,9})?){0,7}")

MAX_DEVICES = 1000
OWN = ""
"""The identifier of the endpoint's own device."""

_SPELLINGS: dict[str, str] = {"bool": "boolean", "json": "object", "text": "string", "float": "number"}


def _shown_kind(value: Any) -> Any:
    value = lower(trimmed(value))
    return _SPELLINGS.get(value, value) if isinstance(value, str) else value


def _write_kind(value: Any) -> Any:
    value = trimmed(value)
    return (write_type(value) or value) if isinstance(value, str) else value


def _index_range(value: Any) -> Any:
    """`<first>[:<last>]`, one for each dimension (part 4, 7.27)."""
    if not isinstance(value, str):
        return value
    if _RANGE.fullmatch(value) is None:
        raise ValueError("must be a range such as 0:9, or one for each dimension such as 0:9,3")
    for part in value.split(","):
        first, colon, last = part.partition(":")
        if colon and int(first) >= int(last):
            raise ValueError(f"{part} must end after it begins")
    return value


class DataPoint(msgspec.Struct, frozen=True, gc=False):
    """A checked data point. Value = raw x `scale` + `offset`."""

    name: str
    place: NodeRef | BrowsePath
    index_range: str | None = None
    unit: str | None = None
    shown: Shown | None = None
    """None: whatever the node holds"""
    scale: int | float = 1
    offset: int | float = 0
    writable: bool = False
    write_type: WriteType | None = None
    """None: the node's own"""
    sampling_interval: float | None = None
    """Milliseconds, here and below None: as the connection says"""
    queue_size: int | None = None
    deadband: float | None = None
    percent: bool = False
    """Whether `deadband` is per cent of the node's EURange"""

    @property
    def address_text(self) -> str:
        return str(self.place)

    @property
    def scaled(self) -> bool:
        return self.scale != 1 or self.offset != 0


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. A data point is where `nodeId` or `browsePath` says."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    node_id: Text | None = None
    browse_path: Text | None = None
    index_range: Annotated[str, reads(trimmed, _index_range)] | None = None
    data_type: Annotated[Shown, reads(_shown_kind)] | None = None
    unit: str | None = None
    scaling_factor: Number = 1
    offset: Number = 0
    device_uuid: Annotated[Line, Meta(max_length=128)] | None = field(default=None, name="device_uuid")
    device_name: Annotated[Line, Meta(max_length=255)] | None = field(default=None, name="device_name")
    writable: bool = False
    write_data_type: Annotated[WriteType, reads(_write_kind)] | None = None
    sampling_interval: Annotated[float, Meta(ge=-1, le=86_400_000)] | None = None
    queue_size: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    deadband: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    deadband_type: Annotated[Literal["absolute", "percent"], reads(trimmed, lower)] | None = None
    browse_name: Unused = None
    semantic: Unused = None
    node_type: Unused = None
    description: Unused = None  # for people
    # What a client may call a point by that has no name here (spec 01 section 12).
    key: Unused = None
    tag: Unused = None
    label: Unused = None
    """Accepted, without effect."""


class Points(msgspec.Struct, frozen=True):
    """The data points of an endpoint's own device, and its further devices with theirs."""

    own: tuple[DataPoint, ...]
    devices: tuple[Description, ...]


def read_points(given: Sequence[dict[str, Any]]) -> Points:
    """Check data points as the client sent them. Raises `Refusal` naming `data_points[i].<key>`."""
    found: dict[str, list[DataPoint]] = {OWN: []}
    names: dict[str, set[str]] = {OWN: set()}
    shown: dict[str, str] = {}
    for index, raw in enumerate(given):
        where = f"data_points[{index}]"
        one = checked(raw, Given, where)
        point = _read_point(one, where)
        device = one.device_uuid or one.device_name or OWN
        if point.name in names.setdefault(device, set()):
            raise Refusal(f"the name {point.name!r} is used twice", f"{where}.name")
        names[device].add(point.name)
        found.setdefault(device, []).append(point)
        name = one.device_name
        if name is not None and shown.setdefault(device, name) != name:
            raise Refusal(f"device_name {name!r} contradicts {shown[device]!r}", f"{where}.device_name")
        if len(found) > MAX_DEVICES:
            raise Refusal(f"there are more than {MAX_DEVICES} devices", f"{where}.device_uuid")
    own = tuple(found.pop(OWN))
    uuids = {one.get("device_uuid") for one in given}
    devices = tuple(
        Description(device, shown.get(device, device), tuple(points), device if device in uuids else None)
        for device, points in found.items()
    )
    return Points(own, devices)


def _read_point(given: Given, where: str) -> DataPoint:
    scaled = given.scaling_factor != 1 or given.offset != 0
    if given.scaling_factor == 0:
        raise Refusal("scalingFactor must not be 0", f"{where}.scalingFactor")
    if scaled and given.data_type not in (None, "number"):
        raise Refusal(
            f"scalingFactor and offset do not go with {given.data_type}",
            f"{where}.{'scalingFactor' if given.scaling_factor != 1 else 'offset'}",
        )
    if given.deadband_type is not None and given.deadband is None:
        raise Refusal("deadbandType needs a deadband", f"{where}.deadband")
    percent = given.deadband_type == "percent"
    if percent and given.deadband is not None and given.deadband > 100:
        raise Refusal("deadband must be from 0 to 100 per cent", f"{where}.deadband")
    return DataPoint(
        name=given.name,
        place=_place(given, where),
        index_range=given.index_range,
        unit=given.unit,
        shown=given.data_type,
        scale=given.scaling_factor,
        offset=given.offset,
        writable=given.writable,
        write_type=given.write_data_type,
        sampling_interval=given.sampling_interval,
        queue_size=given.queue_size,
        deadband=given.deadband or None,
        percent=percent,
    )


def _place(given: Given, where: str) -> NodeRef | BrowsePath:
    if given.node_id is None and given.browse_path is None:
        raise Refusal("a data point needs a nodeId or a browsePath", f"{where}.nodeId")
    if given.node_id is not None and given.browse_path is not None:
        raise Refusal("a data point has a nodeId or a browsePath, not both", f"{where}.browsePath")
    key, text = ("nodeId", given.node_id) if given.node_id is not None else ("browsePath", given.browse_path)
    assert text is not None
    try:
        return parse_place(text) if key == "nodeId" else parse_path(text)
    except ValueError as error:
        raise Refusal(f"{key}: {error}", f"{where}.{key}") from error
