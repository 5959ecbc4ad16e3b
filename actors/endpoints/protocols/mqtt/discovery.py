"""What a search over MQTT is asked for, and what it comes to (spec 03 section 8.2): devices in what a broker
hands out, or brokers on a network."""

from collections.abc import Iterator
from math import ceil
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from actors.endpoints.discovering import At, Configured, Known, Plan
from actors.endpoints.targets import read_targets
from actors.mqtt.broker import V311, version
from actors.mqtt.fields import Limited, limited
from actors.system.checking import checked, respelled
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import Flag, Pem, Text, kept, listed, trimmed
from conf.settings import Settings

from . import patterns
from .connection import EVERYTHING, Connection, read_connection

PORT = 1883
ABREAST = 64
"""Hosts that are asked at the same time, as a search is estimated."""
_MOST_PORTS = 16
_MOST_FILTERS = 64
_LOGIN = ("username", "password", "ca", "cert", "key", "reject_unauthorized", "protocol_version")


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _filters(value: Any) -> Any:
    for each in value if isinstance(value, list | tuple) else ():
        if isinstance(each, str):
            patterns.parse(each)
    return value


Texts = Annotated[tuple[str, ...], reads(listed), allowed("a text or an array of strings")]
_Port = Annotated[int, Meta(ge=1, le=65535)]


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. `topics` are listened to for `duration` at the broker of `brokerUrl`; brokers are
    looked for at any of `network`, `host` and `hosts`, each for at most `timeout`. Both are ms."""

    broker_url: Annotated[Text, also("url")] | None = None
    username: Limited | None = None
    password: Annotated[str, reads(kept, limited)] | None = None
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: Flag = True
    protocol_version: Annotated[int, reads(trimmed, version), allowed("3.1.1 or 5")] = V311
    topics: (
        Annotated[
            tuple[str, ...],
            Meta(max_length=_MOST_FILTERS),
            reads(listed, _filters),
            also("topic"),
            allowed("a topic or a topic filter, or several"),
        ]
        | None
    ) = None
    duration: Annotated[int, Meta(ge=100, le=600_000)] | None = None
    qos: Annotated[int, Meta(ge=0, le=2)] | None = None
    max_topics: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    network: Texts | None = None
    host: Texts | None = None
    hosts: Texts | None = None
    port: (
        Annotated[tuple[_Port, ...], Meta(max_length=_MOST_PORTS), reads(_several), also("ports")] | None
    ) = None
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = 5000


class Sample(msgspec.Struct, frozen=True):
    """What to listen to. `given` is how an endpoint says where that broker is: nothing, where it is the one
    of files and environment."""

    connection: Connection
    given: dict[str, Any]
    filters: tuple[str, ...]
    seconds: float
    qos: int
    topics: int
    """As many of them are looked at."""
    foreign: bool
    """Whether it is another broker than that of files and environment."""


class Place(msgspec.Struct, frozen=True):
    """Where a broker may be."""

    host: str
    port: int = PORT
    expected: bool = False
    """Somebody named it, not only a network that it is in."""

    @property
    def at(self) -> At:
        return At(self.host, self.port)


class Listening(msgspec.Struct, frozen=True):
    """An endpoint that is configured and enabled."""

    name: str
    connection: Connection
    filters: tuple[str, ...]


class Search(Plan, frozen=True):
    sample: Sample | None = None
    places: tuple[Place, ...] = ()
    timeout: float = 5.0
    known: tuple[Listening, ...] = ()


def plan(given: dict[str, Any], known: Known, path: str) -> Search | None:
    """See `Discovery.plan`. Where nothing is asked for it is what the settings name: topics of their
    broker."""
    options = checked(given, Options, path)
    try:
        return _planned(options, known, path)
    except Refusal as refusal:
        raise respelled(refusal, given, Options, path) from refusal


def _planned(options: Options, known: Known, path: str) -> Search | None:
    places = tuple(_places(options, path))
    if not places and options.port is not None:
        raise Refusal("port needs a network or a host", f"{path}.port")
    sample = _sample(options, known.settings, path, alone=not places)
    if sample is None and not places:
        return None
    timeout = options.timeout / 1000
    listening = 0.0 if sample is None else sample.seconds + 3 * timeout
    asking = ceil(len(places) / ABREAST) * 2 * timeout * (len(options.port or ()) or 1)
    return Search(
        probes=len(places) + (sample is not None),
        within=max(listening, asking),
        sample=sample,
        places=places,
        timeout=timeout,
        known=tuple(_listening(known.endpoints)),
    )


def _places(options: Options, path: str) -> Iterator[Place]:
    named: dict[str, bool] = {}
    for key in ("host", "hosts", "network"):
        for text in getattr(options, key) or ():
            for host in read_targets(text, f"{path}.{key}"):
                named[host] = named.get(host, False) or host in (text.strip(), text.strip().lower())
    if not named:
        return
    key = next(key for key in ("network", "hosts", "host") if getattr(options, key))
    read_targets(named, f"{path}.{key}")
    for host, expected in named.items():
        for port in dict.fromkeys(options.port or (PORT,)):
            yield Place(host, port, expected)


def _sample(options: Options, settings: Settings, path: str, alone: bool) -> Sample | None:
    """None: nobody wants to listen, or nobody says where. All topics of a broker are listened to only if it
    was named."""
    configured = settings.discovery
    topics = options.topics
    if topics is None and alone:
        topics = tuple(configured.mqtt_roots) or None
    if topics is None and options.broker_url is None:
        if alone and any(value is not None for value in (options.duration, options.qos, options.username)):
            raise Refusal("topics is required: they are what is listened to", f"{path}.topics")
        return None
    filters = topics or (EVERYTHING,)
    _check(filters, path)
    given = _given(options)
    found = dict(given)
    if options.broker_url is None:
        if settings.mqtt.broker_url is None:
            if options.topics is None:
                return None
            raise Refusal("brokerUrl is required: the agent has no broker of its own", f"{path}.brokerUrl")
        found |= {"brokerUrl": settings.mqtt.broker_url}
        if options.username is None and settings.mqtt.username is not None:
            found |= {"username": settings.mqtt.username, "password": settings.mqtt.password}
    try:
        connection = read_connection({**found, "timeout": options.timeout})
    except Refusal as refusal:
        field = (refusal.field or "").removeprefix("connection.")
        raise Refusal(refusal.message, f"{path}.{field}") from refusal
    duration = configured.mqtt_duration_ms if options.duration is None else options.duration
    return Sample(
        connection=connection,
        given=given,
        filters=tuple(dict.fromkeys(filters)),
        seconds=duration / 1000,
        qos=configured.mqtt_qos if options.qos is None else options.qos,
        topics=options.max_topics,
        foreign=connection.address != _own_address(settings),
    )


def _own_address(settings: Settings) -> str | None:
    if settings.mqtt.broker_url is None:
        return None
    try:
        return read_connection({"brokerUrl": settings.mqtt.broker_url}).address
    except Refusal:
        return None


def _check(filters: tuple[str, ...], path: str) -> None:
    """Those of the settings were not checked there."""
    for each in filters:
        try:
            pattern = patterns.parse(each)
        except ValueError as error:
            raise Refusal(f"the topic {each[:100]} {error}", f"{path}.topics") from error
        if pattern.levels[0].startswith("$"):
            raise Refusal(f"{each[:100]} is of the broker itself, and of no device", f"{path}.topics")


def _given(options: Options) -> dict[str, Any]:
    fields = msgspec.structs.fields(Options)
    said = {
        one.encode_name: getattr(options, one.name) for one in fields if one.name in ("broker_url", *_LOGIN)
    }
    defaults = {one.encode_name: one.default for one in fields}
    return {key: value for key, value in said.items() if value is not None and value != defaults[key]}


def _listening(endpoints: tuple[Configured, ...]) -> Iterator[Listening]:
    for endpoint in endpoints:
        if not endpoint.enabled:
            continue
        try:
            connection = read_connection(endpoint.connection)
        except Refusal:
            continue  # it does not listen either, and says so itself
        topics = [point.get("topic") for point in endpoint.data_points]
        filters = [patterns.parse(each).filter for each in topics if isinstance(each, str) and each.strip()]
        if connection.topic is not None:
            filters.append(patterns.below(connection.topic).filter)
        yield Listening(endpoint.name, connection, tuple(filters or (EVERYTHING,)))
