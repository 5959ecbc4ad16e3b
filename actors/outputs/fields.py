"""The fields of a batch of all points: which there are, and the type of each (spec 02 section 11)."""

import re
from collections.abc import Iterator
from sys import intern
from types import NoneType
from typing import Any, Final

from actors.readings.batch import Batch, Source

TYPES: Final = ("number", "string", "boolean", "object", "array", "null")
NUMBER, STRING, BOOLEAN, OBJECT, ARRAY, NULL = range(len(TYPES))

RESERVED: Final = frozenset(
    {
        "timestamp",
        "ts",
        "time",
        "device",
        "device_name",
        "devicename",
        "device_id",
        "deviceid",
        "device_uuid",
        "deviceuuid",
        "quality",
        "quality_code",
        "unit",
        "status",
        "state",
        "msg_id",
        "msgid",
        "protocol",
    }
)
"""Keys inside a value that describe it. A reading that has such a name is a reading nevertheless."""

ELEMENTS: Final = 16
"""How many elements of an array are looked into."""

_KINDS: Final[dict[type, int]] = {
    int: NUMBER,
    float: NUMBER,
    str: STRING,
    bool: BOOLEAN,
    dict: OBJECT,
    list: ARRAY,
    tuple: ARRAY,
    NoneType: NULL,
}

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GAP = re.compile(r"[\s\-_]+")
_ODD = re.compile(r"\W")


def kind_of(value: Any) -> int:
    """The index in `TYPES` of what the value is when published."""
    return _KINDS.get(type(value), STRING)


def normalised(name: str) -> str:
    """`Motor Speed`, `motorSpeed` and `motor-speed` are all `motor_speed`. What would leave nothing stays."""
    return _ODD.sub("", _GAP.sub("_", _HUMP.sub("_", name))).lower() or name


class FieldReader:
    """Reads the fields of one device's batches: name to index in `TYPES`.

    A batch with the types of the one before yields the very dictionary that the one before did.
    """

    __slots__ = ("_classes", "_depth", "_fields", "_kinds", "_limit", "_names", "_qualities", "_source")

    def __init__(self, limit: int, depth: int) -> None:
        """At most `limit` fields of a batch, and keys of values down to `depth` levels."""
        self._limit = limit
        self._depth = depth
        self._source: Source | None = None
        self._names: tuple[str, ...] = ()
        self._qualities: list[str | None] | None = None
        self._classes: list[type] | None = None
        self._kinds: list[int] = []
        self._fields: dict[str, int] = {}

    def read(self, batch: Batch) -> dict[str, int]:
        """The fields of a batch; a BAD reading is none."""
        classes = list(map(type, batch.values))
        if batch.source is not self._source:
            self._source = batch.source
            self._names = tuple(intern(f"reading:{normalised(point.name)}") for point in batch.source.points)
        elif batch.qualities == self._qualities and self._classes is not None:
            if classes == self._classes:
                return self._fields
            if [_KINDS.get(one, STRING) for one in classes] == self._kinds:
                self._classes = classes  # such as integers among floats
                return self._fields
        self._qualities = batch.qualities
        self._kinds = [_KINDS.get(one, STRING) for one in classes]
        flat = OBJECT not in self._kinds and ARRAY not in self._kinds
        self._classes = classes if flat else None
        self._fields = self._read(batch)
        return self._fields

    def _read(self, batch: Batch) -> dict[str, int]:
        names, kinds = self._names, self._kinds
        good = range(min(len(names), len(kinds)))
        if batch.qualities is not None:
            codes, values = batch.qualities, batch.values
            good = [i for i in good if codes[i] is None or values[i] is not None]  # type: ignore[assignment]
        fields: dict[str, int] = {}
        for i in good:
            if len(fields) >= self._limit:
                return fields
            fields[names[i]] = kinds[i]
        if self._classes is None:
            self._read_keys(batch, good, fields)
        return fields

    def _read_keys(self, batch: Batch, good: Any, fields: dict[str, int]) -> None:
        for i in good:
            if self._kinds[i] in (OBJECT, ARRAY):
                path = self._names[i].partition(":")[2]
                for name, kind in keys_of(batch.values[i], path, self._depth):
                    if len(fields) >= self._limit:
                        return
                    fields.setdefault(name, kind)


def keys_of(value: Any, path: str, depth: int) -> Iterator[tuple[str, int]]:
    """What is inside an object or array; the elements of an array have the array's own path."""
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            name = normalised(str(key))
            if name not in RESERVED:
                yield f"key:{path}.{name}", kind_of(inner)
                yield from keys_of(inner, f"{path}.{name}", depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value[:ELEMENTS]:
            yield from keys_of(inner, path, depth - 1)
