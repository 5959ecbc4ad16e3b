"""Topics that payloads go to."""

import re

import msgspec

from actors.readings.filters import check_text
from actors.system.failure import Refusal
from conf.texts import without_controls


def check_topic(topic: str, field: str) -> str:
    """The trimmed topic to publish to; raises `Refusal` naming `field` when it cannot be one."""
    trimmed = topic.strip()
    check_text(trimmed, field, "topic")
    if "+" in trimmed or "#" in trimmed:
        raise Refusal(f"Invalid topic: {trimmed} (wildcards cannot be published to)", field)
    return trimmed


class Target(msgspec.Struct, frozen=True):
    """Where payloads go: `topic` as it is, or, if `template`, with its placeholders filled per source.

    `{endpoint}` and `{protocol}` are the protocol's name (the last level of the source topic, spec 02
    section 8.2), `{name}` the endpoint's and `{device}` the device's. With `events_by_name` an event goes
    to its own topic, else to the same as readings.
    """

    topic: str
    template: bool = False
    events_by_name: bool = False


def fill(target: Target, protocol: str, endpoint: str = "", device: str = "") -> str:
    """The target's topic for readings of that source; names lose what a topic level cannot hold."""
    if not target.template:
        return target.topic
    values = {"endpoint": protocol, "protocol": protocol, "name": endpoint, "device": device}
    return _PLACEHOLDER.sub(lambda found: level(values[found[1]]), target.topic)


_PLACEHOLDER = re.compile(r"\{(endpoint|protocol|name|device)\}")


def level(name: str) -> str:
    return without_controls(re.sub(r"[/+#]", "_", name))
