"""The agent's own memory (spec 01 section 18, 06 section 6)."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.host.messages import (
    MemoryReported,
    MemoryTraced,
    ReportMemory,
    RestartPolicy,
    TraceBegun,
    TraceMemory,
)
from actors.host.tracing import Traced
from actors.system.failure import Failed
from api.errors import api_error
from api.routing import Answer, Call, route
from storage.timestamps import iso

MB = 1024 * 1024
MINUTES_AHEAD = "A trace takes longer than anybody waits for: its result will be in GET /v1/memory"


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bytes first: `rss` is what is resident, `heap_used` the part that is the agent's alone, `external` that
    which it shares with files and other processes, `heap_total` what it has asked the system for. Then the
    same as texts, in MB and MB a minute, by the names that clients of the original read."""

    heap_used: int
    heap_total: int
    external: int
    rss: int
    leak_suspected: bool
    consecutive_growth_count: int
    leak_pattern: str
    leak_description: str
    currently_breached: bool
    heap_stable: bool
    samples: int
    uptime_seconds: int
    current_heap_mb: str = msgspec.field(name="currentHeapMB")
    baseline_heap_mb: str = msgspec.field(name="baselineHeapMB")
    initial_heap_mb: str = msgspec.field(name="initialHeapMB")
    growth_from_baseline_mb: str = msgspec.field(name="growthFromBaselineMB")
    growth_from_initial_mb: str = msgspec.field(name="growthFromInitialMB")
    current_rss_mb: str = msgspec.field(name="currentRSSMB")
    baseline_rss_mb: str = msgspec.field(name="baselineRSSMB")
    initial_rss_mb: str = msgspec.field(name="initialRSSMB")
    rss_growth_from_baseline_mb: str = msgspec.field(name="rssGrowthFromBaselineMB")
    rss_growth_from_initial_mb: str = msgspec.field(name="rssGrowthFromInitialMB")
    current_external_mb: str = msgspec.field(name="currentExternalMB")
    baseline_external_mb: str = msgspec.field(name="baselineExternalMB")
    initial_external_mb: str = msgspec.field(name="initialExternalMB")
    external_growth_from_baseline_mb: str = msgspec.field(name="externalGrowthFromBaselineMB")
    heap_total_mb: str = msgspec.field(name="heapTotalMB")
    heap_utilization: str
    heap_growth_rate: str = msgspec.field(name="heapGrowthRateMBperMin")
    heap_threshold: str = msgspec.field(name="heapThresholdMBperMin")
    threshold_mb: float = msgspec.field(name="thresholdMB")


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent ends, to be started again, when more than `threshold_mb` are resident at three checks in a
    row, or more than `critical_threshold_mb` at one; null: never."""

    enabled: bool
    threshold_mb: float | None
    critical_threshold_mb: float | None
    max_attempts: int
    cooldown_ms: int
    restart_attempts_since_startup: int
    last_restart_attempt: str | None
    time_since_last_restart_ms: int | None
    can_restart: bool
    block_reason: str | None


class GrownLine(msgspec.Struct, frozen=True, rename="camel"):
    """What a line of code has allocated during the trace and kept."""

    file: str
    line: int
    size_bytes: int
    count: int


class Trace(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bytes; `overhead_bytes` is what tracing took itself, part of `rss_after`. `ended_early` says that more
    was kept than can be traced."""

    at: str
    seconds: float
    kept_bytes: int
    peak_bytes: int
    overhead_bytes: int
    rss_before: int
    rss_after: int
    ended_early: bool
    top: list[GrownLine]


class MemoryState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`trace` is the latest, `tracing` whether there is one under way."""

    diagnostics: Diagnostics
    restart_policy: Policy
    tracing: bool
    trace: Trace | None


class TraceRequest(msgspec.Struct, frozen=True):
    """For how long to trace, and how many lines to name."""

    seconds: Annotated[float, Meta(ge=0.5, le=600)] = 10.0
    top: Annotated[int, Meta(ge=1, le=100)] = 20

    EXAMPLE: ClassVar[dict[str, Any]] = {"seconds": 1, "top": 10}


class TraceStarted(msgspec.Struct, frozen=True):
    status: str
    seconds: float
    message: str | UnsetType = UNSET


@route("GET", "/v1/memory", reply=MemoryState, summary="The agent's memory, and whether it leaks")
async def memory(call: Call) -> MemoryState:
    found = await call.context.request("host/memory", ReportMemory(), MemoryReported)
    return MemoryState(
        diagnostics=_diagnostics(found),
        restart_policy=_policy(found.policy),
        tracing=found.tracing,
        trace=None if found.trace is None else _trace(found.trace),
    )


@route(
    "POST",
    "/v1/memory/trace",
    body=TraceRequest,
    reply=Trace,
    also={202: TraceStarted},
    errors=(409,),
    summary="Which code allocates memory and keeps it",
)
async def trace_memory(call: Call, body: TraceRequest) -> Trace | Answer:
    answer = await call.context.ask("host/memory", TraceMemory(body.seconds, body.top))
    match answer:
        case MemoryTraced(trace):
            return _trace(trace)
        case TraceBegun(seconds):
            return Answer(202, TraceStarted("tracing", seconds, MINUTES_AHEAD))
        case Failed():
            raise api_error(answer)
    raise api_error(Failed("unavailable", "The memory actor did not answer in time"))


def _diagnostics(found: MemoryReported) -> Diagnostics:
    own = found.process
    heap = own.resident - own.shared
    resident, shared, total = own.resident / MB, own.shared / MB, own.data / MB
    baseline, initial = found.baseline, found.initial
    rate = _text(found.rate)
    return Diagnostics(
        heap_used=heap,
        heap_total=max(own.data, heap),
        external=own.shared,
        rss=own.resident,
        leak_suspected=found.standing == "leaking",
        consecutive_growth_count=found.count,
        leak_pattern=found.pattern,
        leak_description=found.description,
        currently_breached=found.count > 0,
        heap_stable=found.standing == "stable",
        samples=found.samples,
        uptime_seconds=int(found.uptime),
        current_heap_mb=_text(heap / MB),
        baseline_heap_mb=_text(baseline - found.baseline_shared),
        initial_heap_mb=_text(initial - found.initial_shared),
        growth_from_baseline_mb=_text(heap / MB - baseline + found.baseline_shared),
        growth_from_initial_mb=_text(heap / MB - initial + found.initial_shared),
        current_rss_mb=_text(resident),
        baseline_rss_mb=_text(baseline),
        initial_rss_mb=_text(initial),
        rss_growth_from_baseline_mb=_text(resident - baseline),
        rss_growth_from_initial_mb=_text(resident - initial),
        current_external_mb=_text(shared),
        baseline_external_mb=_text(found.baseline_shared),
        initial_external_mb=_text(found.initial_shared),
        external_growth_from_baseline_mb=_text(shared - found.baseline_shared),
        heap_total_mb=_text(max(total, heap / MB)),
        heap_utilization=f"{100 * heap / max(own.data, heap, 1):.1f}%",
        heap_growth_rate=rate,
        heap_threshold=_text(found.least_rate),
        threshold_mb=found.threshold_mb,
    )


def _policy(policy: RestartPolicy) -> Policy:
    return Policy(
        enabled=policy.limit_mb is not None,
        threshold_mb=policy.limit_mb,
        critical_threshold_mb=policy.critical_mb,
        max_attempts=policy.max_attempts,
        cooldown_ms=policy.cooldown_ms,
        restart_attempts_since_startup=policy.attempts,
        last_restart_attempt=iso(policy.last_at),
        time_since_last_restart_ms=policy.since_last_ms,
        can_restart=policy.blocked is None,
        block_reason=policy.blocked,
    )


def _trace(trace: Traced) -> Trace:
    return Trace(
        at=iso(trace.at) or "",
        seconds=trace.seconds,
        kept_bytes=trace.kept_bytes,
        peak_bytes=trace.peak_bytes,
        overhead_bytes=trace.overhead_bytes,
        rss_before=trace.resident_before,
        rss_after=trace.resident_after,
        ended_early=trace.ended_early,
        top=[GrownLine(one.file, one.line, one.size_bytes, one.count) for one in trace.top],
    )


def _text(size: float) -> str:
    return f"{size:.2f}"
