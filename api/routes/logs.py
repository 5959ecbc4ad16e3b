"""The agent's log (spec 01 section 13), and what is logged as it comes."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.logs.entries import Level, LogFilter, ShownEntry, SourceType, shown
from actors.logs.messages import LogsReported, ReportLogs
from actors.system.failure import Failed
from api.errors import api_error
from api.log_hub import LogClient
from api.portions import json_parts
from api.routing import Call, route
from api.streams import HEADERS, stream
from conf.annotations import says

Limit = Annotated[int, Meta(ge=1, le=1000), says("limit must be 1 to 1000")]
Backlog = Annotated[int, Meta(ge=0, le=1000), says("limit must be 0 to 1000")]
Text = Annotated[str, Meta(max_length=200)]


class LogsQuery(msgspec.Struct, frozen=True, rename="camel"):
    """`level` alone, or from `min_level` on. `since` is Unix ms, and excluded. `actor` is a path
    (`endpoints/modbus`), of which those below count too. `text` is looked for whatever its case."""

    level: Annotated[Level | None, says("level must be debug, info, warn or error")] = None
    min_level: Annotated[Level | None, says("minLevel must be debug, info, warn or error")] = None
    source: Annotated[SourceType | None, says("source must be system, container or manager")] = None
    since: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    text: Text | None = None
    actor: Text | None = None
    limit: Limit = 200

    def chosen(self) -> LogFilter:
        """What is empty is not asked for."""
        return LogFilter(
            self.level, self.min_level, self.source, self.since, self.text or None, self.actor or None
        )


class FollowQuery(LogsQuery, frozen=True, rename="camel"):
    """`limit` is of entries from before."""

    limit: Backlog = 0


class LogsListed(msgspec.Struct, frozen=True):
    """The newest, oldest first; `total` is how many there are in memory."""

    logs: list[ShownEntry]
    total: int


async def _report(call: Call, query: LogsQuery, after: int | None = None) -> LogsReported:
    answer = await call.context.ask("logs", ReportLogs(query.chosen(), query.limit, after))
    if not isinstance(answer, LogsReported):
        raise api_error(Failed("unavailable", "Log backend not available"))
    return answer


@route(
    "GET",
    "/v1/logs",
    reply=LogsListed,
    query=LogsQuery,
    always=True,
    summary="The newest entries of the agent's log",
)
async def list_logs(call: Call, query: LogsQuery) -> web.Response:
    reported = await _report(call, query)
    logs = await json_parts(reported.entries, shown)
    body = b'{"logs":[%b],"total":%d}' % (logs, reported.total)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@route(
    "GET",
    "/v1/logs/stream",
    reply=ShownEntry,
    query=FollowQuery,
    events=True,
    always=True,
    summary="Entries of the log as they come, one event each",
)
async def stream_logs(call: Call, query: FollowQuery) -> web.StreamResponse:
    """Events have no name, and the id of their entry: who comes back with it as `Last-Event-ID` gets what it
    has missed. `dropped`, with a `count`, says how many were left out for a client that is slow."""
    response = web.StreamResponse(headers=HEADERS)
    transport = call.request.transport
    if transport is None or call.request.method == "HEAD":
        return response
    client = LogClient(query.chosen(), response.write, transport.is_closing, transport.abort)
    last = _number(call.request.headers.get("Last-Event-ID", ""))
    before = query if last is None else msgspec.structs.replace(query, limit=1000)

    async def begin() -> None:
        reported = await _report(call, before, last)
        client.begin(reported.entries, reported.newest)

    return await stream(call.request, call.context.logs, client, response, begin)


def _number(id: str) -> int | None:
    """Of an entry; None of what is none."""
    digits = id.removeprefix("log-")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None
