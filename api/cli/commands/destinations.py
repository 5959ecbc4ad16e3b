"""`callboard destinations` and `buffer`: where readings go, and what waits on the way."""

import argparse
from typing import Any

from api.cli.amounts import duration, moment, size
from api.cli.connecting import add_agent_options, add_verb, add_verbs, agent_of
from api.cli.exits import FAILED, OK
from api.cli.output import Output


def declare(parser: argparse.ArgumentParser) -> None:
    if parser.prog.endswith("buffer"):
        add_agent_options(parser)
        parser.set_defaults(do=_buffer)
        return
    verbs = add_verbs(parser)
    add_verb(verbs, "list", "list destinations and how they are", _list)


def _list(arguments: argparse.Namespace) -> int:
    with agent_of(arguments) as (agent, output):
        reply = agent.get("/v1/publish/destinations")
        rows = [_row(one) for one in reply.get("publishers", ())]
        columns = ("id", "destination", "type", "enabled", "status", "last error", "at")
        output.show(reply, lambda: output.table(columns, rows))
    return OK


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    status = one.get("status") or {}
    return (
        one.get("id"),
        one.get("name"),
        one.get("type"),
        one.get("enabled"),
        status.get("health"),
        one.get("last_error"),
        moment(one.get("last_error_at")),
    )


def _buffer(arguments: argparse.Namespace) -> int:
    """1 when a destination has what waits for it, and is not connected."""
    with agent_of(arguments) as (agent, output):
        status = agent.get("/v1/buffer/status")
        output.show(status, lambda: _draw(output, status))
        stuck = [
            one
            for one in status.get("destinations", ())
            if one.get("messageCount") and not one.get("connected")
        ]
        return FAILED if stuck else OK


def _draw(output: Output, status: dict[str, Any]) -> None:
    output.pairs([("mode", status.get("mode")), ("published", status.get("transportPublishMode"))])
    output.line()
    rows = [
        (
            one.get("name"),
            one.get("connected"),
            one.get("messageCount"),
            size(one.get("bytes")),
            duration((one.get("lagMs") or 0) / 1000),
            one.get("delivered"),
            one.get("rejected"),
            (one.get("droppedQuota") or 0) + (one.get("droppedExpired") or 0),
            one.get("lastError"),
        )
        for one in status.get("destinations", ())
    ]
    columns = (
        "destination",
        "connected",
        "waiting",
        "bytes",
        "oldest",
        "delivered",
        "rejected",
        "dropped",
        "last error",
    )
    output.table(columns, rows, "no destinations")
