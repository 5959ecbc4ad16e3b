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


class AwaitPersisted(msgspec.Struct, frozen=True):
    """From an endpoint to the router, behind batches of its devices; answered by `Persisted`, with the same
    number, when no crash can lose for any destination what it wants of all that the endpoint has sent before.

    The answer may take as long as the disk is full, or not come, when somebody on the way has begun anew: who
    asks again after a while, with the same number, gets one. Only the latest question of an endpoint is
    answered.
    """

    endpoint_uuid: str
    number: int


class Persisted(msgspec.Struct, frozen=True):
    """To the endpoint: what it had sent before that number is on disk, or delivered, or wanted by nobody.

    If that is not `certain`, somebody on the way has begun anew since the question before, and with him
    readings may have gone that were sent in between: they have to be sent again, and asked for anew.
    """

    number: int
    certain: bool = True


class Secure(msgspec.Struct, frozen=True):
    """To an observer that delivers, behind batches of an endpoint, which has `asked` by that number: send on
    what waits of it; its destination answers the router by `Secured`, with the same number and observer, when
    it is on disk or delivered."""

    number: int
    endpoint_uuid: str
    asked: int
    observer: ActorAddress


class Secured(msgspec.Struct, frozen=True):
    """`certain` as in `Persisted`."""

    number: int
    observer: ActorAddress
    certain: bool


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
