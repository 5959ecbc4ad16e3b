"""The settings that the API changes while the agent runs (spec 01 section 14, 06 section 5).

One schema, from which come validation, defaults, the OpenAPI document and `docs/settings.rst`. What files and
environment configure is in `settings.py`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from conf.annotations import also

Interval = Annotated[int, Meta(ge=1000, le=86_400_000)]


class Logging(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`level` is None where files and environment decide; ages are ms, sizes bytes."""

    level: Literal["debug", "info", "warn", "error"] | None = None
    max_logs: Annotated[int, Meta(ge=10, le=100_000)] = 1000
    max_log_bytes: Annotated[int, Meta(ge=16_384, le=67_108_864)] = 1_048_576
    log_max_age: Annotated[int, Meta(ge=60_000, le=2_592_000_000)] = 86_400_000
    max_log_file_size: Annotated[int, Meta(ge=16_384, le=1_073_741_824)] = 5_242_880
    max_log_files: Annotated[int, Meta(ge=1, le=1000)] = 5
    enable_file_persistence: bool = False


class Features(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    enable_device_publish: bool = True
    enable_anomaly_detection: Annotated[bool, also("anomalyDetection")] = False
    enable_device_jobs: bool = True
    enable_device_remote_access: bool = True
    discovery: bool = True


class AgentIntervals(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Milliseconds."""

    target_state_poll_interval_ms: Annotated[Interval, also("statePollMs")] = 60_000
    report_interval_ms: Annotated[Interval, also("deviceReportIntervalMs", "stateReportMs")] = 60_000
    metrics_interval_ms: Interval = 300_000
    reconciliation_interval_ms: Interval = 30_000
    host_sample_interval_ms: Interval = 10_000


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    agent: AgentIntervals = AgentIntervals()


class Memory(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`threshold_mb` is growth that is suspicious; at `max_memory_mb` of resident memory (None: never) the
    agent restarts itself."""

    check_interval_ms: Interval = 30_000
    threshold_mb: Annotated[float, Meta(ge=1, le=100_000)] = 15
    max_memory_mb: Annotated[float, Meta(ge=64, le=1_000_000)] | None = None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    memory: Memory = Memory()


class RuntimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    logging: Logging = Logging()
    features: Features = Features()
    intervals: Intervals = Intervals()
    runtime: Runtime = Runtime()
