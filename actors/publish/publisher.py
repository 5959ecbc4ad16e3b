"""The publisher: keeper of destinations and subscriptions, parent of the router and the destinations."""

import secrets
import time
from collections import deque
from typing import Any

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress, ChildActorExited

from actors.connections.connecting import numbers
from actors.publish import destinations, starts
from actors.publish.destination import Destination, ForgetDeadLetters, Reported
from actors.publish.destinations.masks import unmasked
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    AllRetired,
    BuffersReported,
    ChangeDestination,
    ChangeSubscription,
    DeadLettersListed,
    DeadLettersRemoved,
    DestinationChanged,
    DestinationRemoved,
    DestinationsListed,
    JoinCloud,
    ListDeadLetters,
    ListDestinations,
    ListSubscriptions,
    RemoveDeadLetters,
    RemoveDestination,
    RemoveSubscription,
    ReportBuffers,
    RetireAll,
    SubscriptionChanged,
    SubscriptionRemoved,
    SubscriptionsListed,
    TestDestination,
)
from actors.publish.retiring import Retire, Retired
from actors.publish.rows import (
    DestinationBody,
    SubscriptionBody,
    check_destination,
    destination_row,
    found_report,
    subscription_row,
)
from actors.publish.starts import RunPublisher
from actors.readings.messages import Route, Routing, RoutingReported, Settle, Settled
from actors.readings.router import Router
from actors.state.keeper import Keeper
from actors.state.messages import Transacted
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import dead_letters, target_state
from storage.target_state import Row

DESTINATION = "destination"
SUBSCRIPTION = "subscription"
ROUTER = "router"
NAME_LENGTH = 200
GAVE_UP = "gave up after repeated failures"


_CHANGES = (
    AddDestination,
    ChangeDestination,
    RemoveDestination,
    AddSubscription,
    ChangeSubscription,
    RemoveSubscription,
)


class Publisher(Keeper):
    """Answers for destinations and subscriptions; every change is stored before it takes effect.

    One change at a time: each is checked against, and merged into, what the one before it has left.
    """

    RESTART = Restart(keep_children=True)

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[tuple[Any, ActorAddress]] = deque()

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if self._pending and isinstance(message, _CHANGES):
            self.waiting.append((message, sender))
            return None
        return super().receiveMessage(message, sender)

    def receiveMsg_Transacted(self, message: Transacted, sender: ActorAddress) -> None:
        super().receiveMsg_Transacted(message, sender)
        while self.waiting and not self._pending:
            self.receiveMessage(*self.waiting.popleft())

    def receiveMsg_RunPublisher(self, message: RunPublisher, sender: ActorAddress) -> None:
        self.config = message
        self.store = message.store
        self.destinations = {row.id: row for row in message.rows if row.kind == DESTINATION}
        self.subscriptions = {row.id: row for row in message.rows if row.kind == SUBSCRIPTION}
        self.reports = {
            id: found_report(id, row.name or "", message.outboxes.get(id))
            for id, row in self.destinations.items()
        }
        self.unrouted = 0
        self.to_retire: set[int] = set()
        self.retiring: dict[int, int] = {}
        self.retire_to: ActorAddress | None = None
        self._reconcile()

    # Destinations

    def receiveMsg_ListDestinations(self, message: ListDestinations, sender: ActorAddress) -> None:
        rows = [destination_row(row, self.reports[id]) for id, row in sorted(self.destinations.items())]
        chosen = [row for row in rows if row.enabled or message.include_disabled]
        self.send(sender, DestinationsListed(chosen))

    def receiveMsg_AddDestination(self, message: AddDestination, sender: ActorAddress) -> None:
        self._check_name(message.name, None)
        body = check_destination(message.type, message.config_json, message.enabled, self.config.fallbacks)
        self.transact(
            sender,
            self._destination_stored,
            target_state.insert,
            DESTINATION,
            message.name,
            msgspec.to_builtins(body),
        )

    def receiveMsg_ChangeDestination(self, message: ChangeDestination, sender: ActorAddress) -> None:
        row = self.destinations.get(message.id)
        if row is None:
            raise Refusal(f"Publisher not found: {message.id}", kind="not_found")
        before = msgspec.convert(row.body, DestinationBody)
        name = (row.name or "") if message.name is UNSET else message.name
        self._check_name(name, row.id)
        type = before.type if message.type is UNSET else message.type
        config = before.config_json if message.config_json is UNSET else message.config_json
        if message.config_json is not UNSET and config is not None:
            config = unmasked(config, before.config_json or {}, destinations.find(type).secrets)
        enabled = before.enabled if message.enabled is UNSET else message.enabled
        body = check_destination(type, config, enabled, self.config.fallbacks)
        owner = starts.owner(row.id, body, self.config)
        for subscription in self._of(row.id):
            starts.subscription(subscription, owner, self.config)
        self.transact(
            sender, self._destination_stored, target_state.update, row.id, msgspec.to_builtins(body), name
        )

    def _destination_stored(self, row: Row) -> DestinationChanged:
        self.destinations[row.id] = row
        report = self.reports.get(row.id) or found_report(row.id, "", None)
        self.reports[row.id] = msgspec.structs.replace(report, destination=row.name or "")
        self._reconcile()
        return DestinationChanged(destination_row(row, self.reports[row.id]))

    def receiveMsg_RemoveDestination(self, message: RemoveDestination, sender: ActorAddress) -> None:
        self._check_destination(message.id)

        def removed(_: int) -> DestinationRemoved:
            for subscription in self._of(message.id):
                del self.subscriptions[subscription.id]
            for known in (self.destinations, self.reports):
                known.pop(message.id, None)
            self._retained(message.id)
            self._reconcile()
            return DestinationRemoved(message.id)

        self.transact(sender, removed, target_state.delete, [message.id])

    def receiveMsg_TestDestination(self, message: TestDestination, sender: ActorAddress) -> None:
        identity = starts.identity(self.config, f"callboard-test-{secrets.token_hex(4)}")
        test = destinations.test(message.type, message.config_json, self.config.fallbacks, identity)
        self.run(test, reply_to=sender)

    def receiveMsg_ListDeadLetters(self, message: ListDeadLetters, sender: ActorAddress) -> None:
        self._check_destination(message.destination_id)

        def listed(found: list[dead_letters.DeadLetter]) -> DeadLettersListed:
            report = self.reports.get(message.destination_id)
            return DeadLettersListed(found, max(len(found), report.rejected if report else 0))

        self.transact(sender, listed, dead_letters.newest, message.destination_id, message.limit)

    def receiveMsg_RemoveDeadLetters(self, message: RemoveDeadLetters, sender: ActorAddress) -> None:
        self._check_destination(message.destination_id)

        def removed(count: int) -> DeadLettersRemoved:
            self.send(child_address(self.myAddress, _child(message.destination_id)), ForgetDeadLetters())
            report = self.reports.get(message.destination_id)
            if report is not None:
                self.reports[message.destination_id] = msgspec.structs.replace(report, rejected=0)
            return DeadLettersRemoved(count)

        self.transact(sender, removed, dead_letters.clear, message.destination_id)

    def _check_destination(self, id: int | None, field: str | None = None) -> None:
        if id not in self.destinations:
            raise Refusal(f"Destination not found: {id}", field, "not_found")

    def _check_name(self, name: str, id: int | None) -> None:
        if not name.strip():
            raise Refusal("name is required", "name")
        if len(name) > NAME_LENGTH:
            raise Refusal(f"name is longer than {NAME_LENGTH} characters", "name")
        if any(row.name == name and row.id != id for row in self.destinations.values()):
            raise Refusal(f"Destination already exists: {name}", "name", "conflict")

    # Subscriptions

    def receiveMsg_ListSubscriptions(self, message: ListSubscriptions, sender: ActorAddress) -> None:
        rows = [subscription_row(row) for _, row in sorted(self.subscriptions.items())]
        chosen = [
            row
            for row in rows
            if message.publish_destination_id in (None, row.publish_destination_id)
            and (row.enabled or message.include_disabled)
        ]
        self.send(sender, SubscriptionsListed(chosen))

    def receiveMsg_AddSubscription(self, message: AddSubscription, sender: ActorAddress) -> None:
        body = SubscriptionBody(
            topics=message.topics,
            route_json=message.route_json,
            payload_format=message.payload_format,
            compression=message.compression,
            enabled=message.enabled,
        )
        self._check_route(body, message.publish_destination_id)
        self.transact(
            sender,
            self._subscription_stored,
            target_state.insert,
            SUBSCRIPTION,
            None,
            msgspec.to_builtins(body),
            message.publish_destination_id,
        )

    def receiveMsg_ChangeSubscription(self, message: ChangeSubscription, sender: ActorAddress) -> None:
        row = self._find_subscription(message.id)
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(message).items()
            if value is not UNSET and name not in ("id", "publish_destination_id")
        }
        body = msgspec.structs.replace(msgspec.convert(row.body, SubscriptionBody), **changes)
        parent = row.parent_id
        if message.publish_destination_id is not UNSET:
            parent = message.publish_destination_id
        self._check_route(body, parent)
        self.transact(
            sender,
            self._subscription_stored,
            target_state.update,
            row.id,
            msgspec.to_builtins(body),
            UNSET,
            parent,
        )

    def _subscription_stored(self, row: Row) -> SubscriptionChanged:
        self.subscriptions[row.id] = row
        self._reconcile()
        return SubscriptionChanged(subscription_row(row))

    def receiveMsg_RemoveSubscription(self, message: RemoveSubscription, sender: ActorAddress) -> None:
        row = self._find_subscription(message.id)

        def removed(_: int) -> SubscriptionRemoved:
            self.subscriptions.pop(row.id, None)
            self._reconcile()
            return SubscriptionRemoved(row.id)

        self.transact(sender, removed, target_state.delete, [row.id])

    def _find_subscription(self, id: int) -> Row:
        if id not in self.subscriptions:
            raise Refusal(f"Publish subscription not found: {id}", kind="not_found")
        return self.subscriptions[id]

    def _check_route(self, body: SubscriptionBody, destination_id: int | None) -> None:
        self._check_destination(destination_id, "publish_destination_id")
        owned_by = self.destinations[destination_id or 0]
        owner = starts.owner(owned_by.id, msgspec.convert(owned_by.body, DestinationBody), self.config)
        row = Row(0, SUBSCRIPTION, "", None, owned_by.id, msgspec.to_builtins(body), "", "")
        starts.subscription(row, owner, self.config)

    def _of(self, destination_id: int) -> list[Row]:
        return [row for row in self.subscriptions.values() if row.parent_id == destination_id]

    # Bringing the tree in line

    def _reconcile(self) -> None:
        self.remember(
            msgspec.structs.replace(
                self.config, rows=[*self.destinations.values(), *self.subscriptions.values()]
            )
        )
        if self.retire_to is not None:
            self._all_retired()
            return  # the agent is stopping; the next start does the rest
        routings: list[Routing] = []
        for id in list(self.destinations):
            routings += self._reconcile_destination(id)
        router = child_address(self.myAddress, ROUTER)
        self.keep_only([router, *(child_address(self.myAddress, _child(id)) for id in self.destinations)])
        route = Route(tuple(routings), self.config.observers)
        if self.running(router):
            self.restate(router, route)
        else:
            self.spawn(Router, ROUTER, route)
        if self.to_retire:
            self._settle()

    def _reconcile_destination(self, id: int) -> list[Routing]:
        """Run it, or let a disabled one bring its outbox to safety before it stops."""
        row = self.destinations[id]
        body = msgspec.convert(row.body, DestinationBody)
        address = child_address(self.myAddress, _child(id))
        if not body.enabled:
            if self.running(address) and id not in self.retiring:
                self.to_retire.add(id)
            return []
        self._retained(id)
        start = msgspec.structs.replace(
            starts.destination(row, [s for s in self._of(id) if s.body["enabled"]], self.config),
            retained=next(numbers),
        )
        if self.running(address):
            self.restate(address, start, label=row.name)
        else:
            self.spawn(Destination, _child(id), start, label=row.name)
        return [Routing(child_address(address, f"subscription-{s.id}"), s.route) for s in start.subscriptions]

    def receiveMsg_JoinCloud(self, message: JoinCloud, sender: ActorAddress) -> None:
        self.config = msgspec.structs.replace(self.config, cloud=message.cloud)
        self._reconcile()

    # Letting go

    def _settle(self) -> None:
        """Batches come through the router: what it has sent on before it settles is still to be taken."""
        self.send(child_address(self.myAddress, ROUTER), Settle())

    def _retained(self, id: int) -> None:
        """It stays, or is gone already: its `Retired` is not waited for."""
        self.to_retire.discard(id)
        self.retiring.pop(id, None)

    def receiveMsg_Settled(self, message: Settled, sender: ActorAddress) -> None:
        for id in self.to_retire:
            self.retiring[id] = next(numbers)
            self.send(child_address(self.myAddress, _child(id)), Retire(self.retiring[id]))
        self.to_retire.clear()
        self._all_retired()

    def receiveMsg_Retired(self, message: Retired, sender: ActorAddress) -> None:
        if self.retiring.get(message.id) != message.number:
            return  # it was enabled again meanwhile
        del self.retiring[message.id]
        if self.retire_to is None:
            self.stop_child(sender)
        self._all_retired()

    def receiveMsg_RetireAll(self, message: RetireAll, sender: ActorAddress) -> None:
        self.retire_to = sender
        for id in self.destinations.keys() - self.retiring.keys():
            if self.running(child_address(self.myAddress, _child(id))):
                self.to_retire.add(id)
        self._settle()

    def _all_retired(self) -> None:
        if self.retire_to is not None and not self.to_retire and not self.retiring:
            self.send(self.retire_to, AllRetired())

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        """A destination that gave up is not waited for; the next change starts it anew."""
        super().receiveMsg_ChildActorExited(message, sender)
        for id in self.destinations:
            if message.childAddress == child_address(self.myAddress, _child(id)):
                self.reports[id] = msgspec.structs.replace(
                    self.reports[id],
                    connected=False,
                    last_error=GAVE_UP,
                    latest_error=GAVE_UP,
                    latest_error_at=int(time.time() * 1000),
                )
                self._retained(id)
        self._all_retired()

    # What comes up from below

    def receiveMsg_Reported(self, message: Reported, sender: ActorAddress) -> None:
        report, before = message.report, self.reports.get(message.report.destination_id)
        if before is None:
            return
        if report.latest_error is None:  # an actor that has restarted knows nothing of its earlier life
            report = msgspec.structs.replace(
                report, latest_error=before.latest_error, latest_error_at=before.latest_error_at
            )
        self.reports[report.destination_id] = report

    def receiveMsg_RoutingReported(self, message: RoutingReported, sender: ActorAddress) -> None:
        self.unrouted = message.unrouted

    def receiveMsg_ReportBuffers(self, message: ReportBuffers, sender: ActorAddress) -> None:
        self.send(sender, BuffersReported(list(self.reports.values()), self.unrouted))


def _child(id: int) -> str:
    return f"destination-{id}"
