"""Topics: filters that select readings (MQTT 3.1.1 section 4.7), and targets that payloads go to."""

import re

import msgspec

from actors.system.failure import Refusal

MAX_BYTES = 65_535


def check_filter(topic_filter: str, field: str) -> str:
    """The filter itself; raises `Refusal` naming `field` when MQTT would not accept it."""
    _check_text(topic_filter, field, "topic filter")
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, 1):
        if "#" in level and (level != "#" or number != len(levels)):
            raise Refusal(f"Invalid topic filter: {topic_filter} ('#' must be the whole last level)", field)
        if "+" in level and level != "+":
            raise Refusal(f"Invalid topic filter: {topic_filter} ('+' must be a whole level)", field)
    return topic_filter


def check_topic(topic: str, field: str) -> str:
    """The trimmed topic to publish to; raises `Refusal` naming `field` when it cannot be one."""
    trimmed = topic.strip()
    _check_text(trimmed, field, "topic")
    if "+" in trimmed or "#" in trimmed:
        raise Refusal(f"Invalid topic: {trimmed} (wildcards cannot be published to)", field)
    return trimmed


def _check_text(text: str, field: str, what: str) -> None:
    if not text:
        raise Refusal(f"Invalid {what}: it is empty", field)
    if "\0" in text:
        raise Refusal(f"Invalid {what}: it contains a NUL character", field)
    if len(text.encode()) > MAX_BYTES:
        raise Refusal(f"Invalid {what}: it is longer than {MAX_BYTES} bytes", field)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a checked filter selects the topic.

    `#` includes the parent level: `a/#` selects `a`. A leading wildcard does not select `$...`.
    """
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    levels = topic_filter.split("/")
    parts = topic.split("/")
    for position, level in enumerate(levels):
        if level == "#":
            return True
        if position == len(parts) or level not in ("+", parts[position]):
            return False
    return len(levels) == len(parts)


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
    return _PLACEHOLDER.sub(lambda found: _level(values[found[1]]), target.topic)


_PLACEHOLDER = re.compile(r"\{(endpoint|protocol|name|device)\}")


def _level(name: str) -> str:
    return re.sub(r"[/+#\0]", "_", name)
