"""The description of this API, made from the declarations of its routes."""

from typing import Any

from api.openapi import document
from api.routing import Call, collect, route
from api.sharing import FOR_GOOD


@route(
    "GET",
    "/v1/openapi.json",
    reply=dict[str, Any],
    always=True,
    shared=FOR_GOOD,
    summary="This API as an OpenAPI document",
)
async def openapi(call: Call) -> dict[str, Any]:
    return document(list(collect()), call.context)
