"""Input against a schema, for actors: the faults that `conf.schema` finds, as refusals."""

import logging
from itertools import islice
from typing import Any, TypeVar

from actors.system.failure import Refusal
from conf import schema, unknown
from conf.annotations import join, spelled

log = logging.getLogger(__name__)

NAMED = 5
"""Unknown keys of a row that the log names."""

T = TypeVar("T")


def checked(given: Any, kind: type[T], path: str = "") -> T:
    """`conf.schema.convert`, but it raises `Refusal`."""
    try:
        return schema.convert(given, kind, path)
    except schema.Invalid as error:
        raise Refusal(error.message, error.field) from error


def respelled(refusal: Refusal, given: Any, kind: Any, path: str) -> Refusal:
    """The refusal of a field of `given`, a struct of that kind at `path`, named as the client spelled it."""
    if refusal.field is None or not refusal.field.startswith(f"{path}."):
        return refusal
    key, dot, rest = refusal.field.removeprefix(f"{path}.").partition(".")
    name = spelled(given, kind, key)
    return Refusal(refusal.message.replace(key, name), f"{path}.{name}{dot}{rest}", refusal.kind)


def refuse_unknown(given: Any, kind: Any, path: str = "") -> None:
    """`conf.unknown.refuse_unknown`, but it raises `Refusal`. Only for what a client sends."""
    try:
        unknown.refuse_unknown(given, kind, path)
    except schema.Invalid as error:
        raise Refusal(error.message, error.field) from error


def tell_unknown(row: str, *given: tuple[Any, Any, str]) -> None:
    """Log which keys of a stored row mean nothing: another version may have taken them. `given` are what the
    row holds, each with its schema and the path that it is found at."""
    found = (join(path, one.key) for what, kind, path in given for one in unknown.unknown(what, kind))
    named = list(islice(found, NAMED + 1))
    if named:
        more = " and more" if len(named) > NAMED else ""
        log.warning(
            "%s: these keys are not known and mean nothing: %s%s", row, ", ".join(named[:NAMED]), more
        )
