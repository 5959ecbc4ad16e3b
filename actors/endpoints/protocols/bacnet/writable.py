"""What a write means: which property of which object, and what value of which type (spec 03 section 4)."""

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from actors.endpoints.protocol import CheckedEndpoint, WriteRequest
from actors.system.failure import Refusal

from . import kinds
from .points import RESERVED, DataPoint, Ref, WriteType, parse_object, write_type

LONGEST: Final = 1024
"""Characters of a text that is written."""

_TRUE = frozenset({"true", "1", "on", "yes", "active"})
_FALSE = frozenset({"false", "0", "off", "no", "inactive"})
_NUMBER = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
_FLOAT32: Final = 3.4028234663852886e38
_LIKE_PRESENT_VALUE: Final = frozenset({kinds.PRESENT_VALUE, 104, 40, 6})
"""present-value, relinquish-default, feedback-value, alarm-value"""
_OF_ANALOG: Final = frozenset({45, 59, 25, 22, 65, 69, 106})
"""high-limit, low-limit, deadband, cov-increment, max-pres-value, min-pres-value, resolution"""
_OF_PROPERTY: Final[dict[int, WriteType]] = {
    **dict.fromkeys((81, 133, 144), "boolean"),
    **dict.fromkeys((28, 58, 77, 4, 46, 168), "string"),
    **dict.fromkeys((17, 113, 134, 66, 67, 118, 126), "unsigned"),
    **dict.fromkeys((117, 84, 103, 72), "enumerated"),
}
_OF_TYPE: Final[dict[int, WriteType]] = {
    **dict.fromkeys((0, 1, 2, 12, 24, 54), "real"),
    **dict.fromkeys((3, 4, 5, 55, 21, 22, 30), "enumerated"),
    **dict.fromkeys((13, 14, 19, 23, 48), "unsigned"),
    40: "string",
    45: "integer",
    46: "double",
}


class Writing(msgspec.Struct, frozen=True):
    """A write that was checked as far as it can be without the device. `value` is None to release: what was
    commanded with that priority counts no more. `text`: a state by its text; the device knows its number."""

    ref: Ref
    value: Any
    kind: WriteType | None
    """None when it is released"""
    priority: int | None
    """of a present value; None: none is sent"""
    text: str | None = None

    @property
    def releases(self) -> bool:
        return self.value is None and self.text is None


def prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> Writing:
    """What a session writes. Raises `Refusal` on `register`, `value`, `type` or `priority`."""
    point, ref = _place(endpoint.points, request.register)
    priority = _priority(point, ref, request)
    if request.value is None:
        _check_release(ref, priority)
        return Writing(ref, None, None, priority)
    kind = _kind(point, ref, request)
    if point is not None and point.state_text and isinstance(request.value, str):
        return Writing(ref, None, kind, priority, request.value)
    return Writing(ref, fit(ref, kind, request.value), kind, priority)


def _place(points: Sequence[DataPoint], register: str) -> tuple[DataPoint | None, Ref]:
    point = next((point for point in points if point.name == register), None)
    if point is not None:
        ref = point.ref
    else:
        try:
            ref = parse_object(register)
        except ValueError as error:
            raise Refusal(f"Register not found: {register}", "register", "not_found") from error
        point = next((point for point in points if point.ref == ref), None)
    here = [one for one in points if (one.type, one.instance) == (ref.type, ref.instance)]
    if not (point.writable if point is not None else not here or any(one.writable for one in here)):
        raise Refusal(f"{register} is read-only: the data point is not writable", "register", "read_only")
    return point, ref


def _priority(point: DataPoint | None, ref: Ref, request: WriteRequest) -> int | None:
    present = ref.property_id == kinds.PRESENT_VALUE
    if not present or ref.type in kinds.INPUTS:
        if request.priority is not None:
            raise Refusal(f"{ref} is not commanded by priority", "priority")
        return None
    priority = request.priority or (point.priority if point is not None else DataPoint("", 0, 0).priority)
    if priority == RESERVED:
        raise Refusal(f"priority {RESERVED} is the device's own, for minimum times on and off", "priority")
    return priority


def _check_release(ref: Ref, priority: int | None) -> None:
    if priority is None:
        raise Refusal(f"{ref} is not commanded by priority: there is nothing to release", "value")


def _kind(point: DataPoint | None, ref: Ref, request: WriteRequest) -> WriteType:
    said = None if point is None else point.write_type
    if request.data_type is not None:
        kind = write_type(request.data_type)
        if kind is None:
            raise Refusal(f"{request.data_type!r} is not a type that can be written", "type")
        if said not in (None, kind):
            raise Refusal(f"type {kind} contradicts the data point's {said}", "type")
        return kind
    found = said or _usual(ref)
    if found is None:
        raise Refusal(f"the type of {ref} is not known: say it by type, or by writeDataType", "type")
    return found


def _usual(ref: Ref) -> WriteType | None:
    """What the standard says that it holds."""
    if ref.property_id in _LIKE_PRESENT_VALUE and ref.index is None:
        return _OF_TYPE.get(ref.type)
    if ref.property_id in _OF_ANALOG and ref.type in kinds.ANALOG:
        return _OF_TYPE[ref.type]
    return _OF_PROPERTY.get(ref.property_id) if ref.index is None else None


def fit(ref: Ref, kind: WriteType, value: Any) -> Any:
    """The value as that type. Raises `Refusal` on `value`."""
    found = _FITTING[kind](value)
    if ref.property_id in _LIKE_PRESENT_VALUE:
        if ref.type in kinds.MULTISTATE and kind != "string" and found < 1:
            raise _refused("states are numbered from 1 on")
        if ref.type in kinds.BINARY and kind == "enumerated" and found not in (0, 1):
            raise _refused("must be true or false, 1 or 0, on or off, active or inactive")
    return found


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if isinstance(value, float) and value in (0.0, 1.0):
        return value == 1.0
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise _refused("must be true or false, 1 or 0, on or off, active or inactive")


def _number(value: Any) -> float | int:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,20}", text) else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused("must be a number")
    if isinstance(value, float) and not isfinite(value):
        raise _refused("must be a finite number")
    return value


def _real(value: Any) -> float:
    found = _number(value)
    if abs(found) > _FLOAT32:
        raise _refused("is beyond what a real of 32 bits holds")
    return float(found)


def _double(value: Any) -> float:
    try:
        found = float(_number(value))
    except OverflowError:
        found = float("inf")
    if not isfinite(found):
        raise _refused("is beyond what a real of 64 bits holds")
    return found


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        found = _number(value)
        if isinstance(found, float):
            if not found.is_integer():
                raise _refused("must be a whole number")
            found = int(found)
        if not least <= found <= most:
            raise _refused(f"must be from {least} to {most}")
        return found

    return read


def _enumerated(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return int(_boolean(value))
    return _whole(0, 2**32 - 1)(value)


def _string(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _refused("must be a text")
    text = str(value)
    if len(text) > LONGEST:
        raise _refused(f"has more than {LONGEST} characters")
    return text


_FITTING: Final[dict[WriteType, Callable[[Any], Any]]] = {
    "boolean": _boolean,
    "unsigned": _whole(0, 2**32 - 1),
    "integer": _whole(-(2**31), 2**31 - 1),
    "real": _real,
    "double": _double,
    "enumerated": _enumerated,
    "string": _string,
}


def _refused(what: str) -> Refusal:
    return Refusal(f"value {what}", "value")
