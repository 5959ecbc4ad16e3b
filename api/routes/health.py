"""Probes and buffers (spec 01 section 2)."""

import msgspec
from msgspec import UNSET, UnsetType

from actors.publish.messages import BuffersReported, OutboxReport, ReportBuffers
from actors.readings.messages import ReportRouting, RoutingReported
from actors.subsystems.health import failing
from actors.subsystems.messages import Check, ReportState, StateReported
from api.routing import Answer, Call, route
from storage.timestamps import iso, unix_ms

HOUR_MS = 3_600_000


class Healthy(msgspec.Struct, frozen=True, rename="camel"):
    """The arrays are there only when they are not empty."""

    status: str
    ready: bool
    state: str
    critical_failures: list[str] | UnsetType = UNSET
    unhealthy_subsystems: list[str] | UnsetType = UNSET


class Ready(msgspec.Struct, frozen=True, rename="camel"):
    ready: bool
    state: str


class NotReady(msgspec.Struct, frozen=True, rename="camel"):
    ready: bool
    state: str
    critical_failures: list[str]


class SubsystemReport(msgspec.Struct, frozen=True, rename="camel"):
    """`last_check` is Unix ms."""

    name: str
    healthy: bool
    critical: bool
    last_check: int
    consecutive_failures: int
    description: str | UnsetType = UNSET
    last_error: str | UnsetType = UNSET


class Report(msgspec.Struct, frozen=True, rename="camel"):
    overall: bool
    subsystems: list[SubsystemReport]
    unhealthy_subsystems: list[str]
    critical_failures: list[str]


class HealthReport(msgspec.Struct, frozen=True):
    overall: str
    ready: bool
    state: str
    report: Report


class DestinationBuffer(msgspec.Struct, frozen=True, rename="camel"):
    """What one destination has not yet acknowledged, and what became of the rest.

    `bytes` are those on disk, compressed ones as they are; of what is not there yet, those of payloads.
    `lag_ms` is the age of the oldest; `delivered` and the `dropped` count since the start, `rejected`
    what is in its dead-letter table.
    """

    id: int
    name: str
    connected: bool
    message_count: int
    bytes: int
    oldest: str | None
    lag_ms: int
    delivered: int
    rejected: int
    dropped_quota: int
    dropped_expired: int
    last_flush_attempt: str | None
    last_flush_success: str | None
    last_error: str | None


class BufferStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Sums over all destinations; ages are whole hours."""

    mqtt_message_buffer_count: int
    mqtt_buffer_bytes: int
    mqtt_buffer_oldest_age: int | None
    last_flush_attempt: str | None
    last_flush_success: str | None
    rejected: int
    unrouted_batches: int
    destinations: list[DestinationBuffer]
    mode: str = "standalone"
    transport_publish_mode: str = "direct"
    cloud_report_queue_count: int = 0
    cloud_report_oldest_age: int | None = None
    agent_log_buffer_enabled: bool = False


@route("GET", "/ping", reply=str, access="anyone", summary="Is the process alive")
async def ping(call: Call) -> str:
    return "OK"


@route(
    "GET",
    "/v1/healthy",
    reply=Healthy,
    also={500: Healthy},
    access="anyone",
    summary="Liveness: no critical subsystem has failed two checks in a row",
)
async def healthy(call: Call) -> Answer:
    state = await _state(call)
    well = _is_healthy(state)
    failures, unhealthy = failing(state.checks), _unhealthy(state)
    return Answer(
        200 if well else 500,
        Healthy(
            "healthy" if well else "unhealthy",
            state.ready,
            state.state,
            failures or UNSET,
            unhealthy if unhealthy and not well else UNSET,
        ),
    )


@route(
    "GET",
    "/v1/readiness",
    reply=Ready,
    also={503: NotReady},
    access="anyone",
    summary="Readiness: the agent is running, and no critical subsystem fails now",
)
async def readiness(call: Call) -> Answer:
    state = await _state(call)
    if state.ready:
        return Answer(200, Ready(True, state.state))
    blocking = [
        check.name
        for check in state.checks
        if (check.critical or check.blocks_readiness) and not check.healthy
    ]
    return Answer(503, NotReady(False, state.state, blocking))


@route(
    "GET",
    "/v1/health/report",
    reply=HealthReport,
    also={500: HealthReport},
    access="anyone",
    internals=True,
    summary="Every subsystem's health",
)
async def health_report(call: Call) -> Answer:
    state = await _state(call)
    well = _is_healthy(state)
    report = Report(
        well,
        [_line(check) for check in state.checks],
        _unhealthy(state),
        failing(state.checks),
    )
    return Answer(
        200 if well else 500,
        HealthReport("healthy" if well else "unhealthy", state.ready, state.state, report),
    )


@route(
    "GET",
    "/v1/buffer/status",
    reply=BufferStatus,
    access="peers",
    internals=True,
    summary="What is waiting for a destination's acknowledgement",
)
async def buffer_status(call: Call) -> BufferStatus:
    buffers = await call.context.request("publisher", ReportBuffers(), BuffersReported)
    routing = await call.context.peek("readings", ReportRouting(), RoutingReported)
    outboxes = buffers.outboxes
    return BufferStatus(
        mqtt_message_buffer_count=sum(outbox.rows for outbox in outboxes),
        mqtt_buffer_bytes=sum(outbox.bytes for outbox in outboxes),
        mqtt_buffer_oldest_age=_age_hours([outbox.oldest for outbox in outboxes]),
        last_flush_attempt=_latest([outbox.last_flush_attempt for outbox in outboxes]),
        last_flush_success=_latest([outbox.last_flush_success for outbox in outboxes]),
        rejected=sum(outbox.rejected for outbox in outboxes),
        unrouted_batches=routing.unrouted if routing else 0,
        destinations=[_destination(outbox) for outbox in outboxes],
    )


async def _state(call: Call) -> StateReported:
    """A probe is answered whatever happens: an agent that is silent is in state UNKNOWN."""
    state = await call.context.peek("agent", ReportState(), StateReported)
    return state or StateReported("UNKNOWN", False, [])


def _is_healthy(state: StateReported) -> bool:
    return state.state != "UNKNOWN" and not failing(state.checks)


def _unhealthy(state: StateReported) -> list[str]:
    return [check.name for check in state.checks if not check.healthy]


def _line(check: Check) -> SubsystemReport:
    return SubsystemReport(
        check.name,
        check.healthy,
        check.critical,
        check.last_check,
        check.consecutive_failures,
        UNSET if check.description is None else check.description,
        UNSET if check.last_error is None else check.last_error,
    )


def _destination(outbox: OutboxReport) -> DestinationBuffer:
    return DestinationBuffer(
        id=outbox.destination_id,
        name=outbox.destination,
        connected=outbox.connected,
        message_count=outbox.rows,
        bytes=outbox.bytes,
        oldest=iso(outbox.oldest),
        lag_ms=_age_ms(outbox.oldest) or 0,
        delivered=outbox.delivered,
        rejected=outbox.rejected,
        dropped_quota=outbox.dropped_quota,
        dropped_expired=outbox.dropped_expired,
        last_flush_attempt=iso(outbox.last_flush_attempt),
        last_flush_success=iso(outbox.last_flush_success),
        last_error=outbox.last_error,
    )


def _latest(times: list[int | None]) -> str | None:
    return iso(max((time for time in times if time is not None), default=None))


def _age_hours(times: list[int | None]) -> int | None:
    age = _age_ms(min((time for time in times if time is not None), default=None))
    return None if age is None else age // HOUR_MS


def _age_ms(time: int | None) -> int | None:
    return None if time is None else max(0, unix_ms() - time)
