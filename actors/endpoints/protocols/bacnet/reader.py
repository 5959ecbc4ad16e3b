"""Reads properties of one device, whatever it is able to do: many at once, fewer, one by one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from actors.connections.connection import Transient

from . import quality
from .capability import Capability
from .codec import (
    READ_MULTIPLE,
    READ_PROPERTY,
    Aborted,
    Batch,
    Content,
    Failure,
    Found,
    Garbled,
    Refused,
    Rejected,
    Segmented,
    answer_to_one,
    contents,
    key_of,
    read_one,
    refusal,
)
from .connection import Connection
from .points import Ref
from .port import Port
from .station import Station
from .tags import Elsewhere, Malformed

LONGEST: Final = 60.0
"""Seconds that one reading takes at most, unless one answer alone may take longer."""
_NO_SUCH_SERVICE: Final = frozenset({29, 45})
"""Error codes: service request denied, optional functionality not supported."""
_OF_ADDRESS: Final = frozenset({27, 31, 32, 42, 50})
"""Error codes that say something of what was asked for, and not of the moment."""
_TOO_LATE: Final = 10
"""An abort reason: application exceeded reply time."""

Job = Batch | Ref
"""What is asked for with one request: several properties, or one."""
Group = tuple[Ref, ...]
"""Properties of one object."""


class Reader:
    def __init__(self, port: Port, station: Station, capability: Capability, connection: Connection) -> None:
        self.port = port
        self.station = station
        self.capability = capability
        self._connection = connection

    async def read(self, groups: Iterable[Group], within: float) -> Found:
        """What the device says of every property; what it did not answer is not in there. Raises `Transient`
        when it answered nothing at all."""
        return await self.carry_out(self.plan(groups), within)

    def plan(self, groups: Iterable[Group]) -> list[Job]:
        """What to ask, as long as `capability.version` is the same."""
        self.capability.look()
        jobs = self.capability.batches(groups)
        return [Batch(job) if len(job) > 1 else job[0] for job in jobs]

    async def carry_out(self, jobs: Iterable[Job], within: float) -> Found:
        """As `read`."""
        reading = _Reading(self, monotonic() + max(min(within, LONGEST), self.one_answer))
        reading.jobs.extend(jobs)
        if reading.jobs:
            await reading.carry_out(self._connection.concurrent)
        return reading.found

    @property
    def one_answer(self) -> float:
        """Seconds that it takes at most to find out that there is none."""
        return patience_of(self._connection)

    async def answers(self, refs: Sequence[Ref]) -> None:
        """See that the device is there, and whether it knows ReadPropertyMultiple: some are silent when they
        do not. Raises `Transient`."""
        until = monotonic() + self.one_answer
        if self.capability.multiple and await self._insist(Batch(refs).request, until) is not None:
            return
        if await self._ask(read_one(refs[0])) is None:
            raise self.silent()
        if self.capability.multiple and await self._ask(Batch(refs).request) is None:
            self.capability.knows_no_multiple()

    def silent(self) -> Transient:
        text = f"{self.station} did not answer within {self._connection.timeout:g} s"
        return Transient(text, code=quality.TIMEOUT)

    async def _ask(self, body: bytes) -> bytes | None:
        given = self._connection
        at_once = 1 if self.capability.mixes else given.concurrent
        return await self.port.ask(self.station, body, given.timeout, at_once)

    async def _insist(self, body: bytes, until: float) -> bytes | None:
        """Ask, and as often again as is configured while there is time."""
        pause = self._connection.retry_delay
        apdu = await self._ask(body)
        for _ in range(self._connection.retries):
            if apdu is not None or monotonic() + pause >= until:
                break
            await asyncio.sleep(pause)
            pause *= 2
            apdu = await self._ask(body)
        return apdu

    async def by_library(self, ref: Ref) -> Content | None:
        """In segments, if it takes them."""
        from bacpypes3.apdu import ErrorRejectAbortNack, ReadPropertyRequest

        request = ReadPropertyRequest(
            objectIdentifier=(ref.type, ref.instance),
            propertyIdentifier=ref.property_id,
            destination=self.station.library(),
        )
        if ref.index is not None:
            request.propertyArrayIndex = ref.index
        try:
            given = self._connection
            reply: Any = await self.port.request(request, given.timeout, given.concurrent)
            # With the opening and the closing tag that it came between.
            octets = bytes(reply.propertyValue.tagList.encode().pduData)[1:-1]
        except Transient:
            return None
        except ErrorRejectAbortNack:
            return Aborted(0)
        except Exception:  # noqa: BLE001 (whatever the library makes of an odd answer)
            return Garbled()
        return contents(octets)


class _Reading:
    """One reading: what is still to be asked, and what was found."""

    def __init__(self, reader: Reader, until: float) -> None:
        self.found: Found = {}
        self.jobs: deque[Job] = deque()
        self._reader = reader
        self._until = until
        self._answered = False
        self._suspect: set[Ref] = set()
        """One of them is why the device answered nothing but an error."""
        self._spoiled: set[Ref] = set()
        """One of them is why an answer made no sense."""

    async def carry_out(self, at_once: int) -> None:
        if len(self.jobs) == 1:
            await self._work()
        else:
            await _all(self._work, min(at_once, len(self.jobs)))

    async def _work(self) -> None:
        while self.jobs and monotonic() < self._until:
            job = self.jobs.popleft()
            if isinstance(job, Ref):
                await self._ask_one(job)
            else:
                await self._ask_several(job)

    async def _ask_several(self, batch: Batch) -> None:
        reader = self._reader
        apdu = await reader._insist(batch.request, self._until)
        if apdu is None:
            await self._nothing_came(batch.refs)
            return
        self._answered = True
        try:
            failure = refusal(apdu, READ_MULTIPLE)
            if failure is None:
                answers = batch.answer(apdu)
                if None in answers:
                    self._take(batch.refs, answers)
                else:
                    self.found.update(zip(batch.keys, answers, strict=True))  # type: ignore[arg-type]
                return
        except Elsewhere:
            if not reader.capability.mixes:
                reader.capability.mixes = True
                self.jobs.append(batch)
                return
            failure = None
        except Malformed:
            failure = None
        self._not_like_this(batch.refs, failure)

    def _take(self, refs: Group, answers: list[Content | None]) -> None:
        """What an answer leaves out is asked for alone."""
        for ref, content in zip(refs, answers, strict=True):
            if content is None:
                self.jobs.append(ref)
            else:
                self.found[key_of(ref)] = content

    def _not_like_this(self, refs: Group, failure: Failure | None) -> None:
        capability = self._reader.capability
        if _unknown_service(failure):
            capability.knows_no_multiple()
            self.jobs.extend(refs)
            return
        if _too_much(failure):
            capability.too_much(len(refs), said=True)
        elif failure is None:
            self._spoiled.update(refs)
        else:
            self._suspect.update(refs)
        self._halve(refs)

    def _halve(self, refs: Group) -> None:
        half = len(refs) // 2
        for some in (refs[:half], refs[half:]):
            self.jobs.append(Batch(some) if len(some) > 1 else some[0])

    async def _nothing_came(self, refs: Group) -> None:
        """There may be devices that say nothing to what is too much for them."""
        if self._answered or await self._reader._ask(read_one(refs[0])) is not None:
            self._answered = True
            self._reader.capability.too_much(len(refs), said=False)
            self._halve(refs)
        else:
            raise self._reader.silent()

    async def _ask_one(self, ref: Ref) -> None:
        reader = self._reader
        apdu = await reader._insist(read_one(ref), self._until)
        if apdu is None:
            if not self._answered:
                raise reader.silent()
            return
        self._answered = True
        content: Content | None
        try:
            failure = refusal(apdu, READ_PROPERTY)
            content = answer_to_one(apdu, ref) if failure is None else failure
        except Elsewhere:
            content = await self._once_more(ref)
        except Malformed:
            content = Garbled()
        if isinstance(content, Segmented) or (isinstance(content, Rejected | Aborted) and _too_much(content)):
            content = await reader.by_library(ref)
        if content is None:
            return
        self.found[key_of(ref)] = content
        if ref in self._spoiled or (ref in self._suspect and _is_of_address(content)):
            reader.capability.spoils(key_of(ref))

    async def _once_more(self, ref: Ref) -> Content | None:
        """Some have room for one request, and answer two with what the later one asks for."""
        reader = self._reader
        reader.capability.mixes = True
        apdu = await reader._ask(read_one(ref))
        try:
            if apdu is None:
                return None
            return refusal(apdu, READ_PROPERTY) or answer_to_one(apdu, ref)
        except Malformed:
            return Garbled()


def patience_of(given: Connection) -> float:
    """Seconds after which there is no answer, however often it was asked for."""
    pauses = given.retry_delay * float(2**given.retries - 1)
    return (1 + given.retries) * given.timeout + pauses


def _is_of_address(content: Content) -> bool:
    return isinstance(content, Refused) and content.code in _OF_ADDRESS


def _unknown_service(failure: Failure | None) -> bool:
    if isinstance(failure, Rejected):
        return failure.reason == quality.UNRECOGNIZED_SERVICE
    return isinstance(failure, Refused) and failure.code in _NO_SUCH_SERVICE


def _too_much(failure: Failure | None) -> bool:
    if isinstance(failure, Rejected):
        return failure.reason in quality.TOO_MUCH_REJECTED
    if isinstance(failure, Aborted):
        return failure.reason in quality.TOO_MUCH_ABORTED or failure.reason == _TOO_LATE
    return isinstance(failure, Segmented)


async def _all(work: Callable[[], Awaitable[None]], times: int) -> None:
    """Several at once; the first error ends all of them."""
    tasks = [asyncio.ensure_future(work()) for _ in range(times)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
