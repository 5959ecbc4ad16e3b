"""Publish subscriptions (spec 01 section 9)."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from actors.publish.messages import (
    AddSubscription,
    ChangeSubscription,
    ListSubscriptions,
    RemoveSubscription,
    SubscriptionChanged,
    SubscriptionRemoved,
    SubscriptionRow,
    SubscriptionsListed,
)
from actors.system.failure import Refusal
from api.decoding import INT64
from api.routing import Call, route
from conf.annotations import says

INVALID_ID = {"id": "Invalid subscription id"}
INVALID_DESTINATION_ID = "Invalid publish_destination_id"

DestinationId = Annotated[int, says(INVALID_DESTINATION_ID)]


class SubscriptionQuery(msgspec.Struct, frozen=True):
    """Only the literal `false` excludes disabled subscriptions."""

    publish_destination_id: DestinationId | UnsetType = UNSET
    include_disabled: str = msgspec.field(name="includeDisabled", default="true")


class SubscriptionBody(msgspec.Struct, frozen=True):
    publish_destination_id: int
    topics: list[str] = []
    route_json: dict[str, Any] | None = None
    payload_format: str = "custom"
    compression: str | None = None
    enabled: bool = True

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "publish_destination_id": 1,
        "topics": ["sensors/line-1/#"],
        "payload_format": "custom",
        "compression": "json",
        "route_json": {"topic": "iot/plant1/sensors"},
    }


class SubscriptionPatch(msgspec.Struct, frozen=True):
    publish_destination_id: int | UnsetType = UNSET
    topics: list[str] | UnsetType = UNSET
    route_json: dict[str, Any] | UnsetType | None = UNSET
    payload_format: str | UnsetType = UNSET
    compression: str | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class SubscriptionReply(SubscriptionRow, frozen=True, kw_only=True):
    """The object flat, as the reference has it, and wrapped, as clients read it."""

    subscription: SubscriptionRow


class SubscriptionList(msgspec.Struct, frozen=True):
    subscriptions: list[SubscriptionRow]


class SubscriptionDeleted(msgspec.Struct, frozen=True):
    deleted: bool = True


@route(
    "GET",
    "/v1/publish/subscriptions",
    reply=SubscriptionList,
    query=SubscriptionQuery,
    summary="Subscriptions",
)
async def list_subscriptions(call: Call, query: SubscriptionQuery) -> SubscriptionList:
    destination = query.publish_destination_id
    if destination is not UNSET and destination not in INT64:
        raise Refusal(INVALID_DESTINATION_ID, "publish_destination_id")
    message = ListSubscriptions(
        None if destination is UNSET else destination, query.include_disabled != "false"
    )
    listed = await call.context.request("publisher", message, SubscriptionsListed)
    return SubscriptionList(listed.subscriptions)


@route(
    "POST",
    "/v1/publish/subscriptions",
    reply=SubscriptionReply,
    body=SubscriptionBody,
    status=201,
    errors=(404,),
    summary="Bind source topics to a destination",
)
async def add_subscription(call: Call, body: SubscriptionBody) -> SubscriptionReply:
    message = AddSubscription(**msgspec.structs.asdict(body))
    changed = await call.context.request("publisher", message, SubscriptionChanged)
    return _reply(changed.subscription)


@route(
    "PATCH",
    "/v1/publish/subscriptions/{id}",
    reply=SubscriptionReply,
    body=SubscriptionPatch,
    numbers=INVALID_ID,
    errors=(404,),
    summary="Change a subscription",
)
async def change_subscription(call: Call, body: SubscriptionPatch) -> SubscriptionReply:
    message = ChangeSubscription(call.number("id"), **msgspec.structs.asdict(body))
    changed = await call.context.request("publisher", message, SubscriptionChanged)
    return _reply(changed.subscription)


@route(
    "DELETE",
    "/v1/publish/subscriptions/{id}",
    reply=SubscriptionDeleted,
    numbers=INVALID_ID,
    errors=(404,),
    summary="Remove a subscription",
)
async def remove_subscription(call: Call) -> SubscriptionDeleted:
    await call.context.request("publisher", RemoveSubscription(call.number("id")), SubscriptionRemoved)
    return SubscriptionDeleted()


def _reply(row: SubscriptionRow) -> SubscriptionReply:
    return SubscriptionReply(**msgspec.structs.asdict(row), subscription=row)
