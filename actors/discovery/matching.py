"""Which of the devices that were found an endpoint reads already."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from time import perf_counter
from typing import Any, Final

from actors.connections.dialing import addresses
from actors.discovery.messages import DiscoveredDevice
from actors.discovery.probing import Sighted
from actors.endpoints.configured import place_of
from actors.endpoints.messages import ConfiguredEndpoint
from conf.hosts import is_address

SLICE: Final = 0.002  # seconds before others have their turn
NAMES: Final = 256
"""Host names that are looked up; endpoints beyond are known by the name that they are configured with."""
RESOLVE_SECONDS: Final = 5.0

Places = dict[str, list[ConfiguredEndpoint]]
"""The endpoints by where they read, those first that came first."""


async def matched(
    protocol: str, sighted: Iterable[Sighted], endpoints: Sequence[ConfiguredEndpoint], addressed: bool
) -> list[DiscoveredDevice]:
    """The devices as they are answered, in the order of finding. An endpoint that names its host is known by
    the address that the name has now, too.

    Copies of a device may have its fingerprint, the more so while it is switched off: one that is where an
    endpoint reads is that endpoint's, unless the device of that was found as well, somewhere else."""
    devices = list(sighted)
    if not devices:
        return []
    by_fingerprint = {one.fingerprint: one for one in reversed(endpoints) if one.fingerprint is not None}
    by_place: Places = {}
    if addressed:
        for one in endpoints:
            if one.place is not None:
                by_place.setdefault(one.place, []).append(one)
        for place, those in (await _by_address(protocol, endpoints)).items():
            by_place.setdefault(place, []).extend(those)
    here = {one.device.fingerprint for one in devices}
    found = []
    until = perf_counter() + SLICE
    for sight in devices:
        known = _endpoint_of(protocol, sight, by_fingerprint, by_place, here)
        found.append(_device(protocol, sight, known))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return found


def _endpoint_of(
    protocol: str,
    sighted: Sighted,
    by_fingerprint: dict[str, ConfiguredEndpoint],
    by_place: Places,
    here: Collection[str],
) -> ConfiguredEndpoint | None:
    known = by_fingerprint.get(sighted.device.fingerprint)
    if not by_place:
        return known
    there = by_place.get(place_of(protocol, sighted.device.connection) or "", [])
    if known is None:
        return there[0] if there else None
    others = [one for one in there if one.fingerprint not in here]
    if known in there or not others:
        return known
    if any(known in by_place.get(place_of(protocol, other) or "", ()) for other in sighted.others):
        return known  # it answers there, too
    return others[0]


def _device(protocol: str, sighted: Sighted, known: ConfiguredEndpoint | None) -> DiscoveredDevice:
    device = sighted.device
    return DiscoveredDevice(
        name=device.name,
        protocol=protocol,
        fingerprint=device.fingerprint,
        connection=device.connection,
        data_points=device.data_points,
        confidence=device.confidence,
        discovered_at=sighted.at,
        validated=device.validated,
        validation_data=device.validation_data,
        metadata=device.metadata,
        known=known is not None,
        endpoint=None if known is None else known.configured.name,
        others=sighted.others,
    )


async def _by_address(protocol: str, endpoints: Sequence[ConfiguredEndpoint]) -> Places:
    """Endpoints whose host has a name, by the place that they have by its address."""
    named: dict[str, list[ConfiguredEndpoint]] = {}
    for one in endpoints:
        host = one.configured.connection.get("host")
        if isinstance(host, str) and not is_address(host) and (host in named or len(named) < NAMES):
            named.setdefault(host, []).append(one)
    if not named:
        return {}
    resolving = {asyncio.create_task(addresses(host, 0)): host for host in named}
    try:
        await asyncio.wait(resolving, timeout=RESOLVE_SECONDS)
    finally:
        for task in resolving:
            task.cancel()
        await asyncio.wait(resolving)
    found: Places = {}
    for task, host in resolving.items():
        if task.cancelled() or task.exception() is not None:
            continue
        for address in {each[4][0] for each in task.result()}:
            for one in named[host]:
                connection: dict[str, Any] = one.configured.connection | {"host": address}
                place = place_of(protocol, connection)
                if place is not None:
                    found.setdefault(place, []).append(one)
    return found
