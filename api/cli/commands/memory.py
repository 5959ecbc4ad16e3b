"""`callboard memory`."""

import argparse
import time
from typing import Any

from api.cli.agent_client import AgentClient
from api.cli.amounts import size
from api.cli.connecting import add_agent_options, agent_of, whole_number
from api.cli.exits import FAILED, OK, CommandError
from api.cli.output import Output

LOOK_SECONDS = 1.0
BYTES = ("heapUsed", "heapTotal", "external", "rss", "rssBefore", "rssAfter")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "trace",
        nargs="?",
        choices=("trace",),
        help="watch for a while who takes memory; slows the agent down",
    )
    parser.add_argument(
        "--seconds", type=whole_number(1, 600), default=10, metavar="N", help="of a trace (default: 10)"
    )
    add_agent_options(parser)
    parser.set_defaults(do=_memory)


def _memory(arguments: argparse.Namespace) -> int:
    """1 when it is suspected to leak."""
    with agent_of(arguments) as (agent, output):
        if arguments.trace:
            waits = arguments.seconds + max(agent.timeout, 30.0)
            body = {"seconds": arguments.seconds}
            found = agent.call("POST", "/v1/memory/trace", body, timeout=waits)
            if found.get("status") == "tracing":
                found = _awaited(agent, waits)
            output.show(found, lambda: _draw_trace(output, found))
            return OK
        memory = agent.get("/v1/memory")
        output.show(memory, lambda: _draw(output, memory))
        return FAILED if memory.get("diagnostics", {}).get("leakSuspected") is True else OK


def _awaited(agent: AgentClient, seconds: float) -> Any:
    """The trace that takes longer than a request."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        memory = agent.get("/v1/memory")
        if not memory.get("tracing"):
            return memory.get("trace") or {}
    raise CommandError("the trace has not ended: callboard memory --json shows it once it has", FAILED)


def _draw(output: Output, memory: dict[str, Any]) -> None:
    found = memory.get("diagnostics", {})
    output.pairs([(name, _shown(name, value)) for name, value in found.items()])
    policy = memory.get("restartPolicy") or {}
    output.pairs([(f"restart: {name}", value) for name, value in policy.items()])


def _shown(name: str, value: Any) -> Any:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return size(value) if plain and (name in BYTES or name.endswith("Bytes")) else value


def _draw_trace(output: Output, found: dict[str, Any]) -> None:
    """Whatever lists the trace has, as tables."""
    output.pairs(
        [(name, _shown(name, value)) for name, value in found.items() if not isinstance(value, list)]
    )
    for name, rows in found.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            output.line()
            output.line(name)
            columns = list(rows[0])
            output.table(columns, [[_shown(column, row.get(column)) for column in columns] for row in rows])
