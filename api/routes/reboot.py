"""The agent starts anew without leaving (spec 01 section 17)."""

import msgspec

from actors.subsystems.messages import RestartAgent, RestartBegun
from actors.system.failure import Failed
from api.errors import ApiError, Error, api_error
from api.routing import Call, route

HINT = "Wait for RUNNING state before requesting restart"


class Rebooting(msgspec.Struct, frozen=True):
    """`state` is that in which the agent was asked."""

    data: str = msgspec.field(name="Data")
    error: None = msgspec.field(name="Error")
    state: str


@route(
    "POST",
    "/v1/reboot",
    reply=Rebooting,
    status=202,
    errors=(409,),
    always=True,
    role="admin",
    summary="A soft restart: everything but the API and the database is ended and begun anew",
)
async def reboot(call: Call) -> Rebooting:
    answer = await call.context.ask("agent", RestartAgent())
    if isinstance(answer, RestartBegun):
        return Rebooting("Agent services restarting", None, answer.state)
    if isinstance(answer, Failed) and answer.kind == "conflict":
        state = call.context.lifecycle.state
        raise ApiError(409, Error(answer.message, hint=HINT, state=state))
    raise api_error(answer or Failed("unavailable", "The agent actor did not answer in time"))
