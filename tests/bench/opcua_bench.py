"""What 1,000 values cost our session on an OPC UA server, and the library's own client beside it.

One change a second of each of 1,000 variables; CPU of this process, the server's is its own. Prints one JSON
line, a list of `Costs`.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import uvloop

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from servers.opcua import OpcUaServer

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Nobody
from actors.endpoints.protocols import find

VARIABLES = 1000
SECONDS = 8
ROUNDS = 3
POINTS = [{"name": f"p{number}", "nodeId": f"ns=2;s=Counter.{number}"} for number in range(VARIABLES)]


class Costs(msgspec.Struct, frozen=True):
    """CPU in ms of 1,000 values, the median of some rounds."""

    how: str
    ours: float
    library: float


class Counting(Nobody):
    values = 0

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        self.values += len(values)


class Handler:
    """The library calls it for each value."""

    values = 0

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values += 1


Measured = Callable[[], Awaitable[int]]
"""Runs for SECONDS; returns how many values have come."""


async def _cost(run: Measured) -> float:
    began = process_time()
    values = await run()
    return 1e6 * (process_time() - began) / values


async def _ours(url: str, subscribed: bool) -> float:
    protocol, counting = find("opcua"), Counting()
    connection = {"endpointUrl": url, "useSubscription": subscribed, "maxMonitoredItemsPerSubscription": 1000}
    session: Any = protocol.session(protocol.check(connection, POINTS), counting, Lines())
    await session.connect()
    await asyncio.sleep(2)

    async def pushed() -> int:
        before = counting.values
        await asyncio.sleep(SECONDS)
        return counting.values - before

    async def polled() -> int:
        values = 0
        for _ in range(SECONDS):
            values += len((await session.read(1.0)).values)
            await asyncio.sleep(0.1)
        return values

    try:
        return await _cost(pushed if subscribed else polled)
    finally:
        await session.close()


async def _library(url: str, subscribed: bool) -> float:
    from asyncua import Client

    async with Client(url) as client:
        nodes = [client.get_node(point["nodeId"]) for point in POINTS]
        handler = Handler()
        if subscribed:
            subscription = await client.create_subscription(1000, handler)
            await subscription.subscribe_data_change(nodes)
            await asyncio.sleep(2)

        async def pushed() -> int:
            before = handler.values
            await asyncio.sleep(SECONDS)
            return handler.values - before

        async def polled() -> int:
            values = 0
            for _ in range(SECONDS):
                values += len(await client.read_values(nodes))
                await asyncio.sleep(0.1)
            return values

        return await _cost(pushed if subscribed else polled)


async def measure(url: str) -> list[Costs]:
    found = []
    for how, subscribed in (("subscribed", True), ("read", False)):
        ours, library = [], []
        for _ in range(ROUNDS):
            ours.append(await _ours(url, subscribed))
            library.append(await _library(url, subscribed))
        found.append(Costs(how, statistics.median(ours), statistics.median(library)))
    return found


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        OpcUaServer(Path(directory), variables=VARIABLES, nodes=[]) as server,
    ):
        print(msgspec.json.encode(uvloop.run(measure(server.url))).decode(), flush=True)


if __name__ == "__main__":
    main()
