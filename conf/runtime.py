"""The settings that the API changes while the agent runs (spec 01 section 14, 06 section 5).

One schema, from which come validation, defaults, the OpenAPI document and `docs/settings.rst`
(`runtime_keys.py`, `runtime_page.py`). What files and environment configure is in `settings.py`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Interval = Annotated[int, Meta(ge=1000, le=86_400_000)]


def reference(*paths: str) -> Meta:
    """Further names of a setting, from the top on, that replies always show: those of the API reference."""
    return Meta(extra={"reference": paths})


def known_as(*paths: str) -> Meta:
    """Further names, from the top on, that replies show once a client has used them."""
    return Meta(extra={"known_as": paths})


def waits_for(what: str) -> Meta:
    """Nothing uses the setting yet: it is checked and kept until there is `what`."""
    return Meta(extra={"waits_for": what})


class Logging(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`level` is None where files and environment decide."""

    level: (
        Annotated[
            Literal["debug", "info", "warn", "error"],
            Meta(description="The least that is logged. Of libraries, what is for debugging never is."),
        ]
        | None
    ) = None
    max_logs: Annotated[
        int, Meta(ge=10, le=100_000, description="Entries that are kept in memory, for GET /v1/logs.")
    ] = 1000
    max_log_bytes: Annotated[
        int, Meta(ge=16_384, le=67_108_864, description="Bytes that those entries may take.")
    ] = 1_048_576
    log_max_age: Annotated[
        int, Meta(ge=60_000, le=2_592_000_000, description="Milliseconds after which an entry goes.")
    ] = 86_400_000
    enable_file_persistence: Annotated[bool, Meta(description="Whether to write entries to files.")] = False
    max_log_file_size: Annotated[
        int, Meta(ge=16_384, le=1_073_741_824, description="Bytes after which the next file is begun.")
    ] = 5_242_880
    max_log_files: Annotated[int, Meta(ge=1, le=1000, description="Files that are kept.")] = 5
    enable_remote_logging: Annotated[
        bool,
        Meta(description="Whether to send entries to the cloud."),
        reference("logging.cloudEnabled"),
        waits_for("the cloud"),
    ] = False
    enable_compression: Annotated[
        bool, Meta(description="Whether to compress what is sent there."), waits_for("the cloud")
    ] = True
    log_batch_size: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Entries that are sent there together."),
        waits_for("the cloud"),
    ] = 500
    log_flush_interval_ms: Annotated[
        Interval, Meta(description="Milliseconds after which fewer are sent."), waits_for("the cloud")
    ] = 30_000


class Features(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    enable_device_publish: Annotated[
        bool,
        Meta(
            description="Whether readings are published. While it is off no destination is connected and no"
            " reading is queued; what an outbox holds stays on disk, and is sent when it is on again."
        ),
    ] = True
    enable_anomaly_detection: Annotated[
        bool,
        Meta(description="Whether to look for anomalies."),
        reference("features.anomalyDetection"),
        waits_for("the detectors"),
    ] = False
    enable_device_jobs: Annotated[
        bool, Meta(description="Whether the cloud may have jobs done."), waits_for("the cloud")
    ] = True
    enable_device_remote_access: Annotated[
        bool, Meta(description="Whether the cloud may open a shell."), waits_for("the cloud")
    ] = True
    discovery: Annotated[
        bool,
        Meta(description="Whether to look for devices without being asked; if not, no rule runs by itself."),
    ] = True


class AgentIntervals(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Milliseconds."""

    host_sample_interval_ms: Annotated[
        Interval, Meta(description="Between two samples of the machine: processor, memory, disks.")
    ] = 10_000
    target_state_poll_interval_ms: Annotated[
        Interval,
        Meta(description="Between two looks at the target state in the cloud."),
        reference("intervals.statePollMs"),
        known_as("intervals.targetStatePollIntervalMs"),
        waits_for("the cloud"),
    ] = 60_000
    report_interval_ms: Annotated[
        Interval,
        Meta(description="Between two reports of the state to the cloud."),
        reference("intervals.stateReportMs"),
        known_as("intervals.deviceReportIntervalMs", "intervals.reportIntervalMs"),
        waits_for("the cloud"),
    ] = 60_000
    metrics_interval_ms: Annotated[
        Interval,
        Meta(description="Between two reports that hold the machine's figures."),
        known_as("intervals.metricsIntervalMs"),
        waits_for("the cloud"),
    ] = 300_000
    reconciliation_interval_ms: Annotated[
        Interval,
        Meta(description="Between two looks at whether containers are as they should be."),
        known_as("intervals.reconciliationIntervalMs"),
        waits_for("apps"),
    ] = 30_000


class DiscoveryIntervals(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Milliseconds; None where files and environment decide. Less than a minute counts as a minute."""

    full_interval_ms: (
        Annotated[
            Interval,
            Meta(description="Between two scans for devices that read them, and remove those that are gone."),
        ]
        | None
    ) = None
    light_interval_ms: (
        Annotated[Interval, Meta(description="Between two scans that only look which devices are there.")]
        | None
    ) = None


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    agent: AgentIntervals = AgentIntervals()
    discovery: DiscoveryIntervals = DiscoveryIntervals()


class Memory(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """At `max_memory_mb` of resident memory (None: never) the agent ends, to be started again."""

    check_interval_ms: Annotated[
        Interval, Meta(description="Milliseconds between two looks at the agent's memory.")
    ] = 30_000
    threshold_mb: Annotated[
        float, Meta(ge=1, le=100_000, description="Megabytes of growth from which on it is suspicious.")
    ] = 15
    max_memory_mb: (
        Annotated[
            float,
            Meta(ge=64, le=1_000_000, description="Megabytes at which the agent ends, to be started again."),
            reference("runtime.maxMemoryMb"),
        ]
        | None
    ) = None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    memory: Memory = Memory()


class RuntimeSettings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All of them. `anomaly_detection` is an object of which nothing is known here."""

    logging: Logging = Logging()
    features: Features = Features()
    intervals: Intervals = Intervals()
    runtime: Runtime = Runtime()
    anomaly_detection: Annotated[
        dict[str, Any],
        Meta(description="What the detectors are to do."),
        waits_for("the detectors, which will say what it may hold"),
    ] = {}
