"""What the actors of publishing tell one another; what the API asks of them is in `messages`."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from thespian.actors import ActorAddress

from actors.batch import Batch
from actors.publish import routes
from actors.publish.destinations.driver import Cloud, Identity
from actors.publish.messages import OutboxReport
from actors.publish.outbox import Limits
from actors.publish.topics import Target
from storage.outbox import OutboxSummary
from storage.target_state import Row


class RunPublisher(msgspec.Struct, frozen=True):
    """Start: the stored destinations and subscriptions, what waits on disk, and the limits.

    `compression` is that of subscriptions that name none. `fallbacks` are, by destination type, what
    `config_json` means where it says nothing. `observers` get every batch of their protocol.
    """

    rows: list[Row]
    outboxes: dict[int, OutboxSummary]
    store: ActorAddress
    agent_uuid: str
    limits: Limits
    window: int
    compression: str = "json"
    fallbacks: Mapping[str, dict[str, Any]] = {}
    observers: Mapping[str, ActorAddress] = {}
    cloud: Cloud | None = None


class JoinCloud(msgspec.Struct, frozen=True):
    """To `publisher`: what provisioning has agreed, or None when the agent has left the cloud."""

    cloud: Cloud | None


class RetireAll(msgspec.Struct, frozen=True):
    """To `publisher`: bring every outbox to safety; answered by `AllRetired`."""


class AllRetired(msgspec.Struct, frozen=True):
    pass


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


class RunSubscription(msgspec.Struct, frozen=True):
    """Start, and again whenever it changes. `route.compression` is never None here."""

    id: int
    route: routes.Route
    target: Target
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
    """Start, and again whenever configuration or subscriptions change. `config` is checked, in clear,
    fallbacks included.

    `retire` is what an earlier life was told and had not finished. Those up to number `retained` do not
    count any more, even if they come later: who restarts begins with the newest `RunDestination`."""

    id: int
    name: str
    type: str
    config: dict[str, Any]
    subscriptions: tuple[RunSubscription, ...]
    limits: Limits
    window: int
    identity: Identity
    store: ActorAddress
    retire: Retire | None = None
    retained: int = 0


class Retired(msgspec.Struct, frozen=True):
    """`number` is that of the `Retire`."""

    id: int
    number: int


class ForgetDeadLetters(msgspec.Struct, frozen=True):
    """To the destination: its dead-letter table has been emptied."""


class Reported(msgspec.Struct, frozen=True):
    """To the parent, at most once a second: the outbox and the connection as they are."""

    report: OutboxReport


class Connected(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no connection; see `Transient` and `Permanent`."""

    reason: str
    permanent: bool
    retry_after: float = 0.0


class ConnectFailed(msgspec.Struct, frozen=True):
    """To itself; `number` is that of the attempt."""

    number: int
    trouble: Trouble


class Connect(msgspec.Struct, frozen=True):
    """To itself: try again after the attempt `number`."""

    number: int


class Lost(msgspec.Struct, frozen=True):
    """To itself: an established connection has ended; `number` is that of the driver."""

    number: int
    trouble: Trouble


class Expiring(msgspec.Struct, frozen=True):
    """To itself: the connection's credentials end soon; `number` is that of the driver."""

    number: int


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """To itself: acknowledged; `number` is that of the driver."""

    number: int
    seqs: list[int]


class Rejected(msgspec.Struct, frozen=True):
    """To itself: never to be delivered; `number` is that of the driver."""

    number: int
    seqs: list[int]
    reason: str


class Tick(msgspec.Struct, frozen=True):
    """To itself: time to look at age, quota and commit; `number` is that of the life."""

    number: int


class DrainOver(msgspec.Struct, frozen=True):
    """To itself: acknowledgements have been waited for long enough."""

    number: int
