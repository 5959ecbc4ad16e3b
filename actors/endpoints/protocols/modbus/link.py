"""A connection that devices share.

A link has one request in flight. What was not answered is sent again, as often as its reader allows; a
connection that is found closed is opened again before it is used, and once more when it closes under a
request.
"""

import asyncio
from collections import Counter
from math import inf

from actors.connections.connection import Transient

from . import quality
from .connection import Connection
from .exchange import UNFIT, Answer, Closed, Damaged, Exchange, FoundClosed, Patience, Unreachable
from .frames import READS, Frame, Request, answer
from .line import Unit, line_at
from .wire import STREAMS, Wire, dial, framing_of

_RESET_AFTER = 3
"""Timeouts in a row, of every unit on the link, after which its socket is given up."""
_SILENT_SECONDS = 30.0
"""For so long units that are seldom asked count as ones that would have answered."""
_MIN_SETTLING = 0.5
"""Seconds in which a device has sent what it still had to say, however short its timeout is."""
_SHORTEST = 0.2
"""Seconds that a reply is waited for at least, also when there is little time for all attempts."""
_USUAL = 4
"""A reply takes at most so many times as long as the slowest of late."""
_DAMAGED_AFTER = 0.1
"""Seconds after which a frame that makes no sense is complete: longer than any adapter holds bytes back."""
_HURRIED = 1.0
"""A request that comes so many seconds after a reply may have come too soon."""
_BITS_PER_CHARACTER = 11
_SILENCE_CHARACTERS = 3.5
_MIN_SILENCE = 0.00175
_BUSY_RETRIES = 3
_BUSY_PAUSE = 0.1
_FLOOD = 64 * 1024
"""Bytes after a request that no device sends, however many replies it owes."""
_LONGEST_HEAP = 1024
"""Bytes that are kept of what makes no frame."""
_REOPENED = 3
"""So many times a connection is opened that ends before it is used."""


class Link:
    """One TCP connection, UDP socket or serial port."""

    def __init__(self, connection: Connection, key: str) -> None:
        self.connection = connection
        self.key = key
        self.loop = asyncio.get_running_loop()
        self.units: Counter[int] = Counter()
        """How many readers use the link, by unit."""
        self._users: list[Connection] = []
        self._framing = framing_of(connection)
        self._line = line_at(connection.line)
        self._wire: Wire | None = None
        self._turn = asyncio.Lock()
        self.merging = asyncio.Lock()
        """Of who reads registers to write them back changed: two at a time would undo each other."""
        self._asking = 0
        self._waiting: Exchange | None = None
        self._latest: Exchange | None = None
        self._received = b""
        self._flood = 0
        """Bytes since the latest request."""
        self.late = 0
        """Replies that came when something else was asked, or nothing."""
        self._damage: asyncio.TimerHandle | None = None
        self._down = Transient("not connected", code=quality.DEVICE_OFFLINE)
        self._refused_at = 0.0
        self._timeouts: Counter[int] = Counter()
        """Since the latest reply, by unit."""
        self._silent_since = 0.0
        self._number = 0
        self._opened_at = 0.0
        self._first_gap: float | None = None
        """Seconds from connecting to the first request."""
        self._replied_at = 0.0
        self._replied = False
        """Whether anything has been answered on this connection,"""
        self._heard = False
        """and whether on any."""

    # Users

    def join(self, connection: Connection) -> None:
        self._users.append(connection)
        self._count()

    def leave(self, connection: Connection) -> None:
        self._users.remove(connection)
        self._count()

    def _count(self) -> None:
        """Devices of a line may differ in what they need: the slowest says how fast it goes."""
        self.units = Counter(user.unit for user in self._users)
        self._after_connect = max((user.delay_after_connect for user in self._users), default=0.0)
        between = max((user.delay_between_requests for user in self._users), default=0.0)
        self._quiet = max(between, _silence(self.connection))
        said = {user.echo for user in self._users if user.echo is not None}
        if said and not self._framing.numbered:
            self._line.echoes = any(said)

    # The connection

    def is_open(self) -> bool:
        return self._wire is not None

    async def open(self, seconds: float) -> None:
        """Connect, unless it is connected. Raises `Unreachable` or `Permanent`.

        Callers that wait while one of them fails share its failure: each trying in turn would
        keep the last waiting for the sum of all timeouts.
        """
        asked = self.loop.time()
        if self._wire is not None:
            return
        async with self._turn:
            if self.is_open():
                return
            if self._refused_at > asked:
                raise Unreachable(str(self._down), code=self._down.code)
            wire = Wire(self.connection, self._take, self._lost)
            try:
                await dial(self.connection, wire, seconds)
            except Transient as failure:
                # Not the failure itself, which would keep all that was tried.
                self._down = Transient(str(failure), code=failure.code)
                self._refused_at = self.loop.time()
                raise Unreachable(str(failure), code=failure.code) from failure
            self._timeouts.clear()
            self._opened_at = self.loop.time()
            self._replied = False
            self._first_gap = None
            if self.units:
                self._wire = wire
            else:
                wire.close()  # everybody left meanwhile

    def reset(self, code: str, reason: str) -> None:
        """Close the connection; a request in flight and those that wait fail with `code`."""
        wire, self._wire = self._wire, None
        self._down = Transient(reason, code=code)
        self._received = b""
        if wire is not None:
            if self._waiting is not None:
                self._waiting.end(Closed(reason, code=code))
            wire.close()

    def rest(self) -> None:
        """Close the connection, unless somebody is using it; the next request opens it again."""
        if not self._asking:
            self.reset(quality.CONNECTION_RESET, "the connection was closed after the poll")

    def _lost(self, wire: Wire, code: str) -> None:
        if wire is self._wire:
            self.reset(code, "the connection was lost")

    # Asking

    async def ask(self, request: Request, patience: Patience) -> Answer:
        """Send a request when its turn has come and wait for the reply. Raises `Transient` or `Permanent`.
        The caller may be cancelled: a reply that comes later is dropped."""
        exchange = Exchange(request, self.loop.time(), tries=patience.tries)
        attempt = closed = found_closed = 0
        hurried: float | None = None
        self._asking += 1
        try:
            while True:
                if self._wire is None:
                    await self.open(patience.timeout)
                try:
                    seconds = self._share(request, patience, attempt)
                    settling = max(patience.timeout, _MIN_SETTLING)
                    found = await self._answer(exchange, seconds, settling)
                except FoundClosed:
                    found_closed += 1
                    if found_closed > _REOPENED:
                        raise
                except Closed:
                    closed += 1
                    if closed > self._reopenings(exchange):
                        raise
                except Transient as failure:
                    attempt += 1
                    retried = isinstance(failure, Damaged) or failure.code == quality.TIMEOUT
                    if not retried or attempt >= patience.attempts or self.loop.time() >= patience.until:
                        raise
                    if hurried is None and failure.code == quality.TIMEOUT:
                        hurried = self._hurried()
                else:
                    if hurried is not None:
                        self._line.between.too_soon(hurried, self.loop.time())
                    return found
        finally:
            self._asking -= 1

    def _reopenings(self, exchange: Exchange) -> int:
        """How often a connection that ends under a request is opened again. One that answered something else
        before has not ended for this request's sake; where others answer, one that has not may well have."""
        if exchange.tries and self._heard:
            return 1 if self._replied else 0
        return _REOPENED if self._replied else 1

    def _share(self, request: Request, patience: Patience, attempt: int) -> float:
        """Seconds to wait for the reply to an attempt, so that there is time for the others."""
        timeout, attempts, until, _ = patience
        share = (until - self.loop.time()) / (attempts - attempt)
        if share >= timeout:
            return timeout
        slowest = self._line.unit(request.unit).slowest
        return timeout if slowest is None else min(timeout, max(share, _USUAL * slowest, _SHORTEST))

    async def _answer(self, exchange: Exchange, seconds: float, settling: float) -> Answer:
        """One attempt, after whatever it takes to be sure which request a reply is to."""
        request, since = exchange.request, exchange.since
        unit = self._line.unit(request.unit)
        began, waited, repeated = 0.0, 0, False
        while True:
            async with self._turn:
                if waited == 2:
                    unit.forget(began)
                if not unit.owed or exchange.tries:
                    return await self._send(exchange, seconds)
                if not unit.doubts(request, since, self.loop.time()):
                    doubtful = unit.doubts_exception(request, since)
                    found = await self._send(exchange, seconds)
                    if repeated or not doubtful or isinstance(found, bytes):
                        return found
                    # An exception has no shape: what it answers may be an earlier request.
                    repeated = True
                    continue
                if waited:
                    await self._send(Exchange(request, since), seconds)  # taken for a late one
                elif probe := unit.probe(request):
                    refusal = await self._probe(unit, probe, seconds)
                    if refusal in quality.SILENT_BEHIND_GATEWAY:
                        return refusal or UNFIT
                    if refusal is None:
                        continue
            # What is owed comes within as long again, or never.
            began = began or self.loop.time()
            await asyncio.sleep(settling)
            waited += 1

    async def _probe(self, unit: Unit, probe: Request, seconds: float) -> int | None:
        """Ask for something whose reply cannot be mistaken; the number of the exception that came instead."""
        owed = len(unit.owed)
        try:
            found = await self._send(Exchange(probe, self.loop.time()), seconds)
        except Transient as failure:
            # Not answered, while something else was: what it takes to be certain is time.
            if failure.code != quality.TIMEOUT or len(unit.owed) > owed:
                raise
            found = UNFIT
        if isinstance(found, bytes):
            return None
        unit.probe_failed()
        return found

    async def _send(self, exchange: Exchange, seconds: float) -> Answer:
        """Send once and wait; the turn is the caller's."""
        pause = self._pause()
        if pause > 0:
            await asyncio.sleep(pause)
        wire = self._wire
        if wire is None:
            raise FoundClosed(str(self._down), code=self._down.code)
        self._begin(exchange)
        timer = self.loop.call_later(seconds, self._expire, exchange, seconds)
        try:
            wire.put(exchange.sent)
            found = await exchange.future
        except Transient as failure:
            self._failed(exchange, failure)
            raise
        finally:
            self._waiting = None
            timer.cancel()
            if self._damage is not None:
                self._drop_damage()
        self._answered(exchange, found)
        return found

    def _begin(self, exchange: Exchange) -> None:
        self._number = self._number % 0xFFFF + 1
        exchange.numbers.append(self._number)
        exchange.sent = self._framing.encode(self._number, exchange.request)
        exchange.future = self.loop.create_future()
        exchange.stranger = None
        exchange.began = self.loop.time()
        if self._first_gap is None:
            self._first_gap = exchange.began - self._opened_at
        self._received = b""
        self._flood = 0
        self._waiting = self._latest = exchange
        self._owe(exchange)

    def _pause(self) -> float:
        """Seconds until a request may be sent."""
        if self._replied:
            pause, since = max(self._quiet, self._line.between.seconds), self._replied_at
        else:
            pause, since = max(self._after_connect, self._line.connected.seconds), self._opened_at
        return since + pause - self.loop.time() if pause else 0.0

    def _answered(self, exchange: Exchange, found: Answer) -> None:
        now, request = self.loop.time(), exchange.request
        if self._timeouts:
            self._timeouts.clear()
        if not self._replied:
            self._line.connected.in_time(exchange.began - self._opened_at, now)
        elif self._line.between.is_found(exchange.began - self._replied_at):
            self._line.between.in_time(exchange.began - self._replied_at, now)
        self._replied = self._heard = True
        self._replied_at = now
        if isinstance(found, bytes):
            self._line.unit(request.unit).answers(request, now - exchange.began)

    def _failed(self, exchange: Exchange, failure: Transient) -> None:
        now = self.loop.time()
        if isinstance(failure, Closed) and not self._replied and not (exchange.tries and self._heard):
            self._line.connected.too_soon(exchange.began - self._opened_at, now)
        if failure.code == quality.TIMEOUT and not exchange.tries:
            self._count_timeout(exchange.request.unit)

    def _owe(self, exchange: Exchange) -> None:
        request, now = exchange.request, self.loop.time()
        self._line.unit(request.unit).owes(request, exchange.since, now, self.connection.timeout)

    def _hurried(self) -> float | None:
        """How soon after a reply the latest request was sent, in seconds; None when that was no hurry."""
        if not self._replied or self._latest is None:
            return None
        gap = self._latest.began - self._replied_at
        return gap if gap < _HURRIED else None

    def _expire(self, exchange: Exchange, seconds: float) -> None:
        if exchange.stranger is not None:
            exchange.end(Damaged(f"answered as unit {exchange.stranger}", code=quality.READ_ERROR))
        else:
            exchange.end(Transient(f"no reply within {seconds:g} s", code=quality.TIMEOUT))

    def _count_timeout(self, unit: int) -> None:
        """Give the socket up once no unit at all answers; one silent unit is no reason to, unless the others
        have long not been asked."""
        now = self.loop.time()
        if not self._timeouts:
            self._silent_since = now
        self._timeouts[unit] += 1
        all_silent = self._timeouts.keys() >= self.units.keys() or now - self._silent_since >= _SILENT_SECONDS
        if all_silent and self._timeouts.total() >= _RESET_AFTER:
            if not self._replied:
                self._line.connected.too_soon(self._first_gap or 0.0, now)
            if self._wire is not None:
                self._wire.abort()
            self.reset(quality.CLIENT_RESET_DURING_POLL, "no device answered: the connection was reset")

    # Listening

    def _take(self, received: bytes) -> None:
        exchange = self._waiting or self._latest
        if exchange is None or self._wire is None:
            return
        self._flood += len(received)
        if self._flood > _FLOOD and self.connection.transport in STREAMS:
            self._wire.abort()
            self.reset(quality.READ_ERROR, "what comes has no end, and is not Modbus")
            return
        if self.connection.transport != "udp":
            received = self._received + received
        received = self._without_echo(exchange, received)
        frame: Frame | None
        while received:
            frame, used = self._framing.decode(received, exchange.request)
            received = received[used:]
            if frame is None:
                break
            self._hear(frame)
        self._received = received = received[-_LONGEST_HEAP:]
        waiting = self._waiting is not None and self._damage is None
        if waiting and received and self._framing.is_whole(received, exchange.request):
            self._damage = self.loop.call_later(_DAMAGED_AFTER, self._damaged, exchange)

    def _without_echo(self, exchange: Exchange, received: bytes) -> bytes:
        """Adapters of two-wire lines hear what they send. The replies to writes may be the request once more:
        it takes a reply to something else to know."""
        line, sent = self._line, exchange.sent
        if self._framing.numbered or line.echoes is False or not sent:
            return received
        if line.echoes is None and exchange.request.function not in READS:
            return received
        start = received.find(sent)
        if start < 0:
            return received
        line.echoes = True
        exchange.sent = b""
        self._drop_damage()
        return received[start + len(sent) :]

    def _drop_damage(self) -> None:
        if self._damage is not None:
            self._damage.cancel()
            self._damage = None

    def _damaged(self, exchange: Exchange) -> None:
        self._damage = None
        exchange.end(Damaged("the reply is damaged", code=quality.READ_ERROR))

    def _hear(self, frame: Frame) -> None:
        exchange, line = self._waiting, self._line
        unit = line.units.get(frame.unit)
        if exchange is None or exchange.future.done():
            self._hear_unasked(frame)
            return
        by_number = bool(frame.transaction)
        if by_number and not exchange.has(frame.transaction):
            self.late += 1
            if unit is not None:
                unit.pays(frame, others=frame.unit == exchange.request.unit)
        elif unit is None or frame.unit != exchange.request.unit:
            if unit is None or not unit.pays(frame):
                exchange.stranger = frame.unit
                if by_number:
                    self._expire(exchange, 0.0)
        else:
            found = answer(exchange.request, frame)
            if found is None:
                if not unit.pays(frame, others=True):
                    unit.forget(inf)  # by order it is the answer
                    exchange.end(UNFIT)
                return
            if line.echoes is None and exchange.request.function in READS:
                line.echoes = False
            unit.is_answered(frame, found)
            exchange.end(found)

    def _hear_unasked(self, frame: Frame) -> None:
        """A reply that nobody waits for: it is late, or it is the true one of a request that another one was
        taken for."""
        self.late += 1
        latest = self._latest
        unit = self._line.units.get(frame.unit)
        if unit is None or unit.pays(frame):
            return
        if latest is not None and latest.request.unit == frame.unit:
            unit.owes(latest.request, -inf, self.loop.time(), self.connection.timeout)


async def insist(link: Link, request: Request, patience: Patience, found: Answer) -> Answer:
    """Ask again while the device is busy, as `found` may say that it is; what it says in the end."""
    for _ in range(_BUSY_RETRIES):
        if found not in quality.BUSY:
            break
        await asyncio.sleep(_BUSY_PAUSE)
        found = await link.ask(request, patience)
    return found


def _silence(connection: Connection) -> float:
    """The pause between RTU frames, in seconds: 3.5 characters, 1.75 ms above 19200 baud."""
    if connection.transport != "rtu":
        return 0.0
    return max(_SILENCE_CHARACTERS * _BITS_PER_CHARACTER / connection.baud_rate, _MIN_SILENCE)
