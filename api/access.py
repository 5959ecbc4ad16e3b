"""Who may call: network modes and the API key (spec 01 section 1.1).

Plain functions; `middleware.py` applies them, and `browser_guard.py` where no key is asked for.
"""

import hmac
import ipaddress

from api.context import Context
from api.errors import ApiError, Error
from storage.users import ROLES, Role

LOCALHOST_ONLY = "LOCALHOST_ONLY"
LOCAL_NETWORK = "LOCAL_NETWORK"
API_KEY = "API_KEY"
OPEN = "OPEN"
MODES = frozenset({LOCALHOST_ONLY, LOCAL_NETWORK, API_KEY, OPEN})

_LOCAL_NETWORKS = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fe80::/10", "fc00::/7")
]


def bind_host(host: str | None, security_mode: str) -> str:
    """The address to listen on: the configured one, else loopback or every interface, by mode."""
    if host:
        return host
    return "127.0.0.1" if security_mode == LOCALHOST_ONLY else "0.0.0.0"


def key_needed(context: Context) -> bool:
    return context.enable_auth or context.security_mode == API_KEY


def check_peer(security_mode: str, remote: str | None) -> None:
    """Raise `ApiError` unless the mode lets the socket address `remote` in."""
    if security_mode not in MODES:
        raise ApiError(500, Error("Invalid security configuration"))
    if security_mode == LOCALHOST_ONLY and not _is_loopback(remote):
        raise _forbidden(
            "API access restricted to localhost only",
            "Call from this machine, or set API_SECURITY_MODE=API_KEY and API_KEY",
        )
    if security_mode == LOCAL_NETWORK and not _is_local(remote):
        raise _forbidden(
            "API access restricted to local network only",
            "Call from a private network, or set API_SECURITY_MODE=API_KEY and API_KEY",
        )


def check_key(key: str | None, given: str | None) -> None:
    """Raise `ApiError` unless `given` is the configured key."""
    if not key:
        raise ApiError(500, Error("API key not configured"))
    if given is None or not hmac.compare_digest(_octets(key), _octets(given)):
        raise ApiError(401, Error("Unauthorized"))


def has_key(context: Context, given: str | None) -> bool:
    """Whether `given` is the key, in a mode that does not ask for it."""
    try:
        check_key(context.key, given)
    except ApiError:
        return False
    return True


def check_role(role: Role, least: Role) -> None:
    """Raise `ApiError` unless a session with that role may do what takes `least`."""
    if ROLES.index(role) < ROLES.index(least):
        raise ApiError(403, Error("Insufficient role", f"This takes the role {least}, and you are {role}"))


def _forbidden(message: str, hint: str) -> ApiError:
    return ApiError(403, Error("Forbidden", message, hint=hint))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _address(remote: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The peer without an IPv4-mapped prefix; None when it is not an address (gone, or a UNIX socket)."""
    try:
        return ipaddress.ip_address((remote or "").removeprefix("::ffff:"))
    except ValueError:
        return None


def _is_loopback(remote: str | None) -> bool:
    address = _address(remote)
    return address is not None and address.is_loopback


def _is_local(remote: str | None) -> bool:
    address = _address(remote)
    return address is not None and (
        address.is_loopback or any(address in network for network in _LOCAL_NETWORKS)
    )
