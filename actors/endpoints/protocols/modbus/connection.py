"""The `connection` object of a Modbus endpoint (spec 03 section 2.1)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.system.checking import checked
from actors.system.failure import Refusal
from conf.annotations import reads
from conf.fields import Text, lower, trimmed

Transport = Literal["tcp", "rtu", "ascii"]

Unit = Annotated[int, Meta(ge=1, le=247)]


class Connection(msgspec.Struct, frozen=True):
    """A checked connection. Over TCP `host` is set, over a serial line `serial_port` is."""

    transport: Transport
    unit: int
    host: str = ""
    port: int = 502
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

    @property
    def place(self) -> str:
        """The line that the device is on; devices of the same place share one connection."""
        if self.transport == "tcp":
            return f"modbus:tcp:{self.host}:{self.port}"
        return f"modbus:{self.transport}:{self.serial_port}"

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


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """What clients send. Unknown keys are left alone."""

    type: Annotated[Transport, reads(trimmed, lower)] | None = None
    host: Text | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 502
    serial_port: Text | None = None
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
    """Checked, without effect: it is retried for ever."""


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    found = checked(given, Given, "connection")
    transport = found.type or ("rtu" if found.host is None and found.serial_port is not None else "tcp")
    tcp = transport == "tcp"
    place, key = (found.host, "host") if tcp else (found.serial_port, "serialPort")
    if place is None:
        raise Refusal(f"{key} is required", f"connection.{key}")
    return Connection(
        transport=transport,
        unit=_unit(found),
        host=place if tcp else "",
        port=found.port if tcp else 502,
        serial_port="" if tcp else place,
        baud_rate=found.baud_rate,
        data_bits=found.data_bits,
        stop_bits=found.stop_bits,
        parity=found.parity[0].upper(),
        slave_range=_slave_range(found),
        timeout=found.timeout / 1000,
        retry_delay=found.retry_delay,
    )


def _unit(given: Given) -> int:
    unit, slave = given.unit_id, given.slave_id
    if unit is not None and slave is not None and slave != unit:
        raise Refusal(f"unitId {unit} contradicts slaveId {slave}", "connection.unitId")
    return unit or slave or 1


def _slave_range(given: Given) -> tuple[int, int] | None:
    span = given.slave_range
    if span is None:
        return None
    if span.start > span.end:
        raise Refusal("slaveRange ends before it starts", "connection.slaveRange.end")
    return span.start, span.end
