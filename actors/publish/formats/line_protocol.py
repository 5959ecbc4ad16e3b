"""Format `line-protocol` (spec 02 section 8.3): one InfluxDB point per poll and time, without measurement.

`device=press-4,endpoint=line1,protocol=modbus oil_temp=61.4,running=true 1741083325004`; the time is Unix
ms. Measurement and precision are the destination's configuration, which may change while a point waits.
"""

import re
from collections.abc import Sequence

from actors.publish.formats.format import Format, Piece, time_of
from actors.publish.formats.fragments import PerSource, choose, encode_each, pick
from actors.publish.formats.message_ids import MessageIds
from actors.readings.batch import Batch, Source
from actors.readings.interest import Points, Positions

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Before these, and at the end, parsers disagree whether a backslash stands for itself.
_AMBIGUOUS_BACKSLASH = re.compile(r"\\(?=[\\,= ]|\Z)")
_JSON_ESCAPE = re.compile(rb"\\(?:u[0-9a-f]{4}|.)")
_SHARED_ESCAPES = (rb"\"", rb"\\")
_NEEDS_QUOTING = b'"[{'


def escape(name: str, special: str) -> bytes:
    """A name with the `special` characters escaped, on one line: control characters become spaces.

    A backslash that parsers disagree about becomes a slash.
    """
    line = _AMBIGUOUS_BACKSLASH.sub("/", _CONTROL.sub(" ", name))
    return re.sub(f"([{special}])", r"\\\1", line).encode()


def measurement(name: str) -> bytes:
    return escape(name, ", ")


def _key(name: str) -> bytes:
    return escape(name, ",= ")


def _field_key(name: str) -> bytes:
    """The escaped name; one that InfluxDB refuses, drops, or keeps for itself gets a prefix."""
    if not name:
        return b"metric"
    if name == "time" or name.startswith("_"):
        return _key(f"metric_{name.lstrip('_')}")
    return _key(name)


def _payload(pieces: Sequence[Piece], _: MessageIds) -> bytes | None:
    ((batch, positions),) = pieces
    tags, keys = _frames(batch, positions)
    values = encode_each(choose(batch.values, positions))
    # Equal names have equal keys, so the last value of a name wins. A BAD point has no value and NaN is
    # null only once encoded; InfluxDB knows neither.
    fields = {
        key: _field_value(json) if json[0] in _NEEDS_QUOTING else json
        for key, json in zip(keys, values, strict=False)
        if json != b"null"
    }
    if not fields:
        return None
    pairs = b",".join([key + value for key, value in fields.items()])
    return b"%b %b %d" % (tags, pairs, max(0, time_of(pieces[0])))


def _frames(batch: Batch, positions: Positions) -> tuple[bytes, list[bytes]]:
    if batch.indices is None:
        return _prepared.get(batch.source, positions)
    tags, keys = _prepared.get(batch.source, None)
    return tags, pick(keys, batch.indices, positions)


def _field_value(json: bytes) -> bytes:
    """A string field of JSON that is a string, or of an array's or object's own text."""
    if json[0] != b'"'[0]:
        return b'"%b"' % json.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return _JSON_ESCAPE.sub(_one_line, json) if b"\\" in json else json


def _one_line(found: re.Match[bytes]) -> bytes:
    """Quotes and backslashes are escaped as in JSON; control characters become spaces."""
    return found[0] if found[0] in _SHARED_ESCAPES else b" "


def _prepare(source: Source, points: Points) -> tuple[bytes, list[bytes]]:
    # Sorted by key, as InfluxDB keeps them. It refuses empty tags.
    tags = {"device": source.device, "endpoint": source.endpoint, "protocol": source.protocol}
    present = b",".join([b"%b=%b" % (key.encode(), _key(value)) for key, value in tags.items() if value])
    chosen = choose(list(source.points), points)
    return present, [_field_key(point.name) + b"=" for point in chosen]


_prepared = PerSource(_prepare)

FORMAT = Format("line-protocol", True, _payload, internal=True, json=False, per_time=True)
