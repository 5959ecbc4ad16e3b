"""What sources, sinks and the router tell one another."""

from collections.abc import Mapping
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.publish import routes
from actors.readings.batch import Batch


class Routing(msgspec.Struct, frozen=True):
    """One subscription: its actor and what it asks for."""

    subscription: ActorAddress
    route: routes.Route


class Route(msgspec.Struct, frozen=True):
    """Start, and again whenever subscriptions change: all of them, and who observes each protocol."""

    routings: tuple[Routing, ...]
    observers: Mapping[str, ActorAddress] = {}


class Observe(msgspec.Struct, frozen=True):
    """To the router: send every batch to `observer` too, for `seconds` from now; 0 ends it."""

    observer: ActorAddress
    seconds: float


class ReportLatest(msgspec.Struct, frozen=True):
    """To the router; answered by `LatestReported`."""


class LatestReported(msgspec.Struct, frozen=True):
    """The last batch of every endpoint that has sent one and is still there."""

    batches: list[Batch]


class ForgetSource(msgspec.Struct, frozen=True):
    """To the router: that endpoint is no more."""

    endpoint_uuid: str


class PublishEvent(msgspec.Struct, frozen=True):
    """To the router: something to publish that is no reading. It goes to the subscriptions with a topic
    filter that begins with `events/` and selects `topic`; `body` is JSON's types, as published."""

    topic: str
    body: dict[str, Any]


class RoutingReported(msgspec.Struct, frozen=True):
    """To the parent: how many batches nobody wanted since the router's start."""

    unrouted: int


class Settle(msgspec.Struct, frozen=True):
    """To the router; answered by `Settled` when every batch before it has been sent on."""


class Settled(msgspec.Struct, frozen=True):
    pass
