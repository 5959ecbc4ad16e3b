"""What a second subscription of equal format and compression costs beside the first, through real actors.

Router, subscriptions and their destination are the agent's own. Polls of 100 points come in small bursts, as
they do from endpoints that share a wake-up; the driver acknowledges in the next turn of the loop, so there
is neither network nor broker. Prints one JSON line, a list of `Costs`.
"""

import asyncio
import statistics
from collections.abc import Iterator
from itertools import islice
from time import process_time
from typing import Any

import msgspec
import uvloop
from formats_bench import UUID, polls, sources
from thespian.actors import ActorAddress

from actors.publish import destinations
from actors.publish.destination import Destination, RunDestination
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener, Outgoing
from actors.publish.entries import Limits
from actors.publish.messages import DestinationTested
from actors.publish.pace import Flow
from actors.publish.subscription import RunSubscription
from actors.publish.subscription_route import SubscriptionRoute
from actors.publish.topics import Target
from actors.readings.batch import Batch
from actors.readings.router import Router, RunRouter
from actors.state.messages import Transact, Transacted
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from storage import outbox, outbox_marks

FORMATS = ("tags", "custom")
SUBSCRIPTIONS = (0, 1, 2)
BURST = 5
BURSTS = 200
ROUNDS = 7
TURNS = 6
"""Turns of the loop that a burst takes from the router to the last acknowledgement."""
START_S = 10
ANSWERS: dict[Any, Any] = {
    outbox_marks.found: outbox_marks.Found(None, []),
    outbox.commit: outbox.Committed(0, 0, 0),
}


class Costs(msgspec.Struct, frozen=True):
    """CPU in microseconds a poll: with no subscription, what the first adds to it, and the second to that."""

    format: str
    none: float
    first: float
    second: float


class LoopDriver(Driver):
    """Acknowledges in the next turn of the loop."""

    def __init__(self, listener: Listener) -> None:
        self.delivered = 0
        self._listener = listener
        self._sent: list[int] = []

    async def connect(self) -> None:
        """There is nothing to connect to."""

    def send(self, message: Outgoing) -> None:
        if not self._sent:
            asyncio.get_running_loop().call_soon(self._acknowledge)
        self._sent.append(message.seq)

    def _acknowledge(self) -> None:
        sent, self._sent = self._sent, []
        self.delivered += len(sent)
        self._listener.delivered(sent)

    async def close(self) -> None:
        """As above."""


class Store(Actor):
    """Keeps nothing: what is acknowledged in time needs no disk."""

    def receiveMsg_Transact(self, message: Transact, sender: ActorAddress) -> None:
        found = ANSWERS.get(message.call)
        self.send(sender, Transacted(message.token, found))


class RunPath(msgspec.Struct, frozen=True):
    """Start: so many subscriptions, all of this format and compression `json`."""

    format: str
    subscriptions: int


class Path(Actor):
    """Stands above them all, in the publisher's place."""

    def receiveMsg_RunPath(self, message: RunPath, sender: ActorAddress) -> None:
        route = SubscriptionRoute(topics=(), topic="bench", payload_format=message.format, compression="json")
        starts = tuple(
            RunSubscription(id, route, Target(f"bench-{id}"), UUID) for id in range(message.subscriptions)
        )
        store = self.spawn(Store, "store", None)
        router = self.spawn(Router, "router", RunRouter())
        self.spawn(Destination, "destination", _destination(starts, store, router))


def _destination(
    subscriptions: tuple[RunSubscription, ...], store: ActorAddress, router: ActorAddress
) -> RunDestination:
    return RunDestination(
        id=1,
        name="loop",
        type="loop",
        config={},
        subscriptions=subscriptions,
        limits=Limits(1_000_000, 1 << 28, 3_600_000, 1 << 22, 0.1, False),
        flow=Flow(window=512),
        identity=Identity(UUID, "bench"),
        store=store,
        router=router,
    )


class Line:
    """An actor system of its own with a path of so many subscriptions."""

    def __init__(self, format: str, subscriptions: int) -> None:
        self.base = AsyncioSystemBase()
        self.subscriptions = subscriptions
        path = self.base.spawn(None, Path, "path", RunPath(format, subscriptions))
        self.router = child_address(path, "router")
        self.destination = child_address(path, "destination")
        self.driver: LoopDriver | None = None

    async def started(self) -> None:
        """Return when the destination takes payloads. Raises TimeoutError."""
        async with asyncio.timeout(START_S):
            while True:
                cell: Any = self.base.mailboxes.get(self.destination.addressDetails)
                life = cell and cell.instance
                if life is not None and life.connected and life.outbox is not None:
                    self.driver = life.connection
                    return
                await asyncio.sleep(0.01)

    async def measure(self, batches: Iterator[Batch]) -> float:
        """CPU seconds a poll. Raises RuntimeError when a poll has not got through."""
        assert self.driver is not None
        bursts = [list(islice(batches, BURST)) for _ in range(BURSTS)]
        before, began = self.driver.delivered, process_time()
        for burst in bursts:
            for batch in burst:
                self.base.tell(self.router, batch)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        taken = process_time() - began
        delivered = self.driver.delivered - before
        if delivered != BURSTS * BURST * self.subscriptions:
            raise RuntimeError(f"{delivered} payloads of {self.subscriptions} subscriptions delivered")
        return taken / (BURSTS * BURST)


async def measure(format: str) -> Costs:
    """All numbers of subscriptions in turn, ROUNDS times; medians."""
    lines = [Line(format, count) for count in SUBSCRIPTIONS]
    taken: list[list[float]] = [[] for _ in lines]
    known = sources()
    try:
        for line in lines:
            await line.started()
            await line.measure(polls(known, BURST * BURSTS))
        for _ in range(ROUNDS):
            for line, times in zip(lines, taken, strict=True):
                times.append(await line.measure(polls(known, BURST * BURSTS)))
    finally:
        for line in lines:
            line.base.shutdown()
    none, one, two = (1e6 * statistics.median(times) for times in taken)
    return Costs(format, none, one - none, two - one)


async def _never_tested(config: object, identity: Identity) -> DestinationTested:
    return DestinationTested(True)


LOOP = DestinationType(
    name="loop",
    check=lambda config: config,
    target=lambda config, topic, identity: Target(topic or ""),
    driver=lambda config, identity, listener: LoopDriver(listener),
    test=_never_tested,
    secrets=(),
)


async def main() -> None:
    destinations.find = lambda type_name: LOOP
    costs = [await measure(format) for format in FORMATS]
    print(msgspec.json.encode(costs).decode())


if __name__ == "__main__":
    uvloop.run(main())
