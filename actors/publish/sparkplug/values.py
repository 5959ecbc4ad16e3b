"""Readings as Sparkplug's datatypes have them."""

from typing import Any

import msgspec

from actors.mqtt.sparkplug_schema import BOOLEAN, DOUBLE, INT64, STRING, UINT64
from actors.readings.batch import quality

GOOD = 192
BAD = 0
STALE = 500
"""With BAD and GOOD all that Sparkplug has; here that of a value that is not to be relied on as it is now."""

_INT64 = 1 << 63
_UINT64 = 1 << 64
_EXACT = 1 << 53
"""Up to it a double holds every integer."""

_QUALITIES = {"GOOD": GOOD, "UNCERTAIN": STALE, "BAD": BAD}


def datatype_of(value: Any) -> int:
    """The datatype that such a value has by itself; not for None."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return _of_integer(value)
    return DOUBLE if isinstance(value, float) else STRING


def _of_integer(value: int) -> int:
    if -_INT64 <= value < _INT64:
        return INT64
    if 0 <= value < _UINT64:
        return UINT64
    return DOUBLE if _is_finite(value) else STRING


def fits(value: Any, datatype: int) -> bool:
    """Whether a metric of that datatype can have that value, and it stays the same value."""
    if isinstance(value, float):
        return datatype == DOUBLE
    if isinstance(value, int) and not isinstance(value, bool):
        if datatype == INT64:
            return -_INT64 <= value < _INT64
        if datatype == UINT64:
            return 0 <= value < _UINT64
        if datatype == DOUBLE and -_EXACT <= value <= _EXACT:
            return True
    return datatype == datatype_of(value)


def put(metric: Any, value: Any, datatype: int) -> None:
    """Write into a message's metric a value that fits that datatype; None makes it null."""
    if value is None:
        metric.is_null = True
    elif datatype == DOUBLE:
        metric.double_value = value
    elif datatype == INT64:
        metric.long_value = value if value >= 0 else value + _UINT64
    elif datatype == UINT64:
        metric.long_value = value
    elif datatype == BOOLEAN:
        metric.boolean_value = value
    else:
        metric.string_value = value if isinstance(value, str) else msgspec.json.encode(value).decode()


def quality_of(value: Any, code: str | None) -> int:
    """As a number of Sparkplug's."""
    return _QUALITIES[quality(value, code)]


def _is_finite(value: int) -> bool:
    """Whether a double is large enough for it."""
    try:
        float(value)
    except OverflowError:
        return False
    return True
