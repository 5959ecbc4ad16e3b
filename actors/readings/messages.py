"""What sources, the router and those who listen tell one another."""

from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.readings.batch import Batch, Source
from actors.readings.interest import Interest


class Observe(msgspec.Struct, frozen=True):
    """To the router: send `observer` every batch with a point of interest, and every event that one of the
    topic filters `events` selects, until it is no more or `Unobserve`. A second one takes the first one's
    place.

    Batches that nobody `delivers` are counted as unrouted. With `endings` it gets `SourceEnded`, too.
    """

    observer: ActorAddress
    interest: Interest = Interest()
    events: tuple[str, ...] = ()
    delivers: bool = False
    endings: bool = False


class Unobserve(msgspec.Struct, frozen=True):
    """To the router: send that actor nothing more."""

    observer: ActorAddress


class EventRaised(msgspec.Struct, frozen=True):
    """To the router: something to tell that is no reading; `body` is JSON's types, as published."""

    topic: str
    body: dict[str, Any]


class ForgetSource(msgspec.Struct, frozen=True):
    """To the router: that device of the endpoint is no more; None: none of its devices is."""

    endpoint_uuid: str
    device_uuid: str | None = None


class SourceEnded(msgspec.Struct, frozen=True):
    """To an observer, behind the source's last batch: it is no more, or not as it was."""

    source: Source


class ReportLatest(msgspec.Struct, frozen=True):
    """To the router; answered by `LatestReported`."""


class LatestReported(msgspec.Struct, frozen=True):
    """The latest reading of each point, a batch for every device that has sent any and is still there."""

    batches: list[Batch]


class ReportRouting(msgspec.Struct, frozen=True):
    """To the router; answered by `RoutingReported`, when every batch before it has been sent on."""

    number: int = 0


class RoutingReported(msgspec.Struct, frozen=True):
    """How many batches nobody has delivered since the router's start; `number` is that of the question."""

    unrouted: int
    number: int = 0
