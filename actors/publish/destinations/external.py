"""What destinations at MQTT brokers that are not the Iotistica cloud's have in common."""

from typing import Self

import msgspec

from actors.publish.destinations import cloud_topics
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.fields import ROOT, Port
from actors.publish.destinations.topic_templates import check_template, fill_template
from actors.publish.topics import Target, check_topic
from actors.system.failure import Refusal
from conf.fields import Text, Unused


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What clients send of each cloud's type."""

    provider: Unused = None  # forms of the original's clients say there which cloud it is, as `type` does
    port: Port = 8883
    topic_template: Text | None = None

    def with_template(self) -> Self:
        """Itself; raises `Refusal` for a template that is none."""
        if self.topic_template is not None:
            check_template(self.topic_template, f"{ROOT}.topicTemplate")
        return self


def target(topic: str | None, topic_template: str | None, device_id: str, identity: Identity) -> Target:
    """Where a subscription's payloads go: its own topic, else the destination's template.

    Raises `Refusal` when there is neither.
    """
    if topic is not None:
        return Target(check_topic(topic, "route_json.topic"))
    if topic_template is None:
        raise Refusal("route_json.topic is required for external destinations", "route_json.topic")
    return Target(fill_template(topic_template, device_id, cloud_topics.readings(identity)), template=True)
