"""The latest readings, and readings as they come."""

import msgspec
from aiohttp import web

from actors.readings.batch import Batch
from actors.readings.messages import LatestReported, ReportLatest
from api.portions import unhurried
from api.readings import LatestReadings, ReadingFilter, ReadingsEvent, latest_of
from api.routing import Call, route
from api.streams import HEADERS, Client, stream


@route(
    "GET",
    "/v1/readings/latest",
    reply=LatestReadings,
    query=ReadingFilter,
    summary="The latest reading of every metric of the endpoints that run",
)
async def latest_readings(call: Call, query: ReadingFilter) -> web.Response:
    reported = await call.context.request("readings", ReportLatest(), LatestReported)
    parts, count = [], 0
    async for batch in unhurried(sorted(reported.batches, key=_by_name)):
        if readings := latest_of(query, batch):
            parts.append(msgspec.json.encode(readings)[1:-1])
            count += len(readings)
    body = b'{"readings":[%b],"count":%d}' % (b",".join(parts), count)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _by_name(batch: Batch) -> tuple[str, str]:
    return batch.source.endpoint, batch.source.device


@route(
    "GET",
    "/v1/readings/stream",
    reply=ReadingsEvent,
    query=ReadingFilter,
    events=True,
    summary="Readings as they come, one event a poll",
)
async def stream_readings(call: Call, query: ReadingFilter) -> web.StreamResponse:
    """Events are `readings`, and `dropped` with a `count` of polls left out for a client that is slow."""
    response = web.StreamResponse(headers=HEADERS)
    transport = call.request.transport
    if transport is None or call.request.method == "HEAD":
        return response
    client = Client(query, response.write, transport.is_closing, transport.abort)
    return await stream(call.request, call.context.readings, client, response)
