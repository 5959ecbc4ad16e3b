"""What a publish subscription selects and would publish; nothing is stored or sent."""

from typing import Annotated

import msgspec
from msgspec import Meta

from actors.publish.messages import AddSubscription
from actors.publish.preview_messages import (
    PreviewNewSubscription,
    PreviewSubscription,
    SubscriptionPreviewed,
)
from actors.readings.batch import Batch
from actors.readings.messages import LatestReported, ReportLatest
from api.routes.subscriptions import INVALID_ID, SubscriptionBody
from api.routing import Call, route
from conf.annotations import says


class PreviewQuery(msgspec.Struct, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=1000), says("limit must be 1 to 1000")] = 100


@route(
    "GET",
    "/v1/publish/subscriptions/{id}/preview",
    reply=SubscriptionPreviewed,
    query=PreviewQuery,
    numbers=INVALID_ID,
    errors=(404, 409),
    summary="What a subscription selects now, and what would be published",
)
async def preview_subscription(call: Call, query: PreviewQuery) -> SubscriptionPreviewed:
    message = PreviewSubscription(call.number("id"), await _latest(call), query.limit)
    return await call.context.request("publisher", message, SubscriptionPreviewed)


@route(
    "POST",
    "/v1/publish/subscriptions/preview",
    reply=SubscriptionPreviewed,
    query=PreviewQuery,
    body=SubscriptionBody,
    errors=(404, 409),
    summary="The same of a subscription that is not stored",
)
async def preview_new_subscription(
    call: Call, query: PreviewQuery, body: SubscriptionBody
) -> SubscriptionPreviewed:
    new = AddSubscription(**msgspec.structs.asdict(body))
    message = PreviewNewSubscription(new, await _latest(call), query.limit)
    return await call.context.request("publisher", message, SubscriptionPreviewed)


async def _latest(call: Call) -> list[Batch]:
    reported = await call.context.request("readings", ReportLatest(), LatestReported)
    return reported.batches
