"""What a subscription selects of the last readings, where that would go and what it would look like. Plain
functions: nothing is stored or sent."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import msgspec

from actors.publish import formats, selection, starts, topics
from actors.publish.catalogue import Catalogue
from actors.publish.formats import MessageIds
from actors.publish.preview_messages import (
    PreviewNewSubscription,
    PreviewSubscription,
    PublishedTopic,
    SamplePayload,
    SelectedPoint,
    SubscriptionPreviewed,
)
from actors.publish.preview_plan import Found, Plan, Selected
from actors.publish.preview_warnings import warnings
from actors.publish.rows import SubscriptionBody
from actors.publish.starts import Owner
from actors.readings.batch import Batch, Source
from actors.readings.interest import Choice, indices, select
from actors.readings.source_topics import endings
from actors.system.failure import Refusal

log = logging.getLogger(__name__)

# Of its own: previews wait for one another, and logins that need a thread for none of them.
_thread = ThreadPoolExecutor(1, "preview")

SAMPLES = 20
"""Endpoints of which a payload is made, until one has something to tell."""

Preview = Coroutine[Any, Any, SubscriptionPreviewed]


def of_stored(catalogue: Catalogue, message: PreviewSubscription) -> Preview:
    """Raises `Refusal` when it is not there or cannot run."""
    kept = catalogue.subscription(message.id)
    if kept.body is None:
        raise Refusal(f"{kept.error}: remove it, and add it anew", kind="conflict")
    plan = _plan(catalogue, kept.body, kept.row.parent_id or 0, message.limit)
    return _preview(plan, message.latest)


def of_new(catalogue: Catalogue, message: PreviewNewSubscription) -> Preview:
    """Raises `Refusal` when it cannot be added."""
    body = catalogue.checked(message.subscription)
    plan = _plan(catalogue, body, message.subscription.publish_destination_id, message.limit)
    return _preview(plan, message.latest)


def _plan(catalogue: Catalogue, body: SubscriptionBody, destination: int, limit: int) -> Plan:
    owner = catalogue.needed_owner(destination)
    kept = catalogue.destinations[destination]
    return Plan(
        start=starts.subscription(0, body, owner, catalogue.terms),
        owner=owner,
        filters=body.topics,
        enabled=body.enabled,
        destination=kept.row.name or "",
        destination_enabled=kept.known.enabled,
        publishing=catalogue.terms.publishing,
        limit=limit,
    )


async def _preview(plan: Plan, latest: Sequence[Batch]) -> SubscriptionPreviewed:
    try:
        return await make(plan, latest)
    except Exception as error:  # whoever looks may not end who keeps the destinations
        log.exception("a preview failed")
        raise Refusal("The preview failed; the log says why", kind="internal") from error


async def make(plan: Plan, latest: Sequence[Batch]) -> SubscriptionPreviewed:
    """Thousands of endpoints keep nobody waiting but those who want to see another preview."""
    loop = asyncio.get_running_loop()
    selected = await loop.run_in_executor(_thread, _select, plan, latest)
    payload = await _sample(plan, selected)
    return await loop.run_in_executor(_thread, _described, plan, latest, selected, payload)


def _select(plan: Plan, latest: Iterable[Batch]) -> list[Selected]:
    found, own = [], formats.find(plan.start.route.payload_format)
    for batch in sorted(latest, key=lambda batch: (batch.source.endpoint, batch.source.device)):
        source = batch.source
        points = select(plan.start.route.interest, source)
        if points != ():
            topic = topics.fill(plan.start.target, source.protocol, source.endpoint, own.device(source))
            found.append(Selected(batch, points, topic))
    return found


def _described(
    plan: Plan, latest: Iterable[Batch], selected: Sequence[Selected], payload: SamplePayload | None
) -> SubscriptionPreviewed:
    by_topic: dict[str, list[Source]] = {}
    for one in selected:
        by_topic.setdefault(one.topic, []).append(one.source)
    found = Found(
        sources=[batch.source for batch in latest],
        selected=selected,
        by_topic=by_topic,
        size=None if payload is None else payload.size,
    )
    return SubscriptionPreviewed(
        points=_points(selected, plan.limit),
        total=sum(one.size for one in selected),
        endpoints=len({one.source.endpoint_uuid for one in selected}),
        topics=_topics(plan, by_topic, payload),
        topics_total=len(by_topic),
        payload=payload,
        warnings=warnings(plan, found),
    )


def _topics(
    plan: Plan, by_topic: dict[str, list[Source]], payload: SamplePayload | None
) -> list[PublishedTopic]:
    octets = b"" if payload is None else payload.base64 or (payload.text or "").encode()
    listed = islice(by_topic.items(), plan.limit)
    return [
        PublishedTopic(_on_wire(plan.owner, topic, octets), len({one.endpoint_uuid for one in sources}))
        for topic, sources in listed
    ]


def _points(selected: Iterable[Selected], limit: int) -> list[SelectedPoint]:
    found: list[SelectedPoint] = []
    for one in selected:
        source = one.batch.source
        for index in indices(one.points, source)[: limit - len(found)]:
            metric = source.points[index].name
            found.append(SelectedPoint(source.endpoint, source.device, metric, source_topics(source, metric)))
        if len(found) == limit:
            break
    return found


def source_topics(source: Source, metric: str) -> list[str]:
    """What filters are matched against, the protocol's name excepted."""
    return [prefix + "/".join(ending) for prefix in source.prefixes for ending in endings(metric)]


async def _sample(plan: Plan, selected: Sequence[Selected]) -> SamplePayload | None:
    """Of the endpoint of which most is selected, if its last readings make a payload, else of the next."""
    for one in sorted(selected, key=lambda one: -one.size)[:SAMPLES]:
        payload = _payload(plan, one)
        if payload is not None:
            return payload
        await asyncio.sleep(0)
    return None


def _payload(plan: Plan, one: Selected) -> SamplePayload | None:
    route, batch = plan.start.route, one.batch
    own = formats.find(route.payload_format)
    compression = route.compression or "json"
    ids = MessageIds(plan.start.agent_uuid)
    # A batch of its own: what the router keeps is not to remember payloads.
    copy = msgspec.structs.replace(batch, encoded={})
    messages = selection.messages(route, Choice(one.points), [copy], own.per_poll, own.per_time)
    made = [formats.encode(own.name, compression, pieces, ids) for pieces in messages]
    payloads = [payload for payload in made if payload is not None]
    if not payloads:
        return None
    text = _text(payloads[0])
    return SamplePayload(
        endpoint=batch.source.endpoint,
        topic=_on_wire(plan.owner, one.topic, payloads[0]),
        format=own.name,
        compression=compression,
        messages=len(payloads),
        size=len(payloads[0]),
        text=text,
        base64=payloads[0] if text is None else None,
    )


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _on_wire(owner: Owner, topic: str, payload: bytes) -> str:
    return owner.type.address(owner.checked, owner.identity, topic, payload)
