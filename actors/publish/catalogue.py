"""The destinations and subscriptions that should be, and what to start of them. Plain; a change costs what it
changes."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from actors.publish import starts
from actors.publish.destination import RunDestination
from actors.publish.messages import AddSubscription
from actors.publish.rows import DestinationBody, SubscriptionBody
from actors.publish.starts import Owner, Terms
from actors.publish.subscription import RunSubscription
from actors.publish.subscription_route import RouteJson
from actors.state.rows import Kept, understand
from actors.system.checking import refuse_unknown
from actors.system.failure import Refusal
from storage.publishing import DESTINATION, SUBSCRIPTION
from storage.target_state import Row

log = logging.getLogger(__name__)


class Catalogue:
    """`destinations` and `subscriptions` by id. What was stored was accepted, but perhaps by another version,
    or with other settings: what cannot run is kept, with why in `errors`, and the others run."""

    def __init__(self, terms: Terms, rows: Iterable[Row] = ()) -> None:
        self.terms = terms
        self.destinations: dict[int, Kept[DestinationBody]] = {}
        self.subscriptions: dict[int, Kept[SubscriptionBody]] = {}
        self.errors: dict[int, str] = {}
        self._owners: dict[int, Owner] = {}
        self._members: dict[int, dict[int, RunSubscription | None]] = {}
        for row in rows:
            if row.kind == SUBSCRIPTION:
                self._keep(row)
        for row in rows:
            if row.kind == DESTINATION:
                self.put_destination(row)
        for kept in self.subscriptions.values():
            if kept.row.parent_id not in self.destinations:
                self._cannot_run(kept.row, "its destination is missing in the database")

    # Changing

    def put_destination(self, row: Row) -> None:
        kept = self.destinations[row.id] = understand(row, DestinationBody)
        self._owners.pop(row.id, None)
        self.errors.pop(row.id, None)
        try:
            if kept.body is not None:
                self._owners[row.id] = starts.owner(row.id, kept.body, self.terms)
        except Refusal as refusal:
            self._cannot_run(row, refusal.message)
        if kept.error is not None:
            self._cannot_run(row, kept.error)
        for id in self._members.setdefault(row.id, {}):
            self._plan(self.subscriptions[id])

    def put_subscription(self, row: Row) -> set[int]:
        """The destinations that it is, and was, a subscription of."""
        before = self.subscriptions.get(row.id)
        owners = {self._keep(row)} | ({before.row.parent_id or 0} if before else set())
        self._plan(self.subscriptions[row.id])
        return owners

    def _keep(self, row: Row) -> int:
        self.drop_subscription(row.id)
        self.subscriptions[row.id] = understand(row, SubscriptionBody)
        self._members.setdefault(row.parent_id or 0, {})[row.id] = None
        return row.parent_id or 0

    def _plan(self, kept: Kept[SubscriptionBody]) -> None:
        """Work out what a subscription's actor is to be started with."""
        row = kept.row
        members = self._members[row.parent_id or 0]
        members[row.id] = None
        self.errors.pop(row.id, None)
        owner = self._owners.get(row.parent_id or 0)
        if kept.error is not None:
            self._cannot_run(row, kept.error)
        elif owner is not None and kept.known.enabled:
            try:
                members[row.id] = starts.subscription(row.id, kept.known, owner, self.terms)
            except Refusal as refusal:
                self._cannot_run(row, refusal.message)

    def _cannot_run(self, row: Row, error: str) -> None:
        self.errors[row.id] = error
        log.error("%s %s cannot run: %s", row.kind, row.name or row.id, error)

    def drop_destination(self, id: int) -> None:
        """And its subscriptions."""
        for subscription in list(self._members.get(id, {})):
            self.drop_subscription(subscription)
        for known in (self.destinations, self._owners, self._members, self.errors):
            known.pop(id, None)

    def drop_subscription(self, id: int) -> None:
        kept = self.subscriptions.pop(id, None)
        self.errors.pop(id, None)
        if kept is not None:
            self._members[kept.row.parent_id or 0].pop(id, None)

    # Asking

    def check_destination(self, id: int | None, field: str | None = None) -> None:
        """Raises `Refusal` when there is none of that id."""
        if id not in self.destinations:
            raise Refusal(f"Destination not found: {id}", field, "not_found")

    def subscription(self, id: int) -> Kept[SubscriptionBody]:
        """Raises `Refusal` when there is none of that id."""
        if id not in self.subscriptions:
            raise Refusal(f"Publish subscription not found: {id}", kind="not_found")
        return self.subscriptions[id]

    def checked(self, new: AddSubscription) -> SubscriptionBody:
        """What to store of a subscription as the client sent it; raises `Refusal`."""
        fields = {name: getattr(new, name) for name in SubscriptionBody.__struct_fields__}
        body = SubscriptionBody(**fields)
        self.check_subscription(body, new.publish_destination_id, new.route_json)
        return body

    def check_subscription(self, body: SubscriptionBody, destination: int | None, sent: Any) -> None:
        """Raises `Refusal` for one that its destination cannot do with. `sent` is the `route_json` that the
        client has sent, if it has."""
        refuse_unknown(sent, RouteJson, "route_json")
        owner = self.needed_owner(destination)
        starts.subscription(0, body, owner, self.terms)
        starts.refuse_slips(sent, owner)

    def needed_owner(self, destination: int | None) -> Owner:
        """Raises `Refusal` for a destination that is not there or cannot run."""
        self.check_destination(destination, "publish_destination_id")
        owner = self._owners.get(destination or 0)
        if owner is None:
            why = self.errors.get(destination or 0)
            raise Refusal(f"Its destination cannot run: {why}", "publish_destination_id", "conflict")
        return owner

    def subscriptions_of(self, destination: int) -> Iterator[Kept[SubscriptionBody]]:
        return (self.subscriptions[id] for id in self._members.get(destination, {}))

    def wanted(self, destination: int) -> bool:
        """Whether it should run and can."""
        kept = self.destinations.get(destination)
        runs = kept is not None and destination in self._owners and kept.known.enabled
        return runs and self.terms.publishing

    def of(self, terms: Terms) -> "Catalogue":
        """The same destinations and subscriptions on other terms."""
        if terms == msgspec.structs.replace(self.terms, publishing=terms.publishing):
            self.terms = terms  # what runs is started as before
            return self
        rows = [kept.row for kept in self.destinations.values()]
        rows += [kept.row for kept in self.subscriptions.values()]
        return Catalogue(terms, rows)

    def start(self, destination: int) -> RunDestination:
        """The start of one that is wanted."""
        members = self._members[destination].values()
        runnable = [start for start in members if start is not None]
        row = self.destinations[destination].row
        return starts.destination(row, self._owners[destination], runnable, self.terms)

    def named(self, name: str) -> int | None:
        """The destination of that name."""
        found = (id for id, kept in self.destinations.items() if kept.row.name == name)
        return next(found, None)
