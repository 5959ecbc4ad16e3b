"""What Prometheus scrapes."""

import asyncio

from aiohttp import web

from actors.endpoints.messages import CountPolls, EndpointsListed, ListEndpoints, PollsCounted
from actors.host.messages import HostReported, ReportHost
from actors.logs.messages import CountLogs, LogsCounted
from actors.publish.messages import BuffersReported, ReportBuffers
from actors.readings.messages import ReportRouting, RoutingReported
from actors.subsystems.messages import ReportState, StateReported
from api import metric_families as families
from api import request_counts
from api.context import Context
from api.prometheus import CONTENT_TYPE
from api.routing import Call, route
from storage.timestamps import unix_ms

MAX_ENDPOINTS = 1000
"""Endpoints that have lines of their own: each is six time series of the one who scrapes."""


@route("GET", "/metrics", reply=str, always=True, summary="What Prometheus scrapes")
async def metrics(call: Call) -> web.Response:
    """Whoever does not answer soon is left out: of an agent that starts, most are."""
    context = call.context
    state, host, listed, buffers, routing, logs = await asyncio.gather(
        context.peek("agent", ReportState(), StateReported),
        context.peek("host", ReportHost(), HostReported),
        context.peek("endpoints", ListEndpoints(), EndpointsListed),
        context.peek("publisher", ReportBuffers(), BuffersReported),
        context.peek("readings", ReportRouting(), RoutingReported),
        context.peek("logs", CountLogs(), LogsCounted),
    )
    told = families.of_agent(context.lifecycle.state, state)
    if listed is not None:
        told += families.of_endpoints(listed.endpoints, await _polls(context, listed), MAX_ENDPOINTS)
    if buffers is not None:
        unrouted = None if routing is None else routing.unrouted
        told += families.of_destinations(buffers.outboxes, unrouted, unix_ms())
    if host is not None:
        told += families.of_host(host)
    if logs is not None:
        told += families.of_logs(logs.counts)
    told += families.of_requests(request_counts.ANSWERED)
    return web.Response(body="".join(told).encode("utf-8", "replace"), headers={"Content-Type": CONTENT_TYPE})


async def _polls(context: Context, listed: EndpointsListed) -> dict[str, PollsCounted]:
    """Of those that run, by uuid."""
    running = [row for row in listed.endpoints if row.enabled and row.address is not None]
    addresses = [row.address for row in running if row.address is not None]
    counted = await context.peek_each(addresses, CountPolls(), PollsCounted)
    return {row.uuid: one for row, one in zip(running, counted, strict=True) if one is not None}
