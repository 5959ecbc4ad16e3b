"""What the actors of publishing tell one another; what the API asks of them is in `messages`."""

from typing import Any, ClassVar

import msgspec
from thespian.actors import ActorAddress

from actors.publish import routes
from actors.publish.messages import OutboxReport
from actors.publish.outbox import Limits
from storage.outbox import OutboxSummary
from storage.target_state import Row


class RunPublisher(msgspec.Struct, frozen=True):
    """Start: the stored destinations and subscriptions, what waits on disk, and the limits."""

    rows: list[Row]
    outboxes: dict[int, OutboxSummary]
    store: ActorAddress
    agent_uuid: str
    limits: Limits
    window: int


class RetireAll(msgspec.Struct, frozen=True):
    """To `publisher`: bring every outbox to safety; answered by `AllRetired`."""


class AllRetired(msgspec.Struct, frozen=True):
    pass


class Routing(msgspec.Struct, frozen=True):
    """One subscription: its actor and its topic filters."""

    subscription: ActorAddress
    topics: tuple[str, ...]


class Route(msgspec.Struct, frozen=True):
    """Start, and again whenever subscriptions change: all of them."""

    routings: tuple[Routing, ...]


class RoutingReported(msgspec.Struct, frozen=True):
    """To the parent: how many batches nobody wanted since the router's start."""

    unrouted: int


class Settle(msgspec.Struct, frozen=True):
    """To the router; answered by `Settled` when every batch before it has been sent on."""


class Settled(msgspec.Struct, frozen=True):
    pass


class RunSubscription(msgspec.Struct, frozen=True):
    """Start, and again whenever it changes."""

    id: int
    route: routes.Route
    agent_uuid: str


class Publish(msgspec.Struct, frozen=True, gc=False):
    """To the destination: payloads in order, of one topic."""

    TELEMETRY: ClassVar[bool] = True

    topic: str
    payloads: list[bytes]


class Flush(msgspec.Struct, frozen=True):
    """To the subscription: publish what waits for its batch now; answered by `Flushed`."""

    number: int


class Flushed(msgspec.Struct, frozen=True):
    """`number` is that of the `Flush`."""

    id: int
    number: int


class Retire(msgspec.Struct, frozen=True):
    """To the destination: bring everything to safety and let go; answered by `Retired`. A later
    `RunDestination` takes it back."""

    number: int


class RunDestination(msgspec.Struct, frozen=True):
    """Start, and again whenever configuration or subscriptions change. `config` is checked, in clear.

    `retire` is what an earlier life was told and had not finished."""

    id: int
    name: str
    type: str
    config: dict[str, Any]
    subscriptions: tuple[RunSubscription, ...]
    limits: Limits
    window: int
    agent_uuid: str
    store: ActorAddress
    retire: Retire | None = None


class Retired(msgspec.Struct, frozen=True):
    """`number` is that of the `Retire`."""

    id: int
    number: int


class Reported(msgspec.Struct, frozen=True):
    """To the parent, at most once a second: the outbox and the connection as they are."""

    report: OutboxReport


class Connected(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int


class ConnectFailed(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int
    reason: str
    permanent: bool


class Connect(msgspec.Struct, frozen=True):
    """To itself: try again after the attempt `number`."""

    number: int


class Lost(msgspec.Struct, frozen=True):
    """To itself: an established connection has ended; `number` is that of the driver."""

    number: int
    reason: str


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """To itself: acknowledged; `number` is that of the driver."""

    number: int
    seqs: list[int]


class Tick(msgspec.Struct, frozen=True):
    """To itself: time to look at age, quota and commit; `number` is that of the life."""

    number: int


class DrainOver(msgspec.Struct, frozen=True):
    """To itself: acknowledgements have been waited for long enough."""

    number: int
