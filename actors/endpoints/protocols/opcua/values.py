"""Values of the library as JSON, and back (part 6, 5.4)."""

import base64
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, Final
from uuid import UUID

from asyncua import ua

DEEPEST: Final = 32
"""Levels of a structure; what lies deeper is left out."""


def to_json(value: Any, depth: int = 0) -> Any:
    """What a variant holds. Numbers that JSON has no word for are None."""
    match value:
        case None | bool() | str():
            return value
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


def _compound(value: Any, depth: int) -> Any:
    match value:
        case list() | tuple():
            return [to_json(one, depth) for one in value]
        case ua.LocalizedText():
            return value.Text
        case ua.QualifiedName():
            return f"{value.NamespaceIndex}:{value.Name}" if value.NamespaceIndex else value.Name
        case ua.NodeId():
            return value.to_string()
        case ua.StatusCode():
            return value.name
        case ua.Variant():
            return to_json(value.Value, depth)
        case ua.DataValue():
            return to_json(value.Value, depth)
        case ua.ExtensionObject():
            return {
                "typeId": value.TypeId.to_string(),
                "body": None if value.Body is None else base64.b64encode(value.Body).decode(),
            }
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name), depth) for field in fields(value)}
    return str(value)
