"""The router: which subscriptions want which endpoint's batches."""

import logging
from time import monotonic

import msgspec
from thespian.actors import ActorAddress

from actors.publish import selection, topics
from actors.readings.batch import Batch, Source
from actors.readings.messages import (
    ForgetSource,
    LatestReported,
    Observe,
    PublishEvent,
    ReportLatest,
    Route,
    RoutingReported,
    Settle,
    Settled,
)
from actors.system.actor import Actor

log = logging.getLogger(__name__)

REPORT_INTERVAL = 1.0
EVENTS = "events/"


class ReportDue(msgspec.Struct, frozen=True):
    """To itself."""


class Plan(msgspec.Struct, frozen=True):
    """Where the batches of a source go. An `observer` is sent them too, but does not publish them."""

    source: Source
    subscriptions: tuple[ActorAddress, ...]
    observer: ActorAddress | None


class Router(Actor):
    """Sends each batch to the subscriptions that want any of its points, and to who observes.

    Routes are matched once per endpoint and change of either side, not per batch.
    """

    def __init__(self) -> None:
        self.unrouted = 0
        self.reported = 0
        self.warned = False
        self.ticking = False
        self.latest: dict[str, Batch] = {}
        self.leases: dict[str, tuple[ActorAddress, float]] = {}

    def receiveMsg_Route(self, message: Route, sender: ActorAddress) -> None:
        self.parent = sender
        self.reported = 0  # a parent that has restarted knows nothing yet
        self.routings = message.routings
        self.observers = message.observers
        self.warned = False
        self.plans: dict[str, Plan] = {}
        self.health = f"{len(self.routings)} subscriptions"
        if not self.ticking:
            self.ticking = True
            self.wakeupAfter(REPORT_INTERVAL, ReportDue())

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        source = message.source
        plan = self.plans.get(source.endpoint_uuid)
        if plan is None or plan.source is not source:
            plan = self._plan(source)
        self.latest[source.endpoint_uuid] = message
        if not plan.subscriptions:
            self.unrouted += 1
        for subscription in plan.subscriptions:
            self.send(subscription, message)
        if plan.observer is not None:
            self.send(plan.observer, message)
        for observer, _ in self.leases.values():
            self.send(observer, message)

    def _plan(self, source: Source) -> Plan:
        plan = self.plans[source.endpoint_uuid] = Plan(
            source,
            tuple(
                routing.subscription
                for routing in self.routings
                if selection.select(routing.route, source) != ()
            ),
            self.observers.get(source.protocol),
        )
        return plan

    def receiveMsg_PublishEvent(self, message: PublishEvent, sender: ActorAddress) -> None:
        """Only who asks for events by name gets them: they are not what other receivers expect."""
        for routing in self.routings:
            filters = (wanted for wanted in routing.route.topics if wanted.startswith(EVENTS))
            if any(topics.matches(wanted, message.topic) for wanted in filters):
                self.send(routing.subscription, message)

    # Watching

    def receiveMsg_Observe(self, message: Observe, sender: ActorAddress) -> None:
        key = message.observer.addressDetails
        if message.seconds > 0:
            self.leases[key] = message.observer, monotonic() + message.seconds
        else:
            self.leases.pop(key, None)

    def receiveMsg_ReportLatest(self, message: ReportLatest, sender: ActorAddress) -> None:
        self.send(sender, LatestReported(list(self.latest.values())))

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: ActorAddress) -> None:
        self.latest.pop(message.endpoint_uuid, None)
        self.plans.pop(message.endpoint_uuid, None)

    # Reporting

    def receiveMsg_ReportDue(self, message: ReportDue, sender: ActorAddress) -> None:
        if self.unrouted != self.reported:
            self.reported = self.unrouted
            if not self.warned:
                self.warned = True
                log.warning("readings that no enabled subscription wants are dropped")
            self.send(self.parent, RoutingReported(self.unrouted))
        now = monotonic()
        self.leases = {key: lease for key, lease in self.leases.items() if lease[1] > now}
        self.wakeupAfter(REPORT_INTERVAL, ReportDue())

    def receiveMsg_Settle(self, message: Settle, sender: ActorAddress) -> None:
        self.send(sender, Settled())
