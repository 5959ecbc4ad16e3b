"""The types that an operator has declared for fields of InfluxDB. Plain."""

import fnmatch
import re
from collections.abc import Mapping

from actors.publish.destinations.line_fields import kind_of, name_of

MOST_KNOWN = 10_000
"""Names whose type is remembered."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class FieldTypes:
    """`declared` says the type by name or by pattern, in which `*` is any text and `?` any character; a name
    comes before patterns, and those count in their order. A field that nothing is said of stays as it is."""

    def __init__(self, declared: Mapping[str, str]) -> None:
        self._declared = declared
        self._patterns = [(_pattern(name), kind) for name, kind in declared.items() if set(name) & {*"*?"}]
        self._known: dict[bytes, str | None] = {}

    def __bool__(self) -> bool:
        return bool(self._declared)

    def of(self, key: bytes) -> str | None:
        """The type of the field that is called so on the wire."""
        if key not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._find(name_of(key))
        return self._known[key]

    def _find(self, name: str) -> str | None:
        declared = self._declared.get(name)
        if declared is not None:
            return declared
        return next((kind for pattern, kind in self._patterns if pattern.match(name)), None)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text.replace("[", "[[]")))


def fitted(value: bytes, kind: str) -> bytes | None:
    """The value as one of that type; None when it is none. What fits says the same: 5.0 is the integer 5,
    true is 1 and 1 is true; anything is a text, and a text is nothing else."""
    now = kind_of(value)
    if now == kind:
        return value
    match kind, now:
        case "string", _:
            return b'"%b"' % value
        case "integer", "float":
            return _integer(value)
        case "integer", "boolean":
            return b"1i" if value == b"true" else b"0i"
        case "float", "boolean":
            return b"1" if value == b"true" else b"0"
        case "boolean", "float":
            return {0.0: b"false", 1.0: b"true"}.get(float(value))
    return None


def _integer(value: bytes) -> bytes | None:
    try:
        number = int(value)
    except ValueError:
        exact = float(value)
        if not exact.is_integer():
            return None
        number = int(exact)
    return b"%di" % number if _SMALLEST <= number <= _LARGEST else None
