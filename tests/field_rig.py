"""One endpoint of a registered protocol with a real device at its other end, and what comes of it."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from servers.field_counterpart import TWIN, AnyRelay, FieldCounterpart
from thespian.actors import ActorAddress

from actors.endpoints.adapter import Adapter, EndEndpoints, KeepEndpoints, ReportWanted, RunAdapter
from actors.endpoints.endpoint import RunEndpoint
from actors.endpoints.lines import Lines, lines_of
from actors.endpoints.messages import DevicesFound, HealthReported, ReportHealth, WriteRegister
from actors.readings.batch import Batch
from actors.readings.messages import ForgetSource
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase

INTERVAL_MS = 40
SETTLED = 10
"""Intervals that something has to go on for to be taken for granted."""


class Reading(NamedTuple):
    """`code` None: GOOD."""

    value: Any
    code: str | None
    time: int


class Collector(Actor):
    """Stands for the router."""

    def receiveMsg_Collect(self, message: "Collect", sender: ActorAddress) -> None:
        self.take = message.take

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.take(message)

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: ActorAddress) -> None: ...


class Collect(msgspec.Struct, frozen=True):
    take: Callable[[Batch], None]


class Wanted(msgspec.Struct, frozen=True):
    """Start of the keeper: the endpoints to run, which may change."""

    protocol: str
    endpoints: list[RunEndpoint]


class Keeper(Actor):
    """Stands for the parent of the adapter, which it tells what to run when it asks."""

    def receiveMsg_Wanted(self, message: Wanted, sender: ActorAddress) -> None:
        self.wanted = message
        self.spawn(Adapter, message.protocol, RunAdapter(message.protocol))

    def receiveMsg_ReportWanted(self, message: ReportWanted, sender: ActorAddress) -> None:
        self.send(sender, KeepEndpoints(tuple(self.wanted.endpoints), only=True))

    def receiveMsg_DevicesFound(self, message: DevicesFound, sender: ActorAddress) -> None: ...


class Boom(msgspec.Struct, frozen=True):
    """Makes an endpoint crash; for who has given `Endpoint` a handler of it."""


class FieldRig:
    """`readings` has everything that came, by data point, in order."""

    def __init__(self, counterpart: FieldCounterpart) -> None:
        self.counterpart = counterpart
        self.number = 0
        self.numbers: set[int] = set()
        """Those that the device has ever had."""
        self.readings: dict[str, list[Reading]] = {"counter": [], "twin": [], "setpoint": []}
        self.wanted: list[RunEndpoint] = []

    async def __aenter__(self) -> Self:
        self.base = AsyncioSystemBase()
        self.router = self.base.spawn(None, Collector, "router", Collect(self._take))
        wanted = Wanted(self.counterpart.protocol, self.wanted)
        self.keeper = self.base.spawn(None, Keeper, "endpoints", wanted)
        self.adapter = child_address(self.keeper, self.counterpart.protocol)
        self.endpoint = child_address(self.adapter, "plc")
        await self.advance()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.base.shutdown()
        await self.base.released()

    def _take(self, batch: Batch) -> None:
        codes = batch.qualities or [None] * len(batch.values)
        times = batch.times or [batch.timestamp] * len(batch.values)
        for point, value, code, time in zip(batch.points, batch.values, codes, times, strict=True):
            known = None if value is not None and code in self.counterpart.marks else code
            self.readings[point.name].append(Reading(value, known, time))

    # The endpoint

    def start_of(self, relay: AnyRelay, right: bool = True, **fields: Any) -> RunEndpoint:
        start = RunEndpoint(
            uuid="uuid-plc",
            name="plc",
            protocol=self.counterpart.protocol,
            device_uuid="device-plc",
            device="plc",
            connection=_raw(self.counterpart.connection(relay, right)),
            data_points=_raw(self.counterpart.data_points),
            poll_interval=INTERVAL_MS,
            phase=0.0,
            reconnect_min_ms=50,
            reconnect_max_ms=200,
            router=self.router,
        )
        return msgspec.structs.replace(start, **fields)

    def run(self, relay: AnyRelay | None = None, right: bool = True, **fields: Any) -> None:
        """Begin it, or change it."""
        start = self.start_of(relay or self.counterpart.relay, right, **fields)
        self.wanted[:] = [start]
        self.base.deliver(self.adapter, KeepEndpoints((start,)), self.keeper)

    def end(self) -> None:
        """As one that is disabled or removed is."""
        self.wanted.clear()
        self.base.deliver(self.adapter, EndEndpoints(("plc",)), self.keeper)

    @property
    def running(self) -> bool:
        return self.endpoint.addressDetails in self.base.mailboxes

    @property
    def lines(self) -> Lines:
        """What endpoints of the protocol share."""
        return lines_of(self.counterpart.protocol)

    @property
    def crashes(self) -> int:
        """How often the endpoint has crashed."""
        return self.base.mailboxes[self.endpoint.addressDetails].crashes.restarts

    @property
    def instance(self) -> Any:
        """The actor; None while it is between two lives."""
        return self.base.mailboxes[self.endpoint.addressDetails].instance

    async def begin(self) -> None:
        """An endpoint with good values."""
        self.run()
        await self.good()

    async def write(self, value: Any, register: str = "setpoint") -> Any:
        """The answer."""
        return await self.base.ask(self.endpoint, WriteRegister(register, value), 8.0)

    async def report(self) -> HealthReported:
        found: HealthReported = await self.base.ask(self.endpoint, ReportHealth(), 5.0)
        return found

    # The device

    async def advance(self, count: int = 1) -> None:
        """It has other values."""
        for _ in range(count):
            self.number += 1
            self.numbers.add(self.number)
            await self.counterpart.set(self.number)

    async def run_on(self, until: Callable[[], bool], pause: float = 0.005) -> None:
        """It has other values all the time."""
        async with asyncio.timeout(10):
            while not until():
                await self.advance()
                await asyncio.sleep(pause)

    # What came

    def latest(self, name: str = "counter") -> Reading | None:
        return self.readings[name][-1] if self.readings[name] else None

    def is_good(self) -> bool:
        """The device's values of now are there, GOOD."""
        for name, more in (("counter", 0), ("twin", TWIN)):
            latest = self.latest(name)
            if latest is None or latest.code is not None or latest.value != self.number + more:
                return False
        return True

    async def good(self) -> None:
        """Until the device's values of now are there."""
        await self.until(self.is_good, self.counterpart.back_within)

    async def away(self) -> int:
        """Until the device is told as away, for a while. Returns how many readings of the counter there are
        then."""
        latest = self.latest

        def bad() -> bool:
            found = latest()
            return found is not None and found.code is not None

        await self.until(bad, self.counterpart.back_within)
        count = len(self.readings["counter"])
        await self.until(lambda: len(self.readings["counter"]) >= count + SETTLED)
        assert all(reading.code is not None for reading in self.readings["counter"][count:])
        return len(self.readings["counter"])

    async def back(self, since: int) -> None:
        """Until the values of now are there again, and nothing good came before from the time when it was
        away: `since` is what `away` returned."""
        first = self.number
        await self.good()
        if not self.counterpart.replays:
            news = [reading.value for reading in self.readings["counter"][since:] if reading.code is None]
            assert news[0] >= first, "what it had before it was away is told as new"

    async def until(self, happened: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not happened():  # noqa: ASYNC110 - what is waited for announces itself to nobody
                await asyncio.sleep(0.002)

    def check(self) -> None:
        """Nothing came as GOOD that the device did not have, or that was older than what had come already."""
        for name, more in (("counter", 0), ("twin", TWIN)):
            good = [reading for reading in self.readings[name] if reading.code is None]
            made_up = {reading.value for reading in good} - {number + more for number in self.numbers}
            assert not made_up, f"{name}: the device never had {made_up}"
            if self.counterpart.order == "times":
                good.sort(key=lambda reading: reading.time)
            older = [(one, other) for one, other in pairwise(good) if other.value < one.value]
            assert not older or self.counterpart.order == "none", (
                f"{name}: older than what had come: {older[0]}"
            )
            assert all(reading.value is None for reading in self.readings[name] if reading.code is not None)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
