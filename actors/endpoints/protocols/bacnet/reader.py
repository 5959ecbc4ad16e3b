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
from .tags import Malformed

LONGEST: Final = 60.0
"""Seconds that one reading takes at most, unless one answer alone may take longer."""
_MOST_BATCHES: Final = 64
_NO_SUCH_SERVICE: Final = frozenset({29, 45})
"""Error codes: service request denied, optional functionality not supported."""
_TOO_LATE: Final = 10
"""An abort reason: application exceeded reply time."""

Job = tuple[Ref, ...]


class Reader:
    def __init__(self, port: Port, station: Station, capability: Capability, connection: Connection) -> None:
        self.port = port
        self.station = station
        self.capability = capability
        self._connection = connection
        self._batches: dict[Job, Batch] = {}

    async def read(self, groups: Iterable[tuple[Ref, ...]], within: float) -> Found:
        """What the device says of every property, those of a group being of one object; what it did not
        answer is not in there. Raises `Transient` when it answered nothing at all."""
        self.capability.look()
        reading = _Reading(self, monotonic() + max(min(within, LONGEST), self.one_answer))
        reading.jobs.extend(self.capability.batches(groups))
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
        if self.capability.multiple and await self._insist(read_several_of(refs), until) is not None:
            return
        apdu = await self._ask(read_one(refs[0]))
        if apdu is None:
            raise self.silent()
        self.capability.knows_no_multiple()

    def silent(self) -> Transient:
        text = f"{self.station} did not answer within {self._connection.timeout:g} s"
        return Transient(text, code=quality.TIMEOUT)

    def batch(self, job: Job) -> Batch:
        known = self._batches.get(job)
        if known is None:
            if len(self._batches) >= _MOST_BATCHES:
                self._batches.clear()
            known = self._batches[job] = Batch(job)
        return known

    async def _ask(self, body: bytes) -> bytes | None:
        given = self._connection
        return await self.port.ask(self.station, body, given.timeout, given.concurrent)

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
        if not self._answered:
            raise self._reader.silent()

    async def _work(self) -> None:
        while self.jobs and (monotonic() < self._until or not self._answered):
            job = self.jobs.popleft()
            if len(job) == 1:
                await self._ask_one(job[0])
            else:
                await self._ask_several(job)

    async def _ask_several(self, job: Job) -> None:
        reader, batch = self._reader, self._reader.batch(job)
        apdu = await reader._insist(batch.request, self._until)
        if apdu is None:
            await self._nothing_came(job)
            return
        self._answered = True
        try:
            failure = refusal(apdu, READ_MULTIPLE)
            if failure is None:
                answers = batch.answer(apdu)
                if None in answers:
                    self._take(job, answers)
                else:
                    self.found.update(zip(batch.keys, answers, strict=True))  # type: ignore[arg-type]
                return
        except Malformed:
            failure = None
        self._not_like_this(job, failure)

    def _take(self, job: Job, answers: list[Content | None]) -> None:
        """What an answer leaves out is asked for alone."""
        for ref, content in zip(job, answers, strict=True):
            if content is None:
                self.jobs.append((ref,))
            else:
                self.found[key_of(ref)] = content

    def _not_like_this(self, job: Job, failure: Failure | None) -> None:
        capability = self._reader.capability
        if _unknown_service(failure):
            capability.knows_no_multiple()
            self.jobs.extend((ref,) for ref in job)
            return
        if _too_much(failure):
            capability.too_much(len(job))
        elif failure is None:
            self._spoiled.update(job)
        else:
            self._suspect.update(job)
        self._halve(job)

    def _halve(self, job: Job) -> None:
        half = len(job) // 2
        self.jobs.extend((job[:half], job[half:]))

    async def _nothing_came(self, job: Job) -> None:
        """There may be devices that say nothing to what is too much for them."""
        if self._answered or await self._reader._ask(read_one(job[0])) is not None:
            self._answered = True
            self._reader.capability.too_much(len(job))
        else:
            self.jobs.clear()

    async def _ask_one(self, ref: Ref) -> None:
        reader = self._reader
        apdu = await reader._insist(read_one(ref), self._until)
        if apdu is None:
            if not self._answered:
                self.jobs.clear()
            return
        self._answered = True
        content: Content | None
        try:
            failure = refusal(apdu, READ_PROPERTY)
            content = answer_to_one(apdu, ref) if failure is None else failure
        except Malformed:
            content = Garbled()
        if isinstance(content, Segmented) or (isinstance(content, Rejected | Aborted) and _too_much(content)):
            content = await reader.by_library(ref)
        if content is None:
            return
        self.found[key_of(ref)] = content
        if ref in self._spoiled or (ref in self._suspect and isinstance(content, Refused)):
            reader.capability.spoils(key_of(ref))


def patience_of(given: Connection) -> float:
    """Seconds after which there is no answer, however often it was asked for."""
    pauses = given.retry_delay * float(2**given.retries - 1)
    return (1 + given.retries) * given.timeout + pauses


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


def read_several_of(refs: Sequence[Ref]) -> bytes:
    return Batch(refs).request


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
