"""`callboard logs`: the agent's log, as a list or as it comes."""

import argparse
import json
from typing import Any

from api.cli.amounts import moment
from api.cli.connecting import add_agent_options, agent_of, whole_number
from api.cli.event_stream import follow, left_out
from api.cli.exits import OK, USAGE, CommandError
from api.cli.output import Output, in_colour, write_lines
from api.printable import one_line
from storage.timestamps import unix_ms

COLOURS = {"error": "31", "warn": "33", "debug": "2"}
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        "--lines",
        type=whole_number(0, 1000),
        default=None,
        metavar="N",
        help="the last N (default: 200)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="and what comes from now on")
    parser.add_argument("--level", choices=("debug", "info", "warn", "error"))
    parser.add_argument("--source", choices=("system", "container", "manager"))
    parser.add_argument("--since", metavar="TIME", help="10m, 2h, 1d, or 2026-05-01T12:00")
    parser.add_argument("--text", help="that holds this text")
    parser.add_argument("--actor", help="of this actor, as `callboard actors` names it")
    add_agent_options(parser)
    parser.set_defaults(do=_logs)


def _logs(arguments: argparse.Namespace) -> int:
    query = _query(arguments)
    with agent_of(arguments) as (agent, output):
        if not arguments.follow or arguments.lines is not None:
            lines = 200 if arguments.lines is None else arguments.lines
            reply = agent.get("/v1/logs", {**query, "limit": str(max(lines, 1))}) if lines else {"logs": []}
            if output.as_json and not arguments.follow:
                output.document(reply)
            else:
                for entry in reply.get("logs", ()):
                    _show(output, entry)
        if arguments.follow:
            query.pop("since", None)
            follow(
                agent.url,
                lambda: agent.stream("/v1/logs/stream", query),
                lambda name, data: _event(output, name, data),
            )
    return OK


def _query(arguments: argparse.Namespace) -> dict[str, str]:
    chosen = {
        "level": arguments.level,
        "source": arguments.source,
        "text": arguments.text,
        "actor": arguments.actor,
        "since": None if arguments.since is None else str(since(arguments.since)),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def since(text: str) -> int:
    """Unix ms of an age such as 10m, or of a date and time, local unless it says otherwise."""
    number, unit = text[:-1], text[-1:]
    if unit in UNITS_MS and number.isdecimal():
        return unix_ms() - int(number) * UNITS_MS[unit]
    from datetime import datetime

    try:
        return max(0, int(datetime.fromisoformat(text).astimezone().timestamp() * 1000))
    except (ValueError, OverflowError, OSError) as error:
        raise CommandError(f"--since: {text!r} is neither an age such as 10m nor a time", USAGE) from error


def _event(output: Output, name: str, data: bytes) -> None:
    if name == "dropped":
        left_out(data, "entries")
        return
    try:
        entry = json.loads(data)
    except ValueError:
        return
    if isinstance(entry, dict) and "message" in entry:
        _show(output, entry)


def _show(output: Output, entry: dict[str, Any]) -> None:
    if output.as_json:
        output.one_of_many(entry)
        return
    level = str(entry.get("level", ""))
    who = entry.get("actor") or entry.get("component") or (entry.get("source") or {}).get("name") or ""
    text = f"{moment(entry.get('timestamp'))}  {one_line(level):<5}  {one_line(str(who))}: "
    line = text + one_line(str(entry.get("message", "")))
    colour = COLOURS.get(level)
    write_lines([f"\x1b[{colour}m{line}\x1b[0m" if colour and in_colour() else line])
