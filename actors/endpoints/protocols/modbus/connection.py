"""The `connection` object of a Modbus endpoint (spec 03 section 2.1)."""

from typing import Any, Literal

import msgspec

from actors.system.failure import Refusal

Transport = Literal["tcp", "rtu", "ascii"]

_UNITS = (1, 247)
_PARITIES = {"none": "N", "even": "E", "odd": "O"}


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


def read_connection(given: dict[str, Any]) -> Connection:
    """Check a connection as the client sent it. Raises `Refusal` naming `connection.<key>`."""
    if not isinstance(given, dict):
        raise Refusal("connection must be an object", "connection")
    _optional_integer(given, "retryAttempts", 0, 10)  # checked, without effect: it is retried for ever
    transport = _transport(given)
    tcp = transport == "tcp"
    return Connection(
        transport=transport,
        unit=_unit(given),
        host=_text(given, "host") if tcp else "",
        port=_integer(given, "port", 1, 65535, 502) if tcp else 502,
        serial_port="" if tcp else _text(given, "serialPort"),
        baud_rate=_integer(given, "baudRate", 50, 4_000_000, 9600),
        data_bits=_integer(given, "dataBits", 7, 8, 8),
        stop_bits=_integer(given, "stopBits", 1, 2, 1),
        parity=_PARITIES[_choice(given, "parity", tuple(_PARITIES), "none")],
        slave_range=_slave_range(given),
        timeout=_integer(given, "timeout", 100, 30_000, 5000) / 1000,
        retry_delay=_optional_integer(given, "retryDelay", 100, 10_000),
    )


def _transport(given: dict[str, Any]) -> Transport:
    if given.get("type") is None:
        if given.get("host") is None and given.get("serialPort") is not None:
            return "rtu"
        return "tcp"
    transport = _choice(given, "type", ("tcp", "rtu", "ascii"), "tcp")
    return "tcp" if transport == "tcp" else "rtu" if transport == "rtu" else "ascii"


def _unit(given: dict[str, Any]) -> int:
    slave = _optional_integer(given, "slaveId", *_UNITS)
    unit = _integer(given, "unitId", *_UNITS, slave or 1)
    if slave is not None and slave != unit:
        raise Refusal(f"unitId {unit} contradicts slaveId {slave}", "connection.unitId")
    return unit


def _slave_range(given: dict[str, Any]) -> tuple[int, int] | None:
    span = given.get("slaveRange")
    if span is None:
        return None
    if not isinstance(span, dict):
        raise Refusal("slaveRange must be an object with start and end", "connection.slaveRange")
    where = "connection.slaveRange."
    ends = []
    for key in ("start", "end"):
        end = _optional_integer(span, key, *_UNITS, where)
        if end is None:
            raise Refusal(f"slaveRange needs {key}", where + key)
        ends.append(end)
    if ends[0] > ends[1]:
        raise Refusal("slaveRange ends before it starts", where + "end")
    return ends[0], ends[1]


def _text(given: dict[str, Any], key: str) -> str:
    text = given.get(key)
    if text is None:
        raise Refusal(f"{key} is required", f"connection.{key}")
    if not isinstance(text, str) or not text.strip():
        raise Refusal(f"{key} must be a text that is not empty", f"connection.{key}")
    return text.strip()


def _choice(given: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    chosen = given.get(key)
    if chosen is None:
        return default
    if not isinstance(chosen, str) or chosen.lower() not in allowed:
        raise Refusal(f"{key} must be one of {', '.join(allowed)}", f"connection.{key}")
    return chosen.lower()


def _integer(given: dict[str, Any], key: str, low: int, high: int, default: int) -> int:
    number = _optional_integer(given, key, low, high)
    return default if number is None else number


def _optional_integer(
    given: dict[str, Any], key: str, low: int, high: int, where: str = "connection."
) -> int | None:
    number = given.get(key)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
        raise Refusal(f"{key} must be an integer from {low} to {high}", where + key)
    return number
