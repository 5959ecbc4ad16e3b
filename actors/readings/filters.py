"""Topic filters (MQTT 3.1.1 section 4.7)."""

from collections.abc import Sequence

from actors.readings.source_topics import level
from actors.system.failure import Refusal
from conf.texts import has_controls

MAX_BYTES = 65_535


def check_filter(topic_filter: str, field: str) -> str:
    """The filter itself; raises `Refusal` naming `field` when MQTT would not accept it."""
    _check_text(topic_filter, field)
    levels = topic_filter.split("/")
    for number, part in enumerate(levels, 1):
        if "#" in part and (part != "#" or number != len(levels)):
            raise Refusal(f"Invalid topic filter: {topic_filter} ('#' must be the whole last level)", field)
        if "+" in part and part != "+":
            raise Refusal(f"Invalid topic filter: {topic_filter} ('+' must be a whole level)", field)
    return topic_filter


def spelled(topic_filter: str) -> str:
    """A checked filter with its levels as topics spell them, so that it may hold names as they are."""
    return "/".join(part if part in ("+", "#") else level(part) for part in topic_filter.split("/"))


def _check_text(topic_filter: str, field: str) -> None:
    if not topic_filter:
        raise Refusal("Invalid topic filter: it is empty", field)
    if has_controls(topic_filter):
        raise Refusal("Invalid topic filter: it contains control characters", field)
    if len(topic_filter.encode()) > MAX_BYTES:
        raise Refusal(f"Invalid topic filter: it is longer than {MAX_BYTES} bytes", field)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a checked filter selects the topic.

    `#` includes the parent level: `a/#` selects `a`. A leading wildcard does not select `$...`.
    """
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    return fit(topic_filter.split("/"), topic.split("/"))


def below(topic_filter: str, prefix: str) -> list[str] | None:
    """What a checked filter still asks of topics that begin with `prefix`, level for level (see `fit`); None
    when it selects none of them. The prefix ends with "/"."""
    if prefix.startswith("$") and topic_filter[0] in "+#":
        return None
    levels = topic_filter.split("/")
    for position, part in enumerate(prefix.split("/")[:-1]):
        if position == len(levels):
            return None
        if levels[position] == "#":
            return ["#"]
        if levels[position] not in ("+", part):
            return None
    return levels[prefix.count("/") :] or None


def fit(levels: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the levels of a filter select a topic of these levels."""
    for position, wanted in enumerate(levels):
        if wanted == "#":
            return True
        if position == len(parts) or wanted not in ("+", parts[position]):
            return False
    return len(levels) == len(parts)
