"""Requests to one agent and their replies, whatever version they are in.

A reply counts for its own request: it comes from the address that was asked, has the number of the request
(which nobody can guess), the community or the user's signature, and comes in time. Else it is ignored.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import monotonic
from typing import Final

from actors.connections.connection import Transient
from actors.connections.dialing import Found

from . import pdus, quality
from .ber import OCTETS, SEQUENCE, Malformed, header, integer, length, tlv
from .pdus import Pdu, Request, new_id
from .port import Port, trouble

_LEAST: Final = 0.05
"""Seconds that are worth waiting for another answer."""


class Client(ABC):
    """One request at a time. `timeout` is seconds for each attempt, of which there are `attempts`."""

    def __init__(self, found: Found, timeout: float, attempts: int) -> None:
        self.timeout = timeout
        self.attempts = attempts
        self.ignored = 0
        """What came and was no answer."""
        self.answered_at = 0.0
        """When the last answer came, in monotonic seconds: what it tells was so then, however long
        the others of its poll take."""
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[bool] | None = None
        self._accepts: Callable[[bytes], bool] = lambda _: False
        self._noise = ""
        self._port: Port | None = Port(found, self._take, self._failed)

    @abstractmethod
    async def ask(self, request: Request, until: float | None = None, attempts: int | None = None) -> Pdu:
        """The reply to it, whatever its error-status is. Asked again until the attempts are used up, or it is
        `until` (monotonic seconds). Raises `NoConnection`."""

    def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Transient("closed", code=quality.RESET))

    async def _exchange(
        self, message: bytes, accepts: Callable[[bytes], bool], until: float | None, attempts: int
    ) -> None:
        """Send it, until `accepts` takes something that came."""
        if self._port is None:
            raise Transient("not connected", code=quality.RESET)
        loop = asyncio.get_running_loop()
        self._noise = ""
        self._accepts = accepts
        try:
            for attempt in range(attempts):
                if attempt and until is not None and monotonic() + _LEAST > until:
                    break
                waiting = self._waiting = loop.create_future()
                timer = loop.call_later(self.timeout, self._expired, waiting)
                try:
                    self._port.say(message)
                    if await waiting:
                        return
                except OSError as error:
                    raise trouble(error) from error
                finally:
                    timer.cancel()
        finally:
            self._waiting = None
        raise Transient(f"no answer within {self.timeout:g} s{self._noise}", code=quality.TIMEOUT)

    @staticmethod
    def _expired(waiting: "asyncio.Future[bool]") -> None:
        if not waiting.done():
            waiting.set_result(False)

    def _take(self, octets: bytes) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            self.ignored += 1
            return
        try:
            if self._accepts(octets):
                self.answered_at = monotonic()
                waiting.set_result(True)
                return
            reason = "an answer to another request"
        except Malformed as error:
            reason = str(error)
        self.ignored += 1
        self._noise = f"; something else came: {reason}"

    def _failed(self, error: OSError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(trouble(error))


class CommunityClient(Client):
    """v1 (`version` 0) and v2c (1)."""

    def __init__(self, found: Found, timeout: float, attempts: int, version: int, community: str) -> None:
        super().__init__(found, timeout, attempts)
        self._version = version
        self._head = _head(version, community)

    async def ask(self, request: Request, until: float | None = None, attempts: int | None = None) -> Pdu:
        return await self._ask(self._head, request, until, attempts)

    async def ask_as(self, community: str, request: Request, attempts: int | None = None) -> Pdu:
        """With another community: the one for writes."""
        return await self._ask(_head(self._version, community), request, None, attempts)

    async def _ask(self, head: bytes, request: Request, until: float | None, attempts: int | None) -> Pdu:
        async with self._turn:
            number = new_id()
            body = head + request.encode(number)
            message = b"\x30" + length(len(body)) + body
            reply: list[Pdu] = []

            def accepts(data: bytes) -> bool:
                found = decode(data, head)
                if found.kind != pdus.RESPONSE or found.number != number:
                    return False
                reply.append(found)
                return True

            await self._exchange(message, accepts, until, attempts or self.attempts)
            return reply[0]


def _head(version: int, community: str) -> bytes:
    return integer(version) + tlv(OCTETS, community.encode())


def decode(data: bytes, head: bytes) -> Pdu:
    """What follows version and community. Raises `Malformed`."""
    tag, at, end = header(data, 0, len(data))
    if tag != SEQUENCE:
        raise Malformed("no message of SNMP")
    if not data.startswith(head, at, end):
        raise Malformed("a message of another version or community")
    return pdus.parse(data, at + len(head), end)
