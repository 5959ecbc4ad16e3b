"""What an MQTT endpoint's device logs in with at the agent's own broker (spec 03 section 5, 08 section 4)."""

from collections.abc import Iterator, Sequence
from typing import Any

from actors.endpoints.accounts import ACCESS, Access, Account
from actors.system.checking import checked

from . import patterns, points
from .connection import EVERYTHING, ROOT, Given

PUBLISHES = 2
"""What the device of a connection with a user name and a password may do."""


def account(given: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> Account | None:
    """Of a connection as a client sends it. A user name and a password are the device's when the connection
    names no broker (see `completed`); `auth.mqtt` always is. Raises `Refusal`."""
    found = checked(given, Given, ROOT)
    own = found.auth.mqtt if found.auth is not None else None
    if own is not None and own.username and own.password_file_hash:
        return Account(
            own.username,
            _topics(found, data_points, own.access),
            hashed=own.password_file_hash,
            field=f"{ROOT}.auth.mqtt.username",
        )
    if found.broker_url is None and found.host is None and found.username and found.password:
        topics = _topics(found, data_points, PUBLISHES)
        return Account(found.username, topics, found.password, field=f"{ROOT}.username")
    return None


def _topics(
    found: Given, data_points: Sequence[dict[str, Any]], access: int
) -> tuple[tuple[Access, str], ...]:
    """What the endpoint subscribes to, the device may publish; what is written to it, it may read."""
    rules = points.read_points(data_points)
    named = [rule.topic.filter for rule in rules.rules if rule.topic is not None]
    if found.topic is not None:
        named.append(_below(patterns.parse(found.topic).filter))
    named += [patterns.parse(one).filter for one in found.status_topic or ()]
    rights: dict[str, Access] = {topic: ACCESS[access] for topic in named or [EVERYTHING]}
    for topic in _written(rules):
        rights[topic] = "readwrite" if rights.get(topic, "read") != "read" else "read"
    return tuple((right, topic) for topic, right in rights.items())


def _below(topic: str) -> str:
    return topic if topic.endswith(EVERYTHING) else f"{topic}/{EVERYTHING}"


def _written(checked: points.Checked) -> Iterator[str]:
    for rule in checked.rules:
        for point in rule.points:
            if point.writing is not None:
                levels = point.writing.topic.split("/")
                yield "/".join("+" if patterns.DEVICE in level else level for level in levels)
