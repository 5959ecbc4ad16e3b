"""What is wrong with a certificate that is not trusted."""

import ssl

from actors.connections.connection import NoConnection, Permanent, Transient
from storage.timestamps import iso, unix_ms

# OpenSSL's X509_V_ERR_: the clock decides it.
_NOT_YET_VALID = 9
_EXPIRED = 10


def untrusted(where: str, error: ssl.SSLCertVerificationError, hint: str = "") -> NoConnection:
    """Why there is no connection to `where`. That a certificate is not valid yet is what a clock says that is
    behind, and passes; the authorities that the system trusts may be others the next time."""
    text = f"The certificate of {where} is not trusted: {error.verify_message}{clock_of(error)}{hint}"
    found = Transient(text) if error.verify_code == _NOT_YET_VALID else Permanent(text)
    found.anew = True
    return found


def clock_of(error: ssl.SSLCertVerificationError) -> str:
    """What the clock says, to go on with behind a reason that it had a part in."""
    if error.verify_code not in (_NOT_YET_VALID, _EXPIRED):
        return ""
    return f"; the clock here says {iso(unix_ms())}"
