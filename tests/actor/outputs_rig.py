"""The outputs with a real store; batches are sent to the detectors as the router does."""

from pathlib import Path
from typing import Any, Self, TypeVar

from puppets import SECONDS, Lives, Puppet, until
from thespian.actors import ActorAddress

from actors.outputs.detector import DriftDetector
from actors.outputs.messages import (
    BaselineRow,
    BaselinesListed,
    ChangeDriftOptions,
    DriftEventsListed,
    ListBaselines,
    ListDriftEvents,
    ListOutputs,
    OutputRow,
    OutputsChanged,
    OutputsListed,
)
from actors.outputs.outputs import Outputs, RunOutputs
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import EventRaised, Observe
from actors.state.messages import Transact, Transacted
from actors.state.store import RunStore, Store
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from storage import target_state
from storage.drift import StoredDriftEvent

CREATED = "2026-01-01T00:00:00.000Z"
START = 1_700_000_000_000
LEARNING = 5

T = TypeVar("T")


class FakeRouter(Puppet):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[EventRaised] = []

    def receiveMsg_Observe(self, message: Observe, sender: ActorAddress) -> None:
        self.told.append(message)

    def receiveMsg_EventRaised(self, message: EventRaised, sender: ActorAddress) -> None:
        self.events.append(message)


class OutputsRig:
    """Store and outputs in an actor system of their own; a restart keeps the database."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "agent.sqlite"
        self.sources: dict[tuple[str, ...], Source] = {}
        self.now = START

    async def start(self, loaded: bool = True) -> None:
        """And wait until the baselines are loaded, or not."""
        self.base = AsyncioSystemBase()
        start = RunStore(self.path, self.path.parent, 5000, None, None, None)
        self.store = self.base.spawn(None, Store, "store", start)
        routers: list[FakeRouter] = []
        self.router = self.base.spawn(None, FakeRouter, "router", Lives(routers))  # type: ignore[arg-type]
        run = RunOutputs(self.store, self.router, CREATED)
        self.outputs = self.base.spawn(None, Outputs, "outputs", run)
        await until(lambda: routers and self.detector() and (self.detector().loaded or not loaded))
        self.published = routers[0].events

    async def stop(self) -> None:
        """As the agent stops: the store is the last."""
        self.base.terminate(self.base.mailboxes[self.outputs.addressDetails])
        await self.transact(target_state.load)
        await self.end()

    async def end(self) -> None:
        """As a crash does, but that files are closed."""
        self.base.terminate(self.base.mailboxes[self.store.addressDetails])
        self.base.shutdown()
        await self.base.released()

    async def crash(self, address: ActorAddress) -> None:
        """And wait for the next life."""
        cell: Any = self.base.mailboxes[address.addressDetails]
        before = cell.instance
        self.base.crash(cell, RuntimeError("boom"))
        await until(lambda: cell.instance not in (None, before) and not cell.mailbox)

    async def transact(self, call: Any, *args: Any) -> Transacted:
        answer = await self.base.ask(self.store, Transact("test", call, args), SECONDS)
        assert isinstance(answer, Transacted)
        assert answer.error is None
        return answer

    async def ask(self, message: Any, expected: type[T], to: ActorAddress | None = None) -> T:
        answer = await self.base.ask(to or self.outputs, message, SECONDS)
        assert isinstance(answer, expected), answer
        return answer

    async def refused(self, message: Any, to: ActorAddress | None = None) -> Failed:
        return await self.ask(message, Failed, to)

    async def change(self, protocol: str | None = "modbus", **options: Any) -> list[OutputRow]:
        return (await self.ask(ChangeDriftOptions(protocol, options), OutputsChanged)).outputs

    async def listed(self, protocol: str = "modbus") -> OutputRow:
        outputs = (await self.ask(ListOutputs(), OutputsListed)).outputs
        return next(row for row in outputs if row.protocol == protocol)

    async def events(self, protocol: str | None = None) -> list[StoredDriftEvent]:
        return (await self.ask(ListDriftEvents(protocol, 100), DriftEventsListed)).events

    async def baselines(self, protocol: str = "modbus") -> dict[str, BaselineRow]:
        listed = await self.ask(ListBaselines(), BaselinesListed, self.address(protocol))
        return {row.device: row for row in listed.baselines}

    def address(self, protocol: str = "modbus") -> ActorAddress:
        return child_address(self.outputs, protocol)

    def detector(self, protocol: str = "modbus") -> DriftDetector | None:
        cell: Any = self.base.mailboxes.get(self.address(protocol).addressDetails)
        return cell and cell.instance

    async def poll(
        self, times: int = 1, device: str = "press", protocol: str = "modbus", **values: Any
    ) -> None:
        """Wait until so many equal polls, a second apart, have been watched."""
        key = (device, protocol, *values)
        if key not in self.sources:
            points = tuple(Point(name) for name in values)
            self.sources[key] = Source("e", "line-1", protocol, f"uuid-of-{device}", device, points, ())
        for _ in range(times):
            self.now += 1000
            self.base.tell(self.address(protocol), Batch(self.sources[key], self.now, list(values.values())))
        await self.baselines(protocol)

    async def learn(self, *devices: str) -> None:
        """A warm-up in which devices have `speed` and `load`; changes count at once after that."""
        await self.change(warmupBatches=LEARNING, windowMs=0, consecutiveMissingThreshold=3)
        for device in devices or ("press",):
            await self.poll(LEARNING, device, speed=1, load=1)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()
