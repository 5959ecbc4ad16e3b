"""What a search for OPC UA servers is asked for, and what it comes to (spec 03 section 8.2)."""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import At, Configured, Known, Plan
from actors.endpoints.targets import MOST, read_targets
from actors.system.checking import checked, respelled
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import Text, kept, listed

from .connection import PORT, Connection, Mode, Policy, Thumbprint, Trust, read_connection, url_of

LOCAL = f"opc.tcp://localhost:{PORT}"
ABREAST = 64
"""Hosts that are asked at the same time, as a search is estimated."""
LISTENING = 3.0
"""Seconds in which servers answer to multicast DNS."""
SILENT = 3
"""Time-outs that somebody who takes the connection and says nothing costs at most."""
_MOST_PORTS = 16
_OF_CONNECTION = (
    *("security_mode", "security_policy", "username", "password"),
    *("certificate_trust_mode", "expected_server_thumbprint"),
)


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _urls(value: Any) -> Any:
    return [url_of(one) for one in value] if isinstance(value, list | tuple) else value


Texts = Annotated[tuple[str, ...], reads(listed), allowed("a text or an array of strings")]
_Port = Annotated[int, Meta(ge=1, le=65535)]


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Servers are named by any of `discoveryUrls`, `network`, `host` and `hosts`, or
    answer to `mdns`; how their sessions are opened is said as in a connection."""

    discovery_urls: (
        Annotated[
            tuple[str, ...],
            Meta(max_length=MOST),
            reads(listed, _urls),
            also("endpointUrl", "endpointUrls"),
            allowed("a URL such as opc.tcp://192.168.1.10:4840, or several"),
        ]
        | None
    ) = None
    network: Texts | None = None
    host: Texts | None = None
    hosts: Texts | None = None
    port: (
        Annotated[tuple[_Port, ...], Meta(max_length=_MOST_PORTS), reads(_several), also("ports")] | None
    ) = None
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = 5000
    mdns: bool = False
    security_mode: Mode | None = None
    security_policy: Policy | None = None
    username: Text | None = None
    password: Annotated[str, reads(kept)] | None = None
    certificate_trust_mode: Trust | None = None
    expected_server_thumbprint: Thumbprint | None = None
    max_depth: Annotated[int, Meta(ge=1, le=20)] = 10
    max_nodes: Annotated[int, Meta(ge=1, le=5000)] = 1000


class Place(msgspec.Struct, frozen=True):
    """Where a server may be. `path` is of its URL, with the slash."""

    host: str
    port: int = PORT
    path: str = ""
    expected: bool = False
    """Somebody named it, not only a network that it is in: that nobody is there is worth a word, and what
    the user is called and knows is for it."""
    told: bool = False
    """By another server, or by multicast DNS."""

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}{self.path}"

    @property
    def at(self) -> At:
        return At(self.host, self.port)

    @property
    def text(self) -> str:
        """For people."""
        return self.url.removeprefix("opc.tcp://")


class PolledServer(msgspec.Struct, frozen=True):
    """An endpoint that is configured and enabled."""

    name: str
    connection: Connection
    given: dict[str, Any]
    data_points: tuple[dict[str, Any], ...]


class Search(Plan, frozen=True):
    places: tuple[Place, ...]
    base: Connection
    """How sessions are opened, of a host that is none."""
    given: dict[str, Any]
    """What the client said of that, as in a connection."""
    mdns: bool = False
    depth: int = 10
    nodes: int = 1000
    polled: tuple[PolledServer, ...] = ()


def plan(given: dict[str, Any], known: Known, path: str) -> Search:
    """See `Discovery.plan`. Where nothing is named it is what the settings name, and the servers of the
    configured endpoints; where there are none, a server on this machine."""
    options = checked(given, Options, path)
    try:
        return _planned(options, known, path)
    except Refusal as refusal:
        raise respelled(refusal, given, Options, path) from refusal


def _planned(options: Options, known: Known, path: str) -> Search:
    said = _said(options)
    base = _base(said, options, path)
    places = [*_of_urls(options.discovery_urls or ()), *_of_hosts(options, path)]
    if not places and not options.mdns:
        if options.port is not None:
            raise Refusal("port needs a network or a host", f"{path}.port")
        places = [*_configured(known.endpoints), *_of_settings(known)] or [place_of(LOCAL, expected=False)]
    places = _merged(places)
    read_targets((one.host for one in places), f"{path}.{_key_of_hosts(options)}") if places else None
    return Search(
        probes=len(places),
        within=_within(places, options),
        places=tuple(places),
        base=base,
        given=said,
        mdns=options.mdns,
        depth=options.max_depth,
        nodes=options.max_nodes,
        polled=tuple(_polled(known.endpoints)),
    )


def _said(options: Options) -> dict[str, Any]:
    names = dict(
        zip(
            Options.__struct_fields__,
            (one.encode_name for one in msgspec.structs.fields(Options)),
            strict=True,
        )
    )
    values = {names[key]: getattr(options, key) for key in _OF_CONNECTION}
    return {key: value for key, value in values.items() if value is not None}


def _base(said: dict[str, Any], options: Options, path: str) -> Connection:
    given = {"endpointUrl": "opc.tcp://host", "connectionTimeout": options.timeout, **said}
    try:
        return read_connection(given)
    except Refusal as refusal:
        field = (refusal.field or "").removeprefix("connection.")
        raise Refusal(refusal.message, f"{path}.{field}") from refusal


# Places


def place_of(url: str, *, expected: bool = True) -> Place:
    """Of a URL that was checked."""
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or PORT, parts.path, expected)


def _of_urls(urls: Iterable[str]) -> Iterator[Place]:
    return (place_of(url) for url in urls)


def _of_hosts(options: Options, path: str) -> Iterator[Place]:
    """Hosts, each with every port."""
    for key in ("host", "hosts", "network"):
        for text in getattr(options, key) or ():
            for host in read_targets(text, f"{path}.{key}"):
                expected = host == text.strip() or host == text.strip().lower()
                for port in dict.fromkeys(options.port or (PORT,)):
                    yield Place(host, port, expected=expected)


def _configured(endpoints: Iterable[Configured]) -> Iterator[Place]:
    for endpoint in endpoints:
        try:
            yield from _of_urls(read_connection(endpoint.connection).urls)
        except Refusal:
            continue  # it is not read either, and says so itself


def _of_settings(known: Known) -> Iterator[Place]:
    """What the agent's own configuration names; it was not checked there. Raises `Refusal`."""
    for url in known.settings.discovery.opcua_urls:
        try:
            yield place_of(url_of(url))
        except ValueError as error:
            raise Refusal(f"discovery.opcua_urls: {url} {error}") from error


def _merged(places: Iterable[Place]) -> list[Place]:
    """Each server once; several URLs of one may differ in their paths."""
    merged: dict[tuple[str, int, str], Place] = {}
    for place in places:
        key = (place.host, place.port, place.path.rstrip("/"))
        there = merged.get(key)
        if there is None or (place.expected and not there.expected):
            merged[key] = place
    return list(merged.values())


def _key_of_hosts(options: Options) -> str:
    return next((key for key in ("network", "hosts", "host") if getattr(options, key)), "discoveryUrls")


def _polled(endpoints: Iterable[Configured]) -> Iterator[PolledServer]:
    for endpoint in endpoints:
        try:
            connection = read_connection(endpoint.connection)
        except Refusal:
            continue
        if endpoint.enabled:
            yield PolledServer(endpoint.name, connection, endpoint.connection, endpoint.data_points)


def _within(places: list[Place], options: Options) -> float:
    """Hosts where nobody is cost a time-out for each of their ports, so many at once; the slowest of them is
    one that takes the connection and says nothing."""
    seconds = options.timeout / 1000
    by_host: dict[str, int] = {}
    for place in places:
        by_host[place.host] = by_host.get(place.host, 0) + 1
    rounds = ceil(len(places) / ABREAST) + max(by_host.values(), default=0) * SILENT
    return rounds * seconds + (LISTENING + SILENT * seconds if options.mdns else 0.0)
