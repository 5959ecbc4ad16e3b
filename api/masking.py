"""Secrets of endpoint connections are never returned."""

from typing import Any

import msgspec
from msgspec import Raw

from actors.publish.destinations.masks import masked as without_url_passwords
from conf.redaction import MASK
from conf.secret_forms import may_hold, names_secret


def masked(connection: dict[str, Any]) -> dict[str, Any]:
    """A copy to show: every non-empty value under a secret's name, at any depth, and every password
    inside a URL is `MASK`."""
    shown: dict[str, Any] = _masked(without_url_passwords(connection, ()))
    return shown


def shown(connection: Raw) -> Raw:
    """`masked`, of JSON. What has no word of a secret in it, as most have not, costs next to nothing."""
    if not may_hold(bytes(connection)):
        return connection
    return Raw(msgspec.json.encode(masked(msgspec.json.decode(connection))))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: MASK if item and names_secret(key) else _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
