"""Reading a device of which nothing is known: gently, and never more than so much."""

from collections.abc import Iterable
from time import monotonic

from actors.connections.connection import Transient

from .exchange import UNFIT, Patience, Unreachable
from .frames import Request, reading
from .link import Link, insist
from .points import Table

_MOST_SILENT = 2
"""Requests that the device does not answer, after which it is left alone."""
_SIZES = (120, 60, 30, 10, 1)
_ATTEMPTS = 2


class Spent(Exception):
    """No further request is made: there were enough, or the device does not answer them."""


class Survey:
    """Of one unit. `requests` and `seconds` are what it may take altogether."""

    def __init__(self, link: Link, unit: int, timeout: float, *, requests: int, seconds: float) -> None:
        self._link = link
        self._unit = unit
        self._timeout = timeout
        self._requests = requests
        self._until = monotonic() + seconds
        self._silent = 0
        self._sizes = list(_SIZES)
        self.exception = 0
        """The exception of the latest request that was refused."""

    @property
    def seconds(self) -> float:
        """What is left of the time."""
        return self._until - monotonic()

    async def registers(self, table: Table, address: int, count: int) -> tuple[int, ...] | None:
        """One request; None when the device refuses or ignores it. Raises `Spent`."""
        found = await self._ask(reading(table, self._unit, address, count))
        if found is None:
            return None
        return tuple(int.from_bytes(found[at : at + 2], "big") for at in range(0, 2 * count, 2))

    async def bits(self, table: Table, address: int, count: int) -> tuple[bool, ...] | None:
        found = await self._ask(reading(table, self._unit, address, count))
        if found is None:
            return None
        return tuple(bool(found[index // 8] >> index % 8 & 1) for index in range(count))

    async def block(self, table: Table, address: int, count: int) -> dict[int, int]:
        """Registers by address, in requests as large as the device takes them; those that it has."""
        found: dict[int, int] = {}
        at, end = address, address + count
        while at < end:
            size = min(self._sizes[0], end - at)
            words = await self.registers(table, at, size)
            if words is not None:
                found.update(enumerate(words, at))
            elif size > 10 and len(self._sizes) > 1:
                self._sizes = [one for one in self._sizes if one < size] or [1]
                continue
            at += size
        return found

    async def holding(self, address: int, count: int) -> tuple[int, ...] | None:
        return await self.registers(Table.holding, address, count)

    async def _ask(self, request: Request) -> bytes | None:
        if self._requests <= 0 or self.seconds <= 0 or self._silent >= _MOST_SILENT:
            raise Spent
        self._requests -= 1
        patience = Patience(self._timeout, _ATTEMPTS, self._link.loop.time() + self._timeout)
        try:
            found = await insist(self._link, request, patience, await self._link.ask(request, patience))
        except Unreachable as failure:
            raise Spent from failure
        except Transient:
            self._silent += 1
            return None
        self._silent = 0
        if isinstance(found, int):
            self.exception = found or UNFIT
            return None
        return found


def merged(addresses: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of addresses, each as its first and how many."""
    runs: list[tuple[int, int]] = []
    for address in sorted(addresses):
        if runs and runs[-1][0] + runs[-1][1] == address:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((address, 1))
    return runs
