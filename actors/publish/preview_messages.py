"""Asking what a subscription would do."""

from typing import Literal

import msgspec

from actors.publish.messages import AddSubscription
from actors.readings.batch import Batch

Warned = Literal[
    "publishing-disabled",
    "subscription-disabled",
    "destination-disabled",
    "nothing-read",
    "filter-selects-nothing",
    "filter-of-events",
    "device-unknown",
    "metric-unknown",
    "nothing-selected",
    "quality-left-out",
    "nothing-to-tell",
    "name-changed",
    "topic-shortened",
    "topic-shared",
    "payload-too-large",
]
"""What there is to be warned of."""


class PreviewSubscription(msgspec.Struct, frozen=True):
    """To `publisher`; replies `SubscriptionPreviewed`, of at most `limit` points and topics. `latest` are the
    last batches of the endpoints, as the router has them."""

    id: int
    latest: list[Batch]
    limit: int


class PreviewNewSubscription(msgspec.Struct, frozen=True):
    """As `PreviewSubscription`, of one that is not stored."""

    subscription: AddSubscription
    latest: list[Batch]
    limit: int


class SelectedPoint(msgspec.Struct, frozen=True):
    """A point that is selected; any of its source `topics` may be matched by a filter."""

    endpoint: str
    device: str
    metric: str
    topics: list[str]


class PublishedTopic(msgspec.Struct, frozen=True):
    """A topic as the broker gets it, and how many endpoints are published to it."""

    topic: str
    endpoints: int


class SamplePayload(msgspec.Struct, frozen=True):
    """What the last readings of an endpoint become: the first of so many `messages`. `text` is there when it
    is text, else `base64`."""

    endpoint: str
    topic: str
    format: str
    compression: str
    messages: int
    size: int = msgspec.field(name="bytes")
    text: str | None = None
    base64: bytes | None = None


class PreviewWarning(msgspec.Struct, frozen=True):
    """`code` for programs, `message` for people."""

    code: Warned
    message: str


class SubscriptionPreviewed(msgspec.Struct, frozen=True):
    """`total` counts all points selected, of so many `endpoints`, and `topics_total` all topics, also those
    beyond the limit."""

    points: list[SelectedPoint]
    total: int
    endpoints: int
    topics: list[PublishedTopic]
    topics_total: int
    payload: SamplePayload | None
    warnings: list[PreviewWarning]
