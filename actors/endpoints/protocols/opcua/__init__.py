"""OPC UA (spec 03 section 3)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.discovering import Discovery, Scan
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import (
    Browsed,
    BrowseRequest,
    CheckedEndpoint,
    Example,
    PolledSession,
    Protocol,
    PushedSession,
)

from . import connection, discovery, points, writable

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    found = points.read_points(data_points)
    places = tuple(discovery.place_of(url).at for url in checked.urls)
    return CheckedEndpoint(
        connection=checked,
        points=found.own,
        identifier=checked.address,
        address=checked.address,
        at=places,
        known_by=tuple((place, "") for place in places),
        mode="pushed" if checked.use_subscription else "polled",
        devices=found.devices,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession | PushedSession:
    if endpoint.mode == "polled":
        from .polled import OpcUaPolled

        return OpcUaPolled(endpoint, listener, lines.folder)
    from .pushed import OpcUaPushed

    return OpcUaPushed(endpoint, listener, lines.folder)


async def _browse(session: Any, request: BrowseRequest) -> Browsed:
    found: Browsed = await session.browse(request)
    return found


def _scanner() -> Scan:
    from .scanning import scan

    return scan


PROTOCOL = Protocol(
    name="opcua",
    check=_check,
    session=_session,
    library="asyncua",
    prepare=writable.prepare,
    browse=_browse,
    discovery=Discovery(discovery.Options, discovery.plan, _scanner),
    connection=connection.Given,
    data_point=points.Given,
    title="OPC UA",
    description="Variables of OPC UA servers, subscribed to or polled.",
    modes=("polled", "pushed"),
    example=Example(
        connection={"endpointUrl": "opc.tcp://10.0.1.50:4840"},
        data_points=(
            {"name": "temperature", "nodeId": "ns=2;s=Line1.Temperature", "unit": "°C"},
            {"name": "speed", "nodeId": "ns=2;i=1002", "deadband": 0.5},
        ),
    ),
)
