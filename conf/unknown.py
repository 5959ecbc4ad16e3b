"""Keys that a schema does not know. What a client sends is refused for them; what was stored is only told of,
for another version may have taken it."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import msgspec

from conf.annotations import join, plan
from conf.fields import unused
from conf.schema import Invalid, Nothing

FEW = 20
"""So many keys are listed when none of them is near."""

_LONGEST = 64
_NEAR = 0.6


class Unknown(msgspec.Struct, frozen=True):
    """A key in the mapping at `place`, which is of `schema`."""

    place: str
    name: str
    schema: Any

    @property
    def key(self) -> str:
        """From the mapping that was looked at on, fit for a line: `auth.usernme`."""
        shown = self.name if self.name.isprintable() and self.name.strip() else repr(self.name)
        return join(self.place, shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}...")


def unknown(given: Any, schema: Any, place: str = "") -> Iterator[Unknown]:
    """The keys with a value, at any depth, that the schema does not have. What is no mapping has none."""
    if not isinstance(given, Mapping) or schema is Nothing:
        return
    fields = plan(schema)
    for name, value in given.items():
        field = fields.get(name)
        if value is None:
            continue
        if field is None:
            yield Unknown(place, name, schema)
        elif field.section is not None:
            yield from unknown(value, field.section, join(place, name))
        elif field.items is not None and isinstance(value, list | tuple):
            for index, one in enumerate(value):
                yield from unknown(one, field.items, f"{join(place, name)}[{index}]")


def refuse_unknown(given: Any, schema: Any, path: str = "") -> None:
    """Raises `Invalid` for the first key that the schema does not know, naming the nearest that it does."""
    for found in unknown(given, schema):
        raise Invalid(f"{found.key} is not known{_hint(found)}", join(path, found.key))


def nearest(name: str, spellings: Mapping[str, str], near: float = _NEAR) -> str | None:
    """The spelling most like `name`, whatever its case and whether with underscores; `spellings` are by what
    `plain` makes of them. At least `near` (0 to 1) of the two must be alike."""
    if len(name) > _LONGEST:
        return None
    found = get_close_matches(plain(name), spellings, n=1, cutoff=near)
    return spellings[found[0]] if found else None


def plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").strip().lower()


def _hint(found: Unknown) -> str:
    near = nearest(found.name, _spellings(found.schema))
    if near is not None:
        return f"; did you mean {join(found.place, near)}?"
    known = [
        field.key for name, field in plan(found.schema).items() if field.read is not unused and not field.rank
    ]
    return f"; known are {', '.join(known)}" if 0 < len(known) <= FEW else ""


@cache
def _spellings(schema: Any) -> dict[str, str]:
    """Its keys, and those of its sections, which are often looked for one level too high."""
    fields = plan(schema)
    below = [
        join(name, key) for name, field in fields.items() if field.section for key in plan(field.section)
    ]
    by_plain = {plain(key.rpartition(".")[2]): key for key in below}
    return by_plain | {plain(name): name for name in fields}
