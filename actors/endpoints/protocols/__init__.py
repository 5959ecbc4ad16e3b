"""The field protocols that the agent can read: one folder each, imported when its first endpoint appears, and
those that other packages bring."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

import msgspec

from actors.endpoints.protocol import Protocol
from actors.endpoints.third_party import Broken, Packages, load, package_of
from actors.system.failure import Refusal

_NAMES = ("bacnet", "modbus", "mqtt", "opcua", "snmp")


class Known(msgspec.Struct, frozen=True):
    """A protocol there is. `protocol` is None where even its descriptor cannot be had; `unavailable` says why
    it cannot be used; `package` brings it, None: callboard itself."""

    name: str
    protocol: Protocol | None
    unavailable: str | None = None
    package: str | None = None


def names() -> tuple[str, ...]:
    """Every protocol there is, whether or not it can be used here."""
    return (*_NAMES, *_packages().entries)


def built_in() -> tuple[str, ...]:
    """Those that there is a folder for."""
    return _NAMES


def not_used() -> list[Broken]:
    """What other packages bring under a name that cannot be theirs."""
    return _packages().broken


@cache
def look_up(name: str) -> Known:
    """What is known of a protocol.

    Raises `Refusal` on field `protocol`, kind "invalid", for a name that is not known.
    """
    if name in _NAMES:
        protocol: Protocol = import_module(f"{__name__}.{name}").PROTOCOL
        return Known(name, protocol, _lacking(protocol))
    entry = _packages().entries.get(name)
    if entry is None:
        raise Refusal(f"Unknown protocol: {name} (known: {', '.join(names())})", "protocol")
    loaded, package = load(entry), package_of(entry)
    if isinstance(loaded, Broken):
        return Known(name, None, loaded.reason, package)
    return Known(name, loaded, _lacking(loaded), package)


def find(name: str) -> Protocol:
    """The descriptor of a protocol.

    Raises `Refusal` on field `protocol`: kind "invalid" for a name that is not known, "unavailable"
    when it cannot be used: the library that it needs is not installed, its package is broken.
    """
    known = look_up(name)
    if known.protocol is None or known.unavailable is not None:
        raise Refusal(f"Protocol {name} is not available: {known.unavailable}", "protocol", "unavailable")
    return known.protocol


def forget() -> None:
    """Look again the next time: for who has installed something."""
    look_up.cache_clear()
    _packages.cache_clear()
    load.cache_clear()


@cache
def _packages() -> Packages:
    return Packages(_NAMES)


def _lacking(protocol: Protocol) -> str | None:
    """Why its library cannot be imported; looked for, not imported."""
    if not protocol.library:
        return None
    try:
        if find_spec(protocol.library) is not None:
            return None
    except (ImportError, ValueError):  # of a module in a package that is not there, or that is odd
        pass
    return f"the library {protocol.library} is not installed"
