"""MQTT: devices that publish to a broker (spec 03 section 5)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, Protocol, PushedSession, WriteRequest

from . import connection, points, writing

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    made = points.read_points(data_points)
    return CheckedEndpoint(
        connection=checked,
        points=made.points,
        identifier=checked.identifier,
        address=checked.address,
        mode="pushed",
        devices=made.devices,
        rules=made.rules,
        silent_after=checked.silent_after,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PushedSession:
    from .session import MqttSession

    return MqttSession(endpoint, listener, lines)


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> writing.Prepared:
    return writing.prepare(endpoint.rules, request)


PROTOCOL = Protocol(
    name="mqtt",
    check=_check,
    session=_session,
    prepare=_prepare,
    completed=connection.completed,
    library="gmqtt",
    connection=connection.Given,
    data_point=points.Given,
)
