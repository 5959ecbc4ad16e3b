"""Input against a schema, for actors: the faults that `conf.schema` finds, as refusals."""

from typing import Any, TypeVar

from actors.system.failure import Refusal
from conf import schema

T = TypeVar("T")


def checked(given: Any, kind: type[T], path: str = "") -> T:
    """`conf.schema.convert`, but it raises `Refusal`."""
    try:
        return schema.convert(given, kind, path)
    except schema.Invalid as error:
        raise Refusal(error.message, error.field) from error
