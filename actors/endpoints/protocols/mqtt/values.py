"""What a data point makes of what a payload holds for it."""

import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Literal

import msgspec

from . import quality, units

Kind = Literal["number", "integer", "string", "boolean", "object"]

_SIZES = (8, 16, 32, 64)
SPELLINGS: dict[str, Kind] = {
    **dict.fromkeys(
        ("number", "float", "float32", "float64", "double", "real", "decimal", "numeric"), "number"
    ),
    **dict.fromkeys(
        (
            "integer",
            "int",
            "long",
            "short",
            *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
        ),
        "integer",
    ),
    **dict.fromkeys(("string", "text", "str"), "string"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("object", "json", "array"), "object"),
}
"""Data types as clients spell them."""

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_LONGEST = 64
LEAST, MOST = -(2**63), 2**64 - 1
_TRUE = frozenset({"true", "on", "1", "yes"})
_FALSE = frozenset({"false", "off", "0", "no"})

Told = tuple[Any, str | None]
"""A value and its quality code, as in a `Batch`."""


class Shape(msgspec.Struct, frozen=True):
    """Value = raw x `scale` + `offset`, within `least` and `most`, rounded to `precision` decimals. `kind`
    None: as it comes, if it is a number, a text or a boolean."""

    kind: Kind | None = None
    unit: str | None = None
    precision: int | None = None
    scale: float = 1
    offset: float = 0
    least: float | None = None
    most: float | None = None

    @property
    def is_plain_number(self) -> bool:
        """Whether a number that comes is taken as it is."""
        return self in (Shape(unit=self.unit), Shape(kind="number", unit=self.unit))


def read(raw: Any, shape: Shape, said: str | None = None) -> Told:
    """What is raw in the payload, which is in the unit `said` there."""
    value, code = _READERS[shape.kind](raw)
    if code is not None:
        return None, code
    if type(value) is float or type(value) is int:
        return _number(value, shape, said)
    return value, None


def of_any(raw: Any) -> Told:
    """A number, a text or a boolean as it is."""
    kind = type(raw)
    if kind is float:
        return (raw, None) if isfinite(raw) else (None, quality.NOT_A_NUMBER)
    if kind is int:
        return (raw, None) if LEAST <= raw <= MOST else (None, quality.OUT_OF_RANGE)
    if kind is str or kind is bool:
        return raw, None
    return None, quality.NO_VALUE if raw is None else quality.TYPE


def _number(value: float, shape: Shape, said: str | None) -> Told:
    if shape.scale != 1 or shape.offset != 0:
        value = float(f"{value * shape.scale + shape.offset:.12g}")
    doubt = None
    if said is not None and shape.unit is not None and said != shape.unit:
        convert = units.conversion(said, shape.unit)
        if convert is not None:
            value = convert(value)
        elif units.is_known(said) and units.is_known(shape.unit):
            return None, quality.UNIT
        else:
            doubt = quality.UNIT
    if not isfinite(value):
        return None, quality.NOT_A_NUMBER
    if (shape.least is not None and value < shape.least) or (shape.most is not None and value > shape.most):
        return None, quality.OUT_OF_RANGE
    if shape.precision is not None and type(value) is float:
        value = round(value, shape.precision)
        if shape.precision == 0:
            value = int(value)
    return value, doubt


def _as_number(raw: Any) -> Told:
    if type(raw) is str:
        text = raw.strip()
        if len(text) > _LONGEST or _NUMBER.fullmatch(text) is None:
            named = text.lower().lstrip("+-") in ("nan", "inf", "infinity")
            return None, quality.NOT_A_NUMBER if named else quality.TYPE
        raw = int(text) if text.lstrip("+-").isdigit() else float(text)
    if type(raw) is bool:
        return None, quality.TYPE
    value, code = of_any(raw)
    return (value, code) if code is not None or not isinstance(value, str) else (None, quality.TYPE)


def _as_integer(raw: Any) -> Told:
    value, code = _as_number(raw)
    if code is not None:
        return None, code
    if isinstance(value, float):
        return of_any(int(value)) if value.is_integer() else (None, quality.TYPE)
    return value, None


def _as_text(raw: Any) -> Told:
    if raw is None:
        return None, quality.NO_VALUE
    return (raw if type(raw) is str else _json(raw)), None


def _as_boolean(raw: Any) -> Told:
    if type(raw) is bool:
        return raw, None
    if raw is None:
        return None, quality.NO_VALUE
    word = str(raw).strip().lower() if isinstance(raw, str | int) else ""
    if word in _TRUE:
        return True, None
    return (False, None) if word in _FALSE else (None, quality.TYPE)


def _as_object(raw: Any) -> Told:
    """JSON, as text: what goes out has no place for anything deeper."""
    if raw is None:
        return None, quality.NO_VALUE
    return (_json(raw), None) if isinstance(raw, dict | list) else (None, quality.TYPE)


def _json(raw: Any) -> str:
    return msgspec.json.encode(raw).decode()


_READERS: dict[Kind | None, Callable[[Any], Told]] = {
    None: of_any,
    "number": _as_number,
    "integer": _as_integer,
    "string": _as_text,
    "boolean": _as_boolean,
    "object": _as_object,
}
