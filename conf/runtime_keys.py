"""The settings of `runtime.py` one by one, by all of their names."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec

from conf.annotations import join, members, said, section
from conf.runtime import RuntimeSettings


class Key(msgspec.Struct, frozen=True):
    """A setting. `path` is its own name from the top on (`logging.maxLogs`), `reference` and `known_as` are
    its others; `kind` is its type, an object's where nothing is known of what is in it; `field` is where
    `RuntimeSettings` has it (`logging.max_logs`)."""

    path: str
    field: str
    kind: Any
    default: Any
    reference: tuple[str, ...]
    known_as: tuple[str, ...]
    waits_for: str | None
    description: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.path, *self.reference, *self.known_as

    @property
    def opaque(self) -> bool:
        return isinstance(self.default, dict)


def _keys(struct: Any, place: str = "", at: str = "") -> Iterator[Key]:
    for field in msgspec.structs.fields(struct):
        path, where = join(place, field.encode_name), join(at, field.name)
        below = section(field.type)
        if below is not None:
            yield from _keys(below, path, where)
            continue
        yield Key(
            path=path,
            field=where,
            kind=field.type,
            default=getattr(struct(), field.name),
            reference=said(field.type, "reference") or (),
            known_as=said(field.type, "known_as") or (),
            waits_for=said(field.type, "waits_for"),
            description=_description(field.type),
        )


def _description(kind: Any) -> str:
    found = (meta.description for _, metas in members(kind) for meta in metas if meta.description)
    return next(found, "")


KEYS: Final[Mapping[str, Key]] = {key.path: key for key in _keys(RuntimeSettings)}
"""By their own names, in the order of the schema."""

NAMES: Final[Mapping[str, Key]] = {name: key for key in KEYS.values() for name in key.names}

SECTIONS: Final = frozenset(
    name[:index] for name in NAMES for index, letter in enumerate(name) if letter == "."
)
"""Whatever holds settings: `intervals`, `intervals.agent`."""

TOP: Final = tuple(dict.fromkeys(path.partition(".")[0] for path in KEYS))


def below(place: str) -> list[str]:
    """What may stand there: the last words of names of settings and sections."""
    found = [*NAMES, *SECTIONS]
    return sorted({name.rpartition(".")[2] for name in found if name.rpartition(".")[0] == place})


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """A value into nested objects."""
    *places, last = path.split(".")
    for place in places:
        tree = tree.setdefault(place, {})
    tree[last] = value


def get(settings: RuntimeSettings, key: Key) -> Any:
    """A setting's value."""
    return attrgetter(key.field)(settings)


def described(place: str, *, null: bool) -> dict[str, Any]:
    """The JSON schema of what stands there. With `null` everything below it may be null too, as in a
    patch."""
    if place in NAMES:
        return _described(place)
    properties: dict[str, Any] = {}
    for word in below(place):
        found = described(join(place, word), null=null)
        properties[word] = {"anyOf": [found, {"type": "null"}]} if null else found
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _described(name: str) -> dict[str, Any]:
    key = NAMES[name]
    schema: dict[str, Any] = msgspec.json.schema(key.kind)
    schema = schema.get("anyOf", [schema])[0]
    schema["description"] = key.description if name == key.path else f"Another name of {key.path}."
    if key.default is not None:
        schema["default"] = key.default
    return schema
