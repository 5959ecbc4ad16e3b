"""Subscriptions to changes of value (ASHRAE 135, clause 13.14), each of one object."""

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Final
from zlib import crc32

import msgspec

from . import kinds, quality
from .asking import Asking
from .connection import Connection
from .points import DataPoint
from .tags import closing, context_object, context_unsigned, opening

log = logging.getLogger(__name__)

SUBSCRIBE: Final = 5
SUBSCRIBE_PROPERTY: Final = 28
_SIMPLE_ACK, _ERROR, _REJECT = 2, 5, 6
_UNRECOGNIZED_SERVICE: Final = 9
_RENEW_AFTER: Final = 0.5
"""Of the lifetime."""
_AGAIN_AFTER: Final = 300.0
"""Seconds until a device is asked again that had no room, or refused."""
_SOON: Final = 0.1
"""Of the lifetime, until a renewal is tried again that was not answered."""
_NOT_ASKED: Final = 1.0
"""Seconds until those are asked for that were not, because another one was not answered."""
_PROCESSES: Final = (1 << 22) - 1
"""Process identifiers: some devices keep no more of them than this."""
CANCEL_WITHIN: Final = 1.5
"""Seconds that cancelling all of them may take."""


class Subscription(msgspec.Struct):
    """Of the present value of one object; `indices` are the places of its data points. Times are monotonic
    seconds."""

    type: int
    instance: int
    process: int
    indices: tuple[int, ...]
    increment: float | None = None
    until: float = 0.0
    """when it ends unless it is renewed; 0: it is not subscribed to"""
    due: float = 0.0
    """when it is to be made, or renewed"""
    refused: str | None = None
    """why there is none, for people"""
    plain: bool = False
    """whether the device knows no increments of subscribers"""

    def holds(self, now: float) -> bool:
        return now < self.until


class Subscriptions:
    def __init__(self, connection: Connection, points: Sequence[DataPoint]) -> None:
        self._connection = connection
        self._objects: dict[tuple[int, int], list[int]] = {}
        self._increments: dict[tuple[int, int], float] = {}
        for index, point in enumerate(points):
            if point.property_id == kinds.PRESENT_VALUE and point.index is None:
                place = point.type, point.instance
                self._objects.setdefault(place, []).append(index)
                if point.cov_increment is not None:
                    self._increments[place] = point.cov_increment
        self.every: list[Subscription] = []
        self.by_process: dict[int, Subscription] = {}
        self._unknown_service = False
        self._insisting = False
        """Whether one is asked for once more already."""

    def begin(self, asking: Asking) -> None:
        """None of them is made yet. Processes are numbered the same in each life of the agent, so that what
        devices still have of an earlier one is renewed, and takes no second place."""
        self._unknown_service = False
        self.every, self.by_process = [], {}
        for place, indices in self._objects.items():
            process = 1 + crc32(repr((place, self._connection.address)).encode()) % _PROCESSES
            while process in self.by_process or asking.port.is_notified(asking.station, process):
                process = 1 + process % _PROCESSES
            one = Subscription(*place, process, tuple(indices), self._increments.get(place))
            self.every.append(one)
            self.by_process[process] = one

    # Making and renewing

    async def see_to(self, asking: Asking) -> None:
        """Make and renew what is due. There are devices that say nothing to what they do not know, and some
        that end in the midst of it: where one is not answered the others are not asked, and whether anybody
        is there a poll finds out."""
        now = monotonic()
        due = deque(one for one in self.every if one.due <= now)
        if not due:
            return
        self._unknown_service = False
        if not await self._make(asking, due.popleft()):
            for one in due:
                self._is_not_answered(one)
            return
        workers = min(self._connection.concurrent, len(due))
        await asyncio.gather(*(self._make_all(asking, due) for _ in range(workers)))

    async def _make_all(self, asking: Asking, due: deque[Subscription]) -> None:
        while due:
            if not await self._make(asking, due.popleft()):
                while due:
                    self._is_not_answered(due.popleft(), _NOT_ASKED)

    async def _make(self, asking: Asking, one: Subscription) -> bool:
        """Whether the device has answered."""
        lifetime = self._connection.lifetime
        if self._unknown_service:
            self._is_refused(one, "UNRECOGNIZED_SERVICE")
            return True
        reply = await self._ask(asking, one)
        now = monotonic()
        if reply is None:
            self._is_not_answered(one)
            return False
        kind = reply[0] >> 4
        if kind == _SIMPLE_ACK:
            one.until, one.due, one.refused = now + lifetime, now + _RENEW_AFTER * lifetime, None
            return True
        if one.increment is not None and not one.plain:
            one.plain = True
            return await self._make(asking, one)
        if kind == _REJECT and reply[2] == _UNRECOGNIZED_SERVICE:
            self._unknown_service = True
        self._is_refused(one, _reason(reply))
        return True

    def _is_not_answered(self, one: Subscription, pause: float | None = None) -> None:
        now = monotonic()
        one.due = now + (max(1.0, _SOON * self._connection.lifetime) if pause is None else pause)
        if not one.holds(now):
            one.refused = "NO_ANSWER"

    def _is_refused(self, one: Subscription, reason: str) -> None:
        one.until, one.due, one.refused = 0.0, monotonic() + _AGAIN_AFTER, reason

    async def _ask(self, asking: Asking, one: Subscription) -> bytes | None:
        connection = self._connection
        body = subscribe(one, connection.confirmed, connection.lifetime)

        async def ask() -> bytes | None:
            return await asking.port.ask(asking.station, body, connection.timeout, connection.concurrent)

        reply = await ask()
        if reply is not None or self._insisting:
            return reply
        self._insisting = True
        try:
            for _ in range(connection.retries):
                await asyncio.sleep(connection.retry_delay)
                reply = await ask()
                if reply is not None:
                    return reply
        finally:
            self._insisting = False
        return None

    def renew_all(self) -> None:
        """The device may have forgotten all of them: they are made again at once."""
        for one in self.every:
            if one.refused in (None, "NO_ANSWER"):
                one.due = 0.0

    def tell_refused(self, where: str, names: Sequence[str]) -> None:
        refused = [one for one in self.every if one.refused is not None]
        if refused:
            reasons = ", ".join(sorted({one.refused or "" for one in refused}))
            log.warning(
                "%s: %d of %d objects cannot be subscribed to and are polled: %s",
                where,
                len(refused),
                len(self.every),
                reasons,
            )

    # Ending

    async def cancel(self, asking: Asking, which: Iterable[Subscription] | None = None) -> None:
        """Those that are made; what is not answered soon ends by itself."""
        now = monotonic()
        made = [one for one in (self.every if which is None else which) if one.holds(now)]
        if not made:
            return
        asks = [
            asyncio.ensure_future(asking.port.ask(asking.station, cancel(one), CANCEL_WITHIN, 5))
            for one in made
        ]
        try:
            await asyncio.wait(asks, timeout=CANCEL_WITHIN)
        finally:
            for each in asks:
                each.cancel()
            await asyncio.gather(*asks, return_exceptions=True)
        for one in made:
            one.until = 0.0


def subscribe(one: Subscription, confirmed: bool, lifetime: int) -> bytes:
    """A request, from its service's number on."""
    what = context_unsigned(0, one.process) + context_object(1, one.type, one.instance)
    how = bytes((0x29, int(confirmed))) + context_unsigned(3, lifetime)
    if one.increment is None or one.plain:
        return bytes((SUBSCRIBE,)) + what + how
    prop = opening(4) + context_unsigned(0, kinds.PRESENT_VALUE) + closing(4)
    return bytes((SUBSCRIBE_PROPERTY,)) + what + how + prop + _context_real(5, one.increment)


def cancel(one: Subscription) -> bytes:
    what = context_unsigned(0, one.process) + context_object(1, one.type, one.instance)
    if one.increment is None or one.plain:
        return bytes((SUBSCRIBE,)) + what
    prop = opening(4) + context_unsigned(0, kinds.PRESENT_VALUE) + closing(4)
    return bytes((SUBSCRIBE_PROPERTY,)) + what + prop


def _context_real(number: int, value: float) -> bytes:
    return bytes((number << 4 | 0x0C,)) + struct.pack(">f", value)


def _reason(reply: bytes) -> str:
    kind = reply[0] >> 4
    if kind == _ERROR and len(reply) >= 7:
        # Two enumerated values, the class and the code (clause 20.1.7).
        return quality.error_code(reply[4], reply[6])
    if kind == _REJECT:
        return "UNRECOGNIZED_SERVICE" if reply[2] == _UNRECOGNIZED_SERVICE else f"REJECTED_{reply[2]}"
    return f"ABORTED_{reply[2]}" if len(reply) > 2 else "REFUSED"
