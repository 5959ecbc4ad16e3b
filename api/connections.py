"""All connections of clients: how many there may be, and which of them give way."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from aiohttp import web

from api.connection import NOTHING, Connection
from api.episodes import Episode
from conf.peers import peer_of

LOOK_EVERY = 1.0
"""Seconds between two looks at what each of them leaves undone."""

GRACE = 0.1
"""Seconds after which a connection that asks nothing may have to give way to another one."""

ALWAYS: Final = 8
"""Connections that there may be however few descriptors are left: somebody must be able to mend that."""

HANDSHAKE = 10.0
"""Seconds that a client may take to begin TLS."""

GOODBYE: Final = 2.0
"""Seconds that it may take to end it."""

MAX_BODIES: Final = 64 * 1024 * 1024
"""Bytes of bodies under way, of all clients."""


class Taken(Protocol):
    """So many bytes of a body have been taken."""

    def __call__(self, count: int, /) -> None: ...


TAKEN: Final = web.RequestKey("taken", Taken)
"""Where a request has what is to be called with the number of bytes of its body that were put elsewhere."""


class Lasts(Protocol):
    """The answer takes long: a client that sends no more has left."""

    def __call__(self) -> None: ...


LASTS: Final = web.RequestKey("lasts", Lasts)
"""Where a request has what is to be called to say so."""

MAX_UNREAD: Final = 32 * 1024 * 1024
"""Bytes of answers that wait for clients to take them."""


class Limits(NamedTuple):
    """Connections that there may be in all, and of one peer that is not this machine, but for streams;
    `first_reserved` is the first descriptor that is not for them."""

    connections: int
    per_peer: int
    first_reserved: Callable[[], int]


class Connections:
    """Used on the event loop."""

    def __init__(self, limits: Limits) -> None:
        self.tls: ssl.SSLContext | None = None
        """With what new ones are made; those that there are keep theirs."""
        self._limits = limits
        self._all: dict[Connection, None] = {}  # oldest first, for clocks are coarse
        self._being_made: set[asyncio.Task[None]] = set()
        self._by_handler: dict[asyncio.BaseProtocol, Connection] = {}
        self._bodies = 0
        self._looking: asyncio.TimerHandle | None = None
        self._too_many = Episode(
            "clients open more connections than there may be", "%d connections of clients were too many"
        )
        self._undone = Episode(
            "connections are closed over what their clients leave undone",
            "%d connections were closed over what their clients had left undone",
        )
        self._exhausted = Episode(
            "connections are closed for want of descriptors", "%d connections were closed unseen"
        )

    def __len__(self) -> int:
        return len(self._all)

    @property
    def unread(self) -> int:
        """Bytes of answers that wait for clients to take them."""
        return sum(one.unread for one in self._all)

    def admit(self, connected: socket.socket, address: str, make: Callable[[], web.RequestHandler]) -> bool:
        """Serve a client, or close its connection; False when another one ends for it."""
        peer = peer_of(address)
        crowded = self._crowded(connected.fileno(), peer)
        made_room = crowded is not None and self._make_room(crowded)
        if crowded is not None:
            self._too_many.happened(f"{len(self._all)} are open, another one comes from {address}")
        if crowded is not None and not made_room:
            connected.close()
        else:
            self._serve(connected, peer, make())
        self._look_later()
        return not made_room

    def _serve(self, connected: socket.socket, peer: str | None, handler: web.RequestHandler) -> None:
        connection = Connection(handler, peer, connected, self, self.tls is not None)
        self._all[connection] = None
        self._by_handler[handler] = connection
        making = asyncio.get_running_loop().create_task(self._connect(connection, connected))
        self._being_made.add(making)
        making.add_done_callback(self._being_made.discard)

    async def _connect(self, connection: Connection, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        tls, times = self.tls, {}
        if tls is not None:
            times = {"ssl_handshake_timeout": HANDSHAKE, "ssl_shutdown_timeout": GOODBYE}
        try:
            await loop.connect_accepted_socket(lambda: connection, connected, ssl=tls, **times)
        except OSError:  # what is no TLS, too
            connected.close()
            self.gone(connection)

    def exhausted(self, error: OSError) -> None:
        """A connection had to be closed for want of a descriptor; the next one is to have one."""
        self._exhausted.happened(error.strerror)
        self._make_room(self._all)
        self._look_later()

    def of(self, handler: asyncio.BaseProtocol) -> Connection | None:
        """None when it has just been closed."""
        return self._by_handler.get(handler)

    def close(self) -> None:
        """End what is left."""
        if self._looking is not None:
            self._looking.cancel()
        for episode in (self._too_many, self._undone, self._exhausted):
            episode.look(quiet=0.0)
        for connection in list(self._all):
            connection.abort()

    # What connections say

    def may_hold(self, connection: Connection, count: int) -> bool:
        """Of too many bytes under way, who has been silent for longest loses what it has sent."""
        self._bodies += count
        if self._bodies <= MAX_BODIES:
            return True
        slowest = min((one for one in self._all if one.received), key=lambda one: one.heard_at)
        self._undone.happened(f"a body of {slowest.received} bytes, for there are too many")
        self.forget(slowest)
        slowest.abort()
        return slowest is not connection

    def taken(self, connection: Connection, count: int) -> None:
        """So many bytes of a body are in memory no more."""
        count = min(count, connection.received)
        connection.received -= count
        self._bodies -= count

    def forget(self, connection: Connection) -> None:
        """Its request is answered."""
        self._bodies -= connection.received
        connection.received = 0

    def gone(self, connection: Connection) -> None:
        self.forget(connection)
        self._all.pop(connection, None)
        self._by_handler.pop(connection.handler, None)

    # Room

    def _crowded(self, descriptor: int, peer: str | None) -> list[Connection] | None:
        """Those of whom one must give way to a new connection; None when there is room."""
        counted = [one for one in self._all if not one.streams]
        limits = self._limits
        if peer is not None:
            same = [one for one in counted if one.peer == peer]
            if len(same) >= limits.per_peer:
                return same
        if len(counted) >= limits.connections:
            return counted
        # Below a high one there are free ones again, but not more of them.
        highest = max((one.descriptor for one in counted), default=descriptor)
        scarce = max(descriptor, highest) >= limits.first_reserved()
        return counted if scarce and len(counted) >= ALWAYS else None

    def _make_room(self, among: Iterable[Connection]) -> bool:
        """Close the one that has asked nothing for longest; False when all of them are answered."""
        before = asyncio.get_running_loop().time() - GRACE
        quiet = [(since, one) for one in among if (since := one.quiet_since) is not None and since <= before]
        if not quiet:
            return False
        _, longest = min(quiet, key=lambda pair: pair[0])
        longest.abort()
        self.gone(longest)
        return True

    # Time

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._all):
            undone = connection.overstays(now)
            if undone is not None:
                self._close(connection, undone)
        self._shed_unread()
        goes_on = [episode.look() for episode in (self._too_many, self._undone, self._exhausted)]
        if self._all or any(goes_on):
            self._look_later()

    def _close(self, connection: Connection, undone: str) -> None:
        if undone == NOTHING:
            connection.close()
            return
        self._undone.happened(f"{undone}, by {connection.peer or 'a client of this machine'}")
        connection.abort()

    def _shed_unread(self) -> None:
        """Close those with most to take while there is too much in all."""
        total = self.unread
        for connection in sorted(self._all, key=lambda one: one.unread, reverse=True):
            if total <= MAX_UNREAD:
                return
            total -= connection.unread
            self._close(connection, "an answer that is not taken, for there are too many")
