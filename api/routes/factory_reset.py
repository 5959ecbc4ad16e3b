"""Factory reset (spec 01 section 3)."""

import asyncio
from time import monotonic

import msgspec

from actors.backups.messages import BackupsListed, ChangeBegun, ListBackups, ResetEverything
from api.errors import ApiError, Error
from api.routing import Call, route

WITHIN = 120.0
"""Seconds until the client is told to look for itself: a restart takes one or two, an outbox that is deleted
some more."""

LOOK_EVERY = 0.05


class FactoryReset(msgspec.Struct, frozen=True):
    """Without a `backup` nothing can be brought back."""

    backup: bool = True


class FactoryResetDone(msgspec.Struct, frozen=True):
    message: str
    status: str


@route(
    "POST",
    "/v1/factory-reset",
    reply=FactoryResetDone,
    body=FactoryReset,
    errors=(409,),
    role="admin",
    summary="Delete everything but the agent's uuid; the agent restarts over it",
)
async def factory_reset(call: Call, body: FactoryReset) -> FactoryResetDone:
    """Answered when it is done, by an agent that is RUNNING again."""
    begun = await call.context.request("backups", ResetEverything(body.backup), ChangeBegun)
    deadline = monotonic() + WITHIN
    while monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY)
        if call.context.lifecycle.state != "RUNNING":
            continue
        found = await call.context.peek("backups", ListBackups(), BackupsListed)
        last = found.last if found is not None else None
        if last is not None and last.token == begun.token and last.ok is not None:
            if not last.ok:
                raise ApiError(503, Error("The factory reset failed, nothing was deleted", last.error or ""))
            return FactoryResetDone(
                "Factory reset complete. All data deleted. Only UUID preserved.", "factory-reset"
            )
    raise ApiError(503, Error("The factory reset takes long", hint="GET /v1/backups says when it is done"))
