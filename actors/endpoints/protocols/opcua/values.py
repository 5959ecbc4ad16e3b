"""Values of the library as JSON, and back (part 6, 5.4)."""

import base64
import struct
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, Final
from uuid import UUID

from asyncua import ua

from actors.endpoints.floats import shortest, shortest_all

_BAD: Final = 0x8000_0000
DEEPEST: Final = 32
"""Levels of a structure; what lies deeper is left out."""


def to_json(value: Any, depth: int = 0) -> Any:
    """What a variant holds. Numbers that JSON has no word for are None."""
    match value:
        case None | bool():
            return value
        case str():
            return value if value.isascii() else _text(value)
        case Enum():
            return value.value
        case int():
            return int(value)
        case float():
            return value if isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
    if depth >= DEEPEST:
        return None
    return _compound(value, depth + 1)


class Undecoded:
    """A structure, or an array of some, of a type that the library does not know. It is equal to None, as
    other values are that somebody has to look at."""

    __slots__ = ("content",)

    def __init__(self, content: Any) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return other is None or other is self

    __hash__ = object.__hash__


def of_variant(variant: Any) -> Any:
    """What it holds; a 32-bit float as the shortest decimal number that it is."""
    if variant.VariantType is ua.VariantType.ExtensionObject and _is_unknown(variant.Value):
        return Undecoded(variant.Value)
    if variant.VariantType is ua.VariantType.Float:
        return _singles(variant.Value)
    return to_json(variant.Value)


def _is_unknown(content: Any) -> bool:
    if isinstance(content, list):
        return any(_is_unknown(one) for one in content)
    return isinstance(content, ua.ExtensionObject)


def _singles(value: Any) -> Any:
    if isinstance(value, list):
        return [_singles(one) for one in value]
    return None if value is None else shortest(value)


def finished(raw: Sequence[float], single: bool) -> list[float | None]:
    """Floats of 64 bits, or of 32 (`single`)."""
    if single:
        return shortest_all(raw, struct.Struct(f"{len(raw)}f"))
    if isfinite(sum(raw)):
        return list(raw)
    return [value if isfinite(value) else None for value in raw]


def finished_one(raw: float, single: bool) -> float | None:
    return shortest(raw) if single else raw if isfinite(raw) else None


def _text(value: str) -> str:
    """With U+FFFD for what the library could not decode."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _compound(value: Any, depth: int) -> Any:
    match value:
        case list() | tuple():
            return [to_json(one, depth) for one in value]
        case ua.LocalizedText():
            return to_json(value.Text)
        case ua.QualifiedName():
            name = to_json(value.Name)
            return f"{value.NamespaceIndex}:{name}" if value.NamespaceIndex else name
        case ua.NodeId():
            return to_json(value.to_string())
        case ua.StatusCode():
            return value.name
        case ua.Variant():
            return to_json(value.Value, depth)
        case ua.DataValue():
            if value.StatusCode is not None and value.StatusCode.value & _BAD:
                return None
            return to_json(value.Value, depth)
        case ua.ExtensionObject():
            return {
                "typeId": value.TypeId.to_string(),
                "body": None if value.Body is None else base64.b64encode(value.Body).decode(),
            }
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name), depth) for field in fields(value)}
    return str(value)
