"""MQTT topics and topic filters (MQTT 3.1.1 section 4.7), and which points a subscription wants."""

from collections.abc import Sequence

from actors.batch import Source
from actors.failure import Refusal

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


def select(filters: Sequence[str], source: Source) -> tuple[int, ...] | None:
    """Indices of the source's points that a subscription with these filters wants; None is all of them.

    No filter at all wants everything, and so does one that selects the protocol's name
    (spec 02 section 4). Costs filters x points: once per subscription and endpoint, not per batch.
    """
    if not filters or any(matches(wanted, source.protocol) for wanted in filters):
        return None
    chosen = tuple(
        index
        for index, topics in enumerate(source.topics)
        if any(matches(wanted, topic) for wanted in filters for topic in topics)
    )
    return None if len(chosen) == len(source.points) else chosen
