"""Modbus over TCP, TLS, UDP and serial lines (spec 03 section 2)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.discovering import Discovery, Scan
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, Example, PolledSession, Protocol, WriteRequest
from actors.system.failure import Refusal

from . import connection, discovery, encode, points, writable

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    return CheckedEndpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.identifier,
        address=checked.address,
        at=(checked.at,),
        mode="polled" if checked.slave_range is None else "idle",
        retry_ms=checked.retry_delay,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession:
    from .reader import ModbusReader

    return ModbusReader(endpoint, lines)


def _scanner() -> Scan:
    from .scanning import scan

    return scan


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> encode.Writing:
    if request.priority is not None:
        raise Refusal("Modbus knows no priority", "priority")
    point = writable.point_to_write(endpoint.points, request.register, request.data_type)
    return encode.encode(point, request.value)


PROTOCOL = Protocol(
    name="modbus",
    check=_check,
    session=_session,
    prepare=_prepare,
    library="pymodbus",
    verifies=True,
    connection=connection.Given,
    data_point=points.Given,
    discovery=Discovery(discovery.Options, discovery.plan, _scanner),
    title="Modbus",
    description="Registers and coils over TCP, TLS, UDP and serial lines.",
    example=Example(
        connection={"type": "tcp", "host": "10.0.1.100", "port": 502, "unitId": 1},
        data_points=(
            {"name": "temperature", "register": "holding:0", "type": "int16", "scale": 0.1, "unit": "°C"},
            {"name": "running", "register": "coil:0"},
            {"name": "setpoint", "register": "holding:10", "type": "float32", "writable": True},
        ),
    ),
)
