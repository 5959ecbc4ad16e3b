"""What devices have recorded, read on request (spec 03 section 4: trend logs)."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from actors.endpoints.messages import BackfillDevice, Backfilled, DeviceBackfilled
from actors.endpoints.protocol import BackfillRequest
from actors.system.failure import Refusal
from api.routes.adapters import device_row, running
from api.routing import Call, route
from api.sessions import who
from conf.annotations import says
from storage.timestamps import LATEST_MS, iso

MOST = 10_000
"""Readings of a point."""
WITHIN = 20.0
"""Seconds for the device; whoever asks over the API waits for a little longer."""


Moment = Annotated[int | str, says("since and until must be Unix ms, or times such as 2026-11-28T12:00:00Z")]


def _moment(value: int | str | None, field: str) -> int | None:
    """Unix ms. Raises `Refusal` on `field`."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            raise Refusal(f"{field} must be Unix ms, or a time such as 2026-11-28T12:00:00Z", field)
        value = int(found.timestamp() * 1000)
    if value is not None and not 0 <= value <= LATEST_MS:
        raise Refusal(f"{field} must be from 1970 to 9999", field)
    return value


class BackfillBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `since` on, before `until`; of more than `limit` of a point the latest. `points` are names of data
    points, all without it; `log` is the record of a single one, as the protocol spells it (`trend-log:3`),
    else it is found. `limit` counts for each point."""

    points: Annotated[list[str], Meta(max_length=1000)] = []
    log: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 1000

    EXAMPLE: ClassVar[dict[str, Any]] = {"points": ["room_temperature"], "limit": 500}


class PointBackfilled(msgspec.Struct, frozen=True):
    """`complete` is false where there is more than `limit`, or came in time; `notes` tell of gaps, failures
    and clocks that were set."""

    point: str
    log: str | None
    readings: int
    bad: int
    first: str | None
    last: str | None
    complete: bool
    notes: tuple[str, ...]


class BackfillDone(msgspec.Struct, frozen=True, rename="camel"):
    device_name: str
    readings: int
    points: list[PointBackfilled]
    success: bool = True


@route(
    "POST",
    "/v1/adapters/{protocol}/devices/{deviceName}/backfill",
    reply=BackfillDone,
    body=BackfillBody,
    errors=(404, 409, 501),
    summary="Read what a device has recorded, and publish it as readings of the past",
)
async def backfill_device(call: Call, body: BackfillBody) -> BackfillDone:
    row = await device_row(call)
    since, until = _moment(body.since, "since"), _moment(body.until, "until")
    if since is not None and until is not None and since >= until:
        raise Refusal("until must be later than since", "until")
    request = BackfillRequest(tuple(body.points), body.log, since, until, body.limit, WITHIN)
    message = BackfillDevice(request, row.uuid, await who(call.context, call.request))
    done = await call.context.request(running(row), message, DeviceBackfilled)
    points = [_shown(one) for one in done.points]
    return BackfillDone(row.name, sum(one.readings for one in points), points)


def _shown(one: Backfilled) -> PointBackfilled:
    return PointBackfilled(
        one.point, one.log, one.readings, one.bad, iso(one.first), iso(one.last), one.complete, one.notes
    )
