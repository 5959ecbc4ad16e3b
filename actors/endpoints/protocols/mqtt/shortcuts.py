"""What most messages are, read without looking again at what is the same each time: an object of the same
keys from the same topic."""

from math import isfinite
from typing import Any, NamedTuple

from .connection import DEVICE_KEYS, TIME_KEYS
from .devices import Device
from .points import DataPoint
from .topics import Part
from .values import LEAST, MOST

Keys = tuple[str, ...]
MAX_KEYS = 64
"""Sets of keys of a topic that shortcuts are kept for."""
_NUMBERS = (None, "number")


class Shortcut(NamedTuple):
    """`keys` hold the values of the points at `indices`, `time` the time, if any does."""

    device: Device
    keys: Keys
    indices: tuple[int, ...]
    numbers: frozenset[str]
    """Keys of points that are numbers."""
    time: str | None

    def values(self, document: dict[str, Any]) -> list[Any] | None:
        """None where one is not as it is most often."""
        found = []
        for key in self.keys:
            value = document[key]
            kind = type(value)
            if kind is float:
                if not isfinite(value):
                    return None
            elif kind is int:
                if not LEAST <= value <= MOST:
                    return None
            elif (kind is not str and kind is not bool) or key in self.numbers:
                return None
            found.append(value)
        return found


def shortcut(part: Part, device: Device, document: dict[str, Any], topic: str) -> Shortcut | None:
    """For the objects of these keys, once one of them has been read the long way; None where there is
    none."""
    keys = document.keys()
    if part.automatic is not None and part.automatic.precisions:
        return None
    if part.device_path is None and any(key in document for key in DEVICE_KEYS) and not part.names_device:
        return None
    if part.device_path or (part.time_path and len(part.time_path) > 1) or "value" in keys:
        return None
    if any(key in ("unit", "units") or key.endswith("_unit") for key in keys):
        return None
    time, is_clear = _time(part, keys)
    fields = _fields(part, document)
    if not is_clear or fields is None:
        return None
    if any(isinstance(document[key], dict | list) for _, key, _ in fields):
        return None
    indices = [device.index.get(name) for name, _, _ in fields]
    if any(index is None or device.owners[index] != topic for index in indices):
        return None
    return Shortcut(
        device,
        tuple(key for _, key, _ in fields),
        tuple(index for index in indices if index is not None),
        frozenset(key for _, key, is_number in fields if is_number),
        time,
    )


def _time(part: Part, keys: Any) -> tuple[str | None, bool]:
    """The key of the time, and whether there is no other that might be."""
    if part.time_path is None:
        found = [key for key in TIME_KEYS if key in keys]
        return (found[0] if found else None), len(found) < 2
    if not part.time_path:
        return None, True
    key = part.time_path[0]
    return (key, key in keys) if isinstance(key, str) else (None, False)


def _fields(part: Part, document: dict[str, Any]) -> list[tuple[str, str, bool]] | None:
    """Name and key of each value, and whether it has to be a number."""
    fields: list[tuple[str, str, bool]] = []
    for point in part.points:
        key = _key(point)
        if key is None or not point.shape.is_plain_number or point.encoding is not None:
            return None
        if key in document:
            fields.append((point.name, key, point.shape.kind == "number"))
        elif point.path is None:
            return None
    if part.automatic is not None:
        plan = part.automatic.plans.get(tuple(document))
        if plan is None:
            return None
        fields += [(name, key, False) for key, name, _ in plan]
    names = [name for name, _, _ in fields]
    return fields if fields and len(set(names)) == len(names) else None


def _key(point: DataPoint) -> str | None:
    if point.path is None:
        return point.name
    key = point.path[0]
    return key if len(point.path) == 1 and isinstance(key, str) else None
