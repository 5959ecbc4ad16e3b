"""The one way from a mapping that somebody wrote to a struct.

A msgspec struct declares the shape: types, ranges (`Meta`), defaults, spellings (`rename`); `annotations` has
what msgspec has no words for. Every fault is told with the field as it was spelled and a sentence that says
what is allowed.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from conf.annotations import is_struct, join, plan, required, said, types
from conf.faults import explain, lacking, words
from conf.texts import is_broken_text

T = TypeVar("T")


class Nothing(msgspec.Struct, frozen=True):
    """The schema of a mapping of which nothing is known: no key of it is read or refused."""


class Invalid(Exception):
    """What was given cannot be accepted; the message is for people."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def convert(given: Any, schema: type[T], path: str = "") -> T:
    """The mapping `given`, which is found at `path`, as the struct `schema`.

    Null counts as absent and 5.0 as the integer 5, as in JavaScript. Unknown keys mean nothing here, a known
    one in another case included (see `unknown`). An absent section without a default is an empty one. Texts
    hold no NUL and no half surrogate pair. Raises `Invalid`: its field is the whole path
    (`config_json.auth.port`), its message names the field from the mapping on (`auth.port must be ...`).
    """
    if not isinstance(given, Mapping):
        raise Invalid(f"{path} must be an object", path)
    values = _read(given, schema, path, "")
    try:
        return msgspec.convert(values, schema)
    except msgspec.ValidationError as error:
        name, sentence = explain(error, schema, given)
        raise Invalid(sentence, join(path, name)) from error


def _read(given: Mapping[str, Any], schema: Any, path: str, place: str) -> dict[str, Any]:
    """The values by the fields' own names, read, without those that count as absent."""
    fields = plan(schema)
    values: dict[str, Any] = {}
    further: list[tuple[int, str, Any]] = []
    for name, value in given.items():
        field = fields.get(name)
        if field is None or value is None:
            continue
        if is_broken_text(value):
            name = join(place, name)
            fault = "must not hold NUL characters or half surrogate pairs"
            raise Invalid(f"{name} {fault}", join(path, name))
        if field.read is not None:
            try:
                value = field.read(value)
            except ValueError as error:
                raise _unreadable(error, field.key, schema, path, join(place, name)) from error
            if value is None:
                continue
        if field.section is not None and isinstance(value, Mapping):
            value = _read(value, field.section, path, join(place, name))
        elif is_struct(field.items) and isinstance(value, list | tuple):
            value = [
                _read(item, field.items, path, f"{join(place, name)}[{index}]")
                if isinstance(item, Mapping)
                else item
                for index, item in enumerate(value)
            ]
        if field.rank:
            further.append((field.rank, field.key, value))
        else:
            values[field.key] = value
    for _, key, value in sorted(further, key=lambda one: one[0]):
        values.setdefault(key, value)
    for key in required(schema):
        if key not in values:
            values[key] = _empty(key, schema, path, join(place, key))
    return values


def _empty(key: str, schema: Any, path: str, place: str) -> dict[str, Any]:
    """The section that is not there; raises `Invalid` for another kind of field."""
    nested = plan(schema)[key].section
    if nested is None:
        raise Invalid(lacking(place, types(schema)[key]), join(path, place))
    return _read({}, nested, path, place)


def _unreadable(error: ValueError, key: str, schema: Any, path: str, place: str) -> Invalid:
    annotation = types(schema)[key]
    fault = str(error) or f"must be {words(annotation)}"
    own = None if str(error) else said(annotation, "says")
    return Invalid(own or f"{place} {fault}", join(path, place))
