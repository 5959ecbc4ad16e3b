"""Who follows the readings, and what waits to be sent to each of them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from actors.readings.batch import Batch, Source
from actors.system.failure import Refusal
from api.readings import Reading, ReadingFilter, choose, event_of, readings_of, wanted_points

MAX_CLIENTS = 32
QUEUE_BYTES = 512 * 1024
"""Of events that wait for one client; more than that leaves the oldest out."""
HEARTBEAT = 15.0  # seconds of silence after which a client, and what is between, is told that all is well
LOOK_EVERY = 1.0  # seconds until a silent client that has left is noticed
RETRY_MS = 1000
MAX_PLANS = 10_000

OPENING = f"retry: {RETRY_MS}\n\n".encode()
STILL_HERE = b": still here\n\n"

_encode = msgspec.json.Encoder().encode


class Dropped(msgspec.Struct, frozen=True):
    """How many polls were left out for a client that reads too slowly."""

    count: int


class Client:
    """One who follows. `write` sends bytes and waits while there are too many on the way; `gone` tells
    whether the connection has ended; `cut` ends it whatever is on the way."""

    def __init__(
        self,
        chosen: ReadingFilter,
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

    def take(self) -> bytes:
        """All events that wait, first of all how many were left out before them; none is no bytes."""
        if self._dropped:
            self._events.appendleft(_event("dropped", Dropped(self._dropped)))
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


class _Audience:
    """All clients of an equal filter: what they get is chosen and encoded once."""

    def __init__(self, chosen: ReadingFilter) -> None:
        self.clients: list[Client] = []
        self._filter = chosen
        self._plans: dict[str, tuple[Source, tuple[int, ...]]] = {}

    def wants(self, source: Source) -> tuple[int, ...]:
        """Indices of the points whose names the filter matches."""
        known, points = self._plans.get(source.endpoint_uuid, (None, ()))
        return points if known is source else self._plan(source)

    def publish(self, batch: Batch, points: tuple[int, ...], readings: list[Reading]) -> None:
        if wanted := choose(self._filter, points, readings):
            event = _event("readings", event_of(batch, wanted))
            for client in self.clients:
                client.put(event)

    def _plan(self, source: Source) -> tuple[int, ...]:
        points = wanted_points(self._filter, source)
        if len(self._plans) >= MAX_PLANS:  # nobody tells of endpoints that are no more
            self._plans.clear()
        self._plans[source.endpoint_uuid] = source, points
        return points


class ReadingsHub:
    """Hands each batch to the clients that want any of it. `changed` is called when the first client
    comes and when the last has left."""

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        self._changed = changed
        self._audiences: dict[ReadingFilter, _Audience] = {}
        self._count = 0
        self._closed = False

    @property
    def clients(self) -> int:
        return self._count

    def join(self, client: Client) -> None:
        """From now on the client gets what it wants. Raises `Refusal` when there are too many."""
        if self._closed:
            raise Refusal("The agent is stopping", kind="unavailable")
        if self._count >= MAX_CLIENTS:
            raise Refusal(f"{MAX_CLIENTS} clients follow the readings already", kind="unavailable")
        self._audiences.setdefault(client.filter, _Audience(client.filter)).clients.append(client)
        self._count += 1
        if self._count == 1:
            self._tell()

    def leave(self, client: Client) -> None:
        """To be called once for each client that has joined."""
        audience = self._audiences[client.filter]
        audience.clients.remove(client)
        if not audience.clients:
            del self._audiences[client.filter]
        self._count -= 1
        if self._count == 0:
            self._tell()

    def publish(self, batch: Batch) -> None:
        readings: list[Reading] = []
        for audience in self._audiences.values():
            if points := audience.wants(batch.source):
                readings = readings or readings_of(batch)
                audience.publish(batch, points, readings)

    def close(self) -> None:
        """End every client, and let nobody join."""
        self._closed = True
        for audience in self._audiences.values():
            for client in audience.clients:
                client.end()

    def _tell(self) -> None:
        if self._changed is not None and not self._closed:
            self._changed()


def _event(name: str, data: msgspec.Struct) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))
