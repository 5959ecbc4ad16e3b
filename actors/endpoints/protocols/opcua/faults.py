"""What goes wrong on the way to a server, as the connections' two errors."""

import errno
import socket
from typing import Final

from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from actors.connections.connection import NoConnection, Permanent, Transient

from . import quality

TIMEOUT: Final = "TIMEOUT"
REFUSED: Final = "CONNECTION_REFUSED"
RESET: Final = "CONNECTION_RESET"
UNREACHABLE: Final = "HOST_UNREACHABLE"
UNREADABLE: Final = "BadDecodingError"

UNREACHED: Final = frozenset({TIMEOUT, REFUSED, RESET, UNREACHABLE})
NOBODY: Final = frozenset({TIMEOUT, REFUSED, UNREACHABLE})
"""Of those, what connecting to an address comes to where nobody is."""
ENDED: Final = frozenset(
    {"BadSessionIdInvalid", "BadSessionClosed", "BadSessionNotActivated", "BadSecureChannelIdInvalid"}
)
"""What a server says of a session that it does not have any more."""
SOON: Final = 3.0
"""Seconds until a server is tried again that was not reached, however often that has failed: it costs a few
packets, and a machine that was switched on is to be seen soon."""

_PERMANENT: Final = frozenset(
    {
        "BadIdentityTokenInvalid",
        "BadIdentityTokenRejected",
        "BadUserAccessDenied",
        "BadUserSignatureInvalid",
        "BadSecurityPolicyRejected",
        "BadSecurityModeRejected",
        "BadSecurityChecksFailed",
        "BadApplicationSignatureInvalid",
        "BadLicenseExpired",
        "BadServerUriInvalid",
    }
)
"""Beside everything that says `BadCertificate...`."""

_BY_NUMBER: Final = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ECONNABORTED: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ENETUNREACH: UNREACHABLE,
}


def trouble(error: BaseException, doing: str, within: float | None = None) -> NoConnection:
    """What to raise instead of `error`, which came while `doing` something, for which there were so many
    seconds."""
    match error:
        case NoConnection():
            return error
        case TimeoutError():
            patience = "in time" if within is None else f"within {within:g} s"
            return Transient(f"no answer {patience} while {doing}", code=TIMEOUT)
        case UaStatusCodeError():
            return refused(error.code, doing)
        case UaError():
            return Transient(f"{doing}: {error}", code=UNREADABLE)
        case socket.gaierror():
            return Transient(f"the host's name is not known: {error.strerror}", code=UNREACHABLE)
        case ConnectionRefusedError():
            return Transient("connection refused", code=REFUSED)
        case OSError():
            code = _BY_NUMBER.get(error.errno or 0, RESET)
            return Transient(f"{doing}: {error.strerror or error}", code=code)
    # The library raises whatever parsing an answer runs into.
    return Transient(f"{doing}: the answer cannot be understood ({type(error).__name__})", code=UNREADABLE)


def refused(status: int, doing: str) -> NoConnection:
    """The server's own word, a status code."""
    name = quality.name_of(status)
    kind = Permanent if name in _PERMANENT or name.startswith("BadCertificate") else Transient
    return kind(f"{doing}: {name}", code=name)


def status_of(error: BaseException) -> str | None:
    """The name of the status code that a server answered with, if that is what went wrong."""
    if isinstance(error, UaStatusCodeError):
        return quality.name_of(error.code)
    return error.code if isinstance(error, NoConnection) else None
