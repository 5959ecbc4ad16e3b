"""One connection of a client, as the server sees it from below: what it sends, takes, and leaves undone."""

import asyncio
import fcntl
import socket
import sys
import termios
from contextlib import suppress
from typing import Final, Protocol, cast

from aiohttp import StreamReader, web

FIRST_REQUEST = 30.0
"""Seconds from the connection to the first byte of a request, and from that to the end of its head."""

NEXT_REQUEST = 75.0
"""Seconds from an answer to the next request."""

PATIENCE = 60.0
"""Seconds that a body may take to come, and an answer to be taken, whatever its size."""

LEAST_RATE: Final = 256
"""Bytes a second of them for which there is more time."""

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request before its body."""

NOTHING: Final = "nothing"
"""What a client leaves undone that only keeps its connection."""

_END_OF_HEAD: Final = b"\r\n\r\n"


class Pace:
    """Whether something that moves bytes goes on fast enough."""

    def __init__(self, now: float) -> None:
        self._began = now
        self.moved = 0

    def is_late(self, now: float) -> bool:
        return now - self._began > PATIENCE + self.moved / LEAST_RATE


class Owner(Protocol):
    """Who keeps all connections."""

    def may_hold(self, connection: "Connection", count: int) -> bool:
        """So many more bytes of a body have come; whether the connection stays."""

    def gone(self, connection: "Connection") -> None:
        """It has ended."""


class Connection(asyncio.Protocol):
    """Between the transport and aiohttp's `handler`, which knows no such limits. `peer` is None for a client
    of this machine. With `tls` there is no transport until the client and this side have shaken hands."""

    def __init__(
        self, handler: web.RequestHandler, peer: str | None, connected: socket.socket, owner: Owner, tls: bool
    ) -> None:
        self.handler = handler
        self.peer = peer
        self.descriptor = connected.fileno()
        self._connected = connected
        self._tls = tls
        self.streams = False
        """It gets an answer without end, which is bounded by who sends it."""
        self.lasting = False
        """Its answer takes so long that who sends no more has left."""
        self.received = 0
        """Bytes of the body of the request that is answered."""
        self.heard_at = self._silent_since = asyncio.get_running_loop().time()
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._request: web.BaseRequest | None = None
        self._asked = False
        self._whole_head = False
        self._refused: StreamReader | None = None
        """A body that came after its answer; aiohttp reads on for a while, for a client that reads later."""
        self._head = 0
        self._head_since: float | None = None
        self._tail = b""
        self._body = Pace(0.0)
        self._answer: Pace | None = None
        self._waited = 0
        self._half_closed = False
        self._aborted = False

    # What the handler of requests says

    def begin(self, request: web.BaseRequest) -> None:
        """A request is whole but for its body."""
        self._request = request
        self._asked = True
        self._whole_head = False
        self._body = Pace(self.heard_at)
        if self._half_closed and not request.content.is_eof():
            self.abort()  # the rest of it will not come

    def end(self) -> bool:
        """It has its answer, which may still be on its way; whether there can be another request."""
        assert self._request is not None
        self._refused = None if self._request.content.is_eof() else self._request.content
        self._request = None
        self.streams = self.lasting = False
        self._silent_since = asyncio.get_running_loop().time()
        return not self._half_closed

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.handler.connection_made(transport)
        if self._aborted:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if self._request is not None:
            self.received += len(data)
            self._body.moved += len(data)
            stays = self._owner.may_hold(self, len(data))
        elif self._refused is not None and not self._refused.is_eof():
            stays = True
        else:
            stays = self._whole_head or self._may_add_to_head(data)
        if stays:
            self.handler.data_received(data)
        else:
            self.abort()

    def eof_received(self) -> bool:
        """Who sends no more may still wait for the answer; but who follows a stream, waits for what takes
        long, or speaks TLS, has left."""
        self.handler.eof_received()
        request = self._request
        whole = self._whole_head if request is None else request.content.is_eof()
        self._half_closed = whole and not (self.streams or self.lasting or self._tls)
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.gone(self)
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()

    # Limits

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._request is not None

    @property
    def quiet_since(self) -> float | None:
        """Since when the client asks nothing, or has not finished asking; None while it is answered. One that
        sends no more may have left: that would show when it has the answer only."""
        if self._half_closed:
            return self.heard_at
        if self._request is not None or self._whole_head or self.unread:
            return None
        return self._silent_since if self._head_since is None else self._head_since

    @property
    def unread(self) -> int:
        """Bytes of answers that wait for the client, but for what the system holds."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _under_way(self) -> int:
        """The same with what the system holds, of which a slow client takes before there is room again."""
        assert self._transport is not None
        held = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self.unread + int.from_bytes(held, sys.byteorder)

    def overstays(self, now: float) -> str | None:
        """What it leaves undone for so long that it is to be closed."""
        if self._answer_is_late(now):
            return "an answer that is not taken"
        if self.unread:
            self._silent_since = now
            return None
        request = self._request
        if request is not None:
            late = not request.content.is_eof() and self._body.is_late(now)
            return "a body that does not come" if late else None
        if self._head_since is not None:
            return "half a request" if now - self._head_since > FIRST_REQUEST else None
        return NOTHING if now - self._silent_since > self._may_be_silent else None

    @property
    def _may_be_silent(self) -> float:
        return NEXT_REQUEST if self._asked else FIRST_REQUEST

    def close(self) -> None:
        """Let the client know that there will be no more requests over it."""
        self.handler.force_close()

    def abort(self) -> None:
        """Close it whatever is on the way."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()
            return
        with suppress(OSError):
            self._connected.shutdown(socket.SHUT_RDWR)  # which ends shaking hands

    def _may_add_to_head(self, data: bytes) -> bool:
        """Whether what has come of a head is not too much."""
        seen = self._tail + data
        self._whole_head = _END_OF_HEAD in seen
        if self._whole_head:
            self._head, self._head_since, self._tail = 0, None, b""
            self._silent_since = self.heard_at
            return True
        self._head += len(data)
        self._tail = seen[-3:]
        if self._head_since is None:
            self._head_since = self.heard_at
        return self._head <= MAX_HEAD

    def _answer_is_late(self, now: float) -> bool:
        if not self.unread:
            self._answer = None
            return False
        waiting = self._under_way()
        if self._answer is None:
            self._answer = Pace(now)
        else:
            self._answer.moved += max(0, self._waited - waiting)
        self._waited = waiting
        return self._answer.is_late(now)
