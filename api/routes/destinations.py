"""Publish destinations (spec 01 section 8)."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from actors.publish.messages import (
    AddDestination,
    ChangeDestination,
    DeadLettersListed,
    DeadLettersRemoved,
    DestinationChanged,
    DestinationRemoved,
    DestinationRow,
    DestinationsListed,
    DestinationTested,
    ListDeadLetters,
    ListDestinations,
    RemoveDeadLetters,
    RemoveDestination,
    TestDestination,
)
from api.errors import ApiError
from api.routing import Call, route
from conf.annotations import says
from storage.dead_letters import DeadLetter
from storage.timestamps import iso

INVALID_ID = {"id": "Invalid destination id"}


class DestinationQuery(msgspec.Struct, frozen=True):
    """Only the literal `false` excludes disabled destinations."""

    include_disabled: str = msgspec.field(name="includeDisabled", default="true")


class DestinationBody(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    type: Annotated[str, Meta(min_length=1)]
    config_json: dict[str, Any] | None = None
    enabled: bool = True

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "Plant broker",
        "type": "mqtt",
        "config_json": {"host": "127.0.0.1", "port": 1883},
        "enabled": False,
    }


class DestinationPatch(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    type: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    config_json: dict[str, Any] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class DestinationTrial(msgspec.Struct, frozen=True):
    """`type` is required."""

    type: str | None = None
    config_json: dict[str, Any] | None = None

    EXAMPLE: ClassVar[dict[str, Any]] = {"type": "mqtt", "config_json": {"host": "127.0.0.1", "port": 1883}}


class TrialResult(msgspec.Struct, frozen=True):
    """`message` when ok, `error` when not."""

    ok: bool
    message: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class DestinationReply(DestinationRow, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    publisher: DestinationRow


class DestinationList(msgspec.Struct, frozen=True):
    publishers: list[DestinationRow]


class DestinationDeleted(msgspec.Struct, frozen=True):
    deleted: bool = True


class DeadLetterQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=1000), says("limit must be 1 to 1000")] = 100


class ShownDeadLetter(msgspec.Struct, frozen=True, rename="camel"):
    """`payload` is there when it is text."""

    seq: int
    topic: str
    reason: str
    created_at: str | None
    rejected_at: str | None
    size: int = msgspec.field(name="bytes")
    payload: str | None
    payload_base64: bytes


class DeadLetterList(msgspec.Struct, frozen=True, rename="camel"):
    """The latest first; `total` counts also those beyond the limit."""

    dead_letters: list[ShownDeadLetter]
    total: int


class DeadLettersDeleted(msgspec.Struct, frozen=True):
    """How many there were."""

    deleted: int


@route(
    "GET",
    "/v1/publish/destinations",
    reply=DestinationList,
    query=DestinationQuery,
    summary="Destinations",
)
async def list_destinations(call: Call, query: DestinationQuery) -> DestinationList:
    message = ListDestinations(query.include_disabled != "false")
    listed = await call.context.request("publisher", message, DestinationsListed)
    return DestinationList(listed.destinations)


@route(
    "POST",
    "/v1/publish/destinations",
    reply=DestinationReply,
    body=DestinationBody,
    status=201,
    errors=(409,),
    summary="Add a destination",
)
async def add_destination(call: Call, body: DestinationBody) -> DestinationReply:
    message = AddDestination(body.name, body.type, body.config_json, body.enabled)
    changed = await call.context.request("publisher", message, DestinationChanged)
    return _reply(changed.destination)


@route(
    "POST",
    "/v1/publish/destinations/test",
    reply=TrialResult,
    body=DestinationTrial,
    summary="Try a destination's configuration without storing it",
)
async def test_destination(call: Call, body: DestinationTrial) -> TrialResult:
    if not body.type:
        raise ApiError(400, TrialResult(False, error="type is required"))
    message = TestDestination(body.type, body.config_json)
    tested = await call.context.request("publisher", message, DestinationTested)
    if tested.ok:
        return TrialResult(True, tested.message or UNSET)
    return TrialResult(False, error=tested.error or "The test failed")


@route(
    "PATCH",
    "/v1/publish/destinations/{id}",
    reply=DestinationReply,
    body=DestinationPatch,
    numbers=INVALID_ID,
    errors=(404, 409),
    summary="Change a destination",
)
async def change_destination(call: Call, body: DestinationPatch) -> DestinationReply:
    message = ChangeDestination(call.number("id"), body.name, body.type, body.config_json, body.enabled)
    changed = await call.context.request("publisher", message, DestinationChanged)
    return _reply(changed.destination)


@route(
    "DELETE",
    "/v1/publish/destinations/{id}",
    reply=DestinationDeleted,
    numbers=INVALID_ID,
    errors=(404,),
    summary="Remove a destination and its subscriptions",
)
async def remove_destination(call: Call) -> DestinationDeleted:
    await call.context.request("publisher", RemoveDestination(call.number("id")), DestinationRemoved)
    return DestinationDeleted()


@route(
    "GET",
    "/v1/publish/destinations/{id}/dead-letters",
    reply=DeadLetterList,
    query=DeadLetterQuery,
    numbers=INVALID_ID,
    errors=(404,),
    summary="Payloads that a destination has rejected for good, with the reason",
)
async def list_dead_letters(call: Call, query: DeadLetterQuery) -> DeadLetterList:
    message = ListDeadLetters(call.number("id"), query.limit)
    listed = await call.context.request("publisher", message, DeadLettersListed)
    return DeadLetterList([_shown(letter) for letter in listed.dead_letters], listed.total)


@route(
    "DELETE",
    "/v1/publish/destinations/{id}/dead-letters",
    reply=DeadLettersDeleted,
    numbers=INVALID_ID,
    errors=(404,),
    summary="Remove a destination's rejected payloads",
)
async def remove_dead_letters(call: Call) -> DeadLettersDeleted:
    message = RemoveDeadLetters(call.number("id"))
    removed = await call.context.request("publisher", message, DeadLettersRemoved)
    return DeadLettersDeleted(removed.removed)


def _reply(row: DestinationRow) -> DestinationReply:
    return DestinationReply(**msgspec.structs.asdict(row), publisher=row)


def _shown(letter: DeadLetter) -> ShownDeadLetter:
    return ShownDeadLetter(
        seq=letter.seq,
        topic=letter.topic,
        reason=letter.reason,
        created_at=iso(letter.created_at),
        rejected_at=iso(letter.rejected_at),
        size=len(letter.payload),
        payload=_text(letter.payload),
        payload_base64=letter.payload,
    )


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
