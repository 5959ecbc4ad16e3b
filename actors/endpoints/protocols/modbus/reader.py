"""Reads and writes one Modbus device (spec 03 sections 2.3 and 2.4)."""

import asyncio
from typing import Any

from actors.connections.connection import Transient
from actors.endpoints.protocol import CheckedEndpoint, PollResult, Reader
from actors.system.failure import Refusal

from . import quality
from .connection import Connection
from .encode import Writing, encode
from .frames import Reply, Request
from .learning import Block, Piece, Stretch
from .link import Link, acquire, release
from .plan import plan
from .points import DataPoint
from .writable import point_to_write

_BUSY_RETRIES = 3
_BUSY_PAUSE = 0.1
_SPARE_REQUESTS = 8
"""Requests of a poll beyond those planned: asked again of a busy device, or cut around what is refused."""
_WRITE_REFUSALS = (1, 2, 3)


class ModbusReader(Reader):
    """One unit on a link that others may share."""

    def __init__(self, endpoint: CheckedEndpoint) -> None:
        self._connection: Connection = endpoint.connection
        self._points: tuple[DataPoint, ...] = endpoint.points
        self._stretches = [Stretch(span, self._connection.unit) for span in plan(enumerate(self._points))]
        self._link: Link | None = None
        self._polls = 0

    @property
    def patience(self) -> float:
        """Each request ends within the timeout, but waits for those of the others on the link."""
        requests = sum(len(stretch.pieces) for stretch in self._stretches) + _SPARE_REQUESTS
        sharing = 1 if self._link is None else self._link.units.total()
        return max(super().patience, requests * sharing * self._connection.timeout)

    async def connect(self) -> None:
        if self._link is None:
            self._link = acquire(self._connection)
        await self._link.open(self._connection.timeout)

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            release(link, self._connection.unit)

    async def read(self) -> PollResult:
        poll = _Poll(self._connected(), self._connection.timeout, len(self._points), self._polls)
        self._polls += 1
        for stretch in self._stretches:
            await poll.read(stretch)
        if self._stretches:
            await poll.finish(self._stretches)
        return PollResult(poll.values, poll.codes)

    async def write(self, register: str, value: Any) -> Any:
        writing = encode(point_to_write(self._points, register), value)
        await self._send(writing, register)
        return writing.value

    async def _send(self, writing: Writing, register: str) -> None:
        link, timeout = self._connected(), self._connection.timeout
        request = Request(writing.function, self._connection.unit, writing.body)
        for attempt in range(_BUSY_RETRIES + 1):
            reply = await link.request(request, timeout)
            if isinstance(reply, Reply):
                if reply.function_code != writing.function or reply.body[:4] != writing.body[:4]:
                    raise Transient(f"{register}: the reply does not fit the write", code=quality.READ_ERROR)
                return
            if reply.exception_code not in quality.BUSY or attempt == _BUSY_RETRIES:
                break
            await asyncio.sleep(_BUSY_PAUSE)
        code = quality.code_of_exception(reply.exception_code)
        message = f"{register}: the device refused the write: {code} (exception {reply.exception_code})"
        if reply.exception_code in _WRITE_REFUSALS:
            raise Refusal(message, "value" if reply.exception_code == quality.ILLEGAL_VALUE else "register")
        raise Transient(message, code=code)

    def _connected(self) -> Link:
        if self._link is None:
            raise Transient("not connected", code=quality.DEVICE_OFFLINE)
        return self._link


class _Poll:
    """One read of all points."""

    def __init__(self, link: Link, timeout: float, points: int, number: int) -> None:
        self.values: list[Any] = [None] * points
        self.codes: list[str | None] | None = None
        self._link = link
        self._timeout = timeout
        self._number = number
        self._asked = False
        self._answered = False
        self._patient = True

    async def read(self, stretch: Stretch) -> None:
        """Read the pieces that do not rest. Raises `Transient`."""
        pieces: list[Piece] = []
        changed = False
        for piece in stretch.pieces:
            if piece.code is not None and piece.rests(self._number):
                self._mark(piece.block, piece.code)
                pieces.append(piece)
                continue
            refused = piece.code is not None
            pieces += await self._resolve(stretch, piece)
            changed = changed or pieces[-1] is not piece or refused != (piece.code is not None)
        if changed:
            stretch.settle(pieces)

    async def finish(self, stretches: list[Stretch]) -> None:
        """Make sure that the device itself was heard of. Raises `Transient`."""
        if not self._asked:
            stretch, piece = min(
                ((stretch, piece) for stretch in stretches for piece in stretch.pieces),
                key=lambda candidate: candidate[1].due,
            )
            piece.due = self._number
            await self.read(stretch)
        if not self._answered:
            raise Transient("the gateway does not reach the device", code=quality.DEVICE_OFFLINE)

    async def _resolve(self, stretch: Stretch, piece: Piece) -> list[Piece]:
        """Read a piece, cut further where the device refuses; the pieces that it ended up as."""
        block = piece.block
        single = len(block.places) == 1
        answer = await self._ask(block)
        if single and answer in quality.BUSY:
            answer = await self._insist(block, answer)
        if isinstance(answer, bytes):
            self._take(block, answer)
            piece.accept()
            return [piece]
        code = quality.code_of_exception(answer) if answer else quality.READ_ERROR
        if answer in quality.SILENT_BEHIND_GATEWAY:
            self._mark(block, code)
            return [piece]
        if single:
            self._mark(block, code)
            piece.refuse(code, self._number)
            return [piece]
        pieces: list[Piece] = []
        for half in block.span.halves():
            pieces += await self._resolve(stretch, Piece(Block(half, stretch.unit)))
        stretch.cut(block, pieces)
        return pieces

    async def _ask(self, block: Block) -> bytes | int:
        """The bytes read, or the exception's number, 0 for a reply that does not fit the request."""
        self._asked = True
        reply = await self._link.request(block.request, self._timeout)
        if isinstance(reply, Reply):
            self._answered = True
            body = reply.body
            fits = reply.function_code == block.function and len(body) == block.size + 1 == body[0] + 1
            return body[1:] if fits else 0
        self._answered = self._answered or reply.exception_code not in quality.SILENT_BEHIND_GATEWAY
        return reply.exception_code

    async def _insist(self, block: Block, answer: bytes | int) -> bytes | int:
        """Ask a busy device for a single point again; not for every point of a device that stays busy."""
        if not self._patient:
            return answer
        for _ in range(_BUSY_RETRIES):
            await asyncio.sleep(_BUSY_PAUSE)
            answer = await self._ask(block)
            if answer not in quality.BUSY:
                return answer
        self._patient = False
        return answer

    def _take(self, block: Block, reply: bytes) -> None:
        for place, code in (block.decoder.fill(self.values, reply) or {}).items():
            self._mark_place(place, code)

    def _mark(self, block: Block, code: str) -> None:
        for place in block.places:
            self._mark_place(place, code)

    def _mark_place(self, place: int, code: str) -> None:
        if self.codes is None:
            self.codes = [None] * len(self.values)
        self.codes[place] = code
