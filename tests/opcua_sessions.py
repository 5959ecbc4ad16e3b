"""Sessions on OPC UA servers without an endpoint's actor, and what they tell."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from actors.connections.connection import NoConnection
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Listener
from actors.endpoints.protocol import PolledSession, PushedSession, WriteRequest
from actors.endpoints.protocols import find

FAST = {"publishingInterval": 50, "samplingInterval": 0, "connectionTimeout": 3000}


class Told(NamedTuple):
    point: str
    value: Any
    code: str | None
    time: int | None
    device: str


class Heard(Listener):
    """Everything that a session tells, by the names of its points."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.told: list[Told] = []
        self.calls: list[list[Told]] = []
        self.losses: list[NoConnection] = []
        self.alive = 0
        self.raised_events: list[tuple[str, dict[str, Any]]] = []

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        assert len(set(indices)) == len(indices)
        call = [
            Told(
                self.names[device][index],
                values[at],
                None if codes is None else codes[at],
                None if times is None else times[at],
                device,
            )
            for at, index in enumerate(indices)
        ]
        self.calls.append(call)
        self.told.extend(call)

    def described(self, description: Description) -> None: ...

    def presence(self, device: str, code: str | None) -> None: ...

    def heard(self, device: str) -> None:
        self.alive += 1

    def raised(self, kind: str, body: dict[str, Any]) -> None:
        self.raised_events.append((kind, body))

    def lost(self, error: NoConnection) -> None:
        self.losses.append(error)

    def of(self, point: str) -> list[Told]:
        return [told for told in self.told if told.point == point]

    def values(self, point: str) -> list[Any]:
        return [told.value for told in self.of(point)]

    def last(self, point: str) -> Told | None:
        found = self.of(point)
        return found[-1] if found else None


class Opened:
    """An endpoint's session; `async with` connects and closes it."""

    def __init__(
        self, connection: dict[str, Any], points: Sequence[dict[str, Any]], folder: Path | None = None
    ) -> None:
        protocol = find("opcua")
        self.protocol = protocol
        self.endpoint = protocol.accept(connection, points)
        names = {"": [point.name for point in self.endpoint.points]}
        for device in self.endpoint.devices:
            names[device.identifier] = [point.name for point in device.points]
        self.heard = Heard(names)
        lines = Lines()
        lines.folder = folder
        self.session: Any = protocol.session(self.endpoint, self.heard, lines)
        assert isinstance(self.session, PolledSession | PushedSession)

    async def __aenter__(self) -> Self:
        await self.session.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def write(self, register: str, value: Any, device: str = "", data_type: str | None = None) -> Any:
        return await self.session.write(self.prepared(register, value, device, data_type))

    def prepared(self, register: str, value: Any, device: str = "", data_type: str | None = None) -> Any:
        assert self.protocol.prepare is not None
        return self.protocol.prepare(self.endpoint, WriteRequest(device, register, value, data_type))

    async def reconnected(self, within: float = 10.0) -> None:
        """As the actor does it: until it succeeds."""
        async with asyncio.timeout(within):
            while True:
                try:
                    await self.session.connect()
                except NoConnection:
                    await asyncio.sleep(0.05)
                else:
                    return


def opened(
    url: str, points: Sequence[dict[str, Any]], folder: Path | None = None, **connection: Any
) -> Opened:
    """`folder` is where certificates are kept."""
    return Opened({"endpointUrl": url, **FAST, **connection}, points, folder)


def point(name: str, node: str, **more: Any) -> dict[str, Any]:
    """`node` in the plant's namespace: `s=Counter.0`."""
    return {"name": name, "nodeId": f"ns=2;{node}", **more}


async def until(happened: Callable[[], Any], seconds: float = 8.0) -> None:
    """Wait for `happened()` to be true."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
            await asyncio.sleep(0.01)
