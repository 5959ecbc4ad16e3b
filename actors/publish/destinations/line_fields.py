"""The fields of a payload of format `line-protocol`, taken apart and put together again. Plain."""

import re

import msgspec

_TAGS = re.compile(rb"(?:\\.|[^ \\])*", re.DOTALL)
_FIELD = re.compile(rb'((?:\\.|[^=\\])+)=("(?:\\.|[^"\\])*"|[^,"]*)(?:,|\Z)', re.DOTALL)
_ESCAPED = re.compile(rb"\\([,= ])")

FLOAT, INTEGER, STRING, BOOLEAN = "float", "integer", "string", "boolean"


class Fields(msgspec.Struct, gc=False):
    """`tags` are escaped, as are the names of `fields`; values are as on the wire. `time` is Unix ms."""

    tags: bytes
    fields: dict[bytes, bytes]
    time: bytes

    def payload(self, fields: dict[bytes, bytes] | None = None) -> bytes:
        """With these `fields`, or its own."""
        told = self.fields if fields is None else fields
        pairs = b",".join([b"%b=%b" % pair for pair in told.items()])
        return b"%b %b %b" % (self.tags, pairs, self.time)


def take_apart(payload: bytes) -> Fields | None:
    """None for what is not of that format: left from when the destination was of another type."""
    front, _, time = payload.rpartition(b" ")
    if not (front and time.isdigit()):
        return None
    found = _TAGS.match(front)
    assert found is not None
    tags, rest = found[0], front[found.end() + 1 :]
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(rest):
        pair = _FIELD.match(rest, at)
        if pair is None:
            return None
        fields[pair[1]] = pair[2]
        at = pair.end()
    return Fields(tags, fields, time) if fields else None


def series_of(line: bytes) -> bytes:
    """What is in front of the fields: measurement and tags."""
    found = _TAGS.match(line)
    assert found is not None
    return found[0]


def name_of(key: bytes) -> str:
    """The field's name without escapes."""
    return _ESCAPED.sub(rb"\1", key).decode(errors="replace")


def kind_of(value: bytes) -> str:
    """The type that a server reads from a value."""
    match value[:1], value[-1:]:
        case b'"', _:
            return STRING
        case b"t" | b"f", _:
            return BOOLEAN
        case _, b"i":
            return INTEGER
    return FLOAT
