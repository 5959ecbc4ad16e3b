"""Runs of discovery: those under way and those that were (spec 01 section 11)."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.discovery.messages import CancelRun, ListRuns, RunCancelled, RunsListed
from api.discovery import RunView, run_view
from api.routing import Call, route
from api.streams import HEADERS, Client, event, stream
from conf.annotations import says

MOST = 1000
Limit = Annotated[int, Meta(ge=1, le=MOST), says(f"limit must be 1 to {MOST}")]


class RunsQuery(msgspec.Struct, frozen=True):
    limit: Limit = 20


class RuleRunsQuery(msgspec.Struct, frozen=True):
    limit: Limit = 50


class RunList(msgspec.Struct, frozen=True):
    """Newest first."""

    runs: list[RunView]


@route(
    "GET",
    "/v1/discovery-runs",
    reply=RunList,
    query=RunsQuery,
    summary="The latest runs of discovery, those under way among them",
)
async def list_runs(call: Call, query: RunsQuery) -> RunList:
    return await listed(call, ListRuns(None, query.limit))


async def listed(call: Call, message: ListRuns) -> RunList:
    found = await call.context.request("discovery", message, RunsListed)
    return RunList([run_view(row) for row in found.runs])


@route(
    "GET",
    "/v1/discovery-runs/stream",
    reply=RunView,
    events=True,
    summary="Runs as they go on, one event for each change",
)
async def stream_runs(call: Call) -> web.StreamResponse:
    """Events are `run`, first of those under way; `dropped`, with a `count`, says how many were left out for
    a client that is slow."""
    response = web.StreamResponse(headers=HEADERS)
    transport = call.request.transport
    if transport is None or call.request.method == "HEAD":
        return response
    client = Client(None, response.write, transport.is_closing, transport.abort)

    async def begin() -> None:
        found = await call.context.request("discovery", ListRuns(None, MOST), RunsListed)
        for row in reversed(found.runs):
            if row.status == "running":
                client.put(event("run", run_view(row)))

    return await stream(call.request, call.context.runs, client, response, begin)


@route(
    "DELETE",
    "/v1/discovery-runs/{uuid}",
    reply=None,
    status=204,
    errors=(404,),
    summary="End a run that is under way; what it has found counts",
)
async def cancel_run(call: Call) -> None:
    await call.context.request("discovery", CancelRun(call.text("uuid")), RunCancelled)
