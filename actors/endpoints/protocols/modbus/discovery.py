"""What a search for Modbus devices is asked for, and what it comes to (spec 03 section 8.2)."""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from actors.endpoints.discovering import Configured, Known, Plan
from actors.endpoints.targets import read_targets
from actors.system.checking import checked, respelled
from actors.system.failure import Refusal
from conf.annotations import allowed, also, reads
from conf.fields import Pem, listed, lower, trimmed

from .connection import Connection, SlaveRange, Transport, Unit, device_path, read_connection, transport_of

ABREAST = 64
"""Hosts that are asked at the same time, as a search is estimated."""
_NETWORK_TIMEOUT, _SERIAL_TIMEOUT = 2000, 5000
_USUAL = (1, 255, 0)
"""Units that a device on a network most often is: itself, or whoever is at the address."""
_FIRST, _LAST = 1, 10
"""Further units that are asked for when nobody says which."""
_MOST_PORTS, _MOST_RATES, _MOST_LINES = 16, 16, 16
_MORE = 2
"""Requests to a host that says nothing, beside one for each unit."""
_SERIAL = ("rtu", "ascii")


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _paths(value: Any) -> Any:
    return [device_path(one) for one in listed(value)] if isinstance(value, str | list | tuple) else value


Texts = Annotated[tuple[str, ...], reads(listed), allowed("a text or an array of strings")]
_Port = Annotated[int, Meta(ge=1, le=65535)]
_Rate = Annotated[int, Meta(ge=50, le=4_000_000)]


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Hosts are named by any of `network`, `host` and `hosts`; `baudRate` may be several
    that are tried one after the other."""

    network: Texts | None = None
    host: Texts | None = None
    hosts: Texts | None = None
    port: (
        Annotated[tuple[_Port, ...], Meta(max_length=_MOST_PORTS), reads(_several), also("ports")] | None
    ) = None
    unit_id: Annotated[Unit, also("slaveId")] | None = None
    slave_range: Annotated[SlaveRange, also("units")] | None = None
    timeout: Annotated[int, Meta(ge=100, le=30_000)] | None = None
    type: Annotated[Transport, reads(transport_of), also("transport")] | None = None
    serial_port: (
        Annotated[
            tuple[str, ...], Meta(max_length=_MOST_LINES), reads(_paths), allowed("paths of serial ports")
        ]
        | None
    ) = None
    baud_rate: Annotated[tuple[_Rate, ...], Meta(max_length=_MOST_RATES), reads(_several)] | None = None
    data_bits: Annotated[int, Meta(ge=7, le=8)] | None = None
    stop_bits: Annotated[int, Meta(ge=1, le=2)] | None = None
    parity: Annotated[Literal["none", "even", "odd"], reads(trimmed, lower)] | None = None
    delay_after_connect: Annotated[int, Meta(ge=0, le=30_000)] | None = None
    delay_between_requests: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: bool | None = None


class Place(msgspec.Struct, frozen=True):
    """A connection to be made, and the units to ask for over it, in that order."""

    connection: Connection
    units: tuple[int, ...]
    name: str = ""
    """Of the endpoint that is configured there."""
    asked: bool = False
    """Somebody said which units."""
    expected: bool = False
    """Somebody named it, not only a network that it is in: that nobody is there is worth a word."""

    @property
    def line(self) -> str:
        """What is asked one place after the other."""
        return self.connection.serial_port or self.connection.line


class PolledUnit(msgspec.Struct, frozen=True):
    """An endpoint that is configured. While it is enabled, its device is asked over its own connection."""

    name: str
    connection: Connection
    data_points: tuple[dict[str, Any], ...]
    enabled: bool
    says_timeout: bool = False


class Search(Plan, frozen=True):
    places: tuple[Place, ...]
    polled: tuple[PolledUnit, ...] = ()


def plan(given: dict[str, Any], known: Known, path: str) -> Search | None:
    """See `Discovery.plan`. Without a host, a network or a serial port the configured endpoints are looked
    for, and what the settings name."""
    options = checked(given, Options, path)
    try:
        return _planned(options, known, path)
    except Refusal as refusal:
        raise respelled(refusal, given, Options, path) from refusal


def _planned(options: Options, known: Known, path: str) -> Search | None:
    polled = tuple(_polled(known.endpoints))
    places = [*_network(options, path), *_serial(options, path)]
    if not places:
        _refuse_what_has_no_place(options, path)
        places = _merged([*_configured(polled, options, path), *_of_settings(options, known, path)])
    if not places:
        return None
    return Search(
        probes=sum(_probes(place) for place in places),
        within=_within(places),
        places=tuple(places),
        polled=polled,
    )


# What was asked for


def _network(options: Options, path: str) -> list[Place]:
    """Hosts, each with every port."""
    named: dict[str, bool] = {}
    for key in ("host", "hosts", "network"):
        texts: tuple[str, ...] = getattr(options, key) or ()
        if texts and options.type in _SERIAL:
            raise Refusal(f"{key} does not go with {options.type}", f"{path}.{key}")
        for text in texts:
            for host in read_targets(text, f"{path}.{key}"):
                named.setdefault(host, False)
                named[host] |= host == text.strip().lower() or host == text.strip()
    if not named:
        return []
    read_targets(named, f"{path}.{_key_of_hosts(options)}")
    base = _connection({"host": "host", "type": options.type or "tcp"}, options, path)
    units = _units(options, base, path)
    ports = options.port or (base.port,)
    asked = _are_asked(options)
    return [
        Place(replace(base, host=host, port=port), units, asked=asked, expected=expected)
        for host, expected in named.items()
        for port in dict.fromkeys(ports)
    ]


def _key_of_hosts(options: Options) -> str:
    return next(key for key in ("network", "hosts", "host") if getattr(options, key))


def _serial(options: Options, path: str) -> list[Place]:
    """Serial lines, each with every baud rate."""
    if options.serial_port is None:
        if options.type in _SERIAL:
            raise Refusal(f"{options.type} needs a serialPort", f"{path}.serialPort")
        return []
    kind = options.type or "rtu"
    if kind not in _SERIAL:
        raise Refusal(f"serialPort does not go with {kind}", f"{path}.serialPort")
    base = _connection({"serialPort": options.serial_port[0], "type": kind}, options, path)
    units = _units(options, base, path)
    return [
        Place(
            replace(base, serial_port=port, baud_rate=rate), units, asked=_are_asked(options), expected=True
        )
        for port in dict.fromkeys(options.serial_port)
        for rate in dict.fromkeys(options.baud_rate or (base.baud_rate,))
    ]


_ALIKE = ("data_bits", "stop_bits", "parity", "delay_after_connect", "delay_between_requests")
_OF_TLS = ("ca", "cert", "key", "reject_unauthorized")


def _connection(place: dict[str, Any], options: Options, path: str) -> Connection:
    """The connection that all the places of a kind are like."""
    serial = place["type"] in _SERIAL
    given = place | {"timeout": options.timeout or (_SERIAL_TIMEOUT if serial else _NETWORK_TIMEOUT)}
    for field in _ALIKE + (() if serial else _OF_TLS):
        value = getattr(options, field)
        if value is not None:
            given[msgspec.structs.fields(Options)[Options.__struct_fields__.index(field)].encode_name] = value
    try:
        return read_connection(given)
    except Refusal as refusal:
        raise _moved(refusal, path) from refusal


def _moved(refusal: Refusal, path: str) -> Refusal:
    """The refusal of a connection as one of the options that it was made of."""
    return Refusal(refusal.message, f"{path}.{(refusal.field or '').removeprefix('connection.')}")


def _units(options: Options, connection: Connection, path: str) -> tuple[int, ...]:
    span = options.slave_range
    asked: list[int] = []
    if options.unit_id is not None:
        asked.append(options.unit_id)
    if span is not None:
        if span.start > span.end:
            raise Refusal("slaveRange ends before it starts", f"{path}.slaveRange.end")
        asked.extend(range(span.start, span.end + 1))
    if asked and is_line(connection):
        for unit, key in (
            (asked[0], "slaveRange.start" if options.unit_id is None else "unitId"),
            (asked[-1], "slaveRange.end" if span else "unitId"),
        ):
            if not 1 <= unit <= 247:
                raise Refusal(f"{key} must be an integer from 1 to 247 on a serial line", f"{path}.{key}")
    if not asked:
        return units_of(range(_FIRST, _LAST + 1), connection, usual=True)
    return units_of(asked, connection)


def _are_asked(options: Options) -> bool:
    return options.unit_id is not None or options.slave_range is not None


def is_line(connection: Connection) -> bool:
    """Whether its units are those of a serial line, where 0 is everybody, and nobody is above 247."""
    return connection.is_serial or connection.transport == "rtu-over-tcp"


def units_of(units: Iterable[int], connection: Connection, *, usual: bool = False) -> tuple[int, ...]:
    """In the order in which they are asked, the likeliest first; with `usual` these in any case."""
    wanted = list(dict.fromkeys(units))
    first = [unit for unit in _USUAL if unit in wanted or (usual and not is_line(connection))]
    return tuple(dict.fromkeys([*first, *wanted]))


# What is configured


def _polled(endpoints: Sequence[Configured]) -> Iterator[PolledUnit]:
    for endpoint in endpoints:
        try:
            connection = read_connection(endpoint.connection)
        except Refusal:
            continue  # it is not read either, and says so itself
        says_timeout = endpoint.connection.get("timeout") is not None
        yield PolledUnit(endpoint.name, connection, endpoint.data_points, endpoint.enabled, says_timeout)


def _configured(polled: Sequence[PolledUnit], options: Options, path: str) -> Iterator[Place]:
    for endpoint in polled:
        connection = endpoint.connection
        if options.timeout is not None:
            connection = replace(connection, timeout=options.timeout / 1000)
        elif not endpoint.says_timeout and not connection.is_serial:
            connection = replace(connection, timeout=_NETWORK_TIMEOUT / 1000)
        span = connection.slave_range
        found: Iterable[int] = (connection.unit,) if span is None else range(span[0], span[1] + 1)
        asked = _are_asked(options)
        if asked:
            found = _units(options, connection, path)
        asked = asked or span is not None
        yield Place(connection, units_of(found, connection), endpoint.name, asked, expected=True)


def _of_settings(options: Options, known: Known, path: str) -> Iterator[Place]:
    """The host and the serial port that the agent's own configuration names."""
    settings = known.settings.discovery
    timeout = options.timeout or settings.modbus_timeout_ms
    common = replace(options, timeout=max(100, min(timeout, 30_000)))
    if not _are_asked(options):
        common = replace(
            common, slave_range=SlaveRange(settings.modbus_first_unit, settings.modbus_last_unit)
        )
    if settings.modbus_tcp_host is not None:
        yield from _network(
            replace(common, host=(settings.modbus_tcp_host,), port=(settings.modbus_tcp_port,)), path
        )
    if settings.modbus_serial_port is not None:
        rate = options.baud_rate or (settings.modbus_baud_rate,)
        lines = checked({"serialPort": settings.modbus_serial_port}, Options, path).serial_port
        yield from _serial(replace(common, serial_port=lines, baud_rate=rate), path)


def _refuse_what_has_no_place(options: Options, path: str) -> None:
    """What says how to reach a place means nothing where the configuration says so."""
    for key, value in (("port", options.port), ("type", options.type), ("baudRate", options.baud_rate)):
        if value is not None:
            raise Refusal(f"{key} needs a network, a host or a serialPort", f"{path}.{key}")


def _merged(places: Iterable[Place]) -> list[Place]:
    """One place for each line: several endpoints may share it."""
    merged: dict[str, Place] = {}
    for place in places:
        there = merged.get(place.connection.line)
        if there is not None:
            units = units_of([*there.units, *place.units], place.connection)
            place = replace(there, units=units, asked=there.asked or place.asked)
        merged[place.connection.line] = place
    return list(merged.values())


# How long it takes


def _probes(place: Place) -> int:
    return len(place.units) if place.connection.is_serial else 1


def _within(places: Sequence[Place]) -> float:
    """Hosts where nobody is cost a time-out each, so many at once, one that takes the connection and says
    nothing one for each unit; so do serial lines."""
    hosts = [place.connection.timeout for place in places if not place.connection.is_serial]
    silent = max((_silent(place) for place in places if not place.connection.is_serial), default=0.0)
    network = ceil(len(hosts) / ABREAST) * max(hosts, default=0.0) + silent
    lines: dict[str, float] = {}
    for place in places:
        if place.connection.is_serial:
            lines[place.line] = lines.get(place.line, 0.0) + _silent(place)
    return max(network, *lines.values(), 0.0) if lines else network


def _silent(place: Place) -> float:
    return (len(place.units) + _MORE) * place.connection.timeout
