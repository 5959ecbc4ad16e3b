"""Sessions of the SNMP protocol on an agent, without an endpoint around them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import find


class Told(Nobody):
    """Keeps what a session tells."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self.news: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []

    def described(self, description: Description) -> None:
        self.points = [point.name for point in description.points]

    def changed(self, device: str, indices: Any, values: Any, codes: Any = None, times: Any = None) -> None:
        for place, index in enumerate(indices):
            code = None if codes is None else codes[place]
            self.news[self.points[index]] = code or values[place]

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        assert kind == "traps"
        self.events.append(body)


class Asking:
    """A session that is connected. `read` gives values by name, a quality code in the place of one that there
    is none of."""

    def __init__(self, session: Any, endpoint: Any, told: Told) -> None:
        self.session = session
        self.endpoint = endpoint
        self.told = told

    async def read(self, within: float = 1.0) -> dict[str, Any]:
        self.told.news.clear()
        found = await self.session.read(within)
        names = [point.name for point in self.session._points[: len(found.values)]]
        codes = found.qualities or [None] * len(names)
        read = {name: code or value for name, value, code in zip(names, found.values, codes, strict=True)}
        return read | self.told.news

    async def write(self, register: str, value: Any, data_type: str | None = None) -> Any:
        request = WriteRequest("", register, value, data_type)
        return await self.session.write(find("snmp").prepare(self.endpoint, request))  # type: ignore[misc]


@asynccontextmanager
async def asking(
    port: int,
    points: list[dict[str, Any]],
    *,
    host: str = "127.0.0.1",
    lines: Lines | None = None,
    connect: bool = True,
    **connection: Any,
) -> AsyncIterator[Asking]:
    given = {"host": host, "port": port, "timeout": 200, "retries": 0, **connection}
    endpoint = find("snmp").accept(given, points)
    told, shared = Told(), Lines() if lines is None else lines
    before = len(shared)
    session = find("snmp").session(endpoint, told, shared)
    try:
        if connect:
            await session.connect()
        yield Asking(session, endpoint, told)
    finally:
        await session.close()
    assert len(shared) == before
