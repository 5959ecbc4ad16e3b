"""Writing the value of a node, with the type that the node has."""

import struct
from typing import Any, Final

import msgspec
from asyncua import ua

from actors.system.failure import Refusal

from . import faults, quality, values
from .channel import Channel
from .kinds import NAMES
from .server import BEYOND
from .shaping import scaled
from .types import built_in
from .writable import Writing, fit, refused

_ABSTRACT: Final = frozenset({24, 26, 27, 28})
"""BaseDataType, Number, Integer, UInteger: any of their kind fits."""
_STRUCTURE: Final = 22

_OF_THE_VALUE: Final = frozenset({"BadTypeMismatch", "BadOutOfRange", "BadDataEncodingInvalid"})
_READ_ONLY: Final = frozenset(
    {"BadNotWritable", "BadUserAccessDenied", "BadWriteNotSupported", "BadNotSupported"}
)
_NOT_FOUND: Final = frozenset({"BadNodeIdUnknown", "BadNodeIdInvalid", "BadAttributeIdInvalid"})
_OF_THE_RANGE: Final = frozenset({"BadIndexRangeInvalid", "BadIndexRangeNoData", "BadIndexRangeDataMismatch"})


class Kind(msgspec.Struct, frozen=True):
    """How a node's value is written."""

    name: str
    """a key of `kinds.BUILT_IN`"""
    array: bool | None
    """None: it may be either"""
    ranges: bool = True
    """Whether the server knows index ranges; one that does not would write the whole array."""


class Written:
    """A value on its way to a node."""

    def __init__(self, node: ua.NodeId, variant: ua.Variant, writing: Writing) -> None:
        self.node = node
        self.variant = variant
        self.writing = writing

    @property
    def value(self) -> Any:
        """As reading it back shows."""
        return _as_read(self.writing, values.to_json(self.variant.Value))

    def compare(self, found: Any) -> tuple[Any, bool]:
        """What the node holds now, as JSON: as reading shows it, and whether it is what was written."""
        name = self.variant.VariantType.name
        return _as_read(self.writing, found), same(name, values.to_json(self.variant.Value), found)

    @property
    def index_range(self) -> str | None:
        return self.writing.index_range


def _as_read(writing: Writing, value: Any) -> Any:
    if writing.index_range is not None and not isinstance(writing.value, list) and isinstance(value, list):
        value = value[0] if len(value) == 1 else value
    point = writing.point
    return value if point is None or not point.scaled else scaled(point, value)


async def kind_of(channel: Channel, node: ua.NodeId) -> Kind:
    """What the node takes. Raises `Refusal` on `register` for a node that cannot be written here, and
    `NoConnection`."""
    request = ua.ReadRequest()
    attributes = (ua.AttributeIds.Value, ua.AttributeIds.DataType, ua.AttributeIds.ValueRank)
    request.Parameters.NodesToRead = [
        *(ua.ReadValueId(NodeId=node, AttributeId=each) for each in attributes),
        ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value, IndexRange=str(BEYOND)),
    ]
    response = await channel.ask(request, ua.ReadResponse)
    if len(response.Results) != len(attributes) + 1:
        raise faults.trouble(ValueError(), "reading the type of a node")
    present, data_type, rank, beyond = response.Results
    _see_that_it_is_there(data_type)
    held = present.Value if present.Value is not None and present.Value.Value is not None else None
    number = await built_in(channel, data_type.Value.Value)
    if number in _ABSTRACT or number is None:
        number = None if held is None else int(held.VariantType.value)
    if number not in NAMES:
        name = "a structure" if number == _STRUCTURE else "of a type that is not known"
        raise Refusal(f"the node is {name}: it cannot be written", "register", "unsupported")
    there = beyond.Value.Value if beyond.Value is not None else None
    return Kind(NAMES[number], _is_array(held, rank), there is None or there == [])


def _is_array(held: ua.Variant | None, rank: ua.DataValue) -> bool | None:
    if held is not None:
        return bool(held.is_array)
    value = rank.Value.Value if rank.Value is not None else None
    if not isinstance(value, int):
        return None
    return True if value >= 0 else False if value == -1 else None


def _see_that_it_is_there(data_type: ua.DataValue) -> None:
    status = 0 if data_type.StatusCode is None else data_type.StatusCode.value
    if quality.is_bad(status):
        see_that_it_was_done(status)
    if data_type.Value is None or not isinstance(data_type.Value.Value, ua.NodeId):
        raise Refusal("the node has no data type: it is not a variable", "register")


def encode(node: ua.NodeId, writing: Writing, kind: Kind) -> Written:
    """Raises `Refusal` on `value` when it does not fit the node."""
    value = writing.value
    name = writing.kind or kind.name
    if writing.index_range is not None and not kind.ranges:
        raise Refusal(
            "the server does not know index ranges: write the whole array", "register", "unsupported"
        )
    if writing.index_range is not None and not isinstance(value, list) and kind.array is not False:
        value = [value]
    if kind.array is True and not isinstance(value, list):
        raise refused("the node holds an array: write an array")
    if kind.array is False and isinstance(value, list):
        raise refused("the node holds a single value, not an array")
    return Written(
        node, ua.Variant(_fit(name, value), ua.VariantType[name], is_array=isinstance(value, list)), writing
    )


def _fit(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_fit(name, one) for one in value]
    fitted = fit(name, value)
    return ua.LocalizedText(fitted) if name == "LocalizedText" else fitted


async def write(channel: Channel, written: Written) -> None:
    """Only the value: many servers refuse a status or timestamps. Raises `Refusal` and `NoConnection`."""
    what = ua.WriteValue()
    what.NodeId = written.node
    what.AttributeId = ua.AttributeIds.Value
    what.IndexRange = written.index_range
    what.Value = ua.DataValue(written.variant, StatusCode=None)
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = [what]
    response = await channel.ask(request, ua.WriteResponse)
    if len(response.Results) != 1:
        raise faults.trouble(ValueError(), "Write")
    see_that_it_was_done(response.Results[0].value)


def see_that_it_was_done(status: int) -> None:
    """Raises `Refusal` when the server's no is for what was to be written, `Transient` when it has troubles
    of its own."""
    if not quality.is_bad(status):
        return
    name = quality.name_of(status)
    message = f"the server refused the write: {name}"
    if name in _OF_THE_VALUE:
        raise Refusal(message, "value")
    if name in _READ_ONLY:
        raise Refusal(message, "register", "read_only")
    if name in _NOT_FOUND:
        raise Refusal(message, "register", "not_found")
    if name in _OF_THE_RANGE:
        raise Refusal(message, "register")
    raise faults.refused(status, "Write")


def same(kind: str, one: Any, other: Any) -> bool:
    """Whether two values of that type, as JSON, are one on the wire."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(kind, *pair) for pair in zip(one, other, strict=True))
    if kind == "Float" and isinstance(one, int | float) and isinstance(other, int | float):
        try:
            return struct.pack("<f", one) == struct.pack("<f", other)
        except OverflowError:
            return False
    return bool(one == other)
