"""Values of Sparkplug B's datatypes (Sparkplug 3.0 section 6.4): from messages, and into commands."""

import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from actors.mqtt.sparkplug_schema import payload_class
from actors.system.failure import Refusal

from . import quality

MAX_DEPTH: Final = 8
"""Of templates in templates."""

# Datatypes with integers in them, and their bits.
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
_UNSIGNED = {5: 8, 6: 16, 7: 32, 8: 64}
_FLOAT, _DOUBLE, _BOOLEAN, _STRING, _DATETIME, _TEXT, _UUID = 9, 10, 11, 12, 13, 14, 15
_DATASET, _BYTES, _FILE, _TEMPLATE = 16, 17, 18, 19
_TEXTS = (_STRING, _TEXT, _UUID)
_PACKED = {22: "b", 23: "h", 24: "i", 25: "q", 26: "B", 27: "H", 28: "I", 29: "Q", 30: "f", 31: "d", 34: "q"}
_BOOLEANS, _STRINGS, _DATETIMES = 32, 33, 34
_EPOCH_MS = 253_402_300_799_999
"""The end of the year 9999."""

Reading = tuple[Any, str | None]
"""A value and its quality code."""


def read(metric: Any, datatype: int, depth: int = 0) -> Reading:
    """What a metric of that datatype says; a value that is not of it is BAD, never guessed."""
    if metric.is_null:
        return None, quality.NO_VALUE
    field = metric.WhichOneof("value")
    if field is None:
        return None, quality.NO_VALUE
    value = getattr(metric, field)
    if datatype in _SIGNED or datatype in _UNSIGNED:
        return _integer(value, datatype) if field in ("int_value", "long_value") else _other()
    reader, fields = _READERS.get(datatype, (None, ()))
    if reader is None or field not in fields:
        return _other()
    found: Reading = reader(value, depth)
    return found


def _other(*_: Any) -> Reading:
    return None, quality.TYPE


def _integer(value: int, datatype: int) -> Reading:
    """Negative ones come as two's complement, of 32 or 64 bits whatever their own are."""
    bits = _SIGNED.get(datatype)
    if bits is None:
        return (value, None) if value < 1 << _UNSIGNED[datatype] else (None, quality.OUT_OF_RANGE)
    half = 1 << bits - 1
    for width in (bits, 32, 64):
        signed = value - (1 << width) if value >= 1 << width - 1 else value
        if value < 1 << width and -half <= signed < half:
            return signed, None
    return None, quality.OUT_OF_RANGE


def _number(value: float, _: int) -> Reading:
    return (value, None) if isfinite(value) else (None, quality.NOT_A_NUMBER)


def _single(value: float, _: int) -> Reading:
    """The shortest decimals that are that 32-bit float."""
    if not isfinite(value):
        return None, quality.NOT_A_NUMBER
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", value):
            return short, None
    return value, None


def _as_it_is(value: Any, _: int) -> Reading:
    return value, None


def text(value: str | bytes) -> str:
    """What Protocol Buffers call a text, which here is one of bytes where it is no UTF-8; "" for such."""
    return value if isinstance(value, str) else ""


def _text(value: str | bytes, _: int) -> Reading:
    return (value, None) if isinstance(value, str) else _other()


def _moment(value: int, _: int) -> Reading:
    if value > _EPOCH_MS:
        return None, quality.OUT_OF_RANGE
    return _iso(value), None


def _iso(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _octets(value: bytes, _: int) -> Reading:
    return b64encode(value).decode(), None


def _rows(value: Any, _: int) -> Reading:
    """A data set as an array of objects."""
    columns = list(value.columns)
    if any(isinstance(name, bytes) for name in columns):
        return _other()
    rows = []
    for row in value.rows:
        if len(row.elements) != len(columns):
            return _other()
        cells = (element.WhichOneof("value") for element in row.elements)
        rows.append(
            {
                name: None if field is None else _finite(getattr(element, field))
                for name, element, field in zip(columns, row.elements, cells, strict=True)
            }
        )
    return rows, None


def _finite(value: Any) -> Any:
    """What JSON has no place for is null."""
    return None if isinstance(value, bytes) or (isinstance(value, float) and not isfinite(value)) else value


def _members(value: Any, depth: int) -> Reading:
    """A template as an object."""
    if depth >= MAX_DEPTH:
        return _other()
    return {text(one.name): read(one, one.datatype, depth + 1)[0] for one in value.metrics}, None


def _array(datatype: int) -> Callable[[bytes, int], Reading]:
    form = _PACKED[datatype]
    size = struct.calcsize(f"<{form}")

    def unpacked(value: bytes, _: int) -> Reading:
        if len(value) % size:
            return _other()
        found: list[Any] = list(struct.unpack(f"<{len(value) // size}{form}", value))
        if datatype == _DATETIMES:
            if any(not 0 <= one <= _EPOCH_MS for one in found):
                return None, quality.OUT_OF_RANGE
            found = [_iso(one) for one in found]
        return [_finite(one) for one in found], None

    return unpacked


def _booleans(value: bytes, _: int) -> Reading:
    """A count of 32 bits, and bits packed from the highest on."""
    if len(value) < 4:
        return _other()
    count = int.from_bytes(value[:4], "little")
    bits = value[4:]
    if count > 8 * len(bits):
        return _other()
    return [bool(bits[place >> 3] & 0x80 >> (place & 7)) for place in range(count)], None


def _strings(value: bytes, _: int) -> Reading:
    """Each ends with a NUL."""
    if not value:
        return [], None
    if not value.endswith(b"\0"):
        return _other()
    try:
        return value[:-1].decode().split("\0"), None
    except UnicodeDecodeError:
        return _other()


_READERS: dict[int, tuple[Callable[[Any, int], Reading] | None, tuple[str, ...]]] = {
    _FLOAT: (_single, ("float_value",)),
    _DOUBLE: (_number, ("double_value", "float_value")),
    _BOOLEAN: (_as_it_is, ("boolean_value",)),
    _DATETIME: (_moment, ("long_value",)),
    _DATASET: (_rows, ("dataset_value",)),
    _TEMPLATE: (_members, ("template_value",)),
    _BOOLEANS: (_booleans, ("bytes_value",)),
    _STRINGS: (_strings, ("bytes_value",)),
    **{each: (_text, ("string_value",)) for each in _TEXTS},
    **{each: (_octets, ("bytes_value",)) for each in (_BYTES, _FILE)},
    **{each: (_array(each), ("bytes_value",)) for each in _PACKED},
}


# Commands


def command(name: str, value: Any, datatype: int, timestamp: int) -> bytes:
    """A message that tells a node or device to set a metric. Raises `Refusal` on `value`."""
    payload = payload_class()(timestamp=timestamp)
    metric = payload.metrics.add(name=name, timestamp=timestamp, datatype=datatype)
    _put(metric, value, datatype)
    octets: bytes = payload.SerializeToString()
    return octets


def _put(metric: Any, value: Any, datatype: int) -> None:
    if datatype in _SIGNED or datatype in _UNSIGNED:
        _put_integer(metric, value, datatype)
    elif datatype in (_FLOAT, _DOUBLE) and _is_number(value):
        _put_number(metric, float(value), datatype)
    elif datatype == _BOOLEAN and isinstance(value, bool):
        metric.boolean_value = value
    elif datatype in _TEXTS and isinstance(value, str):
        metric.string_value = value
    else:
        raise Refusal("The value is of another type than the metric", "value")


def _put_integer(metric: Any, value: Any, datatype: int) -> None:
    if not _is_number(value) or float(value) != int(value):
        raise Refusal("The value is of another type: expected integer", "value")
    bits = _SIGNED.get(datatype) or _UNSIGNED[datatype]
    least = -(1 << bits - 1) if datatype in _SIGNED else 0
    most = (1 << bits - 1) - 1 if datatype in _SIGNED else (1 << bits) - 1
    number = int(value)
    if not least <= number <= most:
        raise Refusal(f"The value {number} is out of range ({least}..{most})", "value")
    # Two's complement of its own bits: not all who read it take the low bits of a wider one.
    if bits == 64:
        metric.long_value = number % (1 << bits)
    else:
        metric.int_value = number % (1 << bits)


def _put_number(metric: Any, value: float, datatype: int) -> None:
    if datatype == _DOUBLE:
        metric.double_value = value
        return
    try:
        struct.pack("f", value)
    except OverflowError as error:
        raise Refusal(f"The value {value} is out of range of 32-bit floats", "value") from error
    metric.float_value = value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
