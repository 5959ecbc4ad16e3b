"""Ending connections."""

import asyncio
import contextlib


def sever(transport: asyncio.WriteTransport) -> None:
    """Abort a connection, however often it was closed before."""
    # In Python 3.11.2 a TLS transport that was closed twice has let go of what it would abort, and says so
    # with an AttributeError.
    with contextlib.suppress(AttributeError):
        transport.abort()
