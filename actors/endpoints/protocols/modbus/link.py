"""Connections, shared: devices of one host and port, or of one serial port, use the same one.

A link has one request in flight. It never sends one twice: whoever reads through it learns from `Transient`
that it broke under a request, and opens it again. Devices close connections between requests, after each
reply or when idle for a while; then the next request opens a new one.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU

from actors.connections import os_errors
from actors.connections.connection import Permanent, Transient

from . import quality
from .connection import Connection
from .frames import REPLIES, Request

Client = AsyncModbusTcpClient | AsyncModbusSerialClient

_RESET_AFTER = 3
"""Timeouts in a row, of every unit on the link, after which its socket is given up."""
_SILENT_SECONDS = 30.0
"""For so long units that are seldom asked count as ones that would have answered."""
_BUFFER = 4096
_MIN_USER_TIMEOUT = 10.0
_MIN_SETTLING = 0.5
"""Seconds in which a serial device has sent what it still had to say, however short its timeout is."""
_BITS_PER_CHARACTER = 11
_SILENCE_CHARACTERS = 3.5
_MIN_SILENCE = 0.00175

_READS = (1, 2, 3, 4)

_links: dict[tuple[asyncio.AbstractEventLoop, str], "Link"] = {}

_library_log = logging.getLogger("pymodbus.logging")
if _library_log.level == logging.NOTSET:
    # What pymodbus logs at each failed request is what callers learn from `Transient`.
    _library_log.setLevel(logging.CRITICAL)


def acquire(connection: Connection) -> "Link":
    """The link that the device's place shares; every acquired link must be released once.

    Raises `Permanent` when another device uses the same serial port with other settings.
    """
    key = (asyncio.get_running_loop(), connection.place)
    link = _links.get(key)
    if link is None:
        link = _links[key] = Link(connection)
    elif _settings(link.connection) != _settings(connection):
        raise Permanent(f"{connection.serial_port} is in use with other serial settings")
    link.units[connection.unit] += 1
    return link


def release(link: "Link", unit: int) -> None:
    """Give one use of a link up; the last one closes it."""
    link.units[unit] -= 1
    link.units += Counter()  # forgets the units that are at zero
    if not link.units:
        _links.pop((link.loop, link.connection.place), None)
        link.reset(quality.CONNECTION_RESET, "the connection was closed")


class Link:
    """One TCP connection or serial port."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.units: Counter[int] = Counter()
        """How many readers use the link, by unit."""
        self._serial = connection.transport != "tcp"
        self._client: Client | None = None
        self._turn = asyncio.Lock()
        self._waiting = False
        self._down = Transient("not connected", code=quality.DEVICE_OFFLINE)
        self._refused_at = 0.0
        self._timeouts: Counter[int] = Counter()
        """Since the latest reply, by unit."""
        self._silent_since = 0.0
        self._silence = _silence(connection)
        self._idle_at = 0.0
        self._line = _line(self.loop, connection.place)
        self._unnumbered = self._serial
        """Whether replies do not say which request they are to; there are TCP gateways that say 0 for all."""

    def is_open(self) -> bool:
        return self._client is not None

    async def open(self, seconds: float) -> None:
        """Connect, unless it is connected. Raises `Transient` or `Permanent`.

        Callers that wait while one of them fails share its failure: each trying in turn would
        keep the last waiting for the sum of all timeouts.
        """
        asked = self.loop.time()
        if self.is_open():
            return
        async with self._turn:
            if self.is_open():
                return
            if self._refused_at > asked:
                raise Transient(str(self._down), code=self._down.code)
            try:
                client = await self._dial(seconds)
            except Transient as failure:
                self._down, self._refused_at = failure, self.loop.time()
                raise
            self._timeouts.clear()
            if self.units:
                self._client = client
            else:
                client.close()  # everybody left meanwhile

    async def request(self, request: Request, seconds: float) -> ModbusPDU:
        """Send a request when its turn has come and wait for the reply, `seconds` at most; connecting, when
        the link was closed meanwhile, may take as long again.

        Raises `Transient` or `Permanent`. The caller may be cancelled: a reply that comes later is dropped.
        """
        if self._client is None:
            await self.open(seconds)
        unit = request.dev_id
        while True:
            async with self._turn:
                if unit not in self._line.settled_at:
                    reply = await self._exchange(request, seconds)
                    if unit not in self._line.doubtful or request.function_code not in _READS:
                        return reply
                    self._line.doubtful.discard(unit)
                    if reply.transaction_id:
                        return reply
                    # It may be the late reply to an earlier request. Its own one is waited out, and asked for
                    # again.
                    self._wait_out(unit, seconds)
            await self._settle(unit)

    def reset(self, code: str, reason: str) -> None:
        """Close the connection; a request in flight and those that wait fail with `code`."""
        client, self._client = self._client, None
        self._down = Transient(reason, code=code)
        if client is not None:
            if self._waiting:
                self._fail(client, Transient(reason, code=code))
            client.close()

    async def _exchange(self, request: Request, seconds: float) -> ModbusPDU:
        if self._silence:
            await asyncio.sleep(self._idle_at - self.loop.time())
        client = self._client
        if client is None:
            raise Transient(str(self._down), code=self._down.code)
        timer = self.loop.call_later(seconds, self._expire, seconds)
        self._waiting = True
        try:
            reply: ModbusPDU = await client.execute(False, request)
        except Transient as failure:
            self._expect_late_reply(request.dev_id, seconds)
            if failure.code == quality.TIMEOUT:
                self._count_timeout(request.dev_id)
            raise
        except asyncio.CancelledError:
            self._expect_late_reply(request.dev_id, seconds)
            raise
        except ModbusException as error:
            raise Transient(str(error), code=quality.READ_ERROR) from error
        finally:
            self._waiting = False
            timer.cancel()
        if self._timeouts:
            self._timeouts.clear()
        if not reply.transaction_id:
            self._unnumbered = True
        if self._silence:
            self._idle_at = self.loop.time() + self._silence
        return reply

    async def _dial(self, seconds: float) -> Client:
        up: asyncio.Future[None] = self.loop.create_future()

        def traced(connected: bool) -> None:
            if connected:
                if not up.done():
                    up.set_result(None)
            elif self._client is client:
                self.reset(quality.CONNECTION_RESET, "the connection was lost")

        client = self._build(traced)
        try:
            async with asyncio.timeout(seconds):
                # Not client.connect(): it keeps the error, and so the quality code, to itself.
                transport, _ = await client.ctx.call_create()
                await up
        except OSError as error:
            client.close()
            reason = "no connection in time" if isinstance(error, TimeoutError) else os_errors.reason(error)
            raise Transient(reason, code=quality.code_of_error(error)) from error
        except ValueError as error:
            raise Permanent(f"{self.connection.place}: {error}") from error
        except asyncio.CancelledError:
            client.close()
            raise
        if not client.connected:
            raise Transient("the connection was lost", code=quality.CONNECTION_RESET)
        _tune(transport, seconds)
        return client

    def _build(self, traced: Callable[[bool], None]) -> Client:
        connection = self.connection
        # Without a timeout pymodbus plainly awaits the reply; the link's timer is per request, and cheaper.
        common: dict[str, Any] = {
            "timeout": None,
            "retries": 0,
            "reconnect_delay": 0,
            "trace_connect": traced,
        }
        client: Client
        if not self._serial:
            client = AsyncModbusTcpClient(connection.host, port=connection.port, **common)
        else:
            client = AsyncModbusSerialClient(
                connection.serial_port,
                framer=FramerType(connection.transport),
                baudrate=connection.baud_rate,
                bytesize=connection.data_bits,
                parity=connection.parity,
                stopbits=connection.stop_bits,
                trace_pdu=self._traced,
                **common,
            )
        # A late reply and the awaited one may arrive together; beyond its limit pymodbus drops both.
        client.ctx.max_buffer_size = _BUFFER
        for reply in REPLIES:
            client.register(reply)
        return client

    def _expire(self, seconds: float) -> None:
        if self._client is not None:
            self._fail(self._client, Transient(f"no reply within {seconds:g} s", code=quality.TIMEOUT))

    def _fail(self, client: Client, failure: Transient) -> None:
        reply = client.ctx.response_future
        if not reply.done():
            reply.set_exception(failure)

    def _expect_late_reply(self, unit: int, seconds: float) -> None:
        """Without numbers a late reply could be taken for the next one of its unit, and that one's own for
        the one after, without end. Whether replies have numbers, only a reply says: until then there is
        doubt, but no waiting."""
        self._line.doubtful.add(unit)
        if self._unnumbered:
            self._wait_out(unit, seconds)

    def _wait_out(self, unit: int, seconds: float) -> None:
        self._line.settled_at[unit] = self.loop.time() + max(seconds, _MIN_SETTLING)

    def _traced(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        """A reply that nobody waits for: what has been taken for it was another's."""
        if not sending and not self._waiting and pdu.dev_id not in self._line.settled_at:
            self._expect_late_reply(pdu.dev_id, self.connection.timeout)
        return pdu

    async def _settle(self, unit: int) -> None:
        settled_at = self._line.settled_at
        await asyncio.sleep(settled_at.get(unit, 0.0) - self.loop.time())
        if settled_at.get(unit, 0.0) <= self.loop.time():
            settled_at.pop(unit, None)

    def _count_timeout(self, unit: int) -> None:
        """Give the socket up once no unit at all answers; one silent unit is no reason to, unless the others
        have long not been asked."""
        now = self.loop.time()
        if not self._timeouts:
            self._silent_since = now
        self._timeouts[unit] += 1
        all_silent = self._timeouts.keys() >= self.units.keys() or now - self._silent_since >= _SILENT_SECONDS
        if all_silent and self._timeouts.total() >= _RESET_AFTER:
            self.reset(quality.CLIENT_RESET_DURING_POLL, "no device answered: the connection was reset")


class _Line:
    """What is known of a serial line whoever has it open: late replies do not mind who they reach."""

    def __init__(self) -> None:
        self.settled_at: dict[int, float] = {}
        """When to ask a unit again from which a reply may still come."""
        self.doubtful: set[int] = set()
        """Units whose next reply may be a late one."""


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Line]] = WeakKeyDictionary()


def _line(loop: asyncio.AbstractEventLoop, place: str) -> _Line:
    return _lines.setdefault(loop, {}).setdefault(place, _Line())


def _settings(connection: Connection) -> tuple[object, ...]:
    """What devices on one serial line must agree on."""
    return connection.baud_rate, connection.data_bits, connection.stop_bits, connection.parity


def _silence(connection: Connection) -> float:
    """The pause between RTU frames, in seconds: 3.5 characters, 1.75 ms above 19200 baud."""
    if connection.transport != "rtu":
        return 0.0
    return max(_SILENCE_CHARACTERS * _BITS_PER_CHARACTER / connection.baud_rate, _MIN_SILENCE)


def _tune(transport: Any, timeout: float) -> None:
    """Set the options of a TCP socket; a serial port has none."""
    connected = transport.get_extra_info("socket")
    if connected is None:
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A unit that is silent behind a live gateway still gets its bytes acknowledged; a host that is gone
        # does not, and without this limit the kernel would go on resending for a quarter of an hour.
        limit = max(2 * timeout, _MIN_USER_TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limit * 1000))
