"""Data points that read what the payloads of a topic hold, under the names and in the units that they say."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from . import paths
from .automatic import ABOUT, DEPTH, good_name, unit_of
from .codecs import Unreadable, auto
from .connection import DEVICE_KEYS
from .sampling import Topic
from .values import LEAST, MOST

MOST_FIELDS: Final = 200
"""Of a payload."""
_TYPES: Final = {bool: "boolean", int: "number", float: "number", str: "string"}

Path = tuple[str | int, ...]


class Field(msgspec.Struct):
    """One value of a topic's payloads: at `path`, () where it is all of them."""

    topic: str
    path: Path
    name: str
    type: str | None
    unit: str | None = None


class Look(msgspec.Struct):
    """What the payloads of a topic are: `object`, `number`, `text`, `boolean`, `array`, `binary`, `empty`.
    `documents` are those that could be read, and say something: the last of them is of that kind, unless it
    is `binary`."""

    topic: Topic
    kind: str
    documents: list[Any]

    @property
    def is_scalar(self) -> bool:
        return self.kind in ("number", "text", "boolean")

    @property
    def devices(self) -> set[str]:
        """Whom the payloads say they are from."""
        return {
            str(document[key])
            for document in self.documents
            if isinstance(document, dict)
            for key in DEVICE_KEYS
            if isinstance(document.get(key), str | int) and document[key] != ""
        }


def look(topic: Topic) -> Look:
    documents, kinds = [], []
    for payload in topic.samples:
        try:
            document = auto(payload)
        except Unreadable as error:
            kinds.append("empty" if error.code == "EMPTY_PAYLOAD" else "binary")
            continue
        kinds.append(_kind(document))
        if kinds[-1] != "empty":
            documents.append(document)
    known = [kind for kind in kinds if kind != "empty"] or kinds
    return Look(topic, known[-1] if known else "empty", documents)


def _kind(document: Any) -> str:
    match document:
        case dict():
            return "object"
        case list():
            return "array"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
    return "empty"


def fields(seen: Look) -> list[Field]:
    """All values of a topic's payloads, each by its own name; those that an endpoint would find by itself."""
    name = seen.topic.name
    last = name.rpartition("/")[2] or name
    if seen.is_scalar:
        kinds = {_TYPES.get(type(document)) for document in seen.documents}
        return [Field(name, (), last, kinds.pop() if len(kinds) == 1 else None)]
    found: dict[Path, Field] = {}
    for document in seen.documents:
        if isinstance(document, dict):
            for one in _of_object(name, last, document):
                known = found.setdefault(one.path, one)
                if known.type != one.type:
                    known.type = None
    return list(found.values())[:MOST_FIELDS]


def _of_object(topic: str, last: str, document: dict[str, Any]) -> Iterator[Field]:
    value = document.get("value")
    if type(value) in _TYPES:
        yield Field(topic, ("value",), last, _TYPES[type(value)], unit_of(document, "value"))
        return
    for path, leaf, parent in _leaves((), document, 1):
        key = str(path[-1])
        kind = _TYPES.get(type(leaf))
        if kind is None or (isinstance(leaf, int) and not LEAST <= leaf <= MOST):
            continue
        yield Field(topic, path, ".".join(map(str, path)), kind, unit_of(parent, key))


def _leaves(path: Path, document: dict[str, Any], depth: int) -> Iterator[tuple[Path, Any, dict[str, Any]]]:
    for key, value in document.items():
        if key in ABOUT or key.endswith("_unit"):
            continue
        if isinstance(value, dict):
            if depth < DEPTH:
                yield from _leaves((*path, key), value, depth + 1)
        else:
            yield (*path, key), value, document


def data_points(wanted: list[Field], base: str) -> list[dict[str, Any]]:
    """One data point for each topic, with what is read of it. `base` is the device's own topic: names that
    several fields have get what follows it in front."""
    names: dict[str, int] = {}
    for one in wanted:
        names[one.name] = names.get(one.name, 0) + 1
    taken: set[str] = set()
    by_topic: dict[str, list[dict[str, Any]]] = {}
    for one in wanted:
        name = one.name if names[one.name] == 1 else _longer(one, base)
        metric = _metric(one, name)
        if metric is None or name in taken:
            continue
        taken.add(name)
        by_topic.setdefault(one.topic, []).append(metric)
    return [_point(topic, metrics) for topic, metrics in by_topic.items()]


def _longer(one: Field, base: str) -> str:
    rest = one.topic.removeprefix(base).strip("/").replace("/", ".")
    if not one.path:
        return rest or one.name
    return f"{rest}.{one.name}" if rest else one.name


def _metric(one: Field, name: str) -> dict[str, Any] | None:
    """None for what cannot be named, or found again."""
    if not good_name(name):
        return None
    made: dict[str, Any] = {"metric": name}
    if one.path:
        text = paths.spelled(one.path)
        try:
            if paths.parse(text) != one.path:
                return None
        except ValueError:
            return None
        made["field"] = text
    if one.type is not None:
        made["type"] = one.type
    if one.unit is not None:
        made["unit"] = one.unit
    return made


def _point(topic: str, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    if len(metrics) == 1:
        return {"topic": topic, **metrics[0]}
    return {"topic": topic, "metrics": metrics}
