"""What the actors below the publisher are started with, from stored rows. Plain functions."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.mqtt import topics
from actors.publish import destinations, formats
from actors.publish.destination import RunDestination
from actors.publish.destinations.driver import DestinationType, Identity
from actors.publish.entries import Limits
from actors.publish.messages import Cloud
from actors.publish.pace import Flow
from actors.publish.rows import DestinationBody, SubscriptionBody, route_of
from actors.publish.subscription import RunSubscription
from actors.publish.topics import Target
from actors.system.failure import Refusal
from storage.target_state import Row


class Terms(msgspec.Struct, frozen=True):
    """What all destinations of this agent are started with.

    `compression` is that of subscriptions that name none. `fallbacks` are, by destination type, what
    `config_json` means where it says nothing. `cloud` is what provisioning has agreed. With `publishing` off
    no destination runs.
    """

    store: ActorAddress
    router: ActorAddress
    agent_uuid: str
    limits: Limits
    flow: Flow
    compression: str = "json"
    fallbacks: Mapping[str, dict[str, Any]] = {}
    cloud: Cloud | None = None
    publishing: bool = True


class Owner(msgspec.Struct, frozen=True):
    """A destination as its subscriptions need it: `checked` is what its type's `check` returned, which may
    take some ms (certificates, keys), so it is made once for all of them."""

    type: DestinationType
    config: dict[str, Any]
    checked: Any
    identity: Identity


def owner(id: int, body: DestinationBody, terms: Terms) -> Owner:
    """Raises `Refusal` when the destination cannot be as `body` has it."""
    found = destinations.find(body.type)
    config = destinations.effective(found, body.config_json, terms.fallbacks)
    return Owner(found, config, found.check(config), identity(terms, f"{terms.agent_uuid}-{id}"))


def identity(terms: Terms, connection: str) -> Identity:
    """Who connects under that name."""
    return Identity(terms.agent_uuid, connection, terms.cloud, terms.limits.ttl_ms)


def destination(
    row: Row, owner: Owner, subscriptions: Iterable[RunSubscription], terms: Terms
) -> RunDestination:
    """The start of a destination."""
    return RunDestination(
        id=row.id,
        name=row.name or "",
        type=owner.type.name,
        config=owner.config,
        subscriptions=tuple(subscriptions),
        limits=terms.limits,
        flow=terms.flow,
        identity=owner.identity,
        store=terms.store,
        router=terms.router,
    )


def refuse_slips(route_json: Any, owner: Owner) -> None:
    """Raises `Refusal` for a topic in what a client sends that is hardly meant. What is stored runs."""
    topic = route_json.get("topic") if isinstance(route_json, dict) else None
    if owner.type.mqtt_topics and isinstance(topic, str):
        topics.refuse_slips(topic, "route_json.topic")


def subscription(id: int, body: SubscriptionBody, owner: Owner, terms: Terms) -> RunSubscription:
    """The start of a subscription; raises `Refusal` when its destination cannot do with it."""
    route = route_of(body)
    target = _target(route.payload_format, owner.type)(owner.checked, route.topic, owner.identity)
    payload_format = owner.type.payload_format or route.payload_format
    plain = not formats.find(payload_format).json
    return RunSubscription(
        id=id,
        route=msgspec.structs.replace(
            route,
            payload_format=payload_format,
            compression="json" if plain else route.compression or terms.compression,
        ),
        target=target,
        agent_uuid=terms.agent_uuid,
    )


def _target(payload_format: str, type: DestinationType) -> Callable[[Any, str | None, Identity], Target]:
    if not formats.find(payload_format).addresses:
        return type.target
    if payload_format not in type.targets:
        raise Refusal(
            f"payload_format {payload_format} is not for destinations of type {type.name}", "payload_format"
        )
    return type.targets[payload_format]
