"""Modbus over TCP, TLS, UDP and serial lines (spec 03 section 2)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, Protocol, WriteRequest

from . import connection, encode, points, writable

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    return CheckedEndpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.identifier,
        address=checked.address,
        mode="polled" if checked.slave_range is None else "idle",
        retry_ms=checked.retry_delay,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession:
    from .reader import ModbusReader

    return ModbusReader(endpoint, lines)


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> encode.Writing:
    return encode.encode(writable.point_to_write(endpoint.points, request.register), request.value)


PROTOCOL = Protocol(
    name="modbus",
    check=_check,
    session=_session,
    prepare=_prepare,
    library="pymodbus",
    connection=connection.Given,
    data_point=points.Given,
)
