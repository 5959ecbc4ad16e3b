"""Which units there are on a connection: a roll call.

What counts is a reply that can only be that unit's: one with the number, the unit, the function and the size
that were asked for, or an exception. A gateway that says that it reached nobody has said so; one that answers
whoever is asked for answers for nobody.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import NamedTuple

from actors.connections.connection import Transient

from . import quality
from .discovery import is_line
from .exchange import UNFIT, Answer, Closed, Damaged, Patience, Unreachable
from .frames import Request, reading
from .identification import identify
from .link import Link
from .points import Table

RESERVED = (249, 252)
"""Units that no device may have: who answers for them answers for any."""
_ITSELF = (255, 0)
"""Units by which a device on a network may answer beside its own."""
_NOTHING_SAID = (4, 5, 6)
"""Exceptions that some gateways give for units that they do not reach."""
_MOST_CLOSED, _MOST_CLOSED_LATER = 3, 10
"""Times in a row that a connection ends under a request before the place is left alone, before and after
anybody answered."""
_MOST_GARBLED = 3
_SLOWER, _SLOWEST = 3.0, 10.0
"""So many times as long, so many seconds at most is waited where replies came late."""


class Present(NamedTuple):
    """A unit that answered. `first` is what holding register 0 gave."""

    unit: int
    first: Answer
    identity: dict[str, str]


class GaveUp(Transient):
    """The place is not worth asking for further units."""


class RollCall:
    """Of one connection, to be used once. `turn` is entered for each unit that is asked for."""

    def __init__(
        self, link: Link, timeout: float, turn: Callable[[], AbstractAsyncContextManager[None]]
    ) -> None:
        self._link = link
        self._timeout = timeout
        self._turn = turn
        self._closed = 0
        self._garbled = 0
        self._reason = ""
        self._late = link.late
        self.gave_up = ""
        """Why not all units were asked for, where somebody was found."""
        self.doubtful: list[int] = []
        """Units that answered nothing but that they cannot answer now, as others did."""

    @property
    def reason(self) -> str:
        """What came in the place of an answer; empty when nothing did."""
        return self._reason

    async def run(self, units: Sequence[int], known: Collection[int] = ()) -> list[Present]:
        """Who is there; `known` are units that are polled. Raises `GaveUp` when nobody was found before the
        place was given up, `Transient` when there is no connection any more."""
        found: list[Present] = []
        network = not is_line(self._link.connection)
        controls: list[Present] | None = None
        try:
            async with aclosing(self._asked(units)) as asked:
                async for present in asked:
                    found.append(present)
                    if network and controls is None and len(found) > 1 and present.unit not in known:
                        controls = await self._controls()
                        if controls and all(isinstance(one.first, bytes) for one in [*found, *controls]):
                            found = await self._real(found, controls)
                            if len(found) == 1:
                                return found
            if not found and network:
                found = await self._once_more(units[0])
        except GaveUp as failure:
            if not found:
                raise
            self.gave_up = str(failure)
        if controls:
            found = await self._real(found, controls)
        return await self._distinct(found) if network else found

    async def _controls(self) -> list[Present]:
        """What units say that nobody has."""
        controls: list[Present] = []
        for unit in RESERVED:
            present = await self._ask_for(unit)
            if present is None:
                break
            controls.append(present)
        return controls

    async def _asked(self, units: Sequence[int]) -> AsyncGenerator[Present]:
        """Those that answer; where replies come late, those that were silent are asked once more."""
        silent = []
        for unit in units:
            present = await self._ask_for(unit)
            if present is not None:
                yield present
            else:
                silent.append(unit)
            self._look_at_lateness()
        if self._late < 0 and silent:
            await asyncio.sleep(self._timeout)
            for unit in silent:
                present = await self._ask_for(unit)
                if present is not None:
                    yield present

    def _look_at_lateness(self) -> None:
        if 0 <= self._late < self._link.late:
            self._late = -1
            self._timeout = max(self._timeout, min(_SLOWER * self._timeout, _SLOWEST))

    async def _ask_for(self, unit: int) -> Present | None:
        async with self._turn():
            first = await self._first(reading(Table.holding, unit, 0, 1))
            if first is None:
                return None
            return Present(unit, first, await self._identity(unit))

    async def _once_more(self, unit: int) -> list[Present]:
        """Nobody has answered: something else that a device may rather answer."""
        async with self._turn():
            if identity := await self._identity(unit):
                return [Present(unit, UNFIT, identity)]
            first = await self._first(reading(Table.input, unit, 0, 1))
            return [] if first is None else [Present(unit, first, {})]

    async def _identity(self, unit: int) -> dict[str, str]:
        try:
            return await identify(self._ask, unit)
        except GaveUp:
            raise
        except Transient:
            return {}

    async def _ask(self, request: Request) -> Answer:
        return await self._link.ask(request, Patience(self._timeout, tries=True))

    async def _first(self, request: Request) -> Answer | None:
        """The reply of a unit; None when there is none that is its own."""
        try:
            found = await self._ask(request)
        except Unreachable as failure:
            raise GaveUp(str(failure), code=failure.code) from failure
        except Closed as failure:
            self._closed += 1
            self._reason = str(failure)
            heard = self._garbled < 0
            if self._closed >= (_MOST_CLOSED_LATER if heard else _MOST_CLOSED):
                raise GaveUp(f"it ends the connection when it is asked: {failure}") from failure
            return None
        except Damaged as failure:
            self._garble(str(failure))
            return None
        except Transient:
            return None
        self._closed = 0
        if found == UNFIT:
            self._garble("what answers is not Modbus")
            return None
        self._garbled = -1
        return None if found in quality.SILENT_BEHIND_GATEWAY else found

    def _garble(self, reason: str) -> None:
        """Something came that is no answer; who never sends anything else is left alone."""
        self._reason = reason
        if self._garbled >= 0:
            self._garbled += 1
            if self._garbled >= _MOST_GARBLED and not is_line(self._link.connection):
                raise GaveUp(reason)

    # Who is whom

    async def _real(self, found: list[Present], controls: list[Present]) -> list[Present]:
        """Those that are not just whoever answers for units that nobody has; of all alike the first."""
        if len({one.first for one in controls}) > 1:
            same = [one for one in found if _alike(one, controls[0], changing=True)]
        else:
            same = [one for one in found if await self._are_one(one, controls[0])]
        others = [one for one in found if one not in same]
        if not others:
            return found[:1]
        speaks = isinstance(controls[0].first, bytes) or bool(controls[0].identity)
        return [one for one in found if one in others or (speaks and one is same[0])]

    async def _distinct(self, found: list[Present]) -> list[Present]:
        """Without those that answer for another one, or for nobody."""
        kept: list[Present] = []
        for one in sorted(found, key=lambda present: (present.unit in _ITSELF, found.index(present))):
            if one.unit not in _ITSELF or not [other for other in kept if await self._are_one(one, other)]:
                kept.append(one)
        busy = [one for one in kept if one.first in _NOTHING_SAID and not one.identity]
        if len(busy) < 2:
            return kept
        self.doubtful = [one.unit for one in busy]
        return [one for one in kept if one not in busy]

    async def _are_one(self, one: Present, other: Present) -> bool:
        """Whether a device seems to answer by both units. A register that changes meanwhile says nothing."""
        if _alike(one, other) or not _alike(one, other, changing=True):
            return _alike(one, other)
        units = (other.unit, one.unit, other.unit)
        before, between, after = [await self._first(reading(Table.holding, unit, 0, 1)) for unit in units]
        return before != after or before == between


def _alike(one: Present, other: Present, *, changing: bool = False) -> bool:
    """Whether two units may be the same device. `changing`: its register does not stay the same."""
    if one.identity != other.identity:
        return False
    if changing and isinstance(one.first, bytes) and isinstance(other.first, bytes):
        return True
    return one.first == other.first
