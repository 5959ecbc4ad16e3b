"""What a schema says in `Annotated` beside its types, and how to find it again.

port: Annotated[int, Meta(ge=1, le=65_535), reads(numeral)] = 1883
client_id: Annotated[str, also("deviceId")] | None = None
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import EllipsisType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, UnsetType

Reader = Callable[[Any], Any]
"""What becomes of a value before its type is looked at; None: as if it were not there. Raises `ValueError`
with the rest of a sentence that begins with the field (`is not base64`), or without a text."""


def reads(*readers: Reader) -> Meta:
    """How values are read, one reader after the other until one says None; takes the place of readers that
    the type has already."""
    return Meta(extra={"reads": readers})


def also(*keys: str) -> Meta:
    """Further names of a field; of several that have a value the first counts, its own before these."""
    return Meta(extra={"also": keys})


def allowed(words: str) -> Meta:
    """What a field must be, in the place of generated words; of its items too (`an array of strings`)."""
    return Meta(extra={"allowed": words})


def says(sentence: str) -> Meta:
    """What to say of a field and its items whatever is wrong, missing ones included."""
    return Meta(extra={"says": sentence})


def missing(sentence: str) -> Meta:
    """What to say when a field is missing."""
    return Meta(extra={"missing": sentence})


class Field(msgspec.Struct, frozen=True):
    """`rank` is 0 for the field's own name, then that of its further names; `section` is the struct that
    its value becomes, `items` the one that each item of it does, if any."""

    key: str
    rank: int
    read: Reader | None
    section: Any
    items: Any


@cache
def plan(schema: Any) -> dict[str, Field]:
    """The fields of a struct by all of their names."""
    return {
        name: Field(key, rank, reader(annotation), section(annotation), section(item(annotation)))
        for key, annotation in types(schema).items()
        for rank, name in enumerate((key, *(said(annotation, "also") or ())))
    }


@cache
def types(schema: Any) -> dict[str, Any]:
    """The types of a struct's fields by their own names."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(schema)}


def spelled(given: Any, schema: Any, key: str) -> str:
    """How `given` spells the field whose own name is `key`."""
    if not isinstance(given, Mapping):
        return key
    for name, field in plan(schema).items():
        value = given.get(name) if field.key == key else None
        if value is not None and (field.read is None or field.read(value) is not None):
            return name
    return key


@cache
def required(schema: Any) -> tuple[str, ...]:
    """The fields without a default."""
    return tuple(field.encode_name for field in msgspec.structs.fields(schema) if field.required)


def members(annotation: Any) -> Iterator[tuple[Any, tuple[Meta, ...]]]:
    """The alternatives of a type but for None and UNSET, each with what is declared about it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        declared = tuple(meta for meta in annotation.__metadata__ if isinstance(meta, Meta))
        for kind, metas in members(annotation.__origin__):
            yield kind, (*metas, *declared)
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    elif annotation not in (NoneType, UnsetType):
        yield annotation, ()


def said(annotation: Any, what: str) -> Any:
    """What is declared under that name; None when nothing is."""
    found = (
        meta.extra[what]
        for _, metas in members(annotation)
        for meta in reversed(metas)
        if meta.extra and what in meta.extra
    )
    return next(found, None)


def reader(annotation: Any) -> Reader | None:
    """All that are declared as one, and for integers the one that takes 5.0 for 5."""
    readers: tuple[Reader, ...] = said(annotation, "reads") or ()
    kinds = {kind for kind, _ in members(annotation)}
    if int in kinds and float not in kinds:
        readers = (*readers, _whole)
    if len(readers) < 2:
        return readers[0] if readers else None

    def read(value: Any) -> Any:
        for each in readers:
            value = each(value)
            if value is None:
                return None
        return value

    return read


def optional(annotation: Any) -> bool:
    """Whether the type allows None."""
    return NoneType in get_args(annotation)


def section(annotation: Any) -> Any:
    """The struct among the alternatives."""
    return next((kind for kind, _ in members(annotation) if is_struct(kind)), None)


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def item(annotation: Any) -> Any:
    """The type of an array's items, or of a dictionary's values."""
    for kind, _ in members(annotation):
        match get_args(kind):
            case (one,) | (one, EllipsisType()):
                return one
            case (_, value):
                return value
    return Any


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
