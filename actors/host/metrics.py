"""The machine as a source of readings (spec 04: the reference's metric names)."""

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from actors.host.machine import Sample
from actors.readings.batch import Batch, Point, Source
from actors.readings.source_topics import prefixes

PROTOCOL = "system"
ENDPOINT = "host"
UNREAD = "READ_ERROR"
MB = 1024 * 1024


def source(agent_uuid: str, agent_name: str, points: tuple[Point, ...]) -> Source:
    """The device is the agent, by its name: machines that write into one database are told apart."""
    return Source(
        endpoint_uuid=str(uuid5(NAMESPACE_URL, f"callboard:host:{agent_uuid}")),
        endpoint=ENDPOINT,
        protocol=PROTOCOL,
        device_uuid=agent_uuid,
        device=agent_name,
        points=points,
        prefixes=prefixes(PROTOCOL, ENDPOINT, agent_name),
        incidental=True,
    )


def points(sample: Sample, known: tuple[Point, ...] = ()) -> tuple[Point, ...]:
    """Those that there are on this machine: a temperature only where one was ever read, and then for good."""
    kept = {point.name for point in known}
    return tuple(
        Point(name, unit)
        for name, unit, value in _values(sample)
        if value is not None or name in kept or name not in _WHERE_THERE_IS_ONE
    )


def batch(source: Source, sample: Sample, timestamp: int) -> Batch:
    """`timestamp` is Unix ms; what could not be read is BAD."""
    found = {name: value for name, _, value in _values(sample)}
    values = [found[point.name] for point in source.points]
    qualities = [None if value is not None else UNREAD for value in values]
    return Batch(source, timestamp, values, qualities if any(qualities) else None, {})


_WHERE_THERE_IS_ONE = frozenset({"cpu_temp"})


def _values(sample: Sample) -> Iterator[tuple[str, str | None, Any]]:
    load = sample.load or (None, None, None)
    storage, process = sample.storage, sample.process
    yield "cpu_usage", "%", sample.cpu_percent
    yield "cpu_temp", "°C", sample.temperature
    yield "cpu_cores", None, sample.cpu_cores
    yield "load_1m", None, load[0]
    yield "load_5m", None, load[1]
    yield "load_15m", None, load[2]
    yield "memory_percent", "%", sample.memory_percent
    yield "memory_usage", "MB", _mb(sample.memory_used)
    yield "memory_total", "MB", _mb(sample.memory_total)
    yield "disk_usage", "%", storage and storage.percent
    yield "storage_percent", "%", storage and storage.percent
    yield "storage_usage", "MB", storage and _mb(storage.used)
    yield "storage_total", "MB", storage and _mb(storage.total)
    yield "network_rx_bytes_per_sec", "B/s", _whole(sample.received_rate)
    yield "network_tx_bytes_per_sec", "B/s", _whole(sample.sent_rate)
    yield "uptime", "s", sample.uptime
    yield "process_cpu_usage", "%", sample.process_cpu_percent
    yield "process_memory", "MB", process and _mb(process.resident)
    yield "process_threads", None, process and process.threads
    yield "process_descriptors", None, process and process.descriptors


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / MB, 1)


def _whole(rate: float | None) -> int | None:
    return None if rate is None else round(rate)
