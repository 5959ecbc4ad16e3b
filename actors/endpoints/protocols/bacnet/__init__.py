"""BACnet/IP (spec 03 section 4)."""

from collections.abc import Sequence
from typing import Any

from actors.endpoints.discovering import At, Discovery, Scan
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
    return CheckedEndpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.identifier,
        address=checked.address,
        at=() if checked.host is None else (At(checked.host, checked.port),),
        known_by=() if checked.known_by is None else (checked.known_by,),
        answers_to=checked.answers_to,
        mode="pushed" if checked.use_cov else "polled",
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession | PushedSession:
    if endpoint.mode == "pushed":
        from .pushed import BacnetPushed

        return BacnetPushed(endpoint, listener, lines)
    from .polled import BacnetPolled

    return BacnetPolled(endpoint, listener, lines)


async def _browse(session: Any, request: BrowseRequest) -> Browsed:
    found: Browsed = await session.browse(request)
    return found


def _scanner() -> Scan:
    from .scanning import scan

    return scan


PROTOCOL = Protocol(
    name="bacnet",
    check=_check,
    session=_session,
    prepare=writable.prepare,
    verifies=True,
    releases=True,
    backfills=True,
    browse=_browse,
    discovery=Discovery(discovery.Options, discovery.plan, _scanner),
    completed=connection.completed,
    library="bacpypes3",
    connection=connection.Given,
    data_point=points.Given,
    title="BACnet/IP",
    description="Objects of building automation devices, polled or subscribed to by change of value.",
    modes=("polled", "pushed"),
    example=Example(
        connection={"host": "10.0.1.60", "deviceInstance": 1001},
        data_points=(
            {"name": "room_temperature", "object": "analog-input:3"},
            {"name": "fan", "objectType": "binary-output", "objectInstance": 1, "writable": True},
            {"name": "mode", "object": "multi-state-value:2", "stateText": True},
        ),
    ),
)
