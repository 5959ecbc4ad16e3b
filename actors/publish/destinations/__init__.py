"""Destination types by name (spec 01 section 8). A type is a file here and a word in `TYPES`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from actors.publish.destinations.driver import DestinationType, Identity
from actors.publish.destinations.fallbacks import merged
from actors.publish.destinations.masks import unmasked
from actors.publish.messages import DestinationTested
from actors.system.failure import Refusal

TYPES = ("iotistica", "mqtt", "influxdb", "azure-iot", "aws-iot", "gcp-iot")
ALIASES = {"azure": "azure-iot", "aws": "aws-iot", "gcp": "gcp-iot"}

Fallbacks = Mapping[str, dict[str, Any]]
"""By type, what `config_json` means where it says nothing."""


def canonical(type_name: Any) -> str:
    """The type's own name; raises `Refusal` for one that does not exist."""
    if isinstance(type_name, str):
        name = ALIASES.get(type_name, type_name)
        if name in TYPES:
            return name
    raise Refusal(f"Invalid type: {type_name}. Supported: {', '.join(TYPES)}", "type")


def find(type_name: Any) -> DestinationType:
    """The descriptor of a type, imported when first asked for; raises `Refusal`."""
    name = canonical(type_name)
    found: DestinationType = import_module(f"{__name__}.{name.replace('-', '_')}").DESTINATION
    return found


def effective(
    type: DestinationType, config_json: dict[str, Any] | None, fallbacks: Fallbacks
) -> dict[str, Any]:
    """What a destination's `config_json` amounts to: its own values, then the fallback's."""
    return merged(config_json or {}, fallbacks.get(type.name, {}))


async def test(
    type_name: Any, config_json: dict[str, Any] | None, fallbacks: Fallbacks, identity: Identity
) -> DestinationTested:
    """Try a destination out without storing anything; takes at most some seconds and never raises."""
    try:
        found = find(type_name)
    except Refusal:
        return DestinationTested(False, error=f'Connection test not supported for type "{type_name}"')
    try:
        own = unmasked(config_json or {}, {}, found.secrets)
        checked = found.check(effective(found, own, fallbacks))
    except Refusal as refusal:
        return DestinationTested(False, error=refusal.message)
    return await found.test(checked, identity)
