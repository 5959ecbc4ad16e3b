"""What a scan is to do, made of what somebody asks for and what there is. Touches no network."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

import msgspec

from actors.connections.building import build
from actors.connections.deadlines import Overdue, bounded
from actors.endpoints import protocols
from actors.endpoints.discovering import Configured, Discovery, Known, Plan
from actors.endpoints.messages import ConfiguredEndpoint
from actors.system.checking import refuse_unknown
from actors.system.failure import Refusal
from conf.annotations import join
from conf.settings import Settings

WITHIN: Final = 20.0  # seconds for one protocol's plan


class Wanted(msgspec.Struct, frozen=True):
    """`protocols` None: all that have something to look for. `options` are by protocol, found in the request
    at `path` (`params_json` where there is one protocol, whose options they are)."""

    protocols: tuple[str, ...] | None = None
    options: dict[str, dict[str, Any]] = {}
    validate: bool = False
    path: str = "overrides"
    single: bool = False

    def path_of(self, protocol: str) -> str:
        return self.path if self.single else join(self.path, protocol)


class Planned(msgspec.Struct, frozen=True):
    """One protocol's part. `scope` tells scans that look at the same from others."""

    protocol: str
    discovery: Discovery
    plan: Plan
    scope: str


class Plans(msgspec.Struct, frozen=True):
    """`errors` is why there is nothing to do of a protocol that was asked for, or of which what the settings
    say is not right."""

    planned: tuple[Planned, ...]
    errors: dict[str, str] = {}


class Unplanned(msgspec.Struct, frozen=True):
    """Why there is no plan; `told` even where nobody has asked for the protocol."""

    reason: str
    told: bool = False


def named(wanted: Wanted) -> tuple[str, ...]:
    """The protocols that may be looked for. Raises `Refusal` for a name that is not known, or that cannot
    look for devices."""
    known = protocols.names()
    for index, name in enumerate(wanted.protocols or ()):
        _check(name, "protocol" if wanted.single else f"protocols[{index}]", known)
    for name in wanted.options:
        _check(name, join(wanted.path, name), known)
    return known if wanted.protocols is None else tuple(dict.fromkeys(wanted.protocols))


def _check(name: str, field: str, known: Sequence[str]) -> None:
    if name not in known:
        raise Refusal(f"Unknown protocol: {name} (known: {', '.join(known)})", field)
    found = protocols.look_up(name).protocol
    if found is not None and found.discovery is None:
        raise Refusal(f"Protocol {name} cannot look for devices", field, "unsupported")


async def plans(wanted: Wanted, endpoints: Iterable[ConfiguredEndpoint], settings: Settings) -> Plans:
    """Made in threads: descriptors are imported there, options of a thousand hosts are read, and what one
    protocol does that others bring is its own matter. Raises `Refusal` naming the field of an option that is
    not right."""
    by_protocol: dict[str, list[Configured]] = {}
    for one in endpoints:
        by_protocol.setdefault(one.protocol, []).append(one.configured)
    names = await build("names of protocols", partial(named, wanted))
    parts = []
    for name in names:
        known = Known(settings, tuple(by_protocol.get(name, ())))
        parts.append(_part(wanted, name, known))
    planned: list[Planned] = []
    errors: dict[str, str] = {}
    for name, part in zip(names, await asyncio.gather(*parts), strict=True):
        if isinstance(part, Planned):
            planned.append(part)
        elif part.told or wanted.protocols is not None:
            errors[name] = part.reason
    return Plans(tuple(planned), errors)


async def _part(wanted: Wanted, name: str, known: Known) -> Planned | Unplanned:
    """Raises `Refusal` of what the client has said; what settings say is no matter of the others."""
    planning = partial(plan, name, wanted.options.get(name, {}), known, wanted.path_of(name))
    try:
        found = await bounded(build(f"plans of {name}", planning), WITHIN)
    except Overdue:
        return Unplanned(f"its plan is not made within {WITHIN:g} s", told=True)
    except Refusal as refusal:
        if refusal.kind in ("unavailable", "unsupported"):
            return Unplanned(refusal.message)
        if wanted.options.get(name):
            raise
        return Unplanned(refusal.message, told=True)
    return found or Unplanned("nobody has said where to look, and nothing is configured")


def plan(name: str, options: Mapping[str, Any], known: Known, path: str) -> Planned | None:
    """One protocol's; None when nothing was asked for, and nothing is configured. Raises `Refusal`."""
    protocol = protocols.find(name)
    discovery = protocol.discovery
    if discovery is None:
        raise Refusal(f"Protocol {name} cannot look for devices", "protocol", "unsupported")
    given = dict(options)
    refuse_unknown(given, discovery.options, path)
    made = discovery.plan(given, known, path)
    if made is None:
        return None
    return Planned(name, discovery, made, scope(name, given, known.settings))


def scope(protocol: str, options: Mapping[str, Any], settings: Settings) -> str:
    """Equal for scans that look at the same: the options, and what settings say where they say nothing."""
    told = msgspec.json.encode([protocol, options], order="deterministic")
    told += repr((settings.discovery, settings.mqtt.broker_url)).encode()
    return f"{protocol}:{sha256(told).hexdigest()[:16]}"
