"""How many probes there are at once, of all scans of the agent together."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

AT_ONCE: Final = 64
"""Probes under way."""
PER_SECOND: Final = 128.0
"""Probes that begin: switches and routers learn the address of each."""
BURST: Final = 16
APART: Final = 0.05
"""Seconds between two who ask one host: one that has a single connection is to notice that it is free."""
SCANS: Final = 4
"""Scans of rules under way; manual ones do not wait."""


class _Host:
    __slots__ = ("left_at", "lock", "users")

    def __init__(self) -> None:
        self.left_at = -APART
        self.lock = asyncio.Lock()
        self.users = 0


class Pace:
    """Of one loop. Who waits has its turn in the order of coming."""

    def __init__(self, at_once: int = AT_ONCE, per_second: float = PER_SECOND) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._gap = 1.0 / per_second
        self._next = 0.0
        self._hosts: dict[str, _Host] = {}
        self.scans = asyncio.Semaphore(SCANS)
        """To be held by the scans of rules."""
        self.under_way = 0
        """Probes."""

    @property
    def hosts(self) -> int:
        """Those that are asked, or waited for."""
        return len(self._hosts)

    @asynccontextmanager
    async def host(self, host: str) -> AsyncGenerator[None, None]:
        """Nobody else asks that host meanwhile."""
        found = self._hosts.setdefault(host, _Host())
        found.users += 1
        try:
            async with found.lock:
                await asyncio.sleep(max(0.0, found.left_at + APART - monotonic()))
                try:
                    yield
                finally:
                    found.left_at = monotonic()
        finally:
            found.users -= 1
            if not found.users:
                del self._hosts[host]

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """One of those that there are at once, begun when it is its turn."""
        async with self._slots:
            await self._turn()
            self.under_way += 1
            try:
                yield
            finally:
                self.under_way -= 1

    async def _turn(self) -> None:
        now = monotonic()
        at = self._next = max(self._next + self._gap, now - BURST * self._gap)
        if at > now:
            await asyncio.sleep(at - now)


_paces: WeakKeyDictionary[asyncio.AbstractEventLoop, Pace] = WeakKeyDictionary()


def pace() -> Pace:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    found = _paces.get(loop)
    if found is None:
        found = _paces[loop] = Pace()
    return found
