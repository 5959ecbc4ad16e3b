"""Looking for devices now (spec 01 section 11)."""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from actors.discovery.messages import Discover, Discovered
from actors.system.failure import Refusal
from api.discovery import ScanReply, scan_parts
from api.leaving import while_there
from api.routing import Call, route
from conf.annotations import says

LONGEST_MS = 3_600_000
ANSWERING = 15.0
"""Seconds beyond a scan's own time, in which it lets go of what it holds, and stores what it is to."""

Truth = bool | Literal["true", "false"]
"""Clients send it as a text too."""


class DiscoverBody(msgspec.Struct, frozen=True, rename="camel"):
    """`overrides` are options by protocol; without `protocols` all are scanned for which there is something
    to look for. Nothing is stored unless `save`: then an endpoint is made, disabled, of each device that is
    none yet. With `prune` too, endpoints are removed that an earlier one of the same options has made, when
    their devices were missing twice; with `dryRun` it is only said what would be. `timeLimit` is ms."""

    protocols: list[str] | None = None
    validate: Truth = False
    force_run: Truth = False
    overrides: dict[str, dict[str, Any]] | None = None
    save: Truth = False
    prune: Truth = False
    dry_run: Truth = False
    time_limit: Annotated[
        int, Meta(ge=1000, le=LONGEST_MS), says(f"timeLimit must be 1000 to {LONGEST_MS} ms")
    ] = 300_000

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "protocols": ["modbus"],
        "validate": True,
        "forceRun": False,
        "overrides": {"modbus": {"network": "127.0.0.1/32", "port": 502, "timeout": 200}},
    }


@route(
    "POST",
    "/v1/discover",
    reply=ScanReply,
    body=DiscoverBody,
    errors=(501,),
    summary="Look for devices now, and wait for what is found; ends when the client hangs up",
)
async def discover(call: Call, body: DiscoverBody) -> ScanReply:
    _check(body)
    within = body.time_limit / 1000
    message = Discover(
        protocols=None if body.protocols is None else tuple(body.protocols),
        validate=truth(body.validate),
        force=truth(body.force_run),
        overrides=body.overrides or {},
        save=truth(body.save),
        prune=truth(body.prune),
        dry_run=truth(body.dry_run),
        within=within,
    )
    asking = call.context.request("discovery", message, Discovered, within=within + ANSWERING)
    return ScanReply(**scan_parts(await while_there(call.request, asking)))


def truth(given: Truth) -> bool:
    return given is True or given == "true"


def _check(body: DiscoverBody) -> None:
    """Raises `Refusal` for what would come to nothing."""
    if body.protocols is not None and not body.protocols:
        raise Refusal("protocols names none; leave it out for all", "protocols")
    for name in body.overrides or ():
        if body.protocols is not None and name not in body.protocols:
            raise Refusal(f"overrides are of {name}, which is not among protocols", f"overrides.{name}")
