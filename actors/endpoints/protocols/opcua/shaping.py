"""What a data point makes of its node's value: scaled, and of the type that it says."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from . import quality
from .points import DataPoint

_DIGITS = 15
_TRUE, _FALSE = frozenset({"true", "on", "yes", "1"}), frozenset({"false", "off", "no", "0"})


def is_shaped(point: DataPoint) -> bool:
    """Whether `shape` may make anything of its values."""
    return point.scaled or point.index_range is not None or point.shown not in (None, "object")


def shape(point: DataPoint, value: Any, code: str | None, whole: bool = False) -> tuple[Any, str | None]:
    """The value, and its quality code; a value that is not what the point says has none, and is
    `BadTypeMismatch`. `whole`: the server sends all of an array, whatever range it is asked for."""
    if value is None:
        return None, code
    try:
        if point.index_range is not None:
            value = within(point.index_range, value, whole)
        if point.scaled:
            value = scaled(point, value)
        if point.shown is not None:
            value = _SHAPES[point.shown](value)
    except (TypeError, ValueError, OverflowError):
        return None, quality.TYPE_MISMATCH
    return value, code


def within(index_range: str, value: Any, whole: bool = False) -> Any:
    """That part of an array; the element itself where the range is of one. Of a `whole` array, or one that is
    longer than the range, it is cut out here. Raises `TypeError` and `ValueError` where there is none."""
    single = True
    for_dimensions = []
    for part in index_range.split(","):
        first, colon, last = part.partition(":")
        single = single and not colon
        for_dimensions.append((int(first), int(last) if colon else int(first)))
    value = _cut(for_dimensions, value, whole)
    while single and isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _cut(ranges: list[tuple[int, int]], value: Any, whole: bool) -> Any:
    if not ranges:
        return value
    if not isinstance(value, list):
        if whole:
            raise TypeError("no array")
        return value
    (first, last), *further = ranges
    if whole or len(value) > last - first + 1:
        value = value[first : last + 1]
        if not value:
            raise ValueError("the array ends before the range")
    return [_cut(further, one, whole) for one in value]


def scaled(point: DataPoint, value: Any) -> Any:
    """Raises `TypeError` for what is no number, `OverflowError` when it gets too large."""
    if isinstance(value, list):
        return [scaled(point, one) for one in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    result: int | float = value * point.scale + point.offset
    if isinstance(result, float):
        if not isfinite(result):
            raise OverflowError
        return float(f"{result:.{_DIGITS}g}")  # 0.1 x 3 is 0.3
    return result


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, list):
        return [_number(one) for one in value]
    raise TypeError


def _parsed(text: str) -> int | float:
    text = text.strip()
    if len(text) > 64 or not text.isascii() or "_" in text:
        raise ValueError
    try:
        return int(text)
    except ValueError:
        number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise ValueError
    if isinstance(value, list):
        return [_boolean(one) for one in value]
    raise TypeError


def _string(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return [_string(one) for one in value]
    raise TypeError


_SHAPES: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "boolean": _boolean,
    "string": _string,
    "object": lambda value: value,
}
