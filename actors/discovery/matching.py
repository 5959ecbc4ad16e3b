"""Which of the devices that were found an endpoint reads already."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, Final

from actors.connections.dialing import addresses
from actors.discovery.messages import DiscoveredDevice
from actors.discovery.probing import Sighted
from actors.endpoints.configured import where
from actors.endpoints.discovering import At
from actors.endpoints.messages import ConfiguredEndpoint
from conf.hosts import is_address

SLICE: Final = 0.002  # seconds before others have their turn
NAMES: Final = 256
"""Host names that are looked up; endpoints beyond are known by the name that they are configured with."""
RESOLVE_SECONDS: Final = 5.0

Place = str | tuple[At, str]
Places = dict[Place, list[ConfiguredEndpoint]]
"""The endpoints by where they read, those first that came first."""


async def matched(
    protocol: str,
    sighted: Iterable[Sighted],
    endpoints: Sequence[ConfiguredEndpoint],
    addressed: bool,
    known: Callable[[str], str] = str,
) -> list[DiscoveredDevice]:
    """The devices as they are answered, in the order of finding. An endpoint that names its host is known by
    the address that the name has now, too; `known` is the address of a host's name that the scan has asked.

    Copies of a device may have its fingerprint, the more so while it is switched off: one that is where an
    endpoint reads is that endpoint's, unless the device of that was found as well, somewhere else."""
    devices = list(sighted)
    if not devices:
        return []
    by_fingerprint = {one.fingerprint: one for one in reversed(endpoints) if one.fingerprint is not None}
    by_place: Places = {}
    if addressed:
        for one in endpoints:
            for place in (*(() if one.place is None else (one.place,)), *one.known_by):
                by_place.setdefault(place, []).append(one)
        for place, those in (await _by_address(protocol, endpoints)).items():
            by_place.setdefault(place, []).extend(those)
    index = _Index(protocol, by_place, known)
    here = {one.device.fingerprint for one in devices}
    found = []
    until = perf_counter() + SLICE
    for sight in devices:
        endpoint = _endpoint_of(sight, by_fingerprint, index, here)
        found.append(_device(protocol, sight, endpoint))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + SLICE
    return found


class _Index:
    """Whose place a connection is."""

    def __init__(self, protocol: str, by_place: Places, known: Callable[[str], str]) -> None:
        self._protocol = protocol
        self._by_place = by_place
        self._known = known

    def at(self, connection: dict[str, Any]) -> list[ConfiguredEndpoint]:
        found: dict[str, ConfiguredEndpoint] = {}
        for place in self._places(connection) if self._by_place else ():
            for one in self._by_place.get(place, ()):
                found.setdefault(one.uuid, one)
        return list(found.values())

    def _places(self, connection: dict[str, Any]) -> Iterator[Place]:
        said = where(self._protocol, connection)
        if said is None:
            return
        yield said.address
        host = connection.get("host")
        if isinstance(host, str) and (address := self._known(host)) != host:
            resolved = where(self._protocol, connection | {"host": address})
            if resolved is not None:
                yield resolved.address
        for at, device in (*said.known_by, *said.answers_to):
            yield at, device
            yield At(self._known(at.host), at.port), device


def _endpoint_of(
    sighted: Sighted,
    by_fingerprint: dict[str, ConfiguredEndpoint],
    index: _Index,
    here: Collection[str],
) -> ConfiguredEndpoint | None:
    known = by_fingerprint.get(sighted.device.fingerprint)
    there = index.at(sighted.device.connection)
    if known is None:
        return there[0] if there else None
    others = [one for one in there if one.fingerprint not in here]
    if known in there or not others:
        return known
    if any(known in index.at(other) for other in sighted.others):
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
        hosts = [one.configured.connection.get("host"), *(at.host for at, _ in one.known_by)]
        for host in dict.fromkeys(host for host in hosts if host and isinstance(host, str)):
            if not is_address(host) and (host in named or len(named) < NAMES):
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
                for place in _at_address(protocol, one, host, address):
                    found.setdefault(place, []).append(one)
    return found


def _at_address(protocol: str, endpoint: ConfiguredEndpoint, host: str, address: str) -> Iterator[Place]:
    """The places of an endpoint that names that host, by its address."""
    connection = endpoint.configured.connection
    if connection.get("host") == host:
        said = where(protocol, connection | {"host": address})
        if said is not None:
            yield said.address
    for at, device in endpoint.known_by:
        if at.host == host:
            yield At(address, at.port), device
