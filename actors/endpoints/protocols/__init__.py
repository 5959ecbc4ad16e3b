"""The field protocols the agent can poll: one folder each, imported when its first endpoint appears."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from actors.endpoints.protocol import Protocol
from actors.system.failure import Refusal

_NAMES = ("modbus", "opcua")


def names() -> tuple[str, ...]:
    """Every protocol there is a folder for, whether or not its library is installed."""
    return _NAMES


@cache
def find(name: str) -> Protocol:
    """The descriptor of a protocol.

    Raises `Refusal` on field `protocol`: kind "invalid" for a name that is not known, "unavailable"
    when the library that it needs is not installed.
    """
    if name not in _NAMES:
        raise Refusal(f"Unknown protocol: {name} (known: {', '.join(_NAMES)})", "protocol")
    protocol: Protocol = import_module(f"{__name__}.{name}").PROTOCOL
    if find_spec(protocol.library) is None:
        raise Refusal(
            f"Protocol {name} is not available: the library {protocol.library} is not installed",
            "protocol",
            "unavailable",
        )
    return protocol
