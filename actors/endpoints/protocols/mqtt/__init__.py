"""MQTT: devices that publish to a broker (spec 03 section 5)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.discovering import Discovery, Scan
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import CheckedEndpoint, Example, Protocol, PushedSession, WriteRequest
from actors.system.failure import Refusal

from . import accounts, connection, discovery, points, writing

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    if checked.sparkplug and data_points:
        raise Refusal("births of Sparkplug say what data points there are", "data_points")
    made = points.read_points(data_points)
    return CheckedEndpoint(
        connection=checked,
        points=made.points,
        identifier=checked.identifier,
        address=checked.address,
        at=(checked.at,),
        mode="pushed",
        devices=made.devices,
        rules=made.rules,
        silent_after=checked.silent_after,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PushedSession:
    from .session import MqttSession

    return MqttSession(endpoint, listener, lines)


def _trial(endpoint: CheckedEndpoint, lines: Lines) -> CheckedEndpoint:
    from .session import trial

    return trial(endpoint, lines)


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> writing.Prepared:
    checked: connection.Connection = endpoint.connection
    if checked.sparkplug:
        return writing.metric(request, checked.writable)
    return writing.prepare(endpoint.rules, request)


def _scanner() -> Scan:
    from .scanning import scan

    return scan


PROTOCOL = Protocol(
    name="mqtt",
    check=_check,
    session=_session,
    trial=_trial,
    prepare=_prepare,
    account=accounts.account,
    completed=connection.completed,
    library="gmqtt",
    discovery=Discovery(discovery.Options, discovery.plan, _scanner, addressed=False),
    connection=connection.Given,
    data_point=points.Given,
    title="MQTT",
    description="Devices that publish to a broker: JSON, texts, binary payloads or Sparkplug B.",
    modes=("pushed",),
    verifies=True,
    example=Example(
        connection={"brokerUrl": "mqtt://broker.example:1883", "topic": "plant/press-4"},
        data_points=(
            {
                "topic": "plant/press-4/state",
                "metrics": [
                    {"field": "oil.temperature", "metric": "oil_temperature", "unit": "°C", "precision": 1},
                    {"field": "running", "type": "boolean"},
                ],
            },
            {
                "topic": "plant/press-4/speed",
                "metric": "speed",
                "type": "number",
                "min": 0,
                "max": 120,
                "writeTopic": "plant/press-4/speed/set",
            },
        ),
    ),
)
