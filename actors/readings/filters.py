"""Topic filters over what sources are called."""

from actors.readings.source_topics import level
from actors.system.failure import Refusal
from conf.topic_filters import fault


def check_filter(topic_filter: str, field: str) -> str:
    """The filter itself; raises `Refusal` naming `field` when MQTT would not accept it."""
    why = fault(topic_filter)
    if why is not None:
        raise Refusal(f"Invalid topic filter: {why}", field)
    return topic_filter


def spelled(topic_filter: str) -> str:
    """A checked filter with its levels as topics spell them, so that it may hold names as they are."""
    return "/".join(part if part in ("+", "#") else level(part) for part in topic_filter.split("/"))


def below(topic_filter: str, prefix: str) -> list[str] | None:
    """What a checked filter still asks of topics that begin with `prefix`, level for level (see
    `conf.topic_filters.fit`); None when it selects none of them. The prefix ends with "/"."""
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
