"""The `data_points` of a BACnet endpoint (spec 03 section 4)."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, reads, says
from conf.fields import Text, Unused, filled, trimmed

from . import kinds

RESERVED: Final = 6
"""The priority by which devices keep minimum times on and off (ASHRAE 135, clause 19.2.3)."""
_INDEXED: Final = re.compile(r"(.+)\[([0-9]{1,10})\]")

WriteType = Literal["boolean", "unsigned", "integer", "real", "double", "enumerated", "string"]

_SPELLINGS: Final[dict[WriteType, str]] = {
    "boolean": "boolean bool",
    "unsigned": "unsigned uint unsignedinteger uint32",
    "integer": "integer int signed int32",
    "real": "real float number float32",
    "double": "double float64",
    "enumerated": "enumerated enum",
    "string": "string characterstring text",
}
_WRITE_TYPES: Final = {word: kind for kind, words in _SPELLINGS.items() for word in words.split()}


class Ref(msgspec.Struct, frozen=True):
    """One property of one object; `index` of an array's element, 0 for their number."""

    type: int
    instance: int
    property_id: int = kinds.PRESENT_VALUE
    index: int | None = None

    def __str__(self) -> str:
        text = f"{kinds.type_name(self.type)}:{self.instance}"
        if self.property_id != kinds.PRESENT_VALUE or self.index is not None:
            text += f":{kinds.property_name(self.property_id)}"
        return text if self.index is None else f"{text}[{self.index}]"


class DataPoint(msgspec.Struct, frozen=True, gc=False):
    """A checked data point."""

    name: str
    type: int
    instance: int
    property_id: int = kinds.PRESENT_VALUE
    index: int | None = None
    unit: str | None = None
    """None: the device says it, if anybody does"""
    writable: bool = False
    write_type: WriteType | None = None
    """None: what the object holds"""
    priority: int = 8
    """of writes that do not say theirs"""
    interval: float | None = None
    """seconds between two readings at least; None: read with every poll"""
    state_text: bool = False
    """whether a state is shown by its text"""
    cov_increment: float | None = None
    """how much it is to change before the device tells; None: as the device is configured"""

    @property
    def ref(self) -> Ref:
        return Ref(self.type, self.instance, self.property_id, self.index)

    @property
    def address_text(self) -> str:
        return str(self.ref)


def write_type(text: str) -> WriteType | None:
    """However it is spelled; None: it is none."""
    return _WRITE_TYPES.get(re.sub(r"[\s_-]", "", text).lower())


def _type(value: Any) -> Any:
    value = trimmed(value)
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value <= kinds.LAST_TYPE:
        raise ValueError
    return kinds.object_type(value) if isinstance(value, str) else value


def _property(value: Any) -> Any:
    value = trimmed(value)
    if not isinstance(value, str):
        return value
    indexed = _INDEXED.fullmatch(value)
    kinds.property_number(indexed[1] if indexed else value)
    return value


def _write_type(value: Any) -> Any:
    value = trimmed(value)
    return (write_type(value) or value) if isinstance(value, str) else value


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. A data point is where `object` says, or `objectType` and `objectInstance`."""

    name: Annotated[str, reads(filled), says("a data point needs a name")]
    object: Text | None = None
    object_type: (
        Annotated[int | str, reads(_type), allowed("a type of object such as analog-input, or its number")]
        | None
    ) = None
    object_instance: Annotated[int, Meta(ge=0, le=kinds.ANY_INSTANCE - 1)] | None = None
    property_id: (
        Annotated[int | str, reads(_property), allowed("a property such as present-value, or its number")]
        | None
    ) = None
    array_index: Annotated[int, Meta(ge=0, le=0xFFFFFFFF)] | None = None
    unit: str | None = None
    writable: bool = False
    write_data_type: Annotated[WriteType, reads(_write_type)] | None = None
    write_priority: Annotated[int, Meta(ge=1, le=16)] = 8
    enabled: bool = True
    poll_interval_ms: Annotated[int, Meta(ge=1000, le=86_400_000)] | None = None
    state_text: bool = False
    cov_increment: Annotated[float, Meta(ge=1e-9, le=1e12)] | None = None
    description: Unused = None  # for people
    # What a client may call a point by that has no name here (spec 01 section 12).
    key: Unused = None
    tag: Unused = None
    label: Unused = None
    """Accepted, without effect."""


def read_points(given: Sequence[dict[str, Any]]) -> tuple[DataPoint, ...]:
    """Check data points as the client sent them; those that are not enabled are left out. Raises `Refusal`
    naming `data_points[i].<key>`."""
    points: list[DataPoint] = []
    names: set[str] = set()
    places: dict[Ref, str] = {}
    for index, raw in enumerate(given):
        where = f"data_points[{index}]"
        found = checked(raw, Given, where)
        point = _read_point(found, where)
        if point.name in names:
            raise Refusal(f"the name {point.name!r} is used twice", f"{where}.name")
        names.add(point.name)
        if not found.enabled:
            continue
        if point.ref in places:
            key = "object" if found.object is not None else "objectInstance"
            raise Refusal(f"{point.address_text} is {places[point.ref]!r} already", f"{where}.{key}")
        places[point.ref] = point.name
        points.append(point)
    return tuple(points)


def parse_object(text: str) -> Ref:
    """`<type>:<instance>[:<property>[<index>]]`; commas will do for colons. Raises `ValueError` saying what
    is wrong."""
    parts = [part.strip() for part in re.split("[:,]", text)]
    if len(parts) not in (2, 3):
        raise ValueError(f"{text!r} is not <type>:<instance>[:<property>], such as analog-input:3")
    number = parts[1]
    if not (number.isascii() and number.isdecimal() and int(number[:8]) < kinds.ANY_INSTANCE):
        raise ValueError(f"{number!r} is no instance from 0 to {kinds.ANY_INSTANCE - 1}")
    kind = kinds.object_type(parts[0])
    if len(parts) == 2:
        return Ref(kind, int(number))
    prop, index = parse_property(parts[2])
    return Ref(kind, int(number), prop, index)


def parse_property(text: str) -> tuple[int, int | None]:
    """`<name or number>[<index>]`. Raises `ValueError` saying what is wrong."""
    indexed = _INDEXED.fullmatch(text)
    if indexed is None:
        return kinds.property_number(text), None
    if int(indexed[2]) > 0xFFFFFFFF:
        raise ValueError(f"index {indexed[2]} is above {0xFFFFFFFF}")
    return kinds.property_number(indexed[1]), int(indexed[2])


def _read_point(given: Given, where: str) -> DataPoint:
    ref = _ref(given, where)
    if given.state_text and (
        ref.type not in kinds.MULTISTATE | kinds.BINARY or ref.property_id != kinds.PRESENT_VALUE
    ):
        raise Refusal(f"stateText: {ref} has no states", f"{where}.stateText")
    if given.write_priority == RESERVED:
        raise Refusal(f"priority {RESERVED} is the device's own", f"{where}.writePriority")
    if given.cov_increment is not None and ref.property_id != kinds.PRESENT_VALUE:
        raise Refusal("covIncrement is of a present value", f"{where}.covIncrement")
    return DataPoint(
        name=given.name,
        type=ref.type,
        instance=ref.instance,
        property_id=ref.property_id,
        index=ref.index,
        unit=given.unit,
        writable=given.writable,
        write_type=given.write_data_type,
        priority=given.write_priority,
        interval=None if given.poll_interval_ms is None else given.poll_interval_ms / 1000,
        state_text=given.state_text,
        cov_increment=given.cov_increment,
    )


def _ref(given: Given, where: str) -> Ref:
    if given.object is None:
        return _spelled_out(given, where)
    try:
        ref = parse_object(given.object)
    except ValueError as error:
        raise Refusal(f"object: {error}", f"{where}.object") from error
    for key, value, there in (
        ("objectType", given.object_type, ref.type),
        ("objectInstance", given.object_instance, ref.instance),
    ):
        if value not in (None, there):
            raise Refusal(f"{key} contradicts object {given.object}", f"{where}.{key}")
    prop, index = _property_of(given, where)
    if given.property_id is not None:
        if ref.property_id not in (kinds.PRESENT_VALUE, prop):
            raise Refusal(f"propertyId contradicts object {given.object}", f"{where}.propertyId")
        ref = msgspec.structs.replace(ref, property_id=prop)
    if index is not None:
        if ref.index not in (None, index):
            raise Refusal(f"arrayIndex contradicts object {given.object}", f"{where}.arrayIndex")
        ref = msgspec.structs.replace(ref, index=index)
    return ref


def _spelled_out(given: Given, where: str) -> Ref:
    if given.object_type is None:
        raise Refusal("a data point needs an object, or an objectType and objectInstance", f"{where}.object")
    if given.object_instance is None:
        raise Refusal("objectInstance is required", f"{where}.objectInstance")
    return Ref(int(given.object_type), given.object_instance, *_property_of(given, where))


def _property_of(given: Given, where: str) -> tuple[int, int | None]:
    prop, index = kinds.PRESENT_VALUE, None
    if isinstance(given.property_id, str):
        prop, index = parse_property(given.property_id)
    elif given.property_id is not None:
        if not 0 <= given.property_id <= 4_194_303:
            raise Refusal("propertyId must be a number from 0 to 4194303", f"{where}.propertyId")
        prop = given.property_id
    if given.array_index is not None:
        if index not in (None, given.array_index):
            raise Refusal("arrayIndex contradicts propertyId", f"{where}.arrayIndex")
        index = given.array_index
    return prop, index
