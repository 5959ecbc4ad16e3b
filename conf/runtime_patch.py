"""What a client's patch makes of the stored settings (`runtime.py`), and what clients see of them. Plain."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, Final

import msgspec

from conf.annotations import join, reader
from conf.faults import words
from conf.redaction import MASK
from conf.runtime import RuntimeSettings
from conf.runtime_keys import KEYS, NAMES, SECTIONS, TOP, Key, below, get, put
from conf.schema import Invalid
from conf.secret_forms import names_secret
from conf.unknown import nearest, plain

WRAPPER: Final = "settings"
"""Under this key, too, a patch may have what it has: so do replies, which clients send back."""

MAX_OBJECT: Final = 262_144
"""Bytes of JSON that an object may take of which nothing is known here."""


class Stored(msgspec.Struct, frozen=True):
    """What was set: values by the settings' own names, and which further names clients have used.

    What another version has stored is kept as it is: unknown names, values that are not allowed here."""

    values: dict[str, Any] = {}
    names: tuple[str, ...] = ()


def settings(stored: Stored) -> tuple[RuntimeSettings, dict[str, str]]:
    """All settings; and what is wrong with those that cannot be taken, by name: they are as by default."""
    tree: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for path, value in stored.values.items():
        key = KEYS.get(path)
        if key is None:
            continue
        try:
            put(tree, path, _accepted(key, path, value))
        except Invalid as error:
            faults[path] = error.message
    return msgspec.convert(tree, RuntimeSettings), faults


def unknown(stored: Stored) -> list[str]:
    """What is stored that this version does not know."""
    return [path for path in stored.values if path not in KEYS]


def patched(stored: Stored, patch: Mapping[str, Any]) -> Stored:
    """Objects are merged; arrays and all else replace what was; null gives back the default. Other keys at
    the top mean nothing, for clients send back whole replies; so of several names of one setting, those that
    say what is already so do not count. Raises `Invalid`."""
    now, _ = settings(stored)
    values, names = dict(stored.values), dict.fromkeys(stored.names)
    for path, given in _given(patch, stored).items():
        key = KEYS.get(path)
        change = given[0][1] if key is None else _agreed(key, given, now, path in stored.values)
        if change is None:
            values.pop(path, None)
        elif key is not None and key.opaque:
            before = values.get(path)
            values[path] = _bounded(path, merged(before, _unmasked(before, change)))
        else:
            values[path] = change
        for name, value in given:
            if value is None:
                names = {one: None for one in names if one != name and not one.startswith(f"{name}.")}
            elif key is not None and name in key.known_as:
                names[name] = None
    return Stored(values, tuple(names))


def _given(patch: Mapping[str, Any], stored: Stored) -> dict[str, list[tuple[str, Any]]]:
    """By the settings' own names: what a patch says, each with the name that it is said by."""
    found: dict[str, list[tuple[str, Any]]] = {}
    wrapped = patch.get(WRAPPER)
    for mapping in (wrapped, patch) if isinstance(wrapped, Mapping) else (patch,):
        for name, value in _each({word: mapping[word] for word in TOP if word in mapping}, ""):
            if name in NAMES:
                found.setdefault(NAMES[name].path, []).append((name, value))
                continue
            for path in dict.fromkeys((*KEYS, *stored.values)):
                if path.startswith(f"{name}."):
                    found.setdefault(path, []).append((name, None))
    return found


def _each(given: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """The settings that are named, and the sections that are null."""
    for word, value in given.items():
        name = join(place, word)
        if name in NAMES or (name in SECTIONS and value is None):
            yield name, value
        elif name not in SECTIONS:
            raise Invalid(f"{name} is not known{_hint(place, word)}", name)
        elif not isinstance(value, Mapping):
            raise Invalid(f"{name} must be an object", name)
        else:
            yield from _each(value, name)


def _hint(place: str, word: str) -> str:
    """The nearest name, also of a setting that stands elsewhere."""
    elsewhere = {plain(name.rpartition(".")[2]): name for name in NAMES}
    here = {plain(one): join(place, one) for one in below(place)}
    near = nearest(word, elsewhere | here)
    return f"; did you mean {near}?" if near is not None else f"; known are {', '.join(below(place))}"


def _agreed(key: Key, given: list[tuple[str, Any]], now: RuntimeSettings, is_set: bool) -> Any:
    """The one value that is meant, None for the default."""
    said = [(name, None if value is None else _accepted(key, name, value)) for name, value in given]
    news = said
    if any(value != said[0][1] for _, value in said):
        news = [one for one in said if (is_set if one[1] is None else one[1] != get(now, key))]
    if not news:
        return None  # it is not set, and they say so, or what it then is
    first, last = news[0], news[-1]
    if any(value != first[1] for _, value in news):
        message = f"{first[0]} and {last[0]} are the same setting and contradict one another"
        raise Invalid(message, last[0])
    return first[1]


def _accepted(key: Key, name: str, value: Any) -> Any:
    """The value as the setting's type."""
    read = reader(key.kind)
    try:
        return msgspec.convert(read(value) if read else value, key.kind)
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid(f"{name} must be {words(key.kind, null=True)}", name) from error


def merged(before: Any, patch: Any) -> Any:
    """RFC 7396: objects are merged, whatever else replaces, null removes."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(before) if isinstance(before, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _masked(value: Any) -> Any:
    """Of an object of which nothing is known: without what stands under the name of a secret."""
    if isinstance(value, Mapping):
        return {
            name: MASK if item and names_secret(str(name)) else _masked(item) for name, item in value.items()
        }
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _unmasked(before: Any, given: Any) -> Any:
    """What clients send back as it was shown to them stands for what is in its place."""
    if given == MASK:
        return given if before is None else before
    if isinstance(given, Mapping):
        known = before if isinstance(before, Mapping) else {}
        return {name: _unmasked(known.get(name), item) for name, item in given.items()}
    if isinstance(given, list) and isinstance(before, list):
        return [_unmasked(old, item) for old, item in zip_longest(before, given)][: len(given)]
    return given


def _bounded(path: str, value: Any) -> Any:
    if len(msgspec.json.encode(value)) > MAX_OBJECT:
        raise Invalid(f"{path} must take at most {MAX_OBJECT} bytes", path)
    return value


def shown(stored: Stored, log_level: str, otherwise: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What clients see: all settings in their sections, the defaults too, by the names of the reference and
    those that were used. What has no value is not there. `log_level` is the one where none is set, as are
    those in `otherwise`, by their own names."""
    now, _ = settings(stored)
    unset = {"logging.level": log_level} | dict(otherwise or {})
    tree: dict[str, Any] = {}
    for key in KEYS.values():
        value = get(now, key)
        if value is None:
            value = unset.get(key.path)
        if value is None or (key.opaque and key.path not in stored.values):
            continue
        if key.opaque:
            value = _masked(value)
        for name in (*key.names[: 1 + len(key.reference)], *_used(key, stored.names)):
            put(tree, name, value)
    return tree


def changes(before: Stored, after: Stored) -> list[str]:
    """For people: which settings are set anew (`logging.level: info`) or by default again. What is in an
    object of which nothing is known is not told."""
    found = []
    for path in dict.fromkeys((*before.values, *after.values)):
        key, value = KEYS.get(path), after.values.get(path)
        if value != before.values.get(path):
            told = "changed" if key is None or key.opaque else msgspec.json.encode(value).decode()
            found.append(f"{path}: {told if path in after.values else 'as by default'}")
    return found


def _used(key: Key, names: Iterable[str]) -> list[str]:
    return [name for name in names if name in key.known_as]
