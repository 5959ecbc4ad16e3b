"""What the operating system says, in its own words."""

import os
import ssl

from actors.connections.certificates import clock_of


def reason(error: OSError) -> str:
    """The text without Python's or uvloop's wrapping; resolver errors have numbers below 0."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}{clock_of(error)}"
    if error.errno is not None and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return error.strerror or str(error)
