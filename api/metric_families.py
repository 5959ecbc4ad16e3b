"""What `/metrics` tells: each function makes the families of one room."""

import platform
import resource
from collections.abc import Mapping, Sequence

from actors.endpoints.messages import EndpointRow, PollsCounted
from actors.host.machine import Process, Sample
from actors.host.messages import HostReported
from actors.publish.messages import OutboxReport
from actors.subsystems.lifecycle import MOVES
from actors.subsystems.messages import StateReported
from actors.system.tree import Tally
from api.prometheus import family, labels, single
from api.version import version

MAX_INTERFACES = 20
_BUILD = labels(version=version(), python=platform.python_version())


def of_agent(state: str, reported: StateReported | None) -> list[str]:
    healthy = None
    unhealthy: int | None = None
    if reported is not None:
        healthy = not any(check.critical and not check.healthy for check in reported.checks)
        unhealthy = sum(not check.healthy for check in reported.checks)
    states = ((labels(state=one), int(one == state)) for one in MOVES)
    return [
        family("callboard_build_info", "gauge", "Version of the agent.", ((_BUILD, 1),)),
        family("callboard_state", "gauge", "1 for the state that the agent is in.", states),
        single("callboard_healthy", "gauge", "1 while no critical subsystem fails.", _number(healthy)),
        single("callboard_unhealthy_checks", "gauge", "Lines of the health report that fail.", unhealthy),
    ]


def of_endpoints(rows: Sequence[EndpointRow], counted: Mapping[str, PollsCounted], most: int) -> list[str]:
    """Totals of all endpoints, and each of the first `most` by itself: `rows` are sorted by name, `counted`
    are those that run, by uuid."""
    shown = [
        (labels(endpoint=row.name, protocol=row.protocol), one)
        for row in rows[:most]
        if (one := counted.get(row.uuid)) is not None
    ]
    connected = sum(one.connected for one in counted.values())
    enabled = sum(row.enabled for row in rows)
    prefix = "callboard_endpoint"
    return [
        single("callboard_endpoints", "gauge", "Endpoints that are configured.", len(rows)),
        single("callboard_endpoints_enabled", "gauge", "Endpoints that are to be polled.", enabled),
        single("callboard_endpoints_connected", "gauge", "Endpoints whose device answers.", connected),
        family(
            f"{prefix}_up",
            "gauge",
            "1 while the device answers.",
            [(at, int(one.connected)) for at, one in shown],
        ),
        family(
            f"{prefix}_polls_total",
            "counter",
            "Polls that the device was sent.",
            [(at, one.polls) for at, one in shown],
        ),
        family(
            f"{prefix}_poll_failures_total",
            "counter",
            "Polls without a single value.",
            [(at, one.failed) for at, one in shown],
        ),
        family(
            f"{prefix}_polls_skipped_total",
            "counter",
            "Polls left out because the one before had not ended.",
            [(at, one.skipped) for at, one in shown],
        ),
        family(
            f"{prefix}_points_total",
            "counter",
            "Values that were read.",
            [(at, one.points) for at, one in shown],
        ),
        family(
            f"{prefix}_response_seconds",
            "gauge",
            "How long the latest poll took.",
            [
                (at, None if one.response_ms is None else round(one.response_ms / 1000, 6))
                for at, one in shown
            ],
        ),
    ]


def of_destinations(outboxes: Sequence[OutboxReport], unrouted: int | None, now: int) -> list[str]:
    """`now` is Unix ms."""
    named = [(labels(destination=one.destination), one) for one in outboxes]
    dropped = [
        (labels(destination=one.destination, reason=reason), count)
        for one in outboxes
        for reason, count in (("quota", one.dropped_quota), ("expired", one.dropped_expired))
    ]
    prefix = "callboard_destination"
    return [
        family(
            f"{prefix}_up", "gauge", "1 while connected.", [(at, int(one.connected)) for at, one in named]
        ),
        family(
            f"{prefix}_outbox_messages",
            "gauge",
            "Payloads that are not acknowledged.",
            [(at, one.rows) for at, one in named],
        ),
        family(
            f"{prefix}_outbox_bytes",
            "gauge",
            "Size of the payloads that are not acknowledged.",
            [(at, one.bytes) for at, one in named],
        ),
        family(
            f"{prefix}_lag_seconds",
            "gauge",
            "Age of the oldest payload that is not acknowledged.",
            [(at, 0 if one.oldest is None else max(0, now - one.oldest) / 1000) for at, one in named],
        ),
        family(
            f"{prefix}_delivered_total",
            "counter",
            "Payloads that were acknowledged.",
            [(at, one.delivered) for at, one in named],
        ),
        family(f"{prefix}_dropped_total", "counter", "Payloads that were given up.", dropped),
        family(
            f"{prefix}_dead_letters",
            "gauge",
            "Payloads that the destination has rejected, as far as they are kept.",
            [(at, one.rejected) for at, one in named],
        ),
        single(
            "callboard_unrouted_batches_total",
            "counter",
            "Batches of readings that no subscription wanted.",
            unrouted,
        ),
    ]


def of_actors(tally: Tally) -> list[str]:
    return [
        single("callboard_actors", "gauge", "Actors that there are.", tally.actors),
        single(
            "callboard_actors_restarting", "gauge", "Actors that wait for their restart.", tally.restarting
        ),
        single("callboard_actors_gave_up", "gauge", "Actors that have given up.", tally.gave_up),
        single(
            "callboard_actor_restarts_total",
            "counter",
            "Crashes after which an actor restarted.",
            tally.restarts,
        ),
        single(
            "callboard_mailbox_drops_total", "counter", "Messages that full mailboxes lost.", tally.dropped
        ),
        single(
            "callboard_dead_letters_total",
            "counter",
            "Messages to actors that were no more.",
            tally.dead_letters,
        ),
        single("callboard_loop_lag_seconds", "gauge", "How late the event loop was.", round(tally.lag, 6)),
        single(
            "callboard_loop_lag_max_seconds",
            "gauge",
            "How late the event loop was at most within the last minute.",
            round(tally.lag_recent, 6),
        ),
    ]


def of_host(reported: HostReported) -> list[str]:
    sample = reported.sample
    return [
        *of_actors(reported.tally),
        single("callboard_memory_suspect", "gauge", "1 while memory seems to leak.", int(reported.suspect)),
        *(_process(sample.process) if sample.process else ()),
        *_machine(sample),
    ]


def _process(own: Process) -> list[str]:
    """By the names that Prometheus' own libraries give them."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        single(
            "process_cpu_seconds_total", "counter", "Processor time of the agent.", round(own.cpu_seconds, 2)
        ),
        single("process_resident_memory_bytes", "gauge", "Resident memory of the agent.", own.resident),
        single("process_open_fds", "gauge", "Descriptors that the agent has open.", own.descriptors),
        single("process_max_fds", "gauge", "Descriptors that the agent may have open.", most),
        single("callboard_threads", "gauge", "Threads of the agent.", own.threads),
        single("callboard_uptime_seconds", "gauge", "Since the agent's start.", round(own.uptime, 1)),
    ]


def _machine(sample: Sample) -> list[str]:
    prefix = "callboard_host"
    storage, load = sample.storage, sample.load
    devices = [
        (labels(device=one.name), one) for one in sample.interfaces or () if one.name in sample.counted
    ][:MAX_INTERFACES]
    return [
        single(f"{prefix}_cpu_usage_ratio", "gauge", "Share of processor time.", _ratio(sample.cpu_percent)),
        single(f"{prefix}_cpu_cores", "gauge", "Processors that may be used.", sample.cpu_cores),
        single(f"{prefix}_load1", "gauge", "Load of the last minute.", load and round(load[0], 2)),
        single(f"{prefix}_memory_used_bytes", "gauge", "Memory that is not available.", sample.memory_used),
        single(f"{prefix}_memory_total_bytes", "gauge", "Memory that there is.", sample.memory_total),
        single(
            f"{prefix}_storage_used_bytes",
            "gauge",
            "Used space of the data directory's file system.",
            storage.used if storage else None,
        ),
        single(
            f"{prefix}_storage_total_bytes",
            "gauge",
            "Size of the data directory's file system.",
            storage.total if storage else None,
        ),
        single(f"{prefix}_temperature_celsius", "gauge", "Of the processor.", sample.temperature),
        single(f"{prefix}_uptime_seconds", "gauge", "Since the machine's start.", sample.uptime),
        family(
            f"{prefix}_network_receive_bytes_total",
            "counter",
            "Bytes that network devices have received.",
            [(at, one.received) for at, one in devices],
        ),
        family(
            f"{prefix}_network_transmit_bytes_total",
            "counter",
            "Bytes that network devices have sent.",
            [(at, one.sent) for at, one in devices],
        ),
    ]


def of_logs(counts: Mapping[str, int]) -> list[str]:
    """By level."""
    levels = [(labels(level=level), count) for level, count in sorted(counts.items())]
    return [family("callboard_log_entries_total", "counter", "Entries that the log was given.", levels)]


def of_requests(answered: Mapping[int, int]) -> list[str]:
    """By the first digit of the status."""
    counts = [(labels(status=f"{digit}xx"), count) for digit, count in sorted(answered.items())]
    return [family("callboard_http_requests_total", "counter", "Requests that were answered.", counts)]


def _number(truth: bool | None) -> int | None:
    return None if truth is None else int(truth)


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 4)
