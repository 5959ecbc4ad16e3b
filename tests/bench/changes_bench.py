"""What devices that say what has changed cost behind their endpoints, beside polls: CPU per 1,000 values.

A batch goes through all that takes batches in an agent: the router and a subscription with its destination
(`sharing_bench`), the drift detector's watch, and the live view with a client that wants everything. Each
case is the same number of values. Prints one JSON line, a list of `Path`.
"""

import asyncio
import statistics
import sys
from collections.abc import Callable, Iterator
from itertools import chain, cycle, islice, repeat
from time import process_time

import msgspec
import sharing_bench
import uvloop
from sharing_bench import LOOP, Line

from actors.outputs.baseline import Baseline
from actors.outputs.drift import Watch
from actors.outputs.options import DriftOptions
from actors.publish import destinations
from actors.readings.batch import Batch, Point, Source
from api.readings import ReadingFilter
from api.readings_hub import ReadingsHub
from api.streams import Client

VALUES = 100_000
ROUNDS = 3
START = 1_700_000_000_000


class Path(msgspec.Struct, frozen=True):
    """CPU in ms per 1,000 values, by who takes them."""

    case: str
    format: str
    published: float
    watched: float
    followed: float


def source(device: str, points: int, pushed: bool = True) -> Source:
    return Source(
        endpoint_uuid="00000000-0000-4000-8000-000000000002",
        endpoint="cell",
        protocol="opcua",
        device_uuid=f"uuid-of-{device}",
        device=device,
        points=tuple(Point(f"tag_{number}", "degC") for number in range(points)),
        prefixes=(f"opcua/cell/{device}/", "sensors/cell/"),
        pushed=pushed,
    )


def polls(of: Source, times: bool = False) -> Iterator[Batch]:
    """Of all points; with `times`, each value has one of ten of its own."""
    count = len(of.points)
    for number in _numbers():
        own = [START + number - index % 10 for index in range(count)] if times else None
        yield Batch(of, START + number, _values(count, number), None, {}, times=own)


def changes(of: Source, some: int) -> Iterator[Batch]:
    """Of `some` points, others each time."""
    count = len(of.points)
    for number in _numbers():
        indices = [(number * 37 + index * 11) % count for index in range(some)]
        times = [START + number - index % 10 for index in range(some)]
        yield Batch(of, START + number, _values(some, number), None, {}, indices=indices, times=times)


def _numbers() -> Iterator[int]:
    return islice(cycle(range(1_000_000)), 0, None)


def _values(count: int, number: int) -> list[float]:
    return [(number + index) % 1000 / 10 for index in range(count)]


def alternating(*streams: Iterator[Batch]) -> Iterator[Batch]:
    return chain.from_iterable(zip(*streams, strict=True))


CASES: dict[str, tuple[int, Callable[[], Iterator[Batch]]]] = {
    "polls of 1,000": (1_000, lambda: polls(source("a", 1_000, pushed=False))),
    "1,000 of 1,000, own times": (1_000, lambda: polls(source("a", 1_000), times=True)),
    "100 of 10,000": (100, lambda: changes(source("a", 10_000), 100)),
    "10 of 10,000": (10, lambda: changes(source("a", 10_000), 10)),
    "1 of 10,000": (1, lambda: changes(source("a", 10_000), 1)),
    "two devices of 1,000": (
        1_000,
        lambda: alternating(polls(source("a", 1_000, False)), polls(source("b", 1_000, False))),
    ),
}
"""How many values a batch has, and the batches."""


async def published(format: str, size: int, batches: Iterator[Batch]) -> float:
    line = Line(format, 1)
    try:
        await line.started()
        await _through(line, batches, 20)
        return statistics.median([await _through(line, batches, VALUES // size) for _ in range(ROUNDS)])
    finally:
        line.base.shutdown()


async def _through(line: Line, batches: Iterator[Batch], count: int) -> float:
    """CPU seconds of the last of them to be acknowledged."""
    taken = 0.0
    for burst in repeat(sharing_bench.BURST, count // sharing_bench.BURST):
        made = list(islice(batches, burst))
        began = process_time()
        for batch in made:
            line.base.tell(line.router, batch)
        for _ in range(sharing_bench.TURNS):
            await asyncio.sleep(0)
        taken += process_time() - began
    return taken


def taking(take: Callable[[Batch], object], size: int, batches: Iterator[Batch]) -> float:
    for batch in islice(batches, 20):
        take(batch)
    rounds = []
    for _ in range(ROUNDS):
        made = list(islice(batches, VALUES // size))
        began = process_time()
        for batch in made:
            take(batch)
        rounds.append(process_time() - began)
    return statistics.median(rounds)


def watched(size: int, batches: Iterator[Batch]) -> float:
    watches = {name: Watch(name, name, Baseline(), DriftOptions()) for name in ("uuid-of-a", "uuid-of-b")}
    return taking(lambda b: watches[b.source.device_uuid].observe(b, b.timestamp), size, batches)


async def followed(size: int, batches: Iterator[Batch]) -> float:
    async def write(data: bytes) -> None:
        """Nobody reads it."""

    hub = ReadingsHub()
    client = Client(ReadingFilter(), write, lambda: False, lambda: None)
    hub.join(client)
    return taking(hub.publish, size, batches)


async def measure(case: str, format: str) -> Path:
    size, batches = CASES[case]
    per_thousand = 1000 / VALUES * 1000
    return Path(
        case,
        format,
        per_thousand * await published(format, size, batches()),
        per_thousand * watched(size, batches()),
        per_thousand * await followed(size, batches()),
    )


async def main() -> None:
    destinations.find = lambda type_name: LOOP
    formats = sys.argv[1:] or ["custom"]
    found = [await measure(case, format) for case in CASES for format in formats]
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    uvloop.run(main())
