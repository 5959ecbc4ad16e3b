"""A connection to a toy. Requests are numbered, and an answer counts for its own request alone."""

import asyncio
import contextlib
import json
from itertools import count
from typing import Any

from actors.connections.connection import NoConnection, Permanent, Transient
from actors.endpoints.listener import Listener
from actors.endpoints.protocol import (
    Browsed,
    BrowsedNode,
    BrowseRequest,
    CheckedEndpoint,
    PolledSession,
    PollResult,
    PushedSession,
    Session,
)
from actors.system.failure import Refusal

from .schemas import GivenConnection, Writing

LINE = 65_536


class Toy(Session):
    """What both kinds of session have in common: one connection, and a task that reads from it."""

    def __init__(self, endpoint: CheckedEndpoint) -> None:
        self.connection: GivenConnection = endpoint.connection
        self.names = [point.name for point in endpoint.points]
        self._timeout = self.connection.timeout / 1000
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    @property
    def patience(self) -> float:
        """Everything here ends by itself before that."""
        return 3 * self._timeout + 1

    async def connect(self) -> None:
        self._hang_up()
        where = self.connection.host, self.connection.port
        try:
            async with asyncio.timeout(self._timeout):
                reader, self._writer = await asyncio.open_connection(*where, limit=LINE)
        except ConnectionRefusedError as error:
            raise Transient("it refuses the connection", code="CONNECTION_REFUSED") from error
        except (OSError, TimeoutError) as error:
            raise Transient("it cannot be reached", code="HOST_UNREACHABLE") from error
        self._reading = asyncio.create_task(self._read(reader))
        try:
            login = {"user": self.connection.user, "password": self.connection.password}
            if not (await self._ask("hello", **login)).get("welcome"):
                raise Permanent("it does not accept the user and password", code="ACCESS_DENIED")
        except NoConnection:
            self._hang_up()
            raise

    async def write(self, prepared: Writing) -> Any:
        answer = await self._ask("write", name=prepared.name, value=prepared.value)
        if "refused" in answer:
            raise Refusal(f"The device refuses it: {answer['refused']}", "value")
        return prepared.value

    async def read_back(self, prepared: Writing) -> tuple[Any, bool]:
        [value] = await self._values([prepared.name])
        return value, value == prepared.value

    async def browse(self, request: BrowseRequest) -> Browsed:
        answer = await self._ask("browse")
        names = answer.get("names", [])
        nodes = [
            BrowsedNode(f"toy:{name}", name, "variable", data_point={"name": name})
            for name in names[: request.limit]
        ]
        return Browsed(nodes, complete=len(nodes) == len(names))

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        self._hang_up()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])

    # The wire

    async def _values(self, names: list[str]) -> list[Any]:
        values = (await self._ask("read", names=names)).get("values")
        if not isinstance(values, list) or len(values) != len(names) or not all(map(_is_value, values)):
            raise Transient("it sends what cannot be understood", code="READ_ERROR")
        return values

    async def _ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Raises `Transient` when there is no answer, after which the connection is not used any more."""
        if self._writer is None:
            raise Transient("there is no connection", code="CONNECTION_RESET")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(json.dumps({"id": number, "do": what, **more}).encode() + b"\n")
            async with asyncio.timeout(self._timeout):
                found: dict[str, Any] = await answer
                return found
        except TimeoutError as error:
            self._end(Transient(f"no answer within {self._timeout:g} s", code="TIMEOUT"))
            raise Transient(f"no answer within {self._timeout:g} s", code="TIMEOUT") from error
        finally:
            del self._waiting[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """What comes, until the end or something that is not understood: after that nothing is certain."""
        error = Transient("it has closed the connection", code="CONNECTION_RESET")
        with contextlib.suppress(OSError, ValueError):  # of a line without end
            while line := await reader.readline():
                if not self._heard(line):
                    error = Transient("it sends what cannot be understood", code="READ_ERROR")
                    break
        self._reading = None
        self._end(error)

    def _heard(self, line: bytes) -> bool:
        try:
            said = json.loads(line)
        except ValueError:
            return False
        if not isinstance(said, dict):
            return False
        if "id" not in said:
            return self._told(said)
        answer = self._waiting.get(said["id"])
        if answer is not None and not answer.done():
            answer.set_result(said)
        return True

    def _told(self, said: dict[str, Any]) -> bool:
        """What it says without having been asked; whether that is understood."""
        return False

    def _end(self, error: NoConnection) -> None:
        self._hang_up()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # who waited may be gone

    def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.transport.abort()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()


def _is_value(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


class PolledToy(Toy, PolledSession):
    async def read(self, within: float) -> PollResult:
        values = await self._values(self.names)
        codes = [None if value is not None else "NO_DATA" for value in values]
        return PollResult(values, codes if any(codes) else None)


class PushedToy(Toy, PushedSession):
    """Asks for a sign of life now and then: who is told what changes cannot tell silence from peace."""

    def __init__(self, endpoint: CheckedEndpoint, listener: Listener) -> None:
        super().__init__(endpoint)
        self._listener = listener
        self._places = {name: place for place, name in enumerate(self.names)}
        self._pinging: asyncio.Task[None] | None = None
        self._subscribed = False

    async def connect(self) -> None:
        await super().connect()
        await self._ask("subscribe", names=self.names)
        if self._writer is None:  # it has ended with the answer
            raise Transient("it has closed the connection", code="CONNECTION_RESET")
        self._subscribed = True
        self._pinging = asyncio.create_task(self._ping())

    async def _ping(self) -> None:
        with contextlib.suppress(NoConnection):  # `_end` has told
            while True:
                await asyncio.sleep(self._timeout / 2)
                await self._ask("ping")
                self._listener.heard("")

    def _told(self, said: dict[str, Any]) -> bool:
        changed, at = said.get("changed"), said.get("at")
        if (
            not isinstance(changed, dict)
            or not isinstance(at, int)
            or not all(map(_is_value, changed.values()))
        ):
            return False
        known = {name: value for name, value in changed.items() if name in self._places}
        self._listener.changed(
            "", [self._places[name] for name in known], list(known.values()), None, [at] * len(known)
        )
        return True

    def _end(self, error: NoConnection) -> None:
        super()._end(error)
        if self._subscribed:
            self._subscribed = False
            self._listener.lost(error)

    def _hang_up(self) -> None:
        super()._hang_up()
        pinging, self._pinging = self._pinging, None
        if pinging is not None and pinging is not asyncio.current_task():
            pinging.cancel()

    async def close(self) -> None:
        self._subscribed = False
        await super().close()
