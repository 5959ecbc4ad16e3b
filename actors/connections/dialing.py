"""Reaching a host by TCP: every address of its name gets its chance (RFC 8305, happy eyeballs)."""

import contextlib
import functools
import socket
from itertools import zip_longest
from typing import Any

from aiohappyeyeballs import start_connection

from actors.connections import deadlines
from actors.connections.building import build
from conf.hosts import is_address

RESOLVE_SECONDS = 5.0
NEXT_ADDRESS = 0.25
"""Seconds after which the next address is tried beside the one before."""

LONGEST_WAIT_MS = 4_000
"""TCP waits twice as long after each packet that is not acknowledged, up to two minutes if it is let."""

_TCP_RTO_MAX_MS = 44

Address = tuple[Any, ...]
"""Of a socket: host, port, and what IPv6 has besides."""
Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Address]
"""As from `socket.getaddrinfo`."""


async def dial(host: str, port: int, avoid: Address | None = None) -> socket.socket:
    """A socket connected to the first address that is reached, not blocking (see `tuned`).

    An address that leads nowhere, or refuses, costs a quarter of a second; `avoid`, which was of no use the
    last time, comes last. Raises `OSError`; a limit for connecting is the caller's. Cancelled, it leaves
    nothing open.
    """
    return await start_connection(
        await addresses(host, port, avoid),
        happy_eyeballs_delay=NEXT_ADDRESS,
        interleave=0,
        socket_factory=tuned,
    )


def tuned(found: Any) -> socket.socket:
    """A socket for such an address (`Found`), which sends small packets at once and goes on soon after a line
    has stalled."""
    made = socket.socket(*found[:3])
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):  # only Linux 6.15 and later can
        made.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, LONGEST_WAIT_MS)
    return made


async def addresses(host: str, port: int, avoid: Address | None = None) -> list[Found]:
    """In the order to try them: those of IPv6 and IPv4 in turn, `avoid` last. Raises `OSError`, also for a
    resolver that does not answer within 5 s."""
    if is_address(host):
        return _resolve(host, port)
    try:
        # A thread of its own for each name: a resolver that hangs holds up nobody else.
        resolving = build(f"address of {host}", functools.partial(_resolve, host, port))
        found = await deadlines.bounded(resolving, RESOLVE_SECONDS)
    except deadlines.Overdue as error:
        reason = f"the name {host} is not resolved within {RESOLVE_SECONDS:g} s"
        raise socket.gaierror(socket.EAI_AGAIN, reason) from error
    return sorted(_interleaved(found), key=lambda each: each[4] == avoid)


def _resolve(host: str, port: int) -> list[Found]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]


def _interleaved(found: list[Found]) -> list[Found]:
    """The families in turn, beginning with what the system prefers."""
    by_family: dict[int, list[Found]] = {}
    for each in found:
        by_family.setdefault(each[0], []).append(each)
    turns = zip_longest(*by_family.values())
    return [each for turn in turns for each in turn if each is not None]
