"""Updating the agent itself (spec 01 section 17, 06 section 10)."""

from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from actors.update.history import UpdateEvent
from actors.update.messages import (
    Outcome,
    ReportUpdate,
    UpdateAgent,
    UpdateAnswered,
    UpdateReported,
    UpdateState,
)
from actors.update.signature import Signed
from api.errors import ApiError, Error
from api.routing import Call, route

STATUS: dict[Outcome, int] = {"unsigned": 401, "forbidden": 403, "conflict": 409, "unavailable": 503}


class UpdateBody(msgspec.Struct, frozen=True):
    """`version` may be `latest`. `file` is the name of a wheel in the folder for updates; times are Unix ms
    or ISO 8601. Where the agent has an update secret, `signature` and `issued_at` are needed."""

    version: str | UnsetType = UNSET
    force: bool | None = None
    file: str | None = None
    scheduled_time: int | str | None = None
    issued_at: int | str | None = None
    expires_at: int | str | None = None
    signature: str | None = None

    EXAMPLE: ClassVar[dict[str, object]] = {"version": "1.0.600", "force": False}


class Triggered(msgspec.Struct, frozen=True, omit_defaults=True):
    """`update_skipped` when that version runs already, which `message` says."""

    status: Literal["update_triggered", "update_scheduled", "update_skipped"]
    version: str
    message: str | None = None
    scheduled_time: int | None = None


class UpdateStatus(msgspec.Struct, frozen=True):
    """The update under way, else what became of the latest: `current` runs, `target` replaces `from`. The
    history is the oldest first."""

    state: UpdateState
    current: str
    from_: str | None = msgspec.field(name="from")
    target: str | None
    reason: str | None
    history: list[UpdateEvent]


@route(
    "POST",
    "/v1/update",
    reply=Triggered,
    body=UpdateBody,
    status=202,
    errors=(401, 403, 409),
    role="admin",
    summary="Update the agent itself",
)
async def update(call: Call, body: UpdateBody) -> Triggered:
    command = Signed(
        body.version if isinstance(body.version, str) else "",
        body.force,
        body.issued_at,
        body.expires_at,
        body.scheduled_time,
        body.file,
        body.signature,
    )
    answer = await call.context.request("update", UpdateAgent(command), UpdateAnswered)
    if answer.outcome in STATUS:
        error = Error(answer.message or answer.outcome, hint=answer.hint or UNSET)
        raise ApiError(STATUS[answer.outcome], error)
    return Triggered(f"update_{answer.outcome}", answer.version, answer.message, answer.scheduled)  # type: ignore[arg-type]


@route(
    "GET",
    "/v1/update/status",
    reply=UpdateStatus,
    always=True,
    summary="What has become of updates of the agent",
)
async def update_status(call: Call) -> UpdateStatus:
    report = await call.context.request("update", ReportUpdate(), UpdateReported)
    return UpdateStatus(
        report.state,
        report.current,
        report.origin,
        report.target,
        report.reason,
        list(report.history),
    )
