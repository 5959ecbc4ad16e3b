"""`callboard logs`: the agent's log, as a list or as it comes."""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import moment
from api.cli.connecting import add_agent_options, agent_of, whole_number
from api.cli.event_stream import follow, left_out
from api.cli.exits import OK, USAGE, CommandError
from api.cli.output import Output, in_colour, write_lines
from api.printable import one_line
from storage.timestamps import unix_ms

COLOURS = {"error": "31", "warn": "33", "debug": "2"}
LEVELS = ("debug", "info", "warn", "error")
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-n",
        "--lines",
        type=whole_number(0, 1000),
        metavar="N",
        help="the last N (default: 200, with -f 10)",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="and what comes from now on")
    parser.add_argument("--level", choices=LEVELS, help="of this level alone")
    parser.add_argument("--min-level", choices=LEVELS, help="of this level and those above")
    parser.add_argument("--source", choices=("system", "container", "manager"))
    parser.add_argument("--since", metavar="TIME", help="10m, 2h, 1d, or 2026-05-01T12:00")
    parser.add_argument("--text", help="that holds this text")
    parser.add_argument("--actor", help="of this actor, as `callboard actors` names it")
    add_agent_options(parser)
    parser.set_defaults(do=_logs)


def _logs(arguments: argparse.Namespace) -> int:
    query = _query(arguments)
    with agent_of(arguments) as (agent, output):
        if arguments.follow:
            lines = 10 if arguments.lines is None else arguments.lines
            stream = _Stream(agent, {**query, "limit": str(lines)})
            follow(agent.url, stream.opened, lambda name, data: _event(output, name, data))
        lines = 200 if arguments.lines is None else arguments.lines
        reply = agent.get("/v1/logs", {**query, "limit": str(max(lines, 1))})
        entries = reply.get("logs", ()) if lines else ()
        output.show(reply, lambda: _draw(output, entries))
    return OK


def _draw(output: Output, entries: Sequence[dict[str, Any]]) -> None:
    for entry in entries:
        _show(output, entry)


class _Stream:
    """The log from where it was when the agent went away."""

    def __init__(self, agent: AgentClient, query: dict[str, str]) -> None:
        self._agent, self._query, self._last = agent, query, ""

    def opened(self) -> Iterator[tuple[str, bytes]]:
        query = self._query
        if self._last and self._began_anew():
            self._last, query = "", {**query, "limit": "1000"}
        return self._agent.stream("/v1/logs/stream", query, self._last, self._see)

    def _see(self, id: str) -> None:
        self._last = id

    def _began_anew(self) -> bool:
        """Whether the entries are those of another start, which are counted from the beginning again."""
        newest = self._agent.get("/v1/logs", {"limit": "1"}).get("logs") or [{}]
        return _number(newest[-1].get("id")) < _number(self._last)


def _number(id: Any) -> int:
    digits = str(id).rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def _query(arguments: argparse.Namespace) -> dict[str, str]:
    chosen = {
        "level": arguments.level,
        "minLevel": arguments.min_level,
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
