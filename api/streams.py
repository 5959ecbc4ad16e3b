"""Server-sent events: what waits to be sent to each client that follows something, and who they are."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec
from aiohttp import web

from actors.system.failure import Refusal

MAX_CLIENTS = 32
QUEUE_BYTES = 512 * 1024
"""Of events that wait for one client; more than that leaves the oldest out."""
HEARTBEAT = 15.0  # seconds of silence after which a client, and what is between, is told that all is well
LOOK_EVERY = 1.0  # seconds until a silent client that has left is noticed
RETRY_MS = 1000

OPENING = f"retry: {RETRY_MS}\n\n".encode()
STILL_HERE = b": still here\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # a proxy between is not to wait for more
}

F = TypeVar("F")

_encode = msgspec.json.Encoder().encode


class Dropped(msgspec.Struct, frozen=True):
    """How many events were left out for a client that reads too slowly."""

    count: int


def event(name: str, data: msgspec.Struct) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))


class Client(Generic[F]):
    """One who follows. `write` sends bytes and waits while there are too many on the way; `gone` tells
    whether the connection has ended; `cut` ends it whatever is on the way."""

    def __init__(
        self,
        chosen: F,
        write: Callable[[bytes], Awaitable[None]],
        gone: Callable[[], bool],
        cut: Callable[[], None],
    ) -> None:
        self.filter = chosen
        self._write = write
        self._gone = gone
        self._cut = cut
        self._events: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._news = asyncio.Event()
        self._writing = False
        self._ended = False

    def put(self, event: bytes) -> None:
        """Let an event wait, in place of the oldest if there are too many."""
        self._events.append(event)
        self._size += len(event)
        while self._size > QUEUE_BYTES and len(self._events) > 1:
            self._size -= len(self._events.popleft())
            self._dropped += 1
        self._news.set()

    def miss(self, count: int) -> None:
        """So many events were lost before the next one."""
        self._dropped += count
        self._news.set()

    def take(self) -> bytes:
        """All events that wait, first of all how many were left out before them; none is no bytes."""
        if self._dropped:
            self._events.appendleft(event("dropped", Dropped(self._dropped)))
        taken = b"".join(self._events)
        self._events.clear()
        self._size = self._dropped = 0
        self._news.clear()
        return taken

    async def serve(self) -> None:
        """Send what comes, until the client leaves or `end`. Raises what `write` does."""
        await self._send(OPENING)
        silence = 0.0
        while not self._ended and not self._gone():
            if events := self.take():
                silence = 0.0
                await self._send(events)
            elif silence >= HEARTBEAT:
                silence = 0.0
                await self._send(STILL_HERE)
            elif not await self._news_within(LOOK_EVERY):
                silence += LOOK_EVERY

    def end(self) -> None:
        """Let `serve` return at once; a client that does not read is cut off."""
        self._ended = True
        self._news.set()
        if self._writing:
            self._cut()

    async def _send(self, data: bytes) -> None:
        self._writing = True
        await self._write(data)
        self._writing = False

    async def _news_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        return self._news.is_set()


C = TypeVar("C", bound=Client)  # type: ignore[type-arg]


class Hub(Generic[C]):
    """Who follows one thing, of which `what` are the words. `changed` is called when the first client comes
    and when the last has left."""

    def __init__(self, what: str, changed: Callable[[], None] | None = None) -> None:
        self._what = what
        self._changed = changed
        self._clients: list[C] = []
        self._closed = False

    @property
    def clients(self) -> int:
        return len(self._clients)

    def join(self, client: C) -> None:
        """From now on the client gets what it wants. Raises `Refusal` when there are too many."""
        if self._closed:
            raise Refusal("The agent is stopping", kind="unavailable")
        if self.clients >= MAX_CLIENTS:
            raise Refusal(f"{MAX_CLIENTS} clients follow {self._what} already", kind="unavailable")
        self._clients.append(client)
        self.admit(client)
        if self.clients == 1:
            self._tell()

    def leave(self, client: C) -> None:
        """To be called once for each client that has joined."""
        self._clients.remove(client)
        self.dismiss(client)
        if not self._clients:
            self._tell()

    def admit(self, client: C) -> None:
        """A client has joined."""

    def dismiss(self, client: C) -> None:
        """A client has left."""

    def close(self) -> None:
        """End every client, and let nobody join."""
        self._closed = True
        for client in self._clients:
            client.end()

    def _tell(self) -> None:
        if self._changed is not None and not self._closed:
            self._changed()


async def stream(
    request: web.Request,
    hub: Hub[C],
    client: C,
    response: web.StreamResponse,
    begin: Callable[[], Awaitable[None]] | None = None,
) -> web.StreamResponse:
    """Serve the client until it leaves; `begin` is called when it has joined, before it is sent anything."""
    hub.join(client)
    try:
        if begin is not None:
            await begin()
        await response.prepare(request)
        await client.serve()
    except ConnectionError:
        pass  # the client has left, as they do
    finally:
        hub.leave(client)
    return response
