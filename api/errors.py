"""The one table from refusals to HTTP statuses, and the shape of every error body (spec 01 section 1.2)."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from actors.system.failure import Failed, Kind
from conf.redaction import clean

STATUS: dict[Kind, int] = {
    "invalid": 400,
    "read_only": 400,
    "not_found": 404,
    "conflict": 409,
    "internal": 500,
    "unsupported": 501,
    "unavailable": 503,
}

# Clients know these three by a fixed `error` and read the detail from `message`; for every other
# status they expect the detail in `error` itself.
TITLE = {400: "Bad request", 404: "Not found", 500: "Internal server error"}


class Error(msgspec.Struct, frozen=True):
    """The body of every error reply; `field` is the offending field as the client spelled it, `state` that of
    the agent, where it is the reason."""

    error: str
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET
    state: str | UnsetType = UNSET


class ApiError(Exception):
    """Ends a request with `status` and the JSON `body`."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def api_error(failed: Failed) -> ApiError:
    """The reply to a request that an actor, or a check before it, refused; it repeats no secret."""
    status, message = STATUS[failed.kind], clean(failed.message)
    field = UNSET if failed.field is None else failed.field
    if status in TITLE:
        return ApiError(status, Error(TITLE[status], message, field))
    return ApiError(status, Error(message, field=field))


def not_found(message: str) -> ApiError:
    return api_error(Failed("not_found", message))
