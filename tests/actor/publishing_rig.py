"""The publisher with a real store and destinations that a test drives instead of a broker."""

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

from actors.batch import Batch, Point, Source
from actors.failure import Failed, Refusal
from actors.messages import ActorNode, Transact, Transacted
from actors.publish import destination as destination_module
from actors.publish import destinations, publisher, retry, router
from actors.publish.destinations.driver import (
    Delivered,
    DestinationType,
    Driver,
    Lost,
    Transient,
)
from actors.publish.messages import (
    AddDestination,
    AddSubscription,
    BuffersReported,
    ChangeDestination,
    ChangeSubscription,
    DestinationChanged,
    DestinationRow,
    DestinationTested,
    OutboxReport,
    ReportBuffers,
    SubscriptionChanged,
    SubscriptionRow,
)
from actors.publish.outbox import Limits
from actors.publish.publisher import Publisher
from actors.publish.signals import AllRetired, RetireAll, RunPublisher
from actors.store import RunStore, Store
from actors.system import tree
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from storage import outbox, target_state
from storage.database import Database

UUID = "7d0f2c5e-0000-4000-8000-000000000001"
PATIENCE = 5.0

T = TypeVar("T")


class Site:
    """Where drivers whose `host` is this site's name connect; it does what the test says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = True
        self.acknowledging = True
        self.gate: asyncio.Event | None = None
        """Attempts to connect wait for it."""
        self.error: Exception | None = None
        """What attempts to connect raise."""
        self.leaves_at_once = False
        """Connections end in the moment they are made."""
        self.drivers: list[SiteDriver] = []
        self.attempts = 0
        self.received: list[tuple[str, bytes]] = []

    @property
    def connected(self) -> list["SiteDriver"]:
        return [driver for driver in self.drivers if driver.is_open]

    @property
    def numbers(self) -> list[int]:
        """The sequence numbers received."""
        return [number for _, payload in self.received for number in numbers_of(payload)]

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.received]

    def acknowledge(self, count: int | None = None) -> None:
        """The oldest `count` payloads that are not yet; all if None."""
        for driver in self.connected:
            driver.acknowledge(count)

    def leave(self, reason: str = "the site left") -> None:
        """Connections end and no new ones are accepted."""
        self.up = False
        for driver in self.connected:
            driver.end(reason)

    def come_back(self) -> None:
        self.up = True


class SiteDriver(Driver):
    """Keeps the contract of `Driver` strictly."""

    def __init__(self, site: Site, name: str, delivered: Delivered, lost: Lost) -> None:
        self.site = site
        self.name = name
        self.delivered = delivered
        self.lost = lost
        self.is_open = False
        self.unacknowledged: list[int] = []
        site.drivers.append(self)

    async def connect(self) -> None:
        assert not self.is_open, "connected twice"
        site = self.site
        site.attempts += 1
        if site.gate is not None:
            await site.gate.wait()
        if site.error is not None:
            raise site.error
        if not site.up:
            raise Transient(f"{site.name} is down")
        self.is_open = True
        self.unacknowledged.clear()
        if site.leaves_at_once:
            self.end(f"{site.name} left at once")

    def send(self, seq: int, topic: str, payload: bytes) -> None:
        if not self.is_open:
            return  # `lost` is on its way
        self.site.received.append((topic, payload))
        if not self.unacknowledged and self.site.acknowledging:
            asyncio.get_running_loop().call_soon(self.acknowledge)
        self.unacknowledged.append(seq)

    def acknowledge(self, count: int | None = None) -> None:
        if self.is_open and self.unacknowledged:
            count = len(self.unacknowledged) if count is None else count
            seqs, self.unacknowledged = self.unacknowledged[:count], self.unacknowledged[count:]
            self.delivered(seqs)

    def end(self, reason: str) -> None:
        self.is_open = False
        asyncio.get_running_loop().call_soon(self.lost, reason)

    async def close(self) -> None:
        self.is_open = False


class Sites:
    """The destination types `fake` and `other`: their `config_json` names a site as `host`."""

    TYPES = ("fake", "other")

    def __init__(self) -> None:
        self.known: dict[str, Site] = {}

    def __getitem__(self, name: str) -> Site:
        return self.known.setdefault(name, Site(name))

    def find(self, type_name: Any) -> DestinationType:
        if type_name not in self.TYPES:
            raise Refusal(f"Invalid type: {type_name}. Supported: {', '.join(self.TYPES)}", "type")

        def driver(config: dict[str, Any], name: str, delivered: Delivered, lost: Lost) -> Driver:
            return SiteDriver(self[config["host"]], name, delivered, lost)

        return DestinationType(type_name, _check, driver, _test, ("password",))


def _check(config: dict[str, Any]) -> dict[str, Any]:
    if not config.get("host"):
        raise Refusal("Host is required", "config_json.host")
    return config


async def _test(config: dict[str, Any]) -> DestinationTested:
    return DestinationTested(True, message=f"{config.get('host')} answers")


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


class Rig:
    """Store and publisher in an actor system of their own; a restart keeps the database."""

    def __init__(self, directory: Path, sites: Sites) -> None:
        self.path = directory / "agent.sqlite"
        self.sites = sites
        self.limits = limits()
        self.window = 100
        self.sources: dict[str, Source] = {}

    async def start(self) -> None:
        await self.start_store()
        await self.start_publisher()

    async def start_store(self) -> None:
        self.base = AsyncioSystemBase()
        start = RunStore(self.path, self.path.parent, 5000, None, None, None)
        self.store = self.base.spawn(None, Store, "store", start)
        rows = (await self.transact(target_state.load)).result
        found = (await self.transact(outbox.summaries)).result
        self.run = RunPublisher(rows, found, self.store, UUID, self.limits, self.window)

    async def start_publisher(self) -> None:
        self.publisher = self.base.spawn(None, Publisher, "publisher", self.run)
        self.router = child_address(self.publisher, publisher.ROUTER)
        await self.until(lambda: self.router.addressDetails in self.base.mailboxes)

    async def stop(self) -> None:
        """As the agent stops."""
        await self.ask(RetireAll(), AllRetired)
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

    async def add_destination(self, name: str = "one", host: str = "a", **fields: Any) -> DestinationRow:
        body = {"type": "fake", "config_json": {"host": host}} | fields
        changed = await self.ask(AddDestination(name=name, **body), DestinationChanged)
        return changed.destination

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

    async def begin(self, host: str = "a", name: str = "one", **fields: Any) -> int:
        """A destination that is connected and gets everything."""
        destination = await self.add_destination(name, host, **fields)
        await self.add_subscription(destination.id)
        await self.until(lambda: self.health(destination.id) == "connected")
        return destination.id

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
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT destination_id, payload FROM outbox ORDER BY seq").fetchall()
        return [number for owner, payload in rows if id in (None, owner) for number in numbers_of(payload)]

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
        await self.ask(ReportBuffers(), BuffersReported)
        await self.until(lambda: self.held(id) == 0 and self.stored(id) == [])

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
        topics=tuple(
            (f"modbus/{endpoint}/{endpoint}/{name}", f"sensors/{endpoint}/{name}") for name in names
        ),
    )


def numbers_of(payload: bytes) -> list[int]:
    """The values of metric `seq` in a payload of format `tags` or `custom`."""
    decoded = msgspec.json.decode(payload)
    if "tags" in decoded:
        return [tag["value"] for tag in decoded["tags"] if tag["name"] == "seq"]
    return [message["value"] for message in decoded["messages"] if message["metric"] == "seq"]


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> Sites:
    """Also makes what takes its time in life quick."""
    found = Sites()
    monkeypatch.setattr(destinations, "find", found.find)
    monkeypatch.setattr(retry, "SOONEST", 0.02)
    monkeypatch.setattr(retry, "PERMANENT", 0.05)
    monkeypatch.setattr(destination_module, "REPORT_INTERVAL", 0.02)
    monkeypatch.setattr(destination_module, "DRAIN_TIME", 0.4)
    monkeypatch.setattr(router, "REPORT_INTERVAL", 0.02)
    return found


@pytest.fixture
async def rig(tmp_path: Path, sites: Sites) -> Any:
    async with Rig(tmp_path, sites) as running:
        yield running
