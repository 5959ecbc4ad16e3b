"""`callboard protocols`."""

import argparse
import json
from typing import Any

from api.cli.agent_client import segment
from api.cli.connecting import add_verb, add_verbs, agent_of
from api.cli.exits import OK
from api.cli.output import Output

PROTOCOLS = "/v1/protocols"

_SCHEMAS = (
    ("connection", "connection_schema"),
    ("data point", "data_point_schema"),
    ("discovery", "discovery_schema"),
)
"""Titles of tables, and what they show."""


def declare(parser: argparse.ArgumentParser) -> None:
    verbs = add_verbs(parser)
    add_verb(verbs, "list", "list protocols and what they can do", _list)
    show = add_verb(verbs, "show", "show the fields of a protocol's endpoints, and an example", _show)
    show.add_argument("name", metavar="PROTOCOL")


def _list(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.get(PROTOCOLS)
        rows = [_row(one) for one in reply.get("protocols", ())]
        rows += [
            (one.get("name"), "no", None, one.get("package"), one.get("reason"))
            for one in reply.get("not_used", ())
        ]
        columns = ("protocol", "available", "can", "package", "reason")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    can = [name for name, does in (one.get("capabilities") or {}).items() if does]
    available = "yes" if one.get("available") else "no"
    return one.get("name"), available, ", ".join(can), one.get("package"), one.get("reason")


def _show(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        one = agent.get(f"{PROTOCOLS}/{segment(arguments.name)}")
        output.show(one, lambda: _draw(output, one))
    return OK


def _draw(output: Output, one: dict[str, Any]) -> None:
    name, available, can, package, reason = _row(one)
    output.pairs(
        [
            ("protocol", name),
            ("title", one.get("title")),
            ("description", one.get("description")),
            ("available", available),
            ("reason", reason),
            ("package", package),
            ("can", can),
        ]
    )
    for title, key in _SCHEMAS:
        schema = one.get(key) or {}
        needed = schema.get("required", ())
        rows = [_field(name, field, needed) for name, field in (schema.get("properties") or {}).items()]
        if rows:
            output.line()
            output.table((title, "type", "needed", "default", "allowed"), rows)
    if one.get("example"):
        output.line()
        for line in json.dumps(one["example"], indent=2, ensure_ascii=False).splitlines():
            output.line(line)


def _field(name: str, field: dict[str, Any], needed: Any) -> tuple[Any, ...]:
    kinds = field.get("anyOf") or [field]
    types = [kind.get("type") or kind.get("$ref", "").rpartition("/")[2] or "one of" for kind in kinds]
    default = field.get("default")
    return (
        name,
        " or ".join(dict.fromkeys(types)),
        "yes" if name in needed else None,
        None if default is None else json.dumps(default, ensure_ascii=False),
        _allowed(field),
    )


def _allowed(field: dict[str, Any]) -> str | None:
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None or high is not None:
        return f"{'' if low is None else low} to {'' if high is None else high}".strip()
    description = field.get("description")
    return None if description is None else str(description)
