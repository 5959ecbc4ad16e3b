"""Topics that payloads go to."""

import re
from hashlib import sha256

import msgspec

from actors.readings.source_topics import level
from actors.system.failure import Refusal
from conf.texts import has_controls

MAX_BYTES = 65_535
MAX_SLASHES = 200
"""mosquitto ends the connection over more."""

DIGEST = 10
"""Hexadecimal digits that tell names apart that are too long to be spelled out."""

# What brokers acknowledge to whoever publishes it, and hand to nobody: the trees of their own.
_BROKERS_OWN = re.compile(r"\$(SYS|share|CONTROL)(/|$)")
_PLACEHOLDER = re.compile(r"\{(endpoint|protocol|name|device)\}")


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


def refuse_slips(topic: str, field: str) -> None:
    """Raises `Refusal` for a topic that MQTT allows and that is hardly meant: a level is empty, the first
    excepted, or has a blank at either end. Only for what a client sends."""
    for number, part in enumerate(topic.strip().split("/")):
        if not part and number:
            raise Refusal(f"Invalid topic: {topic.strip()} (a level is empty)", field)
        if part != part.strip():
            raise Refusal(f"Invalid topic: {topic.strip()} (a level begins or ends with a blank)", field)


class Target(msgspec.Struct, frozen=True):
    """Where payloads go: `topic` as it is, or, if `template`, with its placeholders filled per source.

    `{endpoint}` and `{protocol}` are the protocol's name (the last level of the source topic, spec 02
    section 8.2), `{name}` the endpoint's and `{device}` the device's. With `events_by_name` an event goes
    to its own topic, else to the same as readings. `max_bytes` is how long a filled topic may be.
    """

    topic: str
    template: bool = False
    events_by_name: bool = False
    max_bytes: int = MAX_BYTES

    @property
    def by_name(self) -> bool:
        """Whether endpoints or devices are to have topics of their own."""
        return self.template and ("{name}" in self.topic or "{device}" in self.topic)


def fill(target: Target, protocol: str, endpoint: str = "", device: str = "") -> str:
    """The target's topic for readings of that source, each name a `level` of it.

    Where that would be too long, long names are shortened, to their beginning, `~` and a digest of the whole,
    so that different ones stay different.
    """
    if not target.template:
        return target.topic
    names = _names(protocol, endpoint, device)
    filled = _with_levels(target, names)
    if len(filled.encode()) > target.max_bytes:
        filled = _shortened(target, names)
    # What begins with `$` is the broker's own, unless it was configured to.
    own = filled.startswith("$") and not target.topic.startswith("$")
    return f"_{filled[1:]}" if own else filled


def shortens(target: Target, protocol: str, endpoint: str, device: str) -> bool:
    """Whether `fill` has to shorten names of that source."""
    filled = _with_levels(target, _names(protocol, endpoint, device))
    return target.template and len(filled.encode()) > target.max_bytes


def _names(protocol: str, endpoint: str, device: str) -> dict[str, str]:
    return {"endpoint": protocol, "protocol": protocol, "name": endpoint, "device": device}


def _with_levels(target: Target, names: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: level(names[found[1]]), target.topic)


def _shortened(target: Target, names: dict[str, str]) -> str:
    fixed = len(_PLACEHOLDER.sub("", target.topic).encode())
    room = (target.max_bytes - fixed) // max(1, len(_PLACEHOLDER.findall(target.topic)))
    filled = _PLACEHOLDER.sub(lambda found: short_level(names[found[1]], room), target.topic)
    return _cut(filled, filled, target.max_bytes)


def short_level(name: str, room: int) -> str:
    """The name as a level of a topic, of at most `room` bytes, which are 11 at least."""
    return _cut(level(name), name, room)


def _cut(text: str, whole: str, room: int) -> str:
    octets = text.encode()
    if len(octets) <= room:
        return text
    digest = sha256(whole.encode(errors="surrogatepass")).hexdigest()[:DIGEST]
    beginning = octets[: max(0, room - DIGEST - 1)].decode(errors="ignore")
    return f"{beginning}~{digest}"
