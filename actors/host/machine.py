"""One look at the machine and at this process, and what two of them say."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TypeVar

import msgspec

from actors.host import cgroups
from actors.host.cgroups import Usage
from actors.host.network import Counters, Interface, counted, interfaces
from actors.system.clock import running_ms

T = TypeVar("T")

_STARTED = monotonic()


class Storage(msgspec.Struct, frozen=True):
    """Bytes of a file system; `percent` as `df` has it, of what users may take."""

    used: int
    total: int
    percent: float


class Process(msgspec.Struct, frozen=True):
    """This process. `resident` bytes are in memory, `shared` of them with files and other processes; `data`
    is what it has asked the system for. `cpu_seconds` since its start, `uptime` is seconds."""

    resident: int
    shared: int
    data: int
    cpu_seconds: float
    threads: int
    descriptors: int
    uptime: float


class Look(msgspec.Struct, frozen=True):
    """Counters at a moment (monotonic seconds); what could not be read is None."""

    at: float
    busy: float | None
    """processors' seconds, of all together, in which they worked, and all of them"""
    total: float | None
    cores: int
    memory_total: int | None
    memory_available: int | None
    load: tuple[float, float, float] | None
    network: dict[str, Counters] | None
    counted: tuple[str, ...]
    container: Usage
    process: Process | None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine, or the container where that has limits of its own, as it is now; what could not be read is
    None. Memory is bytes, rates are bytes a second, `at` is monotonic and `uptime` seconds. The rates of all
    are those of the `counted` interfaces."""

    at: float
    hostname: str
    uptime: int
    cpu_percent: float | None
    cpu_cores: float
    load: tuple[float, float, float] | None
    memory_used: int | None
    memory_total: int | None
    memory_percent: float | None
    storage: Storage | None
    temperature: float | None
    interfaces: list[Interface] | None
    counted: tuple[str, ...]
    received_rate: float | None
    sent_rate: float | None
    process: Process | None
    process_cpu_percent: float | None
    limited: bool


def look(root: Path = Path("/")) -> Look:
    """Blocks, for a millisecond or so."""
    import psutil

    memory = _tried(psutil.virtual_memory)
    busy, total = _tried(_processors) or (None, None)
    network = _tried(_counters)
    return Look(
        at=monotonic(),
        busy=busy,
        total=total,
        cores=os.cpu_count() or 1,
        memory_total=memory.total if memory else None,
        memory_available=memory.available if memory else None,
        load=_tried(os.getloadavg),
        network=network,
        counted=counted(network or {}, root),
        container=_tried(lambda: cgroups.read(root)) or Usage(),
        process=_tried(process),
    )


def process() -> Process:
    """Blocks, for a tenth of a millisecond."""
    import psutil

    own = psutil.Process()
    with own.oneshot():
        memory, cpu = own.memory_info(), own.cpu_times()
        return Process(
            resident=memory.rss,
            shared=getattr(memory, "shared", 0),
            data=getattr(memory, "data", memory.vms),
            cpu_seconds=cpu.user + cpu.system,
            threads=own.num_threads(),
            descriptors=own.num_fds(),
            uptime=monotonic() - _STARTED,
        )


def storage(folder: Path) -> Storage:
    """Of the file system that the folder is on. Blocks, for ever where it is a network's that is away."""
    import psutil

    found = psutil.disk_usage(str(folder))
    return Storage(found.used, found.total, found.percent)


def sample(before: Look, now: Look, storage: Storage | None, temperature: float | None) -> Sample:
    seconds = now.at - before.at
    memory_used, memory_total = _memory(now)
    limit = now.container.cpus
    seen = None if now.network is None else interfaces(before.network or {}, now.network, seconds)
    counted = [one for one in seen or () if one.name in now.counted]
    return Sample(
        at=now.at,
        hostname=socket.gethostname(),
        uptime=running_ms() // 1000,
        cpu_percent=_cpu_percent(before, now, seconds),
        cpu_cores=now.cores if limit is None else round(min(limit, now.cores), 2),
        load=now.load,
        memory_used=memory_used,
        memory_total=memory_total,
        memory_percent=_percent(memory_used, memory_total),
        storage=storage,
        temperature=temperature,
        interfaces=seen,
        counted=now.counted,
        received_rate=None if seen is None else sum(one.received_rate for one in counted),
        sent_rate=None if seen is None else sum(one.sent_rate for one in counted),
        process=now.process,
        process_cpu_percent=_process_percent(before, now, seconds),
        limited=limit is not None or now.container.memory_limit is not None,
    )


def _memory(now: Look) -> tuple[int | None, int | None]:
    """Used and total: a container's where it may not have all of the machine's."""
    limit, used = now.container.memory_limit, now.container.memory_used
    if limit is not None and (now.memory_total is None or limit < now.memory_total):
        return used, limit
    if now.memory_total is None or now.memory_available is None:
        return None, now.memory_total
    return now.memory_total - now.memory_available, now.memory_total


def _cpu_percent(before: Look, now: Look, seconds: float) -> float | None:
    """Of what there is since the look before; None when the counters went backwards, as they do when a
    processor is taken away."""
    limit = now.container.cpus
    if limit is not None and limit < now.cores:
        return _share(before.container.cpu_seconds, now.container.cpu_seconds, seconds * limit)
    if before.total is None or now.total is None:
        return None
    return _share(before.busy, now.busy, now.total - before.total)


def _process_percent(before: Look, now: Look, seconds: float) -> float | None:
    """Of one processor."""
    if before.process is None or now.process is None:
        return None
    spent = now.process.cpu_seconds - before.process.cpu_seconds
    return round(max(0.0, 100 * spent / seconds), 2) if seconds > 0 else None


def _share(before: float | None, now: float | None, of: float) -> float | None:
    if before is None or now is None or of <= 0:
        return None
    return round(min(100.0, max(0.0, 100 * (now - before) / of)), 1)


def _percent(used: int | None, total: int | None) -> float | None:
    return round(100 * used / total, 1) if used is not None and total else None


def _processors() -> tuple[float, float]:
    """The time of guests is in that of users already; waiting for a disk is not working."""
    import psutil

    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _counters() -> dict[str, Counters]:
    import psutil

    found = psutil.net_io_counters(pernic=True, nowrap=False) or {}
    return {name: Counters(one.bytes_recv, one.bytes_sent) for name, one in found.items()}


def _tried(call: Callable[[], T]) -> T | None:
    # What one kernel calls by another name, or does not have, is no reason to know nothing of the rest.
    with suppress(Exception):
        return call()
    return None
