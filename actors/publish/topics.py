"""Topics that payloads go to."""

import re
from hashlib import sha256

import msgspec

from actors.mqtt.topics import MAX_BYTES
from actors.readings.source_topics import level

DIGEST = 10
"""Hexadecimal digits that tell names apart that are too long to be spelled out."""

_PLACEHOLDER = re.compile(r"\{(endpoint|protocol|name|device)\}")


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
