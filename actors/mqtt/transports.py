"""Ending connections, so that nothing of them is left."""

import asyncio
import contextlib


def sever(transport: asyncio.WriteTransport) -> None:
    """Abort a connection, however often it was closed before."""
    # In Python 3.11.2 a TLS transport that was closed twice has let go of what it would abort, and says so
    # with an AttributeError.
    with contextlib.suppress(AttributeError):
        transport.abort()


def lowest(transport: asyncio.BaseTransport) -> asyncio.BaseTransport:
    """The transport of TCP below that of TLS, where asyncio's has one; else itself."""
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport if below is None else below


def forget(transport: asyncio.BaseTransport | None) -> None:
    """Have a `lowest` transport that has ended vanish with its last reference. asyncio's keeps one of its own
    bound methods, and would otherwise stay until the garbage collector looks at what is old: seldom."""
    if getattr(transport, "_read_ready_cb", None) is not None:
        transport._read_ready_cb = None  # type: ignore[union-attr]
