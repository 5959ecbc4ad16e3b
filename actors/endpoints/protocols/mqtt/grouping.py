"""Which topics are of one device, where no convention says it: values below one topic, and what a device says
in documents of its own."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .proposing import Field, Look, fields

_GENERAL: Final = frozenset(
    {
        *("state", "status", "telemetry", "data", "sensor", "sensors", "measurement", "measurements"),
        *("value", "values", "attributes", "info", "event", "events", "up", "uplink", "reading", "readings"),
        *("metrics", "json", "out", "payload", "message", "msg"),
    }
)
"""What the last level of a device's topic is called where the one before is its name."""
COMMANDS: Final = frozenset({"set", "get", "cmd", "cmnd", "command", "rpc"})
"""Last levels of topics that devices listen to."""


class Group(msgspec.Struct):
    """A device: its topic, all that belongs to it, and what is read of that. `connection` is what its
    endpoint needs besides."""

    base: str
    looks: list[Look]
    fields: list[Field]
    convention: str | None = None
    connection: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    automatic: bool = False
    """Its endpoint finds by itself what there is."""


def groups(looks: Iterable[Look]) -> list[Group]:
    readable = [one for one in looks if one.topic.name.rpartition("/")[2] not in COMMANDS]
    with_values = {_parent(one.topic.name) for one in readable if one.is_scalar}
    by_base: dict[str, list[Look]] = {}
    for one in readable:
        by_base.setdefault(_base(one, with_values), []).append(one)
    return [_group(base, those) for base, those in by_base.items()]


def _parent(topic: str) -> str:
    return topic.rpartition("/")[0] or topic


def _base(one: Look, with_values: set[str]) -> str:
    topic = one.topic.name
    parent, _, last = topic.rpartition("/")
    if not parent:
        return topic
    if one.is_scalar or parent in with_values or last.lower() in _GENERAL:
        return parent
    return topic


def _group(base: str, looks: list[Look]) -> Group:
    senders = set().union(*(one.devices for one in looks))
    several = len(senders) > 1 and any(len(one.devices) > 1 for one in looks)
    found = [] if several else [field for one in looks for field in fields(one)]
    metadata = {"devices": sorted(senders)[:50]} if several else {}
    return Group(base, looks, found, metadata=metadata, automatic=several)
