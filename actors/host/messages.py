"""What the API asks of `host` and of `host/memory`. Requests are answered by the reply named beside them or
by `Failed`."""

import msgspec

from actors.host.growth import Standing
from actors.host.machine import Process, Sample
from actors.host.tracing import Traced
from actors.system.tree import Tally


class ReportHost(msgspec.Struct, frozen=True):
    """To `host`; replies `HostReported`, at once but before the first sample."""


class HostReported(msgspec.Struct, frozen=True):
    """The latest sample; `tally` is of the actors, and of now. `suspect` says that memory seems to leak."""

    sample: Sample
    tally: Tally
    suspect: bool = False


class ReportMemory(msgspec.Struct, frozen=True):
    """To `host/memory`; replies `MemoryReported`."""


class RestartPolicy(msgspec.Struct, frozen=True):
    """Whether, and when, the agent restarts itself for its memory. `limit_mb` None: never. Times are ms;
    `last_at` is Unix ms. `blocked` is why it would not now."""

    limit_mb: float | None
    critical_mb: float | None
    max_attempts: int
    cooldown_ms: int
    attempts: int
    """within the cool-down"""
    last_at: int | None
    since_last_ms: int | None
    blocked: str | None


class MemoryReported(msgspec.Struct, frozen=True):
    """Sizes are MB, but those of `process`; rates MB a minute."""

    process: Process
    standing: Standing
    pattern: str
    description: str
    initial: float
    initial_shared: float
    baseline: float
    baseline_shared: float
    rate: float
    least_rate: float
    threshold_mb: float
    count: int
    samples: int
    uptime: float
    policy: RestartPolicy
    tracing: bool
    trace: Traced | None


class TraceMemory(msgspec.Struct, frozen=True):
    """To `host/memory`: find out who allocates memory and keeps it, for that long. Replies `MemoryTraced`
    when it is over, or `TraceBegun` at once where that is later than anybody waits for; a trace at a time."""

    seconds: float
    top: int


class MemoryTraced(msgspec.Struct, frozen=True):
    trace: Traced


class TraceBegun(msgspec.Struct, frozen=True):
    """The result will be in `MemoryReported`."""

    seconds: float


class MemoryJudged(msgspec.Struct, frozen=True):
    """To the parent, when it is news: what is wrong with the memory (None: nothing), whether the agent
    ends for it, and whether it seems to leak."""

    error: str | None
    ending: bool = False
    suspect: bool = False
