"""Modbus over TCP, RTU and ASCII (spec 03 section 2)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.protocol import Endpoint, Protocol, Reader

from . import connection, points

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> Endpoint:
    checked = connection.read_connection(given)
    return Endpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.identifier,
        address=checked.address,
        polled=checked.slave_range is None,
        retry_ms=checked.retry_delay,
    )


def _reader(endpoint: Endpoint) -> Reader:
    from .reader import ModbusReader

    return ModbusReader(endpoint)


PROTOCOL = Protocol(
    name="modbus",
    check=_check,
    reader=_reader,
    library="pymodbus",
    connection=connection.Given,
    data_point=points.Given,
)
