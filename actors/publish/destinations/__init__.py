"""Destination types by name (spec 01 section 8). A type is a file here and a word in `TYPES`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from actors.connections.building import build
from actors.connections.deadlines import Overdue, bounded
from actors.publish.destinations.driver import DestinationType, Identity, Nobody
from actors.publish.destinations.fallbacks import merged
from actors.publish.destinations.masks import unmasked
from actors.publish.messages import DestinationTested
from actors.system.failure import Refusal

TYPES = ("iotistica", "mqtt", "influxdb", "webhook", "azure-iot", "aws-iot", "gcp-iot")
ALIASES = {"azure": "azure-iot", "aws": "aws-iot", "gcp": "gcp-iot"}

TEST_SECONDS = 9.0

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
    """Try a destination out without storing anything; takes `TEST_SECONDS` at most and never raises."""
    try:
        found = find(type_name)
    except Refusal:
        return DestinationTested(False, error=f'Connection test not supported for type "{type_name}"')
    try:
        found.refuse_slips(config_json)
        own = unmasked(config_json or {}, {}, found.secrets)
        checked = found.check(effective(found, own, fallbacks))
    except Refusal as refusal:
        return DestinationTested(False, error=refusal.message)
    try:
        return await bounded(_test(found, checked, identity), TEST_SECONDS)
    except Overdue:
        return DestinationTested(False, error=f"No answer within {TEST_SECONDS:g} s")


async def _test(found: DestinationType, checked: Any, identity: Identity) -> DestinationTested:
    """The library that the test needs is imported where a driver is built: off the loop."""
    try:
        await build(found.name, lambda: found.driver(checked, identity, Nobody()))
    except Refusal as refusal:
        return DestinationTested(False, error=refusal.message)
    except ImportError as error:
        return DestinationTested(False, error=f"Not installed as it should be: {error}")
    return await found.test(checked, identity)
