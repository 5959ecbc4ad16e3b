"""What a poll of 100 points costs in the agent's own code: timer, read, batch, router.

Endpoint and router are the agent's own; the device answers at once, so there is neither network nor protocol.
Prints one JSON line (`Polls`). To compare two trees, run it from each in turn, several times.
"""

import asyncio
from collections.abc import Sequence
from time import process_time
from typing import Any

import msgspec
import uvloop

from actors.endpoints import protocols
from actors.endpoints.endpoint import Endpoint, RunEndpoint
from actors.endpoints.protocol import CheckedEndpoint, PolledSession, PollResult, Protocol
from actors.readings.router import Router, RunRouter
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.mailboxes import Cell

ENDPOINTS = 50
POINTS = 100
INTERVAL_MS = 10
WARM_UP_S = 0.5
ROUND_S = 2.0


class Polls(msgspec.Struct, frozen=True):
    """`cpu_us` is CPU in microseconds a poll, the idle loop included; `messages` are those handled a poll."""

    polls: int
    cpu_us: float
    messages: float


class Point(msgspec.Struct, frozen=True):
    name: str
    unit: str | None = None
    address_text: str = ""


class InstantReader(PolledSession):
    """Answers the same in the same step."""

    reads = 0

    def __init__(self) -> None:
        self.values: list[Any] = list(range(POINTS))

    async def connect(self) -> None: ...

    async def read(self, within: float) -> PollResult:
        InstantReader.reads += 1
        return PollResult(self.values)

    async def write(self, prepared: Any) -> Any:
        return prepared

    async def close(self) -> None: ...


def check(connection: dict[str, Any], data_points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
    points = tuple(Point(point["name"]) for point in data_points)
    return CheckedEndpoint(connection=connection, points=points, identifier="1", address="instant")


INSTANT = Protocol("instant", check, lambda *given: InstantReader(), "asyncio", lambda *given: given)


def start(base: AsyncioSystemBase) -> None:
    router = base.spawn(None, Router, "router", RunRouter())
    data_points = msgspec.json.encode([{"name": f"point-{point}"} for point in range(POINTS)])
    for number in range(ENDPOINTS):
        name = f"plc-{number}"
        run = RunEndpoint(
            uuid=f"uuid-{number}",
            name=name,
            protocol="instant",
            device_uuid=f"device-{number}",
            device=name,
            connection=msgspec.Raw(b"{}"),
            data_points=msgspec.Raw(data_points),
            poll_interval=INTERVAL_MS,
            phase=number / ENDPOINTS,
            reconnect_min_ms=1000,
            reconnect_max_ms=60_000,
            router=router,
        )
        base.spawn(None, Endpoint, name, run)


def handled(base: AsyncioSystemBase) -> int:
    return sum(box.handled for box in base.mailboxes.values() if isinstance(box, Cell))


async def measure() -> Polls:
    protocols.find = lambda name: INSTANT  # type: ignore[assignment]
    base = AsyncioSystemBase()
    start(base)
    await asyncio.sleep(WARM_UP_S)
    reads, messages, began = InstantReader.reads, handled(base), process_time()
    await asyncio.sleep(ROUND_S)
    spent, polls = process_time() - began, InstantReader.reads - reads
    messages = handled(base) - messages
    base.shutdown()
    await base.released()
    return Polls(polls, round(1e6 * spent / polls, 2), round(messages / polls, 3))


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(measure())).decode())
