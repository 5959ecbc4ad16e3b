"""`callboard endpoints import` and `export`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from api.cli.agent_client import JSON
from api.cli.connecting import agent_of
from api.cli.event_stream import say
from api.cli.exits import NOT_NOW, OK, USAGE, CommandError
from api.cli.given import content_of
from api.cli.output import harmless, write_lines
from api.cli.private_files import written_whole
from api.printable import one_line

CSV = "text/csv"
LONG_SECONDS = 120.0
"""Thousands of endpoints are checked one by one."""


def export(arguments: argparse.Namespace) -> int:
    target: Path | None = arguments.output
    if target is not None and target.exists():
        raise CommandError(f"{target}: is there already", USAGE)
    kind = _kind(arguments.format, target)
    query = {"format": kind} | ({"protocol": arguments.protocol} if arguments.protocol else {})
    with agent_of(arguments) as (agent, output):
        agent.timeout = max(agent.timeout, LONG_SECONDS)
        raw = agent.raw("/v1/endpoints/export", query, JSON if kind == "json" else CSV)
        if target is None:
            write_lines([_shown(raw.decode().removesuffix("\n"))])
            return OK
        with written_whole(target) as file:
            file.write(raw)
        output.done({"file": str(target), "size_bytes": len(raw)}, f"{target} ({len(raw)} bytes)")
    return OK


def take(arguments: argparse.Namespace) -> int:
    """What is wrong is told row by row."""
    kind = _kind(arguments.format, arguments.file)
    content = content_of(arguments.file, "import")
    with agent_of(arguments) as (agent, output):
        reply = agent.send(
            "/v1/endpoints/import",
            content.encode(),
            JSON if kind == "json" else CSV,
            also=(400, 409),
            timeout=max(agent.timeout, LONG_SECONDS),
        )
        if not isinstance(reply, dict) or "imported" not in reply:
            raise _refused(reply if isinstance(reply, dict) else {})
        output.done(reply, str(reply.get("message")))
    return OK


def _refused(reply: dict[str, Any]) -> CommandError:
    faults = reply.get("errors") or ()
    for fault in faults:
        field = f"{fault['field']}: " if fault.get("field") else ""
        say(one_line(f"row {fault.get('row')}: {field}{fault.get('error')}"))
    text = str(reply.get("message") or reply.get("error") or "nothing was imported")
    return CommandError(text, USAGE if "message" in reply else NOT_NOW)


def _shown(text: str) -> str:
    """As it is, but on a terminal, which would obey what is in it."""
    return harmless(text) if sys.stdout.isatty() else text


def _kind(given: str | None, file: Path | None) -> str:
    if given is not None:
        return given
    return "csv" if file is not None and file.suffix.lower() == ".csv" else "json"
