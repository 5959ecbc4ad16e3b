"""What destinations at MQTT brokers that are not the Iotistica cloud's have in common."""

from collections.abc import Callable
from typing import Self

import msgspec

from actors.mqtt.fields import Port
from actors.mqtt.topics import AMPLE, Room, check_topic
from actors.publish.destinations import cloud_topics
from actors.publish.destinations.driver import Identity
from actors.publish.destinations.fields import ROOT
from actors.publish.destinations.topic_templates import check_template, fill_template
from actors.publish.topics import Target
from actors.system.failure import Refusal
from conf.fields import Text, Unused

_TOPIC = "route_json.topic"


def ample(_topic: str) -> Room:
    """What every broker takes."""
    return AMPLE


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What clients send of each cloud's type."""

    provider: Unused = None  # forms of the original's clients say there which cloud it is, as `type` does
    port: Port = 8883
    topic_template: Text | None = None

    def with_template(self, room: Callable[[str], Room] = ample) -> Self:
        """Itself; raises `Refusal` for a template that is none. `room` is what the cloud takes of a topic."""
        template = self.topic_template
        if template is not None:
            check_template(template, f"{ROOT}.topicTemplate", room(template))
        return self


def target(
    topic: str | None,
    topic_template: str | None,
    device_id: str,
    identity: Identity,
    room: Callable[[str], Room] = ample,
) -> Target:
    """Where a subscription's payloads go: its own topic, else the destination's template.

    Raises `Refusal` when there is neither, or when what there is has more levels or bytes than `room` says.
    """
    if topic is not None:
        return Target(check_topic(topic, _TOPIC, room(topic)))
    if topic_template is None:
        raise Refusal("route_json.topic is required for external destinations", _TOPIC)
    template = fill_template(topic_template, device_id, cloud_topics.readings(identity))
    allowed = room(template)
    if template.count("/") > allowed.slashes:
        raise Refusal(f"The topicTemplate comes to a topic of more than {allowed.slashes} slashes", _TOPIC)
    return Target(template, template=True, max_bytes=allowed.bytes)
