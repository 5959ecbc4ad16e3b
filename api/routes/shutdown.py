"""Shutting the machine down (spec 01 section 17)."""

import msgspec
from msgspec import UNSET, UnsetType

from actors.power.messages import ShutdownAnswered, ShutDownMachine
from api.errors import ApiError, Error
from api.routing import Call, route


class ShutdownScheduled(msgspec.Struct, frozen=True):
    """`last_error` is why the attempt before this one failed."""

    data: str = msgspec.field(name="Data")
    error: None = msgspec.field(name="Error")
    last_error: str | UnsetType = msgspec.field(default=UNSET, name="lastError")


@route(
    "POST",
    "/v1/shutdown",
    reply=ShutdownScheduled,
    status=202,
    errors=(409, 501),
    role="admin",
    summary="Shut the machine down by the configured command",
)
async def shutdown(call: Call) -> ShutdownScheduled:
    answer = await call.context.request("power", ShutDownMachine(), ShutdownAnswered)
    if answer.refusal is not None:
        status = 409 if answer.busy else 503 if answer.configured else 501
        raise ApiError(status, Error(answer.refusal, hint=answer.hint or UNSET))
    return ShutdownScheduled("Shutdown scheduled", None, answer.last_error or UNSET)
