"""`callboard settings`: dotted keys and JSON values."""

import argparse
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from api.cli.connecting import add_verb, add_verbs, agent_of
from api.cli.exits import NOT_FOUND, OK, USAGE, CommandError
from api.cli.output import Output, cell

UNSET_AT_FIRST = ("anomalyDetection",)
"""Not among an agent's settings before they are set."""


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    get = add_verb(verbs, "get", "print all settings, or those under a key", _get)
    get.add_argument("key", nargs="?", metavar="KEY", help="such as logging.level")
    change = add_verb(verbs, "set", "change settings; all of them or none", _set)
    change.add_argument(
        "pairs",
        nargs="+",
        metavar="KEY VALUE",
        help="such as logging.level debug; a value is JSON, and what is no JSON is text",
    )


def _get(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        settings = _settings(agent.get("/v1/settings"))
        _show(output, at(settings, arguments.key) if arguments.key else settings)
    return OK


def _set(arguments: argparse.Namespace) -> int:
    changes = changes_of(arguments.pairs)
    with agent_of(arguments) as (agent, output):
        # What the agent does not know at the top it takes no notice of.
        known = {*_settings(agent.get("/v1/settings")), *UNSET_AT_FIRST} - {"agent"}
        if unknown := sorted(set(changes) - known):
            text = f"there is no setting {unknown[0]}: it is one of {', '.join(sorted(known))}"
            raise CommandError(text, NOT_FOUND)
        settings = _settings(agent.call("PATCH", "/v1/settings", changes))
        output.show(settings, lambda: _say_changed(output, changes, settings))
    return OK


def _settings(reply: Any) -> dict[str, Any]:
    settings = reply.get("settings") if isinstance(reply, dict) else None
    return settings if isinstance(settings, dict) else {}


def at(settings: Any, key: str) -> Any:
    """What is under a dotted key. Raises `CommandError`."""
    found = settings
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise CommandError(f"there is no setting {key}", NOT_FOUND)
        found = found[part]
    return found


def changes_of(pairs: list[str]) -> dict[str, Any]:
    """The nested object that keys and values in turn stand for. Raises `CommandError`."""
    if len(pairs) % 2:
        raise CommandError(f"settings set: {pairs[-1]} has no value", USAGE)
    changes: dict[str, Any] = {}
    for key, text in zip(pairs[::2], pairs[1::2], strict=True):
        *path, last = key.split(".")
        if not all((*path, last)):
            raise CommandError(f"settings set: {key!r} is not a dotted key such as logging.level", USAGE)
        inner = changes
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise CommandError(f"settings set: {key} is inside a value that is set, too", USAGE)
        if last in inner:
            raise CommandError(f"settings set: {key} is set twice", USAGE)
        inner[last] = _value(text)
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _show(output: Output, found: Any) -> None:
    if isinstance(found, dict):
        output.show(found, lambda: output.pairs(list(flat(found))))
    else:
        output.show(found, lambda: output.line(cell(found)))


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _say_changed(output: Output, changes: dict[str, Any], settings: dict[str, Any]) -> None:
    """What is set now is the agent's word; a name that it knows as another's is said as it was given."""
    for key, value in flat(changes):
        with contextlib.suppress(CommandError):
            value = at(settings, key)
        output.line(f"{key} is now {cell(value)}")
