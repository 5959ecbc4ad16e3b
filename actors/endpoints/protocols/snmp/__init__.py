"""SNMP v1, v2c and v3 (spec 03 section 6)."""

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
)

from . import connection, discovery, points, writable

__all__ = ["PROTOCOL"]


def _check(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    checked = connection.read_connection(given)
    at = At(checked.host, checked.port)
    return CheckedEndpoint(
        connection=checked,
        points=points.read_points(data_points),
        identifier=checked.address,
        address=checked.address,
        at=(at,),
        known_by=((at, checked.context),),
        retry_ms=checked.retry_delay,
    )


def _session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession:
    from .session import SnmpSession

    return SnmpSession(endpoint, listener, lines)


async def _browse(session: Any, request: BrowseRequest) -> Browsed:
    found: Browsed = await session.browse(request)
    return found


def _scanner() -> Scan:
    from .scanning import scan

    return scan


PROTOCOL = Protocol(
    name="snmp",
    check=_check,
    session=_session,
    prepare=writable.prepare,
    completed=connection.completed,
    library="cryptography",
    verifies=True,
    browse=_browse,
    discovery=Discovery(discovery.Options, discovery.plan, _scanner),
    connection=connection.Given,
    data_point=points.Given,
    title="SNMP",
    description="Variables, tables and traps of agents that speak SNMP v1, v2c or v3.",
    example=Example(
        connection={"host": "10.0.1.1", "version": "v2c", "community": "public"},
        data_points=(
            {"name": "uptime", "oid": "1.3.6.1.2.1.1.3.0", "dataType": "timeticks", "scalingFactor": 0.01},
            {"name": "load", "oid": "1.3.6.1.4.1.2021.10.1.3.1", "dataType": "float"},
            {
                "name": "in",
                "oid": "1.3.6.1.2.1.2.2.1.10",
                "dataType": "counter32",
                "rate": True,
                "table": True,
            },
        ),
    ),
)
