"""What connections have in common that send payloads as the bodies of HTTP requests."""

import asyncio
import contextlib
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from actors.connections.connection import NoConnection, Transient
from actors.connections.dialing import Address
from actors.publish.destinations.driver import Driver, Listener, Outgoing
from actors.publish.destinations.posting import Answer, Posting, Site
from actors.publish.destinations.request_pace import RequestPace

CLOSE_SECONDS = 1.0
BUSY = (429, 503)
"""Statuses of a server that wants fewer requests; smaller ones would be more."""
BLAMELESS = (*BUSY, 502)
"""Statuses that say nothing of what was asked: of 502, that a gateway has found nobody behind it."""

_log = logging.getLogger(__name__)


class Numbered(Protocol):
    """What a request consists of: a payload, made ready; `seq` is its number."""

    @property
    def seq(self) -> int: ...


P = TypeVar("P", bound=Numbered)


class PostingDriver(Driver, Generic[P]):
    """Sends payloads in batches, one request at a time so that they stay in order.

    A request goes out once as many payloads wait as it may hold, or `flush_interval` after the first of
    them; what arrives while one is under way waits for the next. How many it may hold is learnt
    (`RequestPace`), and kept from connection to connection. Who inherits says how to reach the server, what a
    request holds, and what an answer means.
    """

    def __init__(
        self, site: Site, listener: Listener, pace: RequestPace, flush_interval: float = 0.0
    ) -> None:
        self.window = 2 * pace.count
        self.listener = listener
        self.pace = pace
        self._site = site
        self._flush_interval = flush_interval
        self._waiting: list[Outgoing] = []
        self._first_at = 0.0
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._idle = False
        self._closing = False
        self._put_off = False
        self._running: asyncio.Task[None] | None = None
        self._avoid: Address | None = None

    # For who inherits

    @abstractmethod
    async def check_access(self, posting: Posting) -> None:
        """Whether payloads would be taken, as far as can be told without any. Raises `NoConnection`."""

    @abstractmethod
    def parts(self, batch: Sequence[Outgoing]) -> list[list[P]]:
        """The requests that a batch makes, in order. What is of no use it rejects."""

    @abstractmethod
    async def post(self, posting: Posting, part: list[P]) -> Answer:
        """Make one request (`ask`)."""

    @abstractmethod
    async def judge(self, posting: Posting, part: list[P], answer: Answer) -> list[list[P]]:
        """Tell what became of the payloads that the answer decides about, and return the others, in the parts
        that they are to be sent in again. Raises `NoConnection` when the answer is about none of them."""

    def drained(self) -> None:
        """Called when it is told of everything that there was to send what became of it, but for what a
        judgement has put off. Raises `NoConnection` to end the connection, that being undecided."""

    async def ask(self, posting: Posting, body: bytes, count: int, headers: dict[str, str]) -> Answer:
        """Send a body that holds so many payloads; how that goes says how large the next may be."""
        began = _clock()
        try:
            answer = await posting.ask(body, self.pace.silence, headers)
        except Transient:
            self._failed(began, count, len(body))
            raise
        now = _clock()
        if answer.status == 413:
            self.pace.failed(count, now)
        else:
            self.pace.succeeded(count, now - began, now)
        return answer

    def _failed(self, began: float, count: int, size: int) -> None:
        now = _clock()
        self.pace.failed(count, now, silent=size if now - began >= self.pace.silence else None)

    # The connection

    @property
    def patience(self) -> float:
        return max(super().patience, 2 * self.pace.silence)

    async def connect(self) -> None:
        self._closing = False
        async with contextlib.AsyncExitStack() as session:
            posting = Posting(self._site, self._avoid)
            session.push_async_callback(posting.aclose)
            put_off, self._put_off = self._put_off, False
            if not put_off:
                # Else it is there, and the one request that it may allow now is worth more.
                await self._reach(posting)
            if self._closing:
                raise Transient("closed while connecting")
            self._waiting.clear()
            self._some.clear()
            self._full.clear()
            self._running = asyncio.create_task(self._run(posting, session.pop_all()))

    async def _reach(self, posting: Posting) -> None:
        began = _clock()
        try:
            await self.check_access(posting)
        except NoConnection as error:
            self._avoid = posting.peer
            if isinstance(error, Transient):
                self._failed(began, 1, 0)
            raise

    def send(self, message: Outgoing) -> None:
        if not self._waiting:
            self._first_at = _clock()
            self._some.set()
        self._waiting.append(message)
        if len(self._waiting) >= self.pace.count:
            self._full.set()

    async def close(self) -> None:
        self._closing = True
        task, self._running = self._running, None
        if task is None:
            return
        if not self._idle:
            # What is under way need not be sent again when it is answered soon.
            await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self, posting: Posting, session: contextlib.AsyncExitStack) -> None:
        async with session:
            trouble = await self._send_on(posting)
        if trouble is not None and not self._closing:
            self.listener.lost(trouble)

    async def _send_on(self, posting: Posting) -> NoConnection | None:
        """Until the connection ends, for that reason, or is closed."""
        try:
            while not self._closing:
                await self._deliver(posting, self.parts(await self._gathered()))
                if not self._waiting:
                    self.drained()
        except NoConnection as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever the library raises ends this connection only
            _log.exception("Sending to %s failed", self._site.where)
            return Transient(f"{type(error).__name__}: {error}")
        return None

    async def _gathered(self) -> list[Outgoing]:
        self._idle = True
        await self._some.wait()
        if len(self._waiting) >= self.pace.count:
            self._full.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._first_at + self._flush_interval):
                await self._full.wait()
        self._idle = False
        self._full.clear()
        most = self.pace.count
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        if not self._waiting:
            self._some.clear()
        return batch

    async def _deliver(self, posting: Posting, parts: list[list[P]]) -> None:
        """Until it is told of every payload what became of it. Raises `NoConnection`, what is not told then
        being undecided."""
        left = parts[::-1]
        while left and not self._closing:
            part = left.pop()
            answer = await self.post(posting, part)
            try:
                left.extend(reversed(await self.judge(posting, part, answer)))
            except Transient as error:
                self._put_off = answer.status in BUSY
                error.put_off = answer.status in BLAMELESS
                if not self._put_off:
                    # It may have been too much for what lies in between.
                    self.pace.failed(len(part), _clock())
                raise


def _clock() -> float:
    return asyncio.get_running_loop().time()


def halves(part: list[P]) -> list[list[P]]:
    """A part of more than one payload in two."""
    middle = len(part) // 2
    return [part[:middle], part[middle:]]
