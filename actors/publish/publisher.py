"""The publisher: keeper of destinations and subscriptions, parent of the destinations."""

import math
import secrets
from typing import Any

import msgspec
from msgspec import UNSET
from thespian.actors import ActorAddress, ChildActorExited

from actors.connections.connecting import numbers
from actors.publish import destinations, preview, starts
from actors.publish.catalogue import Catalogue
from actors.publish.destination import Destination, DestinationStarted, Reported
from actors.publish.destinations.masks import unmasked
from actors.publish.keeping import ForgetDeadLetters
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
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
    OutboxReport,
    RemoveDeadLetters,
    RemoveDestination,
    RemoveSubscription,
    ReportBuffers,
    SubscriptionChanged,
    SubscriptionRemoved,
    SubscriptionsListed,
    TestDestination,
)
from actors.publish.preview_messages import PreviewNewSubscription, PreviewSubscription
from actors.publish.retiring import Retire, Retired
from actors.publish.rows import (
    SWITCHED_OFF,
    DestinationBody,
    check_destination,
    continued,
    destination_row,
    found_report,
    subscription_row,
    tell_unknown_in_destination,
    tell_unknown_in_subscription,
)
from actors.publish.starts import Terms
from actors.state.keeper import Keeper
from actors.state.names import check_name
from actors.state.rows import Kept, summary
from actors.subsystems.messages import Check, StopSubsystem, SubsystemChecked, SubsystemStopped
from actors.system.addresses import child_address
from actors.system.failure import Refusal
from actors.system.supervision import Restart
from storage import dead_letters, publishing, target_state
from storage.outbox import OutboxSummary
from storage.publishing import DESTINATION, SUBSCRIPTION
from storage.target_state import Row


class RunPublisher(msgspec.Struct, frozen=True):
    """Start, and again whenever the terms change. What the cloud has agreed to is `JoinCloud`'s to say."""

    terms: Terms


class Move(msgspec.Struct, frozen=True):
    """A subscription goes from one destination to another, which has it from a start after `number` on."""

    giver: int
    taker: int
    number: int


class Publisher(Keeper):
    """Answers for destinations and subscriptions; every change is stored before it takes effect."""

    RESTART = Restart(keep_children=True)
    CHANGES = (
        AddDestination,
        ChangeDestination,
        RemoveDestination,
        AddSubscription,
        ChangeSubscription,
        RemoveSubscription,
        RemoveDeadLetters,
    )
    REQUESTS = (
        *CHANGES,
        ListDestinations,
        ListSubscriptions,
        PreviewSubscription,
        PreviewNewSubscription,
        ListDeadLetters,
        TestDestination,
        ReportBuffers,
    )

    def __init__(self) -> None:
        super().__init__()
        self.begun = False
        self.reports: dict[int, OutboxReport] = {}
        self.starting: set[int] = set()
        self.retiring: dict[int, int] = {}
        self.moves: list[Move] = []
        self.stop_to: ActorAddress | None = None

    def receiveMsg_RunPublisher(self, message: RunPublisher, sender: ActorAddress) -> None:
        self.store = message.terms.store
        if not self.begun:
            self.begun = True
            self.catalogue = Catalogue(message.terms)
            self.begin()
        else:
            self._on(msgspec.structs.replace(message.terms, cloud=self.catalogue.terms.cloud))

    def load(self) -> tuple[Any, ...]:
        return (publishing.load,)

    def take(self, stored: tuple[list[Row], dict[int, OutboxSummary]]) -> None:
        rows, outboxes = stored
        self.catalogue = Catalogue(self.catalogue.terms, rows)
        known = self.catalogue.destinations
        for destination in known.values():
            tell_unknown_in_destination(destination)
        for subscription in self.catalogue.subscriptions.values():
            tell_unknown_in_subscription(subscription)
        self.reports = {
            id: self.reports.get(id) or found_report(id, kept.row.name or "", outboxes.get(id))
            for id, kept in known.items()
        }
        self.keep_only(self._address(id) for id in known)
        self.starting = {id for id in known if self.catalogue.wanted(id)}
        for id in known:
            self._reconcile(id)
        if self.stop_to is not None:
            self._retire_all(self.stop_to)

    def in_line(self) -> None:
        """What is read before readings reach the subscriptions would be lost."""
        if not self.starting:
            super().in_line()

    def receiveMsg_DestinationStarted(self, message: DestinationStarted, sender: ActorAddress) -> None:
        self._has_started(message.id)
        self._taken(message.id, message.number)
        if message.id in self.retiring:
            self.send(sender, Retire(self.retiring[message.id]))  # an earlier life may have crashed over it

    def _has_started(self, id: int) -> None:
        if id in self.starting:
            self.starting.discard(id)
            self.in_line()

    def checked(self) -> SubsystemChecked:
        errors = {self._label(id): error for id, error in self.catalogue.errors.items()}
        broken = summary("destinations or subscriptions", errors)
        away = [box for box in self.reports.values() if not box.connected and box.last_error]
        error = "; ".join(f"{box.destination}: {box.last_error}" for box in away) or None
        switched_off = None if self.catalogue.terms.publishing else SWITCHED_OFF
        checks = [Check("mqtt", not away, description=switched_off, last_error=error)]
        if broken is not None:
            checks.append(Check("publisher-rows", False, last_error=broken))
        return SubsystemChecked(checks=checks)

    def _label(self, id: int) -> str:
        kept = self.catalogue.destinations.get(id)
        return f"subscription {id}" if kept is None else kept.row.name or f"destination {id}"

    # Destinations

    def receiveMsg_ListDestinations(self, message: ListDestinations, sender: ActorAddress) -> None:
        rows = [self._row(kept) for _, kept in sorted(self.catalogue.destinations.items())]
        chosen = [row for row in rows if row.enabled or message.include_disabled]
        self.send(sender, DestinationsListed(chosen))

    def _row(self, kept: Kept[DestinationBody]) -> Any:
        id = kept.row.id
        known = self.catalogue
        return destination_row(kept, self.reports[id], known.errors.get(id), known.terms.publishing)

    def receiveMsg_AddDestination(self, message: AddDestination, sender: ActorAddress) -> None:
        self._check_name(message.name, None)
        destinations.find(message.type).refuse_slips(message.config_json)
        terms = self.catalogue.terms
        body = check_destination(message.type, message.config_json, message.enabled, terms.fallbacks)
        stored = msgspec.to_builtins(body)
        self.transact(
            sender, self._destination_stored, target_state.insert, DESTINATION, message.name, stored
        )

    def receiveMsg_ChangeDestination(self, message: ChangeDestination, sender: ActorAddress) -> None:
        kept = self.catalogue.destinations.get(message.id)
        if kept is None:
            raise Refusal(f"Publisher not found: {message.id}", kind="not_found")
        name = (kept.row.name or "") if message.name is UNSET else message.name
        if message.name is not UNSET:
            self._check_name(name, message.id)
        body = self._changed(kept, message)
        owner = starts.owner(message.id, body, self.catalogue.terms)
        for one in self.catalogue.subscriptions_of(message.id):
            if one.body is not None:
                starts.subscription(one.row.id, one.body, owner, self.catalogue.terms)
        stored = msgspec.to_builtins(body)
        self.transact(sender, self._destination_stored, target_state.update, message.id, stored, name)

    def _changed(self, kept: Kept[DestinationBody], message: ChangeDestination) -> DestinationBody:
        """What the change makes of it; one that cannot be understood has to be said whole."""
        before = kept.body
        if before is None:
            if UNSET in (message.type, message.config_json):
                raise Refusal(
                    f"{kept.error}: send type and config_json, or remove it",
                    "type" if message.type is UNSET else "config_json",
                    "conflict",
                )
            before = DestinationBody("", {}, False)
        type = before.type if message.type is UNSET else message.type
        config = before.config_json if message.config_json is UNSET else message.config_json
        if message.config_json is not UNSET and config is not None:
            found = destinations.find(type)
            found.refuse_slips(config)
            config = unmasked(config, before.config_json or {}, found.secrets)
        enabled = before.enabled if message.enabled is UNSET else message.enabled
        return check_destination(type, config, enabled, self.catalogue.terms.fallbacks)

    def _destination_stored(self, row: Row) -> DestinationChanged:
        self.catalogue.put_destination(row)
        report = self.reports.get(row.id) or found_report(row.id, "", None)
        self.reports[row.id] = msgspec.structs.replace(report, destination=row.name or "")
        self._reconcile(row.id)
        return DestinationChanged(self._row(self.catalogue.destinations[row.id]))

    def receiveMsg_RemoveDestination(self, message: RemoveDestination, sender: ActorAddress) -> None:
        self.catalogue.check_destination(message.id)

        def removed(_: int) -> DestinationRemoved:
            self.catalogue.drop_destination(message.id)
            self.reports.pop(message.id, None)
            self.stop_child(self._address(message.id))
            self._has_started(message.id)
            self._no_longer(message.id)
            self._taken(message.id)
            return DestinationRemoved(message.id)

        self.transact(sender, removed, target_state.delete, [message.id])

    def receiveMsg_TestDestination(self, message: TestDestination, sender: ActorAddress) -> None:
        terms = self.catalogue.terms
        identity = starts.identity(terms, f"callboard-test-{secrets.token_hex(4)}")
        test = destinations.test(message.type, message.config_json, terms.fallbacks, identity)
        self.run(test, reply_to=sender)

    def receiveMsg_ListDeadLetters(self, message: ListDeadLetters, sender: ActorAddress) -> None:
        self.catalogue.check_destination(message.destination_id)

        def listed(found: list[dead_letters.DeadLetter]) -> DeadLettersListed:
            report = self.reports.get(message.destination_id)
            return DeadLettersListed(found, max(len(found), report.rejected if report else 0))

        self.look_up(sender, listed, dead_letters.newest, message.destination_id, message.limit)

    def receiveMsg_RemoveDeadLetters(self, message: RemoveDeadLetters, sender: ActorAddress) -> None:
        self.catalogue.check_destination(message.destination_id)

        def removed(count: int) -> DeadLettersRemoved:
            self.send(self._address(message.destination_id), ForgetDeadLetters())
            report = self.reports[message.destination_id]
            self.reports[message.destination_id] = msgspec.structs.replace(report, rejected=0)
            return DeadLettersRemoved(count)

        self.transact(sender, removed, dead_letters.clear, message.destination_id)

    def _check_name(self, name: str, id: int | None) -> None:
        check_name(name)
        if self.catalogue.named(name) not in (None, id):
            raise Refusal(f"Destination already exists: {name}", "name", "conflict")

    # Subscriptions

    def receiveMsg_ListSubscriptions(self, message: ListSubscriptions, sender: ActorAddress) -> None:
        errors = self.catalogue.errors
        rows = [
            subscription_row(kept, errors.get(id))
            for id, kept in sorted(self.catalogue.subscriptions.items())
            if message.publish_destination_id in (None, kept.row.parent_id)
        ]
        self.send(
            sender, SubscriptionsListed([row for row in rows if row.enabled or message.include_disabled])
        )

    def receiveMsg_AddSubscription(self, message: AddSubscription, sender: ActorAddress) -> None:
        body = self.catalogue.checked(message)
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
        kept = self.catalogue.subscription(message.id)
        changes = {
            name: value
            for name, value in msgspec.structs.asdict(message).items()
            if value is not UNSET and name not in ("id", "publish_destination_id")
        }
        if kept.body is None:
            raise Refusal(f"{kept.error}: remove it, and add it anew", kind="conflict")
        body = msgspec.structs.replace(kept.body, **changes)
        parent = kept.row.parent_id
        if message.publish_destination_id is not UNSET:
            parent = message.publish_destination_id
        self.catalogue.check_subscription(body, parent, message.route_json)
        stored = msgspec.to_builtins(body)
        self.transact(
            sender, self._subscription_stored, target_state.update, message.id, stored, UNSET, parent
        )

    def _subscription_stored(self, row: Row) -> SubscriptionChanged:
        taker = row.parent_id or 0
        givers = self.catalogue.put_subscription(row) - {taker}
        self.moves += [Move(giver, taker, next(numbers)) for giver in givers]
        self._reconcile(taker)
        kept = self.catalogue.subscriptions[row.id]
        return SubscriptionChanged(subscription_row(kept, self.catalogue.errors.get(row.id)))

    def receiveMsg_PreviewSubscription(self, message: PreviewSubscription, sender: ActorAddress) -> None:
        self.run(preview.of_stored(self.catalogue, message), reply_to=sender)

    def receiveMsg_PreviewNewSubscription(
        self, message: PreviewNewSubscription, sender: ActorAddress
    ) -> None:
        self.run(preview.of_new(self.catalogue, message), reply_to=sender)

    def receiveMsg_RemoveSubscription(self, message: RemoveSubscription, sender: ActorAddress) -> None:
        row = self.catalogue.subscription(message.id).row

        def removed(_: int) -> SubscriptionRemoved:
            self.catalogue.drop_subscription(row.id)
            self._reconcile(row.parent_id or 0)
            return SubscriptionRemoved(row.id)

        self.transact(sender, removed, target_state.delete, [row.id])

    # Bringing the tree in line

    def _reconcile(self, id: int) -> None:
        """Run a destination, or let one that is not to run bring its outbox to safety before it stops."""
        if self.stop_to is not None or id not in self.catalogue.destinations:
            return
        address = self._address(id)
        if not self.catalogue.wanted(id):
            self._taken(id)
            if self.running(address) and id not in self.retiring:
                self._retire(id)
            return
        self._no_longer(id)
        start = msgspec.structs.replace(self.catalogue.start(id), retained=next(numbers))
        if self.running(address):
            self.restate(address, start, label=start.name)
        else:
            self.spawn(Destination, _child(id), start, label=start.name)

    def _taken(self, id: int, number: float = math.inf) -> None:
        """A destination has the subscriptions that moved to it before that start, or is not to run: who had
        them lets go of them, and not before, for what was read in between would be lost."""
        done = [move for move in self.moves if move.taker == id and move.number < number]
        self.moves = [move for move in self.moves if move not in done]
        for move in done:
            self._reconcile(move.giver)

    def receiveMsg_JoinCloud(self, message: JoinCloud, sender: ActorAddress) -> None:
        self.remember(message)
        self._on(msgspec.structs.replace(self.catalogue.terms, cloud=message.cloud))

    def _on(self, terms: Terms) -> None:
        """From now on those are the terms."""
        self.catalogue = self.catalogue.of(terms)
        for id in self.catalogue.destinations:
            self._reconcile(id)

    def _address(self, id: int) -> ActorAddress:
        return child_address(self.myAddress, _child(id))

    # Letting go

    def _retire(self, id: int) -> None:
        self.retiring[id] = next(numbers)
        self.send(self._address(id), Retire(self.retiring[id]))

    def receiveMsg_Retired(self, message: Retired, sender: ActorAddress) -> None:
        if self.retiring.get(message.id) != message.number:
            return  # it was enabled again meanwhile
        if self.stop_to is None:
            self.stop_child(sender)
        self._no_longer(message.id)

    def _no_longer(self, id: int) -> None:
        """Its `Retired` is not waited for."""
        self.retiring.pop(id, None)
        if self.stop_to is not None and not self.retiring:
            self.send(self.stop_to, SubsystemStopped())

    def receiveMsg_StopSubsystem(self, message: StopSubsystem, sender: ActorAddress) -> None:
        """Before the rows are loaded it does not know which destinations an earlier life has left running."""
        self.stop_to = sender
        if self.loaded:
            self._retire_all(sender)

    def _retire_all(self, stop_to: ActorAddress) -> None:
        for id in self.catalogue.destinations.keys() - self.retiring.keys():
            if self.running(self._address(id)):
                self._retire(id)
        if not self.retiring:
            self.send(stop_to, SubsystemStopped())

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, sender: ActorAddress) -> None:
        """A destination that ended is not waited for."""
        for id in [*self.retiring, *self.starting]:
            if message.childAddress == self._address(id):
                self._has_started(id)
                self._no_longer(id)

    # What comes up from below

    def receiveMsg_Reported(self, message: Reported, sender: ActorAddress) -> None:
        before = self.reports.get(message.report.destination_id)
        if before is not None:
            self.reports[before.destination_id] = continued(message.report, before)

    def receiveMsg_ReportBuffers(self, message: ReportBuffers, sender: ActorAddress) -> None:
        self.send(sender, BuffersReported(list(self.reports.values())))


def _child(id: int) -> str:
    return f"destination-{id}"
