"""`callboard update`."""

import argparse
import time
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import moment
from api.cli.connecting import add_agent_options, agent_of
from api.cli.event_stream import say
from api.cli.exits import FAILED, OK, USAGE, CommandError, NoAgent, Refused
from api.cli.output import Output

UNHAPPY = ("failed", "rolled_back")
DECIDED = ("completed", "skipped", "unavailable", *UNHAPPY)
WAIT_SECONDS = 1800.0
LOOK_SECONDS = 1.0


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version", nargs="?", metavar="VERSION", help="such as 1.2.3, or latest; `status` shows how it went"
    )
    parser.add_argument(
        "--file", metavar="WHEEL", help="the name of a wheel in the agent's folder for updates"
    )
    parser.add_argument("--force", action="store_true", help="the same or an older version, too")
    parser.add_argument("--wait", action="store_true", help="until it has gone well, or has not")
    parser.add_argument("--signature", metavar="HEX", help="where the agent asks for one")
    parser.add_argument("--issued-at", metavar="TIME", help="that was signed")
    parser.add_argument("--expires-at", metavar="TIME", help="that was signed")
    parser.add_argument("--at", metavar="TIME", help="update then, not now")
    add_agent_options(parser)
    parser.set_defaults(do=_update)


def _update(arguments: argparse.Namespace) -> int:
    if arguments.version is None and arguments.file is None:
        raise CommandError("update: name a version, a --file, or say status", USAGE)
    if arguments.version == "status":
        return _status(arguments)
    wanted = {
        "version": arguments.version,
        "file": arguments.file,
        "force": arguments.force or None,
        "signature": arguments.signature,
        "issued_at": _time(arguments.issued_at),
        "expires_at": _time(arguments.expires_at),
        "scheduled_time": _time(arguments.at),
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    with agent_of(arguments) as (agent, output):
        reply = agent.call("POST", "/v1/update", body, timeout=max(agent.timeout, 60.0))
        if not arguments.wait or reply.get("status") != "update_triggered":
            output.done(reply, _said(reply))
            return OK
        status = _awaited(agent)
        output.show(status, lambda: _draw(output, status))
        return FAILED if status.get("state") in UNHAPPY else OK


def _awaited(agent: AgentClient) -> dict[str, Any]:
    """The status once it is decided, what is on the way being said on standard error. The agent is away for a
    while: one version ends and another begins."""
    deadline, said = time.monotonic() + WAIT_SECONDS, ""
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        try:
            status: dict[str, Any] = agent.get("/v1/update/status")
        except (NoAgent, Refused):
            continue
        if status.get("state") in DECIDED:
            return status
        if status.get("state") != said:
            said = str(status.get("state"))
            say(f"the update is {said}")
    raise CommandError(f"the update is not decided after {WAIT_SECONDS:.0f} s", FAILED)


def _time(text: str | None) -> str | int | None:
    """Unix ms, or ISO 8601."""
    return int(text) if text and text.isdecimal() else text


def _said(reply: dict[str, Any]) -> str:
    if reply.get("message"):
        return str(reply["message"])
    begun = "is scheduled" if reply.get("status") == "update_scheduled" else "has begun"
    return f"the update {begun}; `callboard update status` shows how it goes"


def _status(arguments: argparse.Namespace) -> int:
    """1 when the last one has failed."""
    with agent_of(arguments) as (agent, output):
        status = agent.get("/v1/update/status")
        output.show(status, lambda: _draw(output, status))
        return FAILED if status.get("state") in UNHAPPY else OK


def _draw(output: Output, status: dict[str, Any]) -> None:
    output.pairs([(name, status.get(name)) for name in ("state", "current", "target", "reason")])
    history = [one for one in status.get("history", ()) if isinstance(one, dict)]
    if history:
        output.line()
        names = list(dict.fromkeys(name for one in history for name in one))
        rows = [[_shown(name, one.get(name)) for name in names] for one in history]
        output.table(names, rows)


def _shown(name: str, value: Any) -> Any:
    return moment(value) if name == "at" and isinstance(value, str | int) else value
