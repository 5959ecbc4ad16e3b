"""Structures of a server's own types as JSON, by the definitions that the server has of them (part 3, 8.48).

The library would register such types for the whole process, where those of two servers get mixed up.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import extensionobject_from_binary, unpack_uatype, variant_from_binary

from actors.connections.connection import NoConnection

from . import faults, values
from .channel import Channel
from .types import built_in, target

log = logging.getLogger(__name__)

MOST: Final = 1000
"""Types of a server that are remembered."""
_LONGEST: Final = 1_000_000
"""Elements of an array in a structure; what has more is not one."""
_DEEPEST: Final = 32
_UNION: Final = (ua.StructureType.Union, getattr(ua.StructureType, "UnionWithSubtypedValues", None))
_OPTIONAL: Final = ua.StructureType.StructureWithOptionalFields


class Field(msgspec.Struct, frozen=True):
    """`kind` is a built-in type's number, or another structure."""

    name: str
    kind: "int | Definition"
    array: bool
    optional: bool


class Definition(msgspec.Struct, frozen=True):
    fields: tuple[Field, ...]
    union: bool = False
    masked: bool = False
    """Whether a mask of the optional fields that there are comes first."""


class Structures:
    """Of one session."""

    def __init__(self) -> None:
        self._known: dict[ua.NodeId, Definition | None] = {}
        """By the id of the encoding; None: the server does not say what it is."""
        self.wanted: set[ua.NodeId] = set()
        """Encodings that values had and that nothing is known of yet."""

    def to_json(self, content: Any) -> Any:
        """What a variant of structures holds. Raises `LookupError` while it is not known how to read it:
        `load` finds that out."""
        if isinstance(content, list):
            return [self.to_json(one) for one in content]
        if not isinstance(content, ua.ExtensionObject):
            return values.to_json(content)
        if content.TypeId not in self._known:
            if len(self._known) < MOST:
                self.wanted.add(content.TypeId)
                raise LookupError
            return values.to_json(content)
        definition = self._known[content.TypeId]
        if definition is None or content.Body is None:
            return values.to_json(content)
        try:
            body = Buffer(content.Body)
            found = _read(definition, body)
        except Exception as error:  # noqa: BLE001 - whatever reading what does not fit raises
            log.debug("a structure is not as %s is defined: %s", content.TypeId, error)
            return values.to_json(content)
        return values.to_json(content) if len(body) else found

    def forget(self) -> None:
        """Another session may be on another server."""
        self._known.clear()
        self.wanted.clear()

    def want(self, found: Iterable[Any]) -> bool:
        """Whether any of these values is a structure that it is not known yet how to read."""
        for value in found:
            if type(value) is values.Undecoded:
                try:
                    self.to_json(value.content)
                except LookupError:
                    continue
        return bool(self.wanted)

    async def load(self, channel: Channel) -> None:
        """Ask the server for the definitions that are wanted. Raises `NoConnection` when it is not there."""
        wanted, self.wanted = self.wanted, set()
        for encoding in wanted:
            self._known[encoding] = None
            try:
                found = await target(channel, encoding, ua.ObjectIds.HasEncoding, inverse=True)
                self._known[encoding] = await _definition(channel, found or encoding, {})
            except (ValueError, NoConnection) as error:
                if isinstance(error, NoConnection) and (not channel.is_open or error.code == faults.TIMEOUT):
                    del self._known[encoding]
                    raise
                log.info("%s: structures of the type %s are not read: %s", channel.url, encoding, error)


async def _definition(channel: Channel, data_type: ua.NodeId, above: dict[ua.NodeId, int]) -> Definition:
    """Raises `ValueError` for what is no structure that can be read, and `NoConnection`."""
    if data_type in above or len(above) > _DEEPEST:
        raise ValueError(f"{data_type} holds itself")
    found = await _attribute(channel, data_type)
    if not isinstance(found, ua.StructureDefinition):
        raise ValueError(f"{data_type} has no definition")
    fields = [await _field(channel, one, {**above, data_type: 1}) for one in found.Fields or ()]
    kind = found.StructureType
    return Definition(tuple(fields), union=kind in _UNION, masked=kind == _OPTIONAL)


async def _field(channel: Channel, given: ua.StructureField, above: dict[ua.NodeId, int]) -> Field:
    if given.ValueRank is not None and given.ValueRank > 1:
        raise ValueError(f"{given.Name} is a matrix")
    number = await built_in(channel, given.DataType)
    kind: int | Definition
    if number is None or number == ua.VariantType.ExtensionObject.value:
        abstract = given.DataType == ua.NodeId(ua.ObjectIds.Structure)
        kind = number if abstract and number else await _definition(channel, given.DataType, above)
    else:
        kind = number if number <= 25 else ua.VariantType.Variant.value
    array = given.ValueRank is not None and given.ValueRank >= 0
    return Field(str(given.Name), kind, array, bool(given.IsOptional))


async def _attribute(channel: Channel, data_type: ua.NodeId) -> Any:
    request = ua.ReadRequest()
    what = ua.ReadValueId(NodeId=data_type, AttributeId=ua.AttributeIds.DataTypeDefinition)
    request.Parameters.NodesToRead = [what]
    response = await channel.ask(request, ua.ReadResponse)
    value = response.Results[0].Value if response.Results else None
    return None if value is None else value.Value


def _read(definition: Definition, body: Buffer) -> Any:
    mask = unpack_uatype(ua.VariantType.UInt32, body) if definition.masked or definition.union else 0
    if definition.union:
        if not 0 < mask <= len(definition.fields):
            return None
        field = definition.fields[mask - 1]
        return {field.name: _value(field, body)}
    found: dict[str, Any] = {}
    optional = 0
    for field in definition.fields:
        there = True
        if definition.masked and field.optional:
            there = bool(mask >> optional & 1)
            optional += 1
        found[field.name] = _value(field, body) if there else None
    return found


def _value(field: Field, body: Buffer) -> Any:
    if not field.array:
        return _single(field.kind, body)
    count = unpack_uatype(ua.VariantType.Int32, body)
    if count > _LONGEST:
        raise ValueError(f"{count} elements")
    return None if count < 0 else [_single(field.kind, body) for _ in range(count)]


def _single(kind: int | Definition, body: Buffer) -> Any:
    if isinstance(kind, Definition):
        return _read(kind, body)
    if kind == ua.VariantType.ExtensionObject.value:
        return values.to_json(extensionobject_from_binary(body))
    if kind == ua.VariantType.Variant.value:
        return values.of_variant(variant_from_binary(body))
    if kind == ua.VariantType.Float.value:
        return values.finished_one(unpack_uatype(ua.VariantType.Float, body), True)
    return values.to_json(unpack_uatype(ua.VariantType(kind), body))
