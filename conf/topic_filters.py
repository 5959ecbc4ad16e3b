"""The grammar of topic filters (MQTT 3.1.1 section 4.7)."""

from collections.abc import Sequence

from conf.texts import has_controls

MAX_BYTES = 65_535


def fault(topic_filter: str) -> str | None:
    """Why MQTT does not accept such a filter; None: it does."""
    if not topic_filter:
        return "it is empty"
    if has_controls(topic_filter):
        return "it contains control characters"
    if len(topic_filter.encode()) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    levels = topic_filter.split("/")
    for number, part in enumerate(levels, 1):
        if "#" in part and (part != "#" or number != len(levels)):
            return f"{topic_filter} ('#' must be the whole last level)"
        if "+" in part and part != "+":
            return f"{topic_filter} ('+' must be a whole level)"
    return None


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter without a fault selects the topic.

    `#` includes the parent level: `a/#` selects `a`. A leading wildcard does not select `$...`.
    """
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    return fit(topic_filter.split("/"), topic.split("/"))


def fit(levels: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the levels of a filter select a topic of these levels."""
    for position, wanted in enumerate(levels):
        if wanted == "#":
            return True
        if position == len(parts) or wanted not in ("+", parts[position]):
            return False
    return len(levels) == len(parts)
