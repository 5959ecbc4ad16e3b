"""What browsers' tools probe for (spec 01 section 1)."""

from typing import Any

from api.routing import Call, route


@route(
    "GET",
    "/.well-known/{tail:.*}",
    reply=dict[str, Any],
    hidden=True,
    always=True,
    summary="Nothing is published here",
)
async def well_known(call: Call) -> dict[str, Any]:
    return {}
