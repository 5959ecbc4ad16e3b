"""How the machine is doing (spec 01 section 18)."""

import msgspec

from actors.host.machine import Sample
from actors.host.messages import HostReported, ReportHost
from api.routing import Call, route


class NetworkRates(msgspec.Struct, frozen=True):
    """Of all interfaces that are devices of the machine."""

    rx_bytes_per_sec: int
    tx_bytes_per_sec: int


class InterfaceRates(msgspec.Struct, frozen=True):
    """Bytes, and bytes a second."""

    iface: str
    rx_sec: float
    tx_sec: float
    rx_bytes: int
    tx_bytes: int


class OwnProcess(msgspec.Struct, frozen=True):
    """The agent's; `cpu_usage` is percent of one processor, `rss` bytes, `uptime` seconds."""

    cpu_usage: float | None
    rss: int
    threads: int
    descriptors: int
    uptime: int


class DashboardStats(msgspec.Struct, frozen=True, kw_only=True):
    """The latest sample of the machine, or of the container where that has limits of its own (`container`).
    Sizes are bytes, `uptime` seconds, lags ms: the latest, and the worst of the last minute. What could not
    be read is null; a processor's temperature is there only where one can be read."""

    cpu_usage: float | None
    memory_percent: float | None
    memory_used: int | None
    memory_total: int | None
    storage_percent: float | None
    storage_used: int | None
    storage_total: int | None
    uptime: int
    hostname: str
    network: NetworkRates
    interfaces: list[InterfaceRates]
    cpu_cores: float
    cpu_temp: float | msgspec.UnsetType = msgspec.UNSET
    load_average: list[float] | None
    container: bool
    process: OwnProcess | None
    loop_lag_ms: float
    loop_lag_max_ms: float


@route("GET", "/v1/dashboard/stats", reply=DashboardStats, summary="How the machine is doing")
async def dashboard_stats(call: Call) -> DashboardStats:
    reported = await call.context.request("host", ReportHost(), HostReported)
    sample, tally = reported.sample, reported.tally
    storage = sample.storage
    return DashboardStats(
        cpu_usage=sample.cpu_percent,
        memory_percent=sample.memory_percent,
        memory_used=sample.memory_used,
        memory_total=sample.memory_total,
        storage_percent=storage.percent if storage else None,
        storage_used=storage.used if storage else None,
        storage_total=storage.total if storage else None,
        uptime=sample.uptime,
        hostname=sample.hostname,
        network=NetworkRates(round(sample.received_rate or 0), round(sample.sent_rate or 0)),
        interfaces=_interfaces(sample),
        cpu_cores=sample.cpu_cores,
        cpu_temp=msgspec.UNSET if sample.temperature is None else sample.temperature,
        load_average=list(sample.load) if sample.load else None,
        container=sample.limited,
        process=_process(sample),
        loop_lag_ms=round(1000 * tally.lag, 3),
        loop_lag_max_ms=round(1000 * tally.lag_recent, 3),
    )


def _interfaces(sample: Sample) -> list[InterfaceRates]:
    return [
        InterfaceRates(one.name, round(one.received_rate, 1), round(one.sent_rate, 1), one.received, one.sent)
        for one in sample.interfaces or ()
    ]


def _process(sample: Sample) -> OwnProcess | None:
    own = sample.process
    if own is None:
        return None
    return OwnProcess(sample.process_cpu_percent, own.resident, own.threads, own.descriptors, int(own.uptime))
