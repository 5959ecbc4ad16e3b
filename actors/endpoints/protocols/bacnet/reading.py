"""What a device says of a property, as a value with its quality."""

from math import isfinite
from typing import Any, Final

from . import kinds, quality, tags
from .codec import Aborted, Content, Refused, Rejected, Several, Value, flags_of
from .points import DataPoint

Reading = tuple[Any, str | None]
"""A value and its code: GOOD without one, BAD without a value, UNCERTAIN with both."""

_NUMERIC: Final = frozenset({tags.UNSIGNED, tags.SIGNED, tags.REAL, tags.DOUBLE, tags.ENUMERATED})
_INTEGERS: Final = frozenset({tags.UNSIGNED, tags.SIGNED, tags.ENUMERATED, tags.BOOLEAN})
_OF_TYPE: Final = {
    **dict.fromkeys(kinds.ANALOG | {12, 23, 24, 45, 48}, _NUMERIC),
    **dict.fromkeys(kinds.BINARY | kinds.MULTISTATE, _INTEGERS),
    39: frozenset({tags.BITS}),
    40: frozenset({tags.CHARACTERS}),
}
"""Tags that the present value of such an object may have."""
_LARGEST: Final = 2**63
_ANY: Final = 255


def read(
    point: DataPoint, content: Content | None, flags: Content | None, states: list[str] | None
) -> Reading:
    """`content` None: the device did not answer. `flags` are those of the object, None where it has none."""
    if not isinstance(content, Value):
        return None, code_of(content)
    present = point.property_id == kinds.PRESENT_VALUE and point.index is None
    allowed = _OF_TYPE.get(point.type) if present else None
    if allowed is not None and content.tag not in allowed and content.tag != tags.NULL:
        return None, quality.WRONG_TYPE
    value, code = plain(content)
    if code is not None:
        return None, code
    if point.state_text and present:
        value, code = _state(point.type, value, states)
    if flags is None or value is None:
        return value, code
    flagged = _flagged(flags)
    return (None, flagged) if flagged == quality.FAULT_CODE else (value, flagged or code)


def _flagged(content: Content) -> str | None:
    """The code that status flags make of a reading that is good otherwise."""
    flags = flags_of(content)
    if flags == 0:
        return None
    if flags is None:
        return quality.NO_STATUS_FLAGS
    if flags & quality.FAULT:
        return quality.FAULT_CODE
    if flags & quality.OUT_OF_SERVICE:
        return quality.OUT_OF_SERVICE_CODE
    return quality.OVERRIDDEN_CODE if flags & quality.OVERRIDDEN else None


def is_fault(content: Content | None) -> bool:
    """Of status flags."""
    return bool((flags_of(content) or 0) & quality.FAULT)


def code_of(content: Content | None) -> str:
    """Why there is no value."""
    if content is None:
        return quality.TIMEOUT
    if isinstance(content, Refused):
        return quality.error_code(*content)
    if isinstance(content, Rejected):
        return quality.REJECTED
    if isinstance(content, Aborted):
        return quality.ABORTED
    return quality.WRONG_TYPE if isinstance(content, Several) else quality.READ_ERROR


def _state(kind: int, value: Any, states: list[str] | None = None) -> Reading:
    """The text of a state; of binary objects inactive and active, of the others from 1 on."""
    number = int(value) - (kind in kinds.MULTISTATE)
    if states is not None and 0 <= number < len(states) and states[number]:
        return states[number], None
    return str(int(value)), quality.NO_STATE_TEXT


def plain(content: Value) -> Reading:
    """As a reading can have it: dates as `2026-11-28`, times as `12:30:00.00`, bits as `0101`, octets as
    hexadecimal digits, objects as `analog-input:3`."""
    tag, value = content
    if tag in (tags.REAL, tags.DOUBLE):
        return (value, None) if isfinite(value) else (None, quality.NOT_A_NUMBER)
    if tag == tags.BOOLEAN:
        return value, None
    if tag in _INTEGERS:
        return (value, None) if -_LARGEST <= value < _LARGEST else (None, quality.NOT_A_NUMBER)
    if tag == tags.NULL:
        return None, quality.NO_VALUE
    return _as_text(tag, value), None


def _as_text(tag: int, value: Any) -> str:
    if tag == tags.OCTETS:
        return str(value.hex())
    if tag == tags.BITS:
        return "".join(map(str, value))
    if tag == tags.OBJECT:
        return f"{kinds.type_name(value >> 22)}:{value & kinds.ANY_INSTANCE}"
    if tag == tags.DATE:
        year, month, day = (("*" if part == _ANY else part) for part in value[:3])
        year = year if isinstance(year, str) else 1900 + year
        return f"{year}-{month:0>2}-{day:0>2}"
    if tag == tags.TIME:
        hour, minute, second, hundredth = (("*" if part == _ANY else part) for part in value)
        return f"{hour:0>2}:{minute:0>2}:{second:0>2}.{hundredth:0>2}"
    return str(value).rstrip("\0")
