"""Secrets that were masked when they were shown, and come back from who was shown them. Plain."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from actors.system.failure import Refusal
from conf.redaction import MASK

# user:password@ in front of a host, with or without a scheme; a password may hold an @.
_USER = re.compile(r"((?:[a-z][a-z0-9+.-]*://)?[^/:@]*:)([^/]*)(@.*)", re.IGNORECASE | re.DOTALL)
_QUERY = re.compile(r"([^?]*\?)(.*)()", re.DOTALL)


def in_url(key: str, value: Any) -> re.Match[str] | None:
    """What a URL holds of secrets; groups: what is in front, the secret, what is behind."""
    if not isinstance(value, str) or not key.lower().endswith("url"):
        return None
    return _USER.fullmatch(value) or _QUERY.fullmatch(value)


def unmasked(before: Any, given: Any, key: str = "") -> Any:
    """What clients send back as it was shown to them stands for what is in its place; where nothing is, it
    stays masked."""
    if given == MASK:
        return given if before is None else before
    if isinstance(given, dict):
        known = before if isinstance(before, dict) else {}
        return {name: unmasked(known.get(name), value, name) for name, value in given.items()}
    if isinstance(given, list) and isinstance(before, list):
        return [unmasked(old, new) for old, new in zip_longest(before, given)][: len(given)]
    hidden, known_url = in_url(key, given), in_url(key, before)
    if hidden and hidden[2] == MASK and known_url and known_url[2]:
        return f"{hidden[1]}{known_url[2]}{hidden[3]}"
    return given


def refuse_masks(given: Any, path: str) -> None:
    """Raises `Refusal` naming the first field, at any depth below `path`, that holds a masked secret: stored
    or sent to a device it would be taken for a password."""
    for field in _masks(given, path):
        raise Refusal(f"{field} is masked; send the secret itself", field)


def _masks(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _masks(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _masks(item, f"{path}[{index}]")
    elif isinstance(value, str) and MASK in value:
        yield path
