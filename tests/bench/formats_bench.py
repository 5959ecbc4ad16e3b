"""What formats and compressions cost: readings a second, bytes a reading, and what two subscriptions share.

Polls of POINTS points with changing values go through what a subscription does with a poll, without actors:
its selection and its format. One poll is encoded at a time, by the first subscription and then by another
one, so that both find the processor's caches as they would. Prints one JSON line, a list of `Encoding`.
"""

import random
import statistics
from collections.abc import Iterator
from time import perf_counter_ns

import msgspec

from actors.publish import formats, selection
from actors.publish.formats import MessageIds, sparkplug
from actors.publish.formats.compression import COMPRESSIONS
from actors.publish.sparkplug.node import Node
from actors.publish.subscription_route import SubscriptionRoute
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Choice

POINTS = 100
SOURCES = 20
POLLS = 1_000
UUID = "7d0f2c5e-0000-4000-8000-000000000001"
LINE_PROTOCOL = "line-protocol"


class Encoding(msgspec.Struct, frozen=True):
    """One format and compression; or what a Sparkplug node makes of payloads of that format, `wire`. `equal`
    is the cost of a second subscription of both, relative to the first; `other` that of a second one of this
    compression after a first one of format and `json`, relative to being the first; None for `json` itself.
    Nodes have neither."""

    format: str
    compression: str
    points_per_s: float
    bytes_per_point: float
    equal: float | None
    other: float | None


def sources() -> list[Source]:
    return [source(number) for number in range(SOURCES)]


def source(number: int) -> Source:
    """Names as long as they are in a plant; every other point has a unit."""
    endpoint = f"line-{number}"
    names = [f"r{index}" if index % 2 else f"temperature_{index}" for index in range(POINTS)]
    return Source(
        endpoint_uuid=f"{number:08x}-0000-4000-8000-000000000002",
        endpoint=endpoint,
        protocol="modbus",
        device_uuid=f"{number:08x}-0000-4000-8000-000000000003",
        device=endpoint,
        points=tuple(Point(name, None if index % 2 else "degC") for index, name in enumerate(names)),
        prefixes=(f"modbus/{endpoint}/{endpoint}/", f"sensors/{endpoint}/"),
    )


def polls(sources: list[Source], count: int) -> Iterator[Batch]:
    """Of the sources in turn: registers as they are, and scaled ones with two decimals."""
    random.seed(1)
    for number in range(count):
        values = [
            random.getrandbits(16) if index % 2 else random.randrange(10_000) / 100 for index in range(POINTS)
        ]
        yield Batch(sources[number % len(sources)], 1_700_000_000_000 + number, values, None, {})


class Encoder:
    """A subscription to everything, as far as it is plain functions."""

    def __init__(self, format: str, compression: str) -> None:
        self.route = SubscriptionRoute(
            topics=(), topic="bench", payload_format=format, compression=compression
        )
        self.format = formats.find(format)
        self.compression = compression
        self.choice = Choice(None)
        self.ids = MessageIds(UUID)

    def payloads(self, batch: Batch) -> list[bytes]:
        messages = selection.messages(
            self.route, self.choice, [batch], self.format.per_poll, self.format.per_time
        )
        return [
            formats.encode(self.format.name, self.compression, pieces, self.ids) or b"" for pieces in messages
        ]

    def encode(self, batch: Batch) -> int:
        """The bytes of the batch's payloads."""
        return sum(map(len, self.payloads(batch)))


def measure(format: str, compression: str, known: list[Source]) -> Encoding:
    first, sizes = in_turn([Encoder(format, compression)], known)
    (alone,) = first
    (before, equal), _ = in_turn([Encoder(format, compression), Encoder(format, compression)], known)
    other = None
    if compression != "json":
        (_, after), _ = in_turn([Encoder(format, "json"), Encoder(format, compression)], known)
        other = after / alone
    return Encoding(format, compression, POINTS / alone * 1e9, sizes / POINTS, equal / before, other)


def measure_node(known: list[Source]) -> Encoding:
    """What it costs to make a payload of an outbox a message of data, by aliases."""
    node = Node("plant", "gateway-1", 1_000_000)
    node.will(0)
    node.birth(0)
    encoder = Encoder(sparkplug.NAME, "json")
    taken, size = [], 0
    for number, batch in enumerate(polls(known, len(known) + POLLS)):
        (payload,) = encoder.payloads(batch)
        began = perf_counter_ns()
        told = node.data(number, payload, 0, 0).messages
        if number >= len(known):
            taken.append(perf_counter_ns() - began)
            size += len(told[-1].payload)
    alone = statistics.median(taken)
    return Encoding("sparkplug node", "wire", POINTS / alone * 1e9, size / POLLS / POINTS, None, None)


def in_turn(encoders: list[Encoder], known: list[Source]) -> tuple[list[float], float]:
    """Median ns that each of them takes for a poll, and the mean bytes that the first one makes of it."""
    for batch in polls(known, len(known)):
        for encoder in encoders:
            encoder.encode(batch)
    taken: list[list[int]] = [[] for _ in encoders]
    size = 0
    for batch in polls(known, POLLS):
        for index, encoder in enumerate(encoders):
            began = perf_counter_ns()
            made = encoder.encode(batch)
            taken[index].append(perf_counter_ns() - began)
            size += 0 if index else made
    return [statistics.median(times) for times in taken], size / POLLS


def main() -> None:
    known = sources()
    found = [
        measure(format, compression, known) for format in formats.JSON_NAMES for compression in COMPRESSIONS
    ]
    found.append(measure(sparkplug.NAME, "json", known))
    found.append(measure(LINE_PROTOCOL, "json", known))
    found.append(measure_node(known))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
