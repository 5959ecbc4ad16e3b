"""A session that reads all nodes whenever it is asked."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, cast

from actors.connections.connection import NoConnection
from actors.endpoints.protocol import PolledSession, PollResult
from storage.timestamps import unix_ms

from . import quality, server, session
from .channel import Channel
from .decoding import Found
from .reading import Reader
from .session import OpcUaSession

_ATTEMPTS: Final = 3
_SELDOM: Final = 0.2
"""Seconds between two signs of life at least."""
_APART: Final = 0.1
"""Seconds between them."""
_PASSING: Final = frozenset(
    {
        "BadTimeout",
        "BadCommunicationError",
        "BadResourceUnavailable",
        "BadServerTooBusy",
        "BadTooManyOperations",
        "BadOutOfService",
        "BadWaitingForInitialData",
    }
)
"""What a node may be for a moment (spec 03 section 3)."""


class OpcUaPolled(OpcUaSession, PolledSession):
    """Readings have the times of their sources."""

    _reader: Reader | None = None
    _handles: list[int]
    """What it reads."""
    _reading = False
    _keeping: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        channel = await self._open()
        await self._find(channel)
        self._tell_missing(channel)
        self._reader = None
        self._keeping = asyncio.create_task(self._keep(channel))

    async def _keep(self, channel: Channel) -> None:
        """A server ends sessions that ask it nothing for their time-out; polls may be rarer."""
        patience = max(channel.session_timeout / 3, _SELDOM)
        while True:
            await asyncio.sleep(patience)
            if not self._reading and monotonic() - channel.heard >= patience:
                try:
                    await server.probe(channel, self._within)
                except NoConnection as error:
                    channel.fail(error)
                    return

    def _lost(self, error: NoConnection) -> None:
        """While it reads, that fails."""
        super()._lost(error)
        self._stop()
        if not self._reading:
            self._listener.lost(error)

    def _stop(self) -> None:
        if self._keeping is not None and self._keeping is not asyncio.current_task():
            self._keeping.cancel()
        self._keeping = None

    async def _leave(self) -> None:
        self._stop()
        await super()._leave()

    async def read(self, within: float) -> PollResult:
        channel = self._connected()
        until = monotonic() + within
        self._reading = True
        try:
            if self._missing and monotonic() - self._looked > session.AGAIN_AFTER:
                await self._look_again(channel)
            found = await self._read(channel)
            if found.statuses is not None:
                await self._insist(channel, found, found.statuses, until)
            if None in found.values and self._structures.want(found.values):
                await self._structures.load(channel)
        except NoConnection as error:
            channel.fail(error)
            raise
        finally:
            self._reading = False
        if len(found.values) == self._own and self._delivery.as_they_are(found.values, found.statuses):
            return PollResult(found.values, times=self._times(found.times))
        return self._polled(found)

    async def _look_again(self, channel: Channel) -> None:
        self._looked = monotonic()
        self._namespaces.learn(await server.namespaces_of(channel))
        before = len(self._nodes)
        await self._resolve(channel, list(self._missing))
        if len(self._nodes) != before:
            self._reader = None

    async def _read(self, channel: Channel) -> Found:
        if self._reader is None:
            self._handles = sorted(self._nodes)
            self._reader = self._reader_of(channel, self._handles)
        return await self._reader.read(self._within)

    def _reader_of(self, channel: Channel, handles: Sequence[int]) -> Reader:
        nodes = [
            server.value_of(self._nodes[handle], self._fields[handle].point.index_range) for handle in handles
        ]
        return Reader(channel, self._limits.read, nodes)

    @property
    def _within(self) -> float:
        """Seconds that a server has for an answer."""
        return min(self._connection.connection_timeout, self._connection.keep_alive_interval)

    async def _insist(self, channel: Channel, found: Found, statuses: list[int], until: float) -> None:
        """Read again what has failed for the moment."""
        for _ in range(_ATTEMPTS):
            failed = [at for at, status in enumerate(statuses) if quality.code_of(status) in _PASSING]
            if not failed or monotonic() + _APART > until:
                return
            await asyncio.sleep(_APART)
            again = await self._reader_of(channel, [self._handles[at] for at in failed]).read(self._within)
            for place, at in enumerate(failed):
                found.values[at], found.times[at] = again.values[place], again.times[place]
                statuses[at] = 0 if again.statuses is None else again.statuses[place]

    def _polled(self, found: Found) -> PollResult:
        """What of it is of the endpoint's own device; the rest goes to the listener."""
        values: list[Any] = [None] * self._own
        codes: list[str | None] = [self._missing.get(handle) for handle in range(self._own)]
        times: list[int | None] = [None] * self._own
        statuses = found.statuses or [0] * len(found.values)
        for at, handle in enumerate(self._handles):
            if handle < self._own:
                values[handle], codes[handle] = self._delivery.reading(handle, found.values[at], statuses[at])
                times[handle] = found.times[at]
        further = bisect_left(self._handles, self._own)
        if further < len(self._handles):
            self._delivery.tell(
                self._handles[further:], found.values[further:], statuses[further:], found.times[further:]
            )
        self._delivery.tell_codes(
            {handle: code for handle, code in self._missing.items() if handle >= self._own}
        )
        return PollResult(values, codes if any(codes) else None, self._times(times))

    def _times(self, times: list[int | None]) -> list[int] | None:
        """With the present where nobody says when."""
        if self._connection.timestamps == "arrival":
            return None
        if None not in times:
            return cast(list[int], times)
        now = unix_ms()
        return [now if time is None else time for time in times]
