"""What a search for BACnet devices is asked for, and what it comes to (spec 03 section 8.2)."""

from math import ceil
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import Known, Plan
from actors.endpoints.targets import read_targets
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads, spelled
from conf.fields import listed

from .connection import LOCAL_PORT, PORT, Address, Bbmd, Broadcast, Instance, Local, Udp, read_place
from .kinds import ANY_INSTANCE

SILENT_WITHIN: Final = 1.5
"""Seconds at most that a host has which may be none."""
_ABREAST: Final = 32
"""Hosts that are asked at the same time, as a search is estimated."""
_ENVIRONMENT: Final = "BACNET_DISCOVERY_TARGETS"

Texts = Annotated[tuple[str, ...], reads(listed), allowed("a text or an array of strings")]


class IdRange(msgspec.Struct, frozen=True):
    start: Annotated[Instance, also("min", "low", "from")]
    end: Annotated[Instance, also("max", "high", "to")]


def _range(value: Any) -> Any:
    """`{"start": 1, "end": 99}`, `[1, 99]` or `1-99`."""
    if isinstance(value, str):
        first, hyphen, last = (part.strip() for part in value.partition("-"))
        if not (hyphen and first.isascii() and first.isdecimal() and last.isascii() and last.isdecimal()):
            raise ValueError("must be a range such as 1000-1999")
        value = [int(first[:10]), int(last[:10])]
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError("must be a range such as 1000-1999")
        return {"start": value[0], "end": value[1]}
    return value


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Hosts are named by any of `discoveryTargets`, `network`, `host` and `hosts`; without
    one everybody is asked, by broadcast or by way of a BBMD."""

    discovery_targets: Annotated[Texts, also("targets")] | None = None
    network: Texts | None = None
    host: Texts | None = None
    hosts: Texts | None = None
    port: Udp = PORT
    timeout: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    max_devices: Annotated[int, Meta(ge=1, le=4096)] = 100
    device_id_range: Annotated[IdRange, reads(_range)] | None = None
    broadcast_address: Broadcast | None = None
    bbmd: Bbmd | None = None
    ttl: Annotated[int, Meta(ge=10, le=65_535)] = 60
    local_port: Udp | None = None
    local_address: Address | None = None


class Search(Plan, frozen=True):
    local: Local
    hosts: tuple[str, ...] = ()
    """none: everybody is asked"""
    port: int = PORT
    timeout: float = 5.0
    most: int = 100
    first: int = 0
    """Of the instances that are looked for; and the last."""
    last: int = ANY_INSTANCE - 1

    @property
    def silent_within(self) -> float:
        return min(self.timeout, SILENT_WITHIN)


def plan(given: dict[str, Any], known: Known, path: str) -> Search | None:
    """See `Discovery.plan`. Without anything that was asked for, the hosts that the settings name, else
    everybody; nobody where the settings switch that off."""
    options = checked(given, Options, path)
    settings, wanted = known.settings.bacnet, known.settings.discovery
    if not given and not wanted.bacnet_enabled:
        return None
    hosts = _hosts(options, given, path)
    everybody = options.broadcast_address is not None or options.bbmd is not None
    if not hosts and not everybody and wanted.bacnet_targets:
        hosts = tuple(read_targets(wanted.bacnet_targets, _ENVIRONMENT))
    first, last = _instances(options, path)
    local = Local(
        port=options.local_port or settings.local_port or LOCAL_PORT,
        address=options.local_address or settings.local_address or "",
        broadcast=options.broadcast_address or "",
        bbmd=None if options.bbmd is None else read_place(options.bbmd),
        ttl=options.ttl,
    )
    search = Search(
        probes=max(1, len(hosts)),
        within=0.0,
        local=local,
        hosts=hosts,
        port=options.port,
        timeout=options.timeout / 1000,
        most=options.max_devices,
        first=first,
        last=last,
    )
    within = ceil(len(hosts) / _ABREAST) * search.silent_within if hosts else search.timeout + 3.0
    return msgspec.structs.replace(search, within=within + 1.0)


def _hosts(options: Options, given: dict[str, Any], path: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for key in ("discoveryTargets", "network", "host", "hosts"):
        texts = getattr(options, _OWN[key])
        if texts:
            name = f"{path}.{spelled(given, Options, key)}"
            found |= dict.fromkeys(read_targets(texts, name))
            for host in found:
                if ":" in host:
                    raise Refusal(f"{host} is an IPv6 address: BACnet/IP knows IPv4 only", name)
            read_targets(list(found), name)  # nor are there too many of them together
    return tuple(found)


_OWN: Final = {
    "discoveryTargets": "discovery_targets",
    "network": "network",
    "host": "host",
    "hosts": "hosts",
}


def _instances(options: Options, path: str) -> tuple[int, int]:
    span = options.device_id_range
    if span is None:
        return 0, ANY_INSTANCE - 1
    if span.end < span.start:
        raise Refusal("deviceIdRange ends before it starts", f"{path}.deviceIdRange.end")
    return span.start, min(span.end, ANY_INSTANCE - 1)
