"""The publisher with a real store and destinations that a test drives instead of a broker."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from publishing_system import PublishingSystem, hasten, numbers_of

from actors.connections.connection import Transient
from actors.publish import destinations, pace, retiring
from actors.publish.destinations.driver import DestinationType, Driver, Identity, Listener, Outgoing
from actors.publish.messages import DestinationRow, DestinationTested
from actors.publish.topics import Target
from actors.system.failure import Refusal
from conf.schema import Nothing


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
        self.hangs: set[str] = set()
        """`connect`, `close`, `test`: never end."""
        self.patience = 60.0
        self.leaves_at_once = False
        """Connections end in the moment they are made."""
        self.closes_over: set[int] = set()
        """Sequence numbers at which it ends the connection."""
        self.drivers: list[SiteDriver] = []
        """Those that have tried to connect; others may have been built in vain."""
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

    async def hang(self, call: str) -> None:
        if call in self.hangs:
            await asyncio.Event().wait()

    def come_back(self) -> None:
        self.up = True


class SiteDriver(Driver):
    """Keeps the contract of `Driver` strictly."""

    def __init__(self, site: Site, identity: Identity, listener: Listener) -> None:
        self.site = site
        self.identity = identity
        self.listener = listener
        self.is_open = False
        self.unacknowledged: list[int] = []

    @property
    def patience(self) -> float:
        return self.site.patience

    async def connect(self) -> None:
        assert not self.is_open, "connected twice"
        site = self.site
        if self not in site.drivers:
            site.drivers.append(self)
        site.attempts += 1
        await site.hang("connect")
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

    def send(self, message: Outgoing) -> None:
        if not self.is_open:
            return  # `lost` is on its way
        if self.site.closes_over.intersection(numbers_of(message.payload)):
            self.end(f"{self.site.name} will not have that")
            return
        self.site.received.append((message.topic, message.payload))
        if not self.unacknowledged and self.site.acknowledging:
            asyncio.get_running_loop().call_soon(self.acknowledge)
        self.unacknowledged.append(message.seq)

    def acknowledge(self, count: int | None = None) -> None:
        if self.is_open and self.unacknowledged:
            count = len(self.unacknowledged) if count is None else count
            seqs, self.unacknowledged = self.unacknowledged[:count], self.unacknowledged[count:]
            self.listener.delivered(seqs)

    def reject(self, count: int, reason: str) -> None:
        """The oldest `count` payloads that are not acknowledged."""
        seqs, self.unacknowledged = self.unacknowledged[:count], self.unacknowledged[count:]
        self.listener.rejected(seqs, reason)

    def end(self, reason: str, retry_after: float = 0.0) -> None:
        self.is_open = False
        asyncio.get_running_loop().call_soon(self.listener.lost, Transient(reason, retry_after))

    async def close(self) -> None:
        self.is_open = False
        await self.site.hang("close")


class Sites:
    """The destination types `fake` and `other`: their `config_json` names a site as `host`."""

    TYPES = ("fake", "other")

    def __init__(self) -> None:
        self.known: dict[str, Site] = {}
        self.schema: type[msgspec.Struct] = Nothing

    def __getitem__(self, name: str) -> Site:
        return self.known.setdefault(name, Site(name))

    def find(self, type_name: Any) -> DestinationType:
        if type_name not in self.TYPES:
            raise Refusal(f"Invalid type: {type_name}. Supported: {', '.join(self.TYPES)}", "type")

        def driver(config: dict[str, Any], identity: Identity, listener: Listener) -> Driver:
            return SiteDriver(self[config["host"]], identity, listener)

        async def test(config: dict[str, Any], identity: Identity) -> DestinationTested:
            await self[config["host"]].hang("test")
            return DestinationTested(True, message=f"{config['host']} answers")

        return DestinationType(
            name=type_name,
            check=_check,
            target=_target,
            driver=driver,
            test=test,
            secrets=("password",),
            schema=self.schema,
        )


def _check(config: dict[str, Any]) -> dict[str, Any]:
    if not config.get("host"):
        raise Refusal("Host is required", "config_json.host")
    return config


def _target(config: dict[str, Any], topic: str | None, identity: Identity) -> Target:
    if topic is None:
        raise Refusal("route_json.topic is required for external destinations", "route_json.topic")
    return Target(topic)


class Rig(PublishingSystem):
    """With the destination types of `sites`."""

    def __init__(self, directory: Path, sites: Sites) -> None:
        super().__init__(directory)
        self.sites = sites

    async def add_destination(self, name: str = "one", host: str = "a", **fields: Any) -> DestinationRow:
        body = {"type": "fake", "config_json": {"host": host}} | fields
        return await self.new_destination(name, **body)

    async def begin(self, host: str = "a", name: str = "one", **fields: Any) -> int:
        """A destination that is connected and gets everything, unless `topics` are given."""
        topics = fields.pop("topics", [])
        destination = await self.add_destination(name, host, **fields)
        await self.add_subscription(destination.id, topics=topics)
        await self.until(lambda: self.health(destination.id) == "connected")
        return destination.id


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> Sites:
    found = Sites()
    monkeypatch.setattr(destinations, "find", found.find)
    hasten(monkeypatch)
    monkeypatch.setattr(retiring, "DRAIN_TIME", 0.4)
    monkeypatch.setattr(pace, "FIRST", 100)
    return found


@pytest.fixture
async def rig(tmp_path: Path, sites: Sites) -> Any:
    async with Rig(tmp_path, sites) as running:
        yield running
