"""The connection of destination `influxdb`."""

import asyncio
import contextlib
import functools
import logging

import msgspec

from actors.connections.connection import NoConnection, Transient
from actors.publish.destinations.driver import Driver, Listener, Outgoing
from actors.publish.destinations.influxdb_config import Config
from actors.publish.destinations.influxdb_writes import Answer, Writes, open_writes
from actors.publish.formats.line_protocol import measurement

CLOSE_SECONDS = 1.0

_log = logging.getLogger(__name__)
_measurement = functools.lru_cache(maxsize=100)(measurement)


class _Line(msgspec.Struct, frozen=True, gc=False):
    seq: int
    text: bytes


class InfluxDriver(Driver):
    """Writes points in batches, one request at a time so that they stay in order; HTTP 204 is delivery.

    A request goes out once `batch_size` points wait, or `flush_interval` after the first of them; what
    arrives while one is under way waits for the next. What the server refuses is halved and written again
    until the offending points are found: at most twice as many requests as points. Writing a point twice
    is harmless, it replaces itself. A request that is not answered in time is half as large on the next
    connection: over a slow line the whole of it might never be through in time.
    """

    def __init__(self, config: Config, listener: Listener) -> None:
        self.window = 2 * config.batch_size
        self._config = config
        self._listener = listener
        self._waiting: list[tuple[int, str, bytes]] = []
        self._first_at = 0.0
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._most = config.batch_size
        self._ceiling = config.batch_size
        self._timely = config.batch_size
        """What a request is to hold at most on the next connection."""
        self._idle = False
        self._closing = False
        self._writing: asyncio.Task[None] | None = None

    @property
    def patience(self) -> float:
        return max(super().patience, 2 * self._config.timeout)

    async def connect(self) -> None:
        self._closing = False
        async with contextlib.AsyncExitStack() as session:
            writes = await session.enter_async_context(open_writes(self._config))
            await writes.check_access()
            if self._closing:
                raise Transient("closed while connecting")
            self._waiting.clear()
            self._some.clear()
            self._full.clear()
            self._most, self._ceiling = self._timely, self._config.batch_size
            self._writing = asyncio.create_task(self._run(writes, session.pop_all()))

    def send(self, message: Outgoing) -> None:
        if not self._waiting:
            self._first_at = asyncio.get_running_loop().time()
            self._some.set()
        self._waiting.append((message.seq, message.topic, message.payload))
        if len(self._waiting) >= self._most:
            self._full.set()

    async def close(self) -> None:
        self._closing = True
        task, self._writing = self._writing, None
        if task is None:
            return
        if not self._idle:
            # Points whose request is under way need not be sent again when it is answered soon.
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self, writes: Writes, session: contextlib.AsyncExitStack) -> None:
        async with session:
            trouble = await self._write_on(writes)
        if trouble is not None and not self._closing:
            self._listener.lost(trouble)

    async def _write_on(self, writes: Writes) -> NoConnection | None:
        """Until the connection ends, for that reason, or is closed."""
        try:
            while not self._closing:
                await self._deliver(writes, await self._gathered())
        except NoConnection as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever the library raises ends this connection only
            _log.exception("Writing to %s failed", self._config.where)
            return Transient(f"{type(error).__name__}: {error}")
        return None

    async def _gathered(self) -> list[tuple[int, str, bytes]]:
        self._idle = True
        await self._some.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._first_at + self._config.flush_interval):
                await self._full.wait()
        self._idle = False
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        if not self._waiting:
            self._some.clear()
        if len(self._waiting) < self._most:
            self._full.clear()
        return batch

    async def _deliver(self, writes: Writes, batch: list[tuple[int, str, bytes]]) -> None:
        """Tell of every point of the batch what became of it. Raises `Transient` or `Permanent`, what is
        not told then being undecided."""
        parts = [self._lines(batch)]
        accessible = False
        while parts and not self._closing:
            part = parts.pop()
            if not part:
                continue
            answer = await self._post(writes, part)
            if answer.written:
                self._listener.delivered([line.seq for line in part])
                continue
            if not answer.refuses_content:
                raise writes.failure(answer)
            if answer.too_large:
                self._most = self._ceiling = max(1, len(part) // 2)
            if len(part) > 1 and answer.dropped < len(part):
                parts += (part[len(part) // 2 :], part[: len(part) // 2])
                continue
            if not accessible:
                # Some proxies refuse a token with 400; readings must not be given up for that.
                await writes.check_access()
                accessible = True
            self._listener.rejected([line.seq for line in part], answer.reason)

    async def _post(self, writes: Writes, part: list[_Line]) -> Answer:
        """Write a part, and see from how long it took how large the next ones may be."""
        clock, timeout = asyncio.get_running_loop().time, self._config.timeout
        began = clock()
        try:
            answer = await writes.post(b"\n".join([line.text for line in part]))
        except Transient:
            if clock() - began > 0.9 * timeout:
                self._timely = max(1, len(part) // 2)
            raise
        if clock() - began < timeout / 4:
            self._most = min(2 * self._most, self._ceiling)
        self._timely = self._most
        return answer

    def _lines(self, batch: list[tuple[int, str, bytes]]) -> list[_Line]:
        lines = []
        for seq, topic, payload in batch:
            text = _complete(topic, payload, self._config.precision)
            if text is None:
                self._listener.rejected([seq], "The payload is not line protocol")
            else:
                lines.append(_Line(seq, text))
        return lines


def _complete(topic: str, payload: bytes, precision: str) -> bytes | None:
    """The line of a payload, which lacks its measurement and has its time in ms; None for another
    format's payload, left from when the destination was of another type."""
    point, _, ms = payload.rpartition(b" ")
    if not (point and ms.isdigit()):
        return None
    time = {"s": ms[:-3] or b"0", "ms": ms, "us": ms + b"000", "ns": ms + b"000000"}[precision]
    # Without any tag the fields follow at once.
    separator = b"" if point.startswith(b" ") else b","
    return b"%b%b%b %b" % (_measurement(topic), separator, point, time)
