"""What a search for SNMP agents is asked for, and what it comes to (spec 03 section 8.2)."""

from math import ceil
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import At, Known, Plan
from actors.endpoints.targets import MOST, read_targets
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import listed, one_line, trimmed

from .connection import (
    AuthProtocol,
    Connection,
    Key,
    Level,
    PrivProtocol,
    Version,
    read_auth,
    read_connection,
    read_level,
    read_priv,
    read_version,
)

ABREAST = 10
"""Hosts that are asked at the same time."""
_MOST_COMMUNITIES = 16
_TIMEOUT = 2000
_MORE = 5.0
"""Seconds for names, and for the first agent that is found."""

Texts = Annotated[tuple[str, ...], reads(listed), allowed("a text or an array of strings")]


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Hosts are named by any of `network`, `host` and `hosts`. With a user of v3 that is
    tried, and then the communities if there are any."""

    network: Annotated[Texts, also("ranges")] | None = None
    host: Texts | None = None
    hosts: Texts | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 161
    version: Annotated[Version, reads(read_version), allowed("v1, v2c or v3")] | None = None
    community: Annotated[Texts, also("communities"), Meta(max_length=_MOST_COMMUNITIES)] | None = None
    username: Annotated[str, Meta(max_length=32), reads(trimmed, one_line)] | None = None
    security_level: Annotated[Level, reads(read_level)] | None = None
    auth_protocol: Annotated[AuthProtocol, reads(read_auth)] | None = None
    auth_key: Key | None = None
    priv_protocol: Annotated[PrivProtocol, reads(read_priv)] | None = None
    priv_key: Key | None = None
    context_name: Annotated[str, Meta(max_length=255), reads(trimmed, one_line)] | None = None
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = _TIMEOUT
    retries: Annotated[int, Meta(ge=0, le=5)] = 1


class Place(msgspec.Struct, frozen=True):
    """A host, and the ways to ask it, in that order: each an endpoint's `connection` without the host."""

    host: str
    port: int
    ways: tuple[dict[str, Any], ...]

    @property
    def at(self) -> At:
        return At(self.host, self.port)


class Search(Plan, frozen=True):
    places: tuple[Place, ...]


_OF_V3 = (
    *("username", "securityLevel", "authProtocol", "authKey", "privProtocol", "privKey", "contextName"),
)


def plan(given: dict[str, Any], known: Known, path: str) -> Search | None:
    """See `Discovery.plan`. Without a host or a network the configured endpoints are looked for."""
    options = checked(given, Options, path)
    hosts = _hosts(options, path)
    if hosts:
        ways = tuple(_ways(given, options, path))
        places = [Place(host, options.port, ways) for host in hosts]
    else:
        places = list(_configured(known))
    if not places:
        return None
    wait = (1 + options.retries) * options.timeout / 1000
    longest = max(len(place.ways) for place in places)
    within = ceil(len(places) / ABREAST) * longest * wait + _MORE
    return Search(probes=len(places), within=within, places=tuple(places))


def _hosts(options: Options, path: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for key in ("host", "hosts", "network"):
        texts = getattr(options, key)
        if texts:
            found |= dict.fromkeys(read_targets(texts, f"{path}.{key}"))
            if len(found) > MOST:
                raise Refusal(f"names more than {MOST} hosts", f"{path}.{key}")
    return tuple(found)


def _ways(given: dict[str, Any], options: Options, path: str) -> list[dict[str, Any]]:
    shared = {"timeout": options.timeout, "retries": options.retries}
    ways = []
    if options.username is not None or options.version == "v3":
        user = {key: given[key] for key in _OF_V3 if given.get(key) not in (None, "")}
        ways.append({"version": "v3", **user, **shared})
        _check(ways[0], path)
    if options.version != "v3" and (not ways or options.community):
        version = options.version or "v2c"
        for community in options.community or ("public",):
            if not community:
                raise Refusal("a community must not be empty", f"{path}.community")
            ways.append({"version": version, "community": community, **shared})
            _check(ways[-1], path)
    return ways


def _check(way: dict[str, Any], path: str) -> None:
    try:
        read_connection({"host": "h", **way})
    except Refusal as refusal:
        key = (refusal.field or "").removeprefix("connection")
        raise Refusal(refusal.message, f"{path}{key}") from refusal


def _configured(known: Known) -> list[Place]:
    places = []
    for endpoint in known.endpoints:
        try:
            connection = read_connection(endpoint.connection)
        except Refusal:  # it is not read either
            continue
        way = {key: value for key, value in endpoint.connection.items() if key not in ("host", "port")}
        places.append(Place(connection.host, connection.port, (way,)))
    return places


def connection_of(place: Place, way: dict[str, Any], host: str) -> Connection:
    return read_connection({**way, "host": host, "port": place.port})
