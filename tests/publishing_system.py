"""The publisher with a real store, in an actor system of its own, as tests drive it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import pytest
from thespian.actors import ActorAddress

from actors.connections import retry
from actors.publish import destination as destination_module
from actors.publish import reporting
from actors.publish.entries import Limits
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    BuffersReported,
    ChangeDestination,
    ChangeSubscription,
    DestinationChanged,
    DestinationRow,
    OutboxReport,
    ReportBuffers,
    SubscriptionChanged,
    SubscriptionRow,
)
from actors.publish.pace import Flow
from actors.publish.publisher import Publisher, RunPublisher
from actors.publish.starts import Terms
from actors.readings import router
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import ReportRouting, RoutingReported
from actors.readings.router import Router, RunRouter
from actors.readings.source_topics import prefixes
from actors.state.messages import Transact, Transacted
from actors.state.store import RunStore, Store
from actors.subsystems.messages import StopSubsystem, SubsystemStopped
from actors.system import tree
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from actors.system.messages import ActorNode
from storage import groups
from storage.database import Database

UUID = "7d0f2c5e-0000-4000-8000-000000000001"
PATIENCE = 10.0

T = TypeVar("T")


def limits(**changes: Any) -> Limits:
    values: dict[str, Any] = {
        "max_rows": 100_000,
        "max_bytes": 100_000_000,
        "ttl_ms": 3_600_000,
        "memory_bytes": 1_000_000,
        "hold": 0.03,
        "strict": False,
    }
    return Limits(**(values | changes))


class PublishingSystem:
    """Store and publisher in an actor system of their own; a restart keeps the database."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "agent.sqlite"
        self.limits = limits()
        self.flow = Flow(window=100)
        self.sources: dict[str, Source] = {}

    async def start(self) -> None:
        await self.start_store()
        await self.start_publisher()

    async def start_store(self) -> None:
        self.base = AsyncioSystemBase()
        start = RunStore(self.path, self.path.parent, 5000, None, None, None)
        self.store = self.base.spawn(None, Store, "store", start)
        self.router = self.base.spawn(None, Router, "readings", RunRouter())
        self.terms = Terms(
            store=self.store,
            router=self.router,
            agent_uuid=UUID,
            limits=self.limits,
            flow=self.flow,
        )

    async def start_publisher(self) -> None:
        self.publisher = self.base.spawn(None, Publisher, "publisher", RunPublisher(self.terms))
        await self.ask(ReportBuffers(), BuffersReported)
        cell: Any = self.base.mailboxes[self.publisher.addressDetails]
        await self.until(lambda: not cell.instance.starting)
        await self.routed()

    async def routed(self) -> None:
        """Wait until the router has done what it was told before."""
        assert isinstance(await self.base.ask(self.router, ReportRouting(), PATIENCE), RoutingReported)

    async def stop(self) -> None:
        """As the agent stops."""
        await self.ask(StopSubsystem(), SubsystemStopped)
        await self.end()

    async def end(self) -> None:
        """As a crash does, but that files are closed."""
        self.base.shutdown()
        await self.base.released()

    async def transact(self, call: Callable[..., Any], *args: Any) -> Transacted:
        answer = await self.base.ask(self.store, Transact("test", call, args), PATIENCE)
        assert isinstance(answer, Transacted)
        return answer

    async def ask(self, message: Any, expected: type[T]) -> T:
        answer = await self.base.ask(self.publisher, message, PATIENCE)
        assert isinstance(answer, expected), answer
        return answer

    async def refused(self, message: Any) -> Failed:
        return await self.ask(message, Failed)

    # Configuring

    async def new_destination(
        self, name: str, type: str, config_json: dict[str, Any] | None, **fields: Any
    ) -> DestinationRow:
        message = AddDestination(name=name, type=type, config_json=config_json, **fields)
        return (await self.ask(message, DestinationChanged)).destination

    async def change_destination(self, id: int, **fields: Any) -> DestinationRow:
        changed = await self.ask(ChangeDestination(id, **fields), DestinationChanged)
        return changed.destination

    async def add_subscription(self, destination_id: int, **fields: Any) -> SubscriptionRow:
        route = {"topic": "plant"} | fields.pop("route_json", {})
        body: dict[str, Any] = {"payload_format": "tags", "route_json": route} | fields
        changed = await self.ask(AddSubscription(destination_id, **body), SubscriptionChanged)
        return changed.subscription

    async def change_subscription(self, id: int, **fields: Any) -> SubscriptionRow:
        changed = await self.ask(ChangeSubscription(id, **fields), SubscriptionChanged)
        return changed.subscription

    # Readings

    def poll(self, *numbers: int, endpoint: str = "line-1") -> list[Batch]:
        """Send one batch a number to the router, the number as value of the endpoint's metric `seq`.

        At once: not more than its mailbox holds.
        """
        assert len(numbers) <= self.base.mailbox_size
        source = self.sources.setdefault(endpoint, source_of(endpoint))
        batches = [Batch(source, 1_700_000_000_000 + number, [number]) for number in numbers]
        for batch in batches:
            self.base.tell(self.router, batch)
        return batches

    # Looking

    def destination(self, id: int) -> ActorAddress:
        return child_address(self.publisher, f"destination-{id}")

    def node(self, id: int) -> ActorNode | None:
        """The destination's actor in the tree dump."""
        cell: Any = self.base.mailboxes.get(self.destination(id).addressDetails)
        return None if cell is None else tree.dump(cell).root

    def health(self, id: int) -> str | None:
        node = self.node(id)
        return None if node is None else node.health

    async def observed(self, id: int) -> None:
        """Wait until the router knows a subscription of the destination: what came before is nobody's."""
        cell: Any = self.base.mailboxes[self.router.addressDetails]
        below = f"{self.destination(id).addressDetails}/"
        await self.until(lambda: any(key.startswith(below) for key in cell.instance.observers))

    def instance(self, id: int) -> destination_module.Destination:
        cell: Any = self.base.mailboxes[self.destination(id).addressDetails]
        found: destination_module.Destination = cell.instance
        return found

    def held(self, id: int) -> int | None:
        """How many payloads the outbox holds now; None when it is not there."""
        cell: Any = self.base.mailboxes.get(self.destination(id).addressDetails)
        outbox = getattr(cell and cell.instance, "outbox", None)
        return outbox and outbox.rows + len(cell.mailbox or ())

    async def report(self, id: int) -> OutboxReport:
        reported = await self.ask(ReportBuffers(), BuffersReported)
        return next(report for report in reported.outboxes if report.destination_id == id)

    async def reported(self, id: int, accepted: Callable[[OutboxReport], Any]) -> OutboxReport:
        """Wait for a report that is accepted."""
        async with asyncio.timeout(PATIENCE):
            while True:
                report = await self.report(id)
                if accepted(report):
                    return report
                await asyncio.sleep(0.01)

    def stored(self, id: int | None = None) -> list[int]:
        """The sequence numbers on disk, in order."""
        return [number for payload in self.stored_payloads(id) for number in numbers_of(payload)]

    def stored_payloads(self, id: int | None = None) -> list[bytes]:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT destination_id, payload FROM outbox ORDER BY seq").fetchall()
            query = (
                "SELECT destination_id, first_seq, live, size, data FROM outbox_groups"
                " JOIN outbox_group_data ON group_id = id ORDER BY first_seq"
            )
            packed = connection.execute(query).fetchall()
        left = [
            (owner, bytes(payload))
            for owner, first, live, size, data in packed
            for seq, _, payload, *_ in groups.decode(data, size)
            if int.from_bytes(live, "little") >> (seq - first) & 1
        ]
        return [payload for owner, payload in left + rows if id in (None, owner)]

    def groups(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            found: int = connection.execute("SELECT count(*) FROM outbox_groups").fetchone()[0]
        return found

    async def until(self, happened: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                if happened():
                    return
                await asyncio.sleep(0.005)

    async def settle(self, id: int) -> None:
        """Wait until everything is acknowledged, and deleted from disk.

        What was sent to the router before is counted: it has arrived by the next turns of the actors.
        """
        await self.routed()
        await self.until(lambda: self.held(id) == 0 and self.stored_payloads(id) == [])

    # Making trouble

    @contextmanager
    def busy_store(self) -> Iterator[None]:
        """Nothing asked of the store is done or answered meanwhile."""
        release = threading.Event()
        self.base.tell(self.store, Transact("busy", _wait, (release,)))
        try:
            yield
        finally:
            release.set()

    async def fill_disk(self) -> None:
        await self.transact(_limit_pages)

    async def free_disk(self) -> None:
        await self.transact(_unlimit_pages)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()


def _wait(database: Database, release: threading.Event) -> None:
    release.wait(PATIENCE)


def _limit_pages(database: Database) -> None:
    pages = database.db.execute("PRAGMA page_count").fetchone()[0]
    database.db.execute(f"PRAGMA max_page_count={pages}")


def _unlimit_pages(database: Database) -> None:
    database.db.execute("PRAGMA max_page_count=1000000")


def source_of(endpoint: str, *metrics: str) -> Source:
    names = metrics or ("seq",)
    return Source(
        endpoint_uuid=f"uuid-of-{endpoint}",
        endpoint=endpoint,
        protocol="modbus",
        device_uuid=f"device-of-{endpoint}",
        device=endpoint,
        points=tuple(Point(name) for name in names),
        prefixes=prefixes("modbus", endpoint, endpoint),
    )


def numbers_of(payload: bytes) -> list[int]:
    """The values of metric `seq` in a payload of format `tags` or `custom`."""
    decoded = msgspec.json.decode(payload)
    if "tags" in decoded:
        return [tag["value"] for tag in decoded["tags"] if tag["name"] == "seq"]
    return [message["value"] for message in decoded["messages"] if message["metric"] == "seq"]


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what takes its time in life quick."""
    monkeypatch.setattr(retry, "SOONEST", 0.02)
    monkeypatch.setattr(retry, "PERMANENT", 0.05)
    monkeypatch.setattr(router, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(reporting, "REPORT_INTERVAL", 0.02)
