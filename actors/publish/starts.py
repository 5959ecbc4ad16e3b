"""What the actors below the publisher are started with, from stored rows. Plain functions."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.publish import destinations
from actors.publish.destination import RunDestination
from actors.publish.destinations.driver import DestinationType, Identity
from actors.publish.messages import Cloud
from actors.publish.outbox import Limits
from actors.publish.rows import DestinationBody, SubscriptionBody, route_of
from actors.publish.subscription import RunSubscription
from actors.system.failure import Refusal
from storage.outbox import OutboxSummary
from storage.target_state import Row

log = logging.getLogger(__name__)


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


class Owner(msgspec.Struct, frozen=True):
    """A destination as its subscriptions need it: `config` is what its type's `check` returned, which may
    take some ms (certificates, keys), so it is made once for all of them."""

    type: DestinationType
    config: Any
    identity: Identity


def owner(id: int, body: DestinationBody, publisher: RunPublisher) -> Owner:
    """Raises `Refusal` when the destination cannot be as `body` has it."""
    found = destinations.find(body.type)
    config = found.check(destinations.effective(found, body.config_json, publisher.fallbacks))
    return Owner(found, config, _identity(id, publisher))


def identity(publisher: RunPublisher, connection: str) -> Identity:
    """Who connects under that name."""
    return Identity(publisher.agent_uuid, connection, publisher.cloud)


def destination(row: Row, subscriptions: Iterable[Row], publisher: RunPublisher) -> RunDestination:
    """The start of a destination with those of its subscriptions that can run."""
    body = msgspec.convert(row.body, DestinationBody)
    found = destinations.find(body.type)
    return RunDestination(
        id=row.id,
        name=row.name or "",
        type=body.type,
        config=destinations.effective(found, body.config_json, publisher.fallbacks),
        subscriptions=tuple(_running(row, body, subscriptions, publisher)),
        limits=publisher.limits,
        window=publisher.window,
        identity=_identity(row.id, publisher),
        store=publisher.store,
    )


def _running(
    row: Row, body: DestinationBody, subscriptions: Iterable[Row], publisher: RunPublisher
) -> Iterator[RunSubscription]:
    """What was stored was accepted, but the settings that it falls back on may have changed since."""
    try:
        found = owner(row.id, body, publisher)
    except Refusal as refusal:
        log.error("%s cannot run: %s", row.name, refusal.message)
        return
    for one in subscriptions:
        try:
            yield subscription(one, found, publisher)
        except Refusal as refusal:
            log.error("subscription %d of %s cannot run: %s", one.id, row.name, refusal.message)


def subscription(row: Row, owner: Owner, publisher: RunPublisher) -> RunSubscription:
    """The start of a subscription; raises `Refusal` when its destination cannot do with it."""
    route = route_of(msgspec.convert(row.body, SubscriptionBody))
    own = owner.type.payload_format
    return RunSubscription(
        id=row.id,
        route=msgspec.structs.replace(
            route,
            payload_format=own or route.payload_format,
            compression="json" if own else route.compression or publisher.compression,
        ),
        target=owner.type.target(owner.config, route.topic, owner.identity),
        agent_uuid=publisher.agent_uuid,
    )


def _identity(id: int, publisher: RunPublisher) -> Identity:
    return identity(publisher, f"{publisher.agent_uuid}-{id}")
