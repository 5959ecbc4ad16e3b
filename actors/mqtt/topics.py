"""Topics as brokers take them."""

import re

import msgspec

from actors.system.failure import Refusal
from conf.texts import has_controls
from conf.topic_filters import fault

MAX_BYTES = 65_535
MAX_SLASHES = 200
"""mosquitto ends the connection over more."""

# What brokers acknowledge to whoever publishes it, and hand to nobody: the trees of their own.
_BROKERS_OWN = re.compile(r"\$(SYS|share|CONTROL)(/|$)")
_BAD_GROUP = re.compile(r"\$share/(/|[^/]*[+#])")


class Room(msgspec.Struct, frozen=True):
    """How long a topic may be in UTF-8, and how many slashes it may hold, for a broker to take it."""

    bytes: int = MAX_BYTES
    slashes: int = MAX_SLASHES


AMPLE = Room()


def check_topic(topic: str, field: str, room: Room = AMPLE) -> str:
    """The trimmed topic to publish to; raises `Refusal` naming `field` when it cannot be one."""
    trimmed = topic.strip()
    why = unpublishable(trimmed, room)
    if why is not None:
        raise Refusal(f"Invalid topic: {why}", field)
    return trimmed


def unpublishable(topic: str, room: Room = AMPLE) -> str | None:
    """Why brokers end the connection over the topic or lose what is published to it; None: they take it."""
    if not topic:
        return "it is empty"
    if has_controls(topic):
        return "it contains control characters"
    if "+" in topic or "#" in topic:
        return f"{topic} (wildcards cannot be published to)"
    if len(topic.encode()) > room.bytes:
        return f"it is longer than {room.bytes} bytes"
    if topic.count("/") > room.slashes:
        return f"it has more than {room.slashes} slashes"
    if _BROKERS_OWN.match(topic):
        return f"{topic} (brokers keep what begins with {topic.partition('/')[0]} to themselves)"
    return None


def check_subscription(topic_filter: str, field: str) -> str:
    """The trimmed filter to subscribe to, perhaps a shared one; raises `Refusal` naming `field` when brokers
    would not take it."""
    trimmed = topic_filter.strip()
    _, plain = shared(trimmed)
    why = fault(plain)
    if why is None and trimmed.startswith("$share/") and _BAD_GROUP.match(trimmed):
        why = f"{trimmed} (a shared subscription is $share/<group>/<filter>)"
    if why is None and plain.count("/") > MAX_SLASHES:
        why = f"it has more than {MAX_SLASHES} slashes"
    if why is not None:
        raise Refusal(f"Invalid topic filter: {why}", field)
    return trimmed


def shared(topic_filter: str) -> tuple[str | None, str]:
    """The group of a shared subscription (MQTT 5 section 4.8.2), None for another one, and the filter that
    topics have to match."""
    if not topic_filter.startswith("$share/"):
        return None, topic_filter
    group, _, plain = topic_filter[len("$share/") :].partition("/")
    return group, plain


def refuse_slips(topic: str, field: str) -> None:
    """Raises `Refusal` for a topic that MQTT allows and that is hardly meant: a level is empty, the first
    excepted, or has a blank at either end. Only for what a client sends."""
    for number, part in enumerate(topic.strip().split("/")):
        if not part and number:
            raise Refusal(f"Invalid topic: {topic.strip()} (a level is empty)", field)
        if part != part.strip():
            raise Refusal(f"Invalid topic: {topic.strip()} (a level begins or ends with a blank)", field)
