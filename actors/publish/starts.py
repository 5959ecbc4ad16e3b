"""What the actors below the publisher are started with, from stored rows. Plain functions."""

import logging
from collections.abc import Iterable

import msgspec

from actors.failure import Refusal
from actors.publish import destinations
from actors.publish.destinations.driver import Identity
from actors.publish.rows import DestinationBody, SubscriptionBody, route_of
from actors.publish.signals import RunDestination, RunPublisher, RunSubscription
from storage.target_state import Row

log = logging.getLogger(__name__)


def identity(publisher: RunPublisher, connection: str) -> Identity:
    """Who connects under that name."""
    return Identity(publisher.agent_uuid, connection, publisher.cloud)


def destination(row: Row, subscriptions: Iterable[Row], publisher: RunPublisher) -> RunDestination:
    """The start of a destination with those of its subscriptions that can run.

    What was stored was accepted, but the settings that it falls back on may have changed since.
    """
    body = msgspec.convert(row.body, DestinationBody)
    starts = []
    for one in subscriptions:
        try:
            starts.append(subscription(one, row.id, body, publisher))
        except Refusal as refusal:
            log.error("subscription %d of %s cannot run: %s", one.id, row.name, refusal.message)
    found = destinations.find(body.type)
    return RunDestination(
        id=row.id,
        name=row.name or "",
        type=body.type,
        config=destinations.effective(found, body.config_json, publisher.fallbacks),
        subscriptions=tuple(starts),
        limits=publisher.limits,
        window=publisher.window,
        identity=identity(publisher, connection_name(publisher, row.id)),
        store=publisher.store,
    )


def subscription(row: Row, owner_id: int, owner: DestinationBody, publisher: RunPublisher) -> RunSubscription:
    """The start of a subscription; raises `Refusal` when its destination, as `owner` has it, cannot do
    with it."""
    found = destinations.find(owner.type)
    checked = found.check(destinations.effective(found, owner.config_json, publisher.fallbacks))
    route = route_of(msgspec.convert(row.body, SubscriptionBody))
    own = found.payload_format
    return RunSubscription(
        id=row.id,
        route=msgspec.structs.replace(
            route,
            payload_format=own or route.payload_format,
            compression="json" if own else route.compression or publisher.compression,
        ),
        target=found.target(checked, route.topic, identity(publisher, connection_name(publisher, owner_id))),
        agent_uuid=publisher.agent_uuid,
    )


def connection_name(publisher: RunPublisher, id: int) -> str:
    return f"{publisher.agent_uuid}-{id}"
