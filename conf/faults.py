"""What to say of a value that a schema does not allow."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from conf.annotations import is_struct, item, join, members, optional, said, section, spelled, types

_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_AT = re.compile(r" - at `\$([^`]*)`\Z")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]*)\]")
_PLURALS = {"a string": "strings", "an object": "objects", "an integer": "integers", "a number": "numbers"}


def explain(
    error: msgspec.ValidationError, schema: Any, given: Any = None, *, null: bool = False
) -> tuple[str, str]:
    """The field (`data_points[2].name`) that msgspec found at fault in a `schema`, as it is spelled in
    `given`, and what to say. With `null` a null that the schema allows is mentioned."""
    text = str(error)
    missed = _MISSING.match(text)
    found = _AT.search(text)
    at = found[1] if found else ""
    if missed:
        place, annotation = _locate(f"{at}.{missed[1]}", schema, given)
        return place, lacking(place, annotation)
    place, annotation = _locate(at, schema, given)
    if own := said(annotation, "says"):
        return place, own
    return place, f"{place} must be {words(annotation, null=null)}"


def lacking(place: str, annotation: Any) -> str:
    """What to say when there is no field of this type at `place`."""
    return said(annotation, "says") or said(annotation, "missing") or f"{place} is required"


def _locate(at: str, schema: Any, given: Any) -> tuple[str, Any]:
    """The field and its type; where a field speaks for its items, the field."""
    place, annotation = "", schema
    for key, index in _STEP.findall(at):
        if key:
            struct = section(annotation)
            name = spelled(given, struct, key)
            place, annotation = join(place, name), types(struct)[key]
            given = given.get(name) if isinstance(given, Mapping) else None
        else:
            annotation = item(annotation)
            name_at_fault = _at_fault(given, annotation) if index == "..." else None
            place = f"{place}[{index}]" if name_at_fault is None else join(place, name_at_fault)
            given = None if name_at_fault is None else given[name_at_fault]
        if said(annotation, "says") or said(annotation, "allowed"):
            break
    return place, annotation


def _at_fault(given: Any, kind: Any) -> str | None:
    """The key of a dictionary whose value is none of the kind: msgspec does not say which it has met."""
    for name, value in given.items() if isinstance(given, Mapping) else ():
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return name if isinstance(name, str) else None
    return None


def words(annotation: Any, *, null: bool = False) -> str:
    """What a value of this type must be: `an integer from 1 to 65535`."""
    found = said(annotation, "allowed") or " or ".join(
        dict.fromkeys(_word(kind, metas) for kind, metas in members(annotation))
    )
    return f"{found} or null" if null and optional(annotation) else found


def _word(kind: Any, metas: tuple[Meta, ...]) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        choices = ", ".join(str(choice) for choice in get_args(kind))
        return f"one of {choices}" if get_args(kind)[1:] else choices
    if origin is bool:
        return "true or false"
    if origin is int or origin is float:
        return ("an integer" if origin is int else "a number") + _range(metas)
    if origin is str:
        return "a string that is not empty" if any(meta.min_length for meta in metas) else "a string"
    if origin in (list, tuple):
        one = words(item(kind))
        several = one.removeprefix("one of ") if one.startswith("one of ") else _PLURALS.get(one)
        return f"an array of {several}" if several else "an array"
    return "an object" if origin is dict or is_struct(origin) else "something else"


def _range(metas: tuple[Meta, ...]) -> str:
    least = next((meta.ge for meta in metas if meta.ge is not None), None)
    most = next((meta.le for meta in metas if meta.le is not None), None)
    if least is None:
        return "" if most is None else f" of at most {most:g}"
    return f" of at least {least:g}" if most is None else f" from {least} to {most}"
