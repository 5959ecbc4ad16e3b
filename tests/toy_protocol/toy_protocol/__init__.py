"""Lines of JSON over TCP: a protocol of callboard in a package of its own."""

from collections.abc import Sequence
from typing import Any

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
    WriteRequest,
)

from . import schemas
from .discovery import DISCOVERY

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    connection = schemas.read_connection(given)
    return CheckedEndpoint(
        connection=connection,
        points=schemas.read_points(data_points),
        identifier=connection.user or "1",
        address=f"toy:{connection.host}:{connection.port}",
        mode="pushed" if connection.subscribe else "polled",
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession | PushedSession:
    from .session import PolledToy, PushedToy  # a library would be imported there

    if endpoint.mode == "pushed":
        return PushedToy(endpoint, listener)
    return PolledToy(endpoint)


def _prepare(endpoint: CheckedEndpoint, request: WriteRequest) -> schemas.Writing:
    return schemas.prepare(endpoint.points, request)


async def _browse(session: Any, request: BrowseRequest) -> Browsed:
    found: Browsed = await session.browse(request)
    return found


PROTOCOL = Protocol(
    name="toy",
    title="Toy",
    description="Lines of JSON over TCP.",
    check=_check,
    session=_session,
    library="toy_protocol.session",
    prepare=_prepare,
    browse=_browse,
    discovery=DISCOVERY,
    connection=schemas.GivenConnection,
    data_point=schemas.GivenPoint,
    modes=("polled", "pushed"),
    verifies=True,
    example=Example(
        connection={"host": "10.0.1.7", "port": 7007},
        data_points=({"name": "speed", "unit": "m/s"}, {"name": "setpoint", "writable": True}),
    ),
)
