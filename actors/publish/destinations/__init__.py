"""Destination types by name (spec 01 section 8). A type is a file here and a word in `_BUILT`."""

from importlib import import_module
from typing import Any

from actors.failure import Refusal
from actors.publish.destinations.driver import DestinationType
from actors.publish.messages import DestinationTested

TYPES = ("iotistica", "mqtt", "influxdb", "azure-iot", "aws-iot", "gcp-iot")
ALIASES = {"azure": "azure-iot", "aws": "aws-iot", "gcp": "gcp-iot"}

_BUILT = ("mqtt",)


def canonical(type_name: Any) -> str:
    """The type's own name; raises `Refusal` for one that does not exist."""
    if isinstance(type_name, str):
        name = ALIASES.get(type_name, type_name)
        if name in TYPES:
            return name
    raise Refusal(f"Invalid type: {type_name}. Supported: {', '.join(TYPES)}", "type")


def find(type_name: Any) -> DestinationType:
    """The descriptor of a type, imported when first asked for.

    Raises `Refusal`, for a type that this version cannot publish to as well.
    """
    name = canonical(type_name)
    if name not in _BUILT:
        raise Refusal(f"Destination type {name} is not available in this version", "type")
    found: DestinationType = import_module(f"{__name__}.{name.replace('-', '_')}").DESTINATION
    return found


async def test(type_name: Any, config_json: dict[str, Any]) -> DestinationTested:
    """Try a destination out without storing anything; takes at most some seconds and never raises."""
    try:
        found = find(type_name)
    except Refusal:
        return DestinationTested(False, error=f'Connection test not supported for type "{type_name}"')
    return await found.test(config_json)
