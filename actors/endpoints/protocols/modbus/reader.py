"""Reads and writes one Modbus device (spec 03 sections 2.3 and 2.4)."""

from typing import Any

from actors.connections.connection import Transient
from actors.endpoints.lines import Lines
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult
from actors.system.failure import Refusal

from . import quality
from .connection import Connection
from .decode import Decoder
from .encode import Part, Writing
from .exchange import UNFIT, Answer, Patience
from .frames import Request, reading, writing
from .identification import asking, objects_of
from .learning import Lessons
from .link import Link, insist
from .plan import MAX_BITS, MAX_REGISTERS, plan
from .points import DataPoint, Table
from .poll import Poll
from .sharing import acquire, release

_SPARE_REQUESTS = 8
"""Requests of a poll beyond those planned, in an estimate of how long it may take."""
_ATTEMPTS_TO_BE_SURE = 4


class ModbusReader(PolledSession):
    """One unit on a link that others may share."""

    def __init__(self, endpoint: CheckedEndpoint, lines: Lines) -> None:
        self._lines = lines
        self._connection: Connection = endpoint.connection
        self._points: tuple[DataPoint, ...] = endpoint.points
        spans = plan(enumerate(self._points), self._connection.max_registers, self._connection.max_gap)
        self._lessons = Lessons(spans, self._connection.unit)
        self._link: Link | None = None
        self._identified = not self._connection.identify

    @property
    def patience(self) -> float:
        """Each request ends within the timeout, but waits for those of the others on the link, and may be
        asked again until it is certain what the reply is to."""
        requests = self._lessons.requests + _SPARE_REQUESTS
        sharing = 1 if self._link is None else self._link.units.total()
        attempts = self._connection.retry_attempts + _ATTEMPTS_TO_BE_SURE
        return max(super().patience, (requests + attempts) * sharing * self._connection.timeout)

    async def connect(self) -> None:
        if self._link is None:
            self._link = acquire(self._lines, self._connection)
        await self._link.open(self._connection.timeout)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            release(self._lines, link, self._connection)

    async def read(self, within: float) -> PollResult:
        link = self._connected()
        try:
            found = await Poll(link, self._connection, self._lessons, len(self._points), within).run()
            if not self._identified:
                await self._identify(link)
        finally:
            if self._connection.close_after_poll:
                link.rest()
        return found

    async def write(self, prepared: Writing) -> Any:
        try:
            if prepared.function == 0 and prepared.part is not None:
                await self._merge(prepared.part)
            else:
                await self._send(prepared)
        finally:
            if self._connection.close_after_poll and self._link is not None:
                self._link.rest()
        return prepared.value

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        point = prepared.point
        assert point is not None
        try:
            reply = await self._read_whole(point)
        finally:
            if self._connection.close_after_poll and self._link is not None:
                self._link.rest()
        found: list[Any] = [None]
        Decoder([(0, point)], point.address, point.count).fill(found, reply)
        return found[0], prepared.is_in(reply)

    async def _read_whole(self, point: DataPoint) -> bytes:
        """The registers, or packed bits, of a point, in requests as long as the device takes them."""
        bits = point.table.is_bits
        most = MAX_BITS if bits else self._connection.max_registers or MAX_REGISTERS
        pieces = []
        for address in range(point.address, point.end, most):
            count = min(most, point.end - address)
            piece = await self._patiently(reading(point.table, self._connection.unit, address, count))
            if isinstance(piece, int):
                code = "an answer that does not fit" if piece == UNFIT else quality.code_of_exception(piece)
                raise Refusal(f"the device does not let it be read: {code}", "verify", "conflict")
            pieces.append(piece)
        return _without_padding(b"".join(pieces), point.count) if bits else b"".join(pieces)

    async def _send(self, prepared: Writing) -> None:
        refused = await self._execute(prepared.function, prepared.body)
        if refused != quality.ILLEGAL_FUNCTION:
            _see_that_it_was_done(refused)
        elif prepared.part is not None:
            await self._merge(prepared.part)
        elif prepared.otherwise is not None:
            _see_that_it_was_done(await self._execute(*prepared.otherwise))
        else:
            _see_that_it_was_done(refused)

    async def _merge(self, part: Part) -> None:
        """Write some bits of registers: read them, change the bits, write them back."""
        request = reading(Table.holding, self._connection.unit, part.address, part.count)
        async with self._connected().merging:
            old = await self._patiently(request)
            if isinstance(old, int):
                _see_that_it_was_done(old)
            assert isinstance(old, bytes)
            refused = await self._execute(*part.merge(old))
            other = part.merge_otherwise(old)
            if refused == quality.ILLEGAL_FUNCTION and other is not None:
                refused = await self._execute(*other)
        _see_that_it_was_done(refused)

    async def _execute(self, function: int, body: bytes) -> int | None:
        """The number of the exception that came; None when it was done."""
        found = await self._patiently(writing(function, self._connection.unit, body))
        return found if isinstance(found, int) else None

    async def _patiently(self, request: Request) -> Answer:
        """Ask, and again while the device is busy."""
        patience = Patience(self._connection.timeout, 1 + self._connection.retry_attempts)
        link = self._connected()
        return await insist(link, request, patience, await link.ask(request, patience))

    async def _identify(self, link: Link) -> None:
        """Ask once who made the device; many do not say."""
        self._identified = True
        try:
            found = await link.ask(asking(self._connection.unit), Patience(self._connection.timeout))
        except Transient:
            return
        if isinstance(found, bytes):
            self.identification = objects_of(found)

    def _connected(self) -> Link:
        if self._link is None:
            raise Transient("not connected", code=quality.DEVICE_OFFLINE)
        return self._link


def _without_padding(packed: bytes, bits: int) -> bytes:
    """Packed bits; those behind the last may be anything in a reply."""
    number = int.from_bytes(packed, "little") & ((1 << bits) - 1)
    return number.to_bytes((bits + 7) // 8, "little")


def _see_that_it_was_done(refused: int | None) -> None:
    """Raises `Refusal` when it is for what was to be written, `Transient` when it is the device's trouble."""
    if refused is None:
        return
    if refused == UNFIT:
        raise Transient("the reply does not fit the write", code=quality.READ_ERROR)
    code = quality.code_of_exception(refused)
    message = f"the device refused the write: {code} (exception {refused})"
    if refused in quality.OF_THE_ADDRESS:
        raise Refusal(message, "value" if refused == quality.ILLEGAL_VALUE else "register")
    raise Transient(message, code=code)
