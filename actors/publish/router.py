"""The router: which subscriptions want which endpoint's batches."""

import logging

import msgspec
from thespian.actors import ActorAddress

from actors.batch import Batch, Source
from actors.publish import topics
from actors.publish.signals import (
    Route,
    RoutingReported,
    Settle,
    Settled,
)
from actors.system.actor import Actor

log = logging.getLogger(__name__)

REPORT_INTERVAL = 1.0


class ReportDue(msgspec.Struct, frozen=True):
    """To itself."""


class Router(Actor):
    """Sends each batch to the subscriptions that want any of its points.

    Filters are matched once per endpoint and change of either side, not per batch.
    """

    def __init__(self) -> None:
        self.unrouted = 0
        self.reported = 0
        self.warned = False
        self.ticking = False

    def receiveMsg_Route(self, message: Route, sender: ActorAddress) -> None:
        self.parent = sender
        self.reported = 0  # a parent that has restarted knows nothing yet
        self.routings = message.routings
        self.warned = False
        self.plans: dict[str, tuple[Source, tuple[ActorAddress, ...]]] = {}
        self.health = f"{len(self.routings)} subscriptions"
        if not self.ticking:
            self.ticking = True
            self.wakeupAfter(REPORT_INTERVAL, ReportDue())

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        source = message.source
        known, subscriptions = self.plans.get(source.endpoint_uuid, (None, ()))
        if known is not source:
            subscriptions = self._plan(source)
        if not subscriptions:
            self.unrouted += 1
        for subscription in subscriptions:
            self.send(subscription, message)

    def _plan(self, source: Source) -> tuple[ActorAddress, ...]:
        wanted = tuple(
            routing.subscription for routing in self.routings if topics.select(routing.topics, source) != ()
        )
        self.plans[source.endpoint_uuid] = (source, wanted)
        return wanted

    def receiveMsg_ReportDue(self, message: ReportDue, sender: ActorAddress) -> None:
        if self.unrouted != self.reported:
            self.reported = self.unrouted
            if not self.warned:
                self.warned = True
                log.warning("readings that no enabled subscription wants are dropped")
            self.send(self.parent, RoutingReported(self.unrouted))
        self.wakeupAfter(REPORT_INTERVAL, ReportDue())

    def receiveMsg_Settle(self, message: Settle, sender: ActorAddress) -> None:
        self.send(sender, Settled())
