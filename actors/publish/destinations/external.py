"""What destinations at MQTT brokers that are not the Iotistica cloud's have in common."""

from typing import Any

from actors.publish.destinations import cloud_topics, fields
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.mqtt_config import check_template, fill_template
from actors.publish.topics import Target, check_topic
from actors.system.failure import Refusal

TLS_PORT = 8883


def host(config: dict[str, Any], key: str) -> str | None:
    """The host name or address at `key`; None when absent. Raises `Refusal`."""
    name = fields.text(config, key)
    if name is None:
        return None
    field = f"{fields.ROOT}.{key}"
    if any(mark in name for mark in "/@?"):
        raise Refusal(f"{key} must be a host name or address, not a URL", field)
    return fields.host(name, field)


def port(config: dict[str, Any]) -> int:
    return fields.integer(config, "port", 1, 65_535, default=TLS_PORT)


def template(config: dict[str, Any]) -> str | None:
    """The checked `topicTemplate`, with the placeholders of destination `mqtt`."""
    found = fields.text(config, "topicTemplate")
    return found and check_template(found, f"{fields.ROOT}.topicTemplate")


def check_kind(auth: dict[str, Any], kind: str) -> None:
    """Raises `Refusal` when `auth` asks for another kind of login than the only one there is."""
    found = fields.text(auth, "type", path=f"{fields.ROOT}.auth")
    if found not in (None, kind):
        raise Refusal(f"Invalid auth.type: {found}. Supported: {kind}", f"{fields.ROOT}.auth.type")


def target(topic: str | None, topic_template: str | None, device_id: str, identity: Identity) -> Target:
    """Where a subscription's payloads go: its own topic, else the destination's template.

    Raises `Refusal` when there is neither.
    """
    if topic is not None:
        return Target(check_topic(topic, "route_json.topic"))
    if topic_template is None:
        raise Refusal("route_json.topic is required for external destinations", "route_json.topic")
    return Target(fill_template(topic_template, device_id, cloud_topics.readings(identity)), template=True)
