"""The `connection` object of a Modbus endpoint (spec 03 section 2.1)."""

import os
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.connections.tls import client_context
from actors.endpoints.discovering import At
from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads
from conf.fields import Host, Pem, lower, trimmed

Transport = Literal["tcp", "udp", "tls", "rtu-over-tcp", "rtu", "ascii"]

_SPELLINGS = {"rtuovertcp": "rtu-over-tcp", "rtu_over_tcp": "rtu-over-tcp", "rtu over tcp": "rtu-over-tcp"}
_SERIAL = ("rtu", "ascii")
_SERIAL_UNITS = range(1, 248)
_PORT, _TLS_PORT = 502, 802

Unit = Annotated[int, Meta(ge=0, le=255)]
Milliseconds = Annotated[int, Meta(ge=0, le=30_000)]


class Tls(msgspec.Struct, frozen=True):
    """What identifies the two ends; PEM texts."""

    ca: str | None = None
    """None: the authorities that the system trusts"""
    cert: str | None = None
    key: str | None = None
    verify: bool = True


_NO_TLS = Tls()


class Connection(msgspec.Struct, frozen=True):
    """A checked connection. Over a network `host` is set, over a serial line `serial_port` is."""

    transport: Transport
    unit: int
    host: str = ""
    port: int = _PORT
    serial_port: str = ""
    baud_rate: int = 9600
    data_bits: int = 8
    stop_bits: int = 1
    parity: str = "N"
    """N, E or O"""
    slave_range: tuple[int, int] | None = None
    """First and last unit to look for, of an endpoint that only serves discovery."""
    timeout: float = 5.0
    """Seconds, of connecting and of each request."""
    retry_delay: int | None = None
    """Milliseconds before the first attempt to reconnect, if the client said so."""
    retry_attempts: int = 3
    """How often a request is sent again when it is not answered."""
    delay_after_connect: float = 0.0
    """Seconds from a connection to the first request on it."""
    delay_between_requests: float = 0.0
    """Seconds from a reply to the next request."""
    close_after_poll: bool = False
    echo: bool | None = None
    """Whether what is sent comes back before the reply; None: to be found out."""
    max_registers: int | None = None
    """In one read request; None: as many as Modbus allows."""
    max_gap: int | None = None
    """Addresses without a data point that are read along; None: two."""
    identify: bool = False
    """Whether to ask the device who made it."""
    tls: Tls = _NO_TLS

    @property
    def is_serial(self) -> bool:
        return self.transport in _SERIAL

    @property
    def place(self) -> str:
        """Where the device is, as the client spelled it."""
        if self.is_serial:
            return f"modbus:{self.transport}:{self.serial_port}"
        return f"modbus:{self.transport}:{self.host}:{self.port}"

    @property
    def at(self) -> At:
        return At(self.serial_port) if self.is_serial else At(self.host, self.port)

    @property
    def line(self) -> str:
        """The socket or port that the device is reached by, however it is spelled; devices of the same line
        share one connection. A serial port's is found out by looking at the file system."""
        if self.is_serial:
            return os.path.realpath(self.serial_port)
        kind = "udp" if self.transport == "udp" else "tcp"
        return f"{kind}:{self.host.lower().rstrip('.')}:{self.port}"

    @property
    def settings(self) -> tuple[object, ...]:
        """What all devices of a line must agree on."""
        if self.is_serial:
            return self.transport, self.baud_rate, self.data_bits, self.stop_bits, self.parity
        return self.transport, self.tls

    @property
    def identifier(self) -> str:
        if self.slave_range is not None:
            return f"{self.slave_range[0]}-{self.slave_range[1]}"
        return str(self.unit)

    @property
    def address(self) -> str:
        return f"{self.place}:slave:{self.identifier}"


class SlaveRange(msgspec.Struct, frozen=True):
    start: Unit
    end: Unit


def transport_of(value: Any) -> Any:
    value = lower(trimmed(value))
    return _SPELLINGS.get(value, value) if isinstance(value, str) else value


def device_path(value: Any) -> Any:
    """pyserial takes URLs too, some of which write files or go elsewhere."""
    path = trimmed(value)
    if path is None or not isinstance(path, str):
        return path
    if not path.startswith("/") or "://" in path or not path.isprintable():
        raise ValueError("must be the path of a serial port such as /dev/ttyUSB0")
    return path


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send."""

    type: Annotated[Transport, reads(transport_of)] | None = None
    host: Host | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    serial_port: Annotated[str, reads(device_path)] | None = None
    unit_id: Unit | None = None
    slave_id: Unit | None = None
    slave_range: SlaveRange | None = None
    baud_rate: Annotated[int, Meta(ge=50, le=4_000_000)] = 9600
    data_bits: Annotated[int, Meta(ge=7, le=8)] = 8
    stop_bits: Annotated[int, Meta(ge=1, le=2)] = 1
    parity: Annotated[Literal["none", "even", "odd"], reads(trimmed, lower)] = "none"
    timeout: Annotated[int, Meta(ge=100, le=30_000)] = 5000
    retry_delay: Annotated[int, Meta(ge=100, le=10_000)] | None = None
    retry_attempts: Annotated[int, Meta(ge=0, le=10)] = 3
    delay_after_connect: Milliseconds = 0
    delay_between_requests: Annotated[int, Meta(ge=0, le=10_000)] = 0
    close_after_poll: bool = False
    echo: bool | None = None
    max_registers: Annotated[int, Meta(ge=1, le=125)] | None = None
    max_gap: Annotated[int, Meta(ge=0, le=124)] | None = None
    identify: bool = False
    ca: Pem | None = None
    cert: Pem | None = None
    key: Pem | None = None
    reject_unauthorized: bool = True


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    transport = found.type or ("rtu" if found.host is None and found.serial_port is not None else "tcp")
    serial = transport in _SERIAL
    place, key = (found.serial_port, "serialPort") if serial else (found.host, "host")
    if place is None:
        raise Refusal(f"{key} is required", f"connection.{key}")
    if found.echo and transport in ("tcp", "tls", "udp"):
        raise Refusal(f"echo means nothing over {transport}", "connection.echo")
    return Connection(
        transport=transport,
        unit=_unit(found, serial),
        host="" if serial else place,
        port=_PORT if serial else found.port or (_TLS_PORT if transport == "tls" else _PORT),
        serial_port=place if serial else "",
        baud_rate=found.baud_rate,
        data_bits=found.data_bits,
        stop_bits=found.stop_bits,
        parity=found.parity[0].upper(),
        slave_range=_slave_range(found, serial),
        timeout=found.timeout / 1000,
        retry_delay=found.retry_delay,
        retry_attempts=found.retry_attempts,
        delay_after_connect=found.delay_after_connect / 1000,
        delay_between_requests=found.delay_between_requests / 1000,
        close_after_poll=found.close_after_poll,
        echo=found.echo,
        max_registers=found.max_registers,
        max_gap=found.max_gap,
        identify=found.identify,
        tls=_tls(found, transport),
    )


def _unit(given: Given, serial: bool) -> int:
    unit, slave = given.unit_id, given.slave_id
    if unit is not None and slave is not None and slave != unit:
        raise Refusal(f"unitId {unit} contradicts slaveId {slave}", "connection.unitId")
    key, chosen = ("slaveId", slave) if unit is None else ("unitId", unit)
    if chosen is None:
        return 1
    _check_unit(chosen, key, serial)
    return chosen


def _check_unit(unit: int, key: str, serial: bool) -> None:
    """On a serial line 0 is everybody, who does not answer, and what is above 247 is reserved."""
    if serial and unit not in _SERIAL_UNITS:
        raise Refusal(f"{key} must be an integer from 1 to 247 on a serial line", f"connection.{key}")


def _slave_range(given: Given, serial: bool) -> tuple[int, int] | None:
    span = given.slave_range
    if span is None:
        return None
    if span.start > span.end:
        raise Refusal("slaveRange ends before it starts", "connection.slaveRange.end")
    _check_unit(span.start, "slaveRange.start", serial)
    _check_unit(span.end, "slaveRange.end", serial)
    return span.start, span.end


def _tls(given: Given, transport: Transport) -> Tls:
    if transport != "tls":
        for key in ("ca", "cert", "key"):
            if getattr(given, key) is not None:
                raise Refusal(f"{key} means nothing without the type tls", f"connection.{key}")
        return _NO_TLS
    if (given.cert is None) != (given.key is None):
        absent = "cert" if given.cert is None else "key"
        raise Refusal("cert and key come together", f"connection.{absent}")
    client_context(ca=given.ca, cert=given.cert, key=given.key, path="connection")
    return Tls(given.ca, given.cert, given.key, given.reject_unauthorized)
