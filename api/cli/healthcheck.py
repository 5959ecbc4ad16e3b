"""`python -m api.cli.healthcheck`, for a container engine: exit code 0 while the agent here is healthy.

It is run every few seconds, so it loads nothing of the agent: whether the API speaks TLS it finds out, and
which certificate that has does not matter on the way to itself.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection

WITHIN = 4.0  # seconds


def main() -> int:
    try:
        status, body = ask(os.environ)
    except (OSError, HTTPException) as error:
        print(f"no answer: {error or type(error).__name__}")
        return 1
    print(body)
    return 0 if status == 200 else 1


def ask(environment: Mapping[str, str]) -> tuple[int, str]:
    """Status and body of `/v1/healthy`. Raises OSError or HTTPException."""
    host, port = environment.get("DEVICE_API_HOST", ""), environment.get("DEVICE_API_PORT", "")
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    number = int(port) if port.isascii() and port.isdigit() else 48484
    try:
        return _get(HTTPConnection(host, number, timeout=WITHIN))
    except (ConnectionResetError, HTTPException):
        return _get(HTTPSConnection(host, number, timeout=WITHIN, context=_unverified()))


def _get(connection: HTTPConnection) -> tuple[int, str]:
    try:
        connection.request("GET", "/v1/healthy")
        reply = connection.getresponse()
        return reply.status, reply.read(4096).decode(errors="replace")
    finally:
        connection.close()


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main())
