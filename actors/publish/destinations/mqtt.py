"""Destination `mqtt`: publishes over TCP, TLS or a websocket.

The library is imported by `mqtt_driver` alone, so that configuring costs no memory.
"""

import secrets

from actors.mqtt.broker import Login
from actors.publish.destinations import external
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener, Outgoing
from actors.publish.destinations.mqtt_config import SECRETS, Config, Given, check
from actors.publish.destinations.mqtt_presence import Presence
from actors.publish.destinations.mqtt_session import Session
from actors.publish.formats import sparkplug
from actors.publish.messages import DestinationTested
from actors.publish.topics import Target
from actors.system.failure import Refusal


def target(config: Config, topic: str | None, identity: Identity) -> Target:
    return external.target(topic, config.topic_template, _client_id(config, identity), identity)


def sparkplug_target(config: Config, topic: str | None, _identity: Identity) -> Target:
    """Each device has a topic of its own."""
    if config.sparkplug is None:
        raise Refusal(
            f"payload_format {sparkplug.NAME} needs config_json.sparkplug of the destination",
            "payload_format",
        )
    if topic is not None:
        raise Refusal("route_json.topic is not for payload_format sparkplug", "route_json.topic")
    return Target(
        f"spBv1.0/{config.sparkplug.group_id}/DDATA/{config.sparkplug.edge_node_id}/{{device}}", template=True
    )


def driver(config: Config, identity: Identity, listener: Listener) -> Driver:
    from actors.publish.destinations.mqtt_driver import MqttDriver

    login = _login(config, _client_id(config, identity))
    return MqttDriver(
        config.broker,
        lambda: login,
        listener,
        session=_session(config),
        properties=config.user_properties,
        ttl_ms=identity.ttl_ms,
        max_payload=config.max_payload,
        may_rename=True,
    )


class Plain(Presence):
    """For what a node that the destination was before has left in the outbox there is nobody who knows the
    numbers."""

    def outgoing(self, message: Outgoing) -> tuple[str, bytes] | None:
        if not sparkplug.is_stored(message.payload):
            return super().outgoing(message)
        if sparkplug.is_ending(message.payload):
            return None
        raise Refusal("The destination is no Sparkplug node any more")


def _session(config: Config) -> Session:
    if config.sparkplug is None:
        return Plain(config.will, config.birth)
    from actors.publish.destinations.mqtt_sparkplug import SparkplugSession

    return SparkplugSession(config.sparkplug, config.max_payload)


async def test(config: Config, _identity: Identity) -> DestinationTested:
    from actors.publish.destinations.mqtt_driver import try_connect

    # Not the configured client id: a broker would end the running connection that has the same.
    login = _login(config, f"callboard-test-{secrets.token_hex(4)}")
    reachable = f"TCP reachable at {config.broker.host}:{config.broker.port}"
    return await try_connect(config.broker, lambda: login, reachable)


def _client_id(config: Config, identity: Identity) -> str:
    return config.client_id or identity.connection


def _login(config: Config, client_id: str) -> Login:
    return Login(client_id, config.username, config.password)


DESTINATION = DestinationType(
    name="mqtt",
    check=check,
    target=target,
    driver=driver,
    test=test,
    secrets=SECRETS,
    targets={sparkplug.NAME: sparkplug_target},
    schema=Given,
    mqtt_topics=True,
    max_payload=lambda config: config.max_payload,
)
