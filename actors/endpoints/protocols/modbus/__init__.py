"""Modbus over TCP, TLS, UDP and serial lines (spec 03 section 2)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.protocol import CheckedEndpoint, Protocol, Reader

from . import connection, encode, points, writable

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    return CheckedEndpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.identifier,
        address=checked.address,
        polled=checked.slave_range is None,
        retry_ms=checked.retry_delay,
    )


def _reader(endpoint: CheckedEndpoint) -> Reader:
    from .reader import ModbusReader

    return ModbusReader(endpoint)


def _prepare(endpoint: CheckedEndpoint, register: str, value: Any) -> encode.Writing:
    return encode.encode(writable.point_to_write(endpoint.points, register), value)


PROTOCOL = Protocol(
    name="modbus",
    check=_check,
    reader=_reader,
    prepare=_prepare,
    library="pymodbus",
    connection=connection.Given,
    data_point=points.Given,
)
