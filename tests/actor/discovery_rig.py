"""Discovery with a store and endpoints on a real database, and a plant in which scans find what tests say."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from puppets import SECONDS, until
from thespian.actors import ActorAddress

from actors.connections.connection import Transient
from actors.discovery.discoveries import Discoveries
from actors.discovery.messages import (
    AddRule,
    ChangeRule,
    Discover,
    Discovered,
    ListRules,
    ListRuns,
    RuleChanged,
    RuleRan,
    RuleRow,
    RulesListed,
    RunRow,
    RunRuleNow,
    RunsListed,
)
from actors.discovery.run_keeper import RunDiscovery
from actors.discovery.unasked import Unasked
from actors.endpoints import protocols, third_party
from actors.endpoints.adapter_keeper import RunEndpoints
from actors.endpoints.discovering import At, Discovery, Found, Known, Plan
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Listener
from actors.endpoints.messages import (
    AddEndpoint,
    EndpointChanged,
    EndpointRow,
    EndpointsListed,
    ListEndpoints,
)
from actors.endpoints.protocol import CheckedEndpoint, Example, PolledSession, PollResult, Protocol
from actors.endpoints.protocols import Known as KnownProtocol
from actors.endpoints.supervisor import Endpoints
from actors.endpoints.targets import read_targets
from actors.state.messages import Transact, Transacted
from actors.state.store import RunStore, Store
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.checking import checked
from actors.system.failure import Failed, Refusal
from conf.fields import Host
from conf.settings import Settings, load

T = TypeVar("T")


class FakeConnection(msgspec.Struct, frozen=True):
    host: Host
    port: int = 502
    password: str | None = None


class FakeDataPoint(msgspec.Struct, frozen=True):
    name: str
    unit: str | None = None

    @property
    def address_text(self) -> str:
        return f"fake:{self.name}"


class FakeOptions(msgspec.Struct, frozen=True):
    network: str | None = None
    password: str | None = None


class FakePlan(Plan, frozen=True):
    hosts: tuple[str, ...] = ()


class Plant:
    """What there is, by host, and how scans behave. While `gate` is clear probes wait."""

    def __init__(self) -> None:
        self.devices: dict[str, Found] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: BaseException | None = None
        self.troubles: dict[str, str] = {}
        self.configured: tuple[str, ...] = ()
        self.known: Known | None = None
        self.places: dict[str, At | None] = {}
        """Where those of `troubles` are, but at their hosts."""
        self.silent: set[str] = set()
        """Those of `troubles` where somebody was expected, and nobody is."""
        self.asked: list[str] = []
        self.validated: list[bool] = []
        self.probing: Any = None
        self.connected: set[str] = set()
        """Hosts whose endpoints' sessions reach them."""
        self.order: list[Any] = []
        self.reads = 0
        self.scans = 0
        self.ended = 0
        self.within = 1.0
        self.unavailable: str | None = None

    def put(self, host: str, identity: str | None = None, **changes: Any) -> None:
        fields = {"data_points": ({"name": "speed"},), "name": f"Device at {host}"} | changes
        connection = {"host": host, "port": 502} | fields.pop("connection", {})
        self.devices[host] = Found(identity=identity or f"fake:{host}", connection=connection, **fields)

    def plan(self, options: dict[str, Any], known: Known, path: str) -> FakePlan | None:
        self.known = known
        given = checked(options, FakeOptions, path)
        network = given.network or ",".join(self.configured)
        if not network:
            return None
        hosts = read_targets(network, f"{path}.network").hosts
        return FakePlan(len(hosts), self.within, hosts)

    async def scan(self, plan: FakePlan, probing: Any) -> None:
        self.scans += 1
        self.probing = probing
        self.validated.append(probing.validate)
        try:
            async with asyncio.TaskGroup() as group:
                hosts = plan.hosts
                for change in self.order:
                    hosts = change(hosts)
                for host in hosts:
                    group.create_task(self._probe(host, probing))
        except* Refusal as group_of:
            raise group_of.exceptions[0] from None
        finally:
            self.ended += 1
        if self.fault is not None:
            raise self.fault

    async def _probe(self, host: str, probing: Any) -> None:
        async with probing.probe(host):
            self.asked.append(host)
            await self.gate.wait()
            device = self.devices.get(host)
            if host in self.troubles:
                at = self.places.get(host, At(host))
                probing.trouble(host, self.troubles[host], at=at, nobody=host in self.silent)
            elif device is not None:
                probing.found(msgspec.structs.replace(device, validated=probing.validate))


class FakeSession(PolledSession):
    def __init__(self, plant: Plant, endpoint: CheckedEndpoint) -> None:
        self.plant = plant
        self.endpoint = endpoint

    async def connect(self) -> None:
        if self.endpoint.connection.host not in self.plant.connected:
            raise Transient("nobody is there")

    async def read(self, within: float) -> PollResult:
        await self.connect()
        self.plant.reads += 1
        return PollResult([1 for _ in self.endpoint.points])

    async def close(self) -> None:
        pass


def fake_protocol(plant: Plant, name: str = "fake") -> Protocol:
    def check(given: dict[str, Any], points: Sequence[dict[str, Any]]) -> CheckedEndpoint:
        connection = checked(given, FakeConnection, "connection")
        known = [checked(one, FakeDataPoint, f"data_points[{index}]") for index, one in enumerate(points)]
        address = f"{name}:{connection.host}:{connection.port}"
        at = (At(connection.host, connection.port),)
        return CheckedEndpoint(connection, tuple(known), address, address, at=at)

    def session(endpoint: CheckedEndpoint, listener: Listener, lines: Lines) -> PolledSession:
        return FakeSession(plant, endpoint)

    return Protocol(
        name=name,
        check=check,
        session=session,
        library="",
        connection=FakeConnection,
        data_point=FakeDataPoint,
        discovery=Discovery(FakeOptions, plant.plan, lambda: plant.scan),
        example=Example({"host": "10.0.0.1"}, ({"name": "speed"},)),
    )


class StartAll(msgspec.Struct, frozen=True):
    store: RunStore
    settings: Settings
    unasked: Unasked


class Root(Actor):
    """Stands for the agent."""

    def receiveMsg_StartAll(self, message: StartAll, sender: ActorAddress) -> None:
        store = self.spawn(Store, "store", message.store)
        endpoints = RunEndpoints(store, self.myAddress, 100, 400, message.settings, "agent-uuid")
        found = self.spawn(Endpoints, "endpoints", endpoints)
        start = RunDiscovery(store, found, message.settings, message.unasked)
        self.spawn(Discoveries, "discovery", start)


class DiscoveryRig:
    """A restart keeps the database, and the plant."""

    def __init__(self, directory: Path, plants: dict[str, Plant]) -> None:
        self.path = directory / "agent.sqlite"
        self.plants = plants
        self.guarded: set[str] = set()
        """Protocols that another package brings."""
        self.plant = plants["fake"]
        self.settings = load(None, {})
        self.unasked = Unasked(True, 14_400_000, 86_400_000)
        self.discovery = ActorAddress("/agent/discovery")
        self.endpoints = ActorAddress("/agent/endpoints")
        self.store = ActorAddress("/agent/store")

    def find(self, name: str) -> Protocol:
        known = self.look_up(name)
        if known.unavailable is not None or known.protocol is None:
            raise Refusal(f"Protocol {name} is not available: {known.unavailable}", "protocol", "unavailable")
        return known.protocol

    def look_up(self, name: str) -> KnownProtocol:
        plant = self.plants.get(name)
        if plant is None:
            raise Refusal(f"Unknown protocol: {name}", "protocol")
        protocol = fake_protocol(plant, name)
        if name in self.guarded:
            protocol = third_party.guarded(protocol, f"callboard-{name} 1.0")
        return KnownProtocol(name, protocol, plant.unavailable)

    async def start(self, **environ: str) -> None:
        if environ:
            self.settings = load(None, environ)
        self.base = AsyncioSystemBase()
        store = RunStore(self.path, self.path.parent, 5000, None, None, None)
        self.base.spawn(None, Root, "agent", StartAll(store, self.settings, self.unasked))
        await until(lambda: self.keeper() is not None and self.keeper().loaded)

    def keeper(self) -> Any:
        cell: Any = self.base.mailboxes.get("/agent/discovery")
        return cell and cell.instance

    def rule(self, uuid: str) -> Any:
        cell: Any = self.base.mailboxes.get(f"/agent/discovery/{uuid}")
        return cell and cell.instance

    def scans(self) -> list[str]:
        return [path for path in self.base.mailboxes if "/scan-" in str(path)]

    async def stop(self) -> None:
        """As the agent stops: the store is the last."""
        for name in ("discovery", "endpoints"):
            self.base.terminate(self.base.mailboxes[f"/agent/{name}"])
        await self.transact(lambda database: None)
        await self.kill()

    async def kill(self) -> None:
        """As a crash of the process does, but that files are closed."""
        self.base.shutdown()
        await self.base.released()

    async def crash(self, address: str) -> None:
        """And wait for the next life."""
        cell: Any = self.base.mailboxes[address]
        before = cell.instance
        self.base.crash(cell, RuntimeError("boom"))
        await until(lambda: cell.instance not in (None, before))

    async def transact(self, call: Any, *args: Any) -> Any:
        answer = await self.base.ask(self.store, Transact("test", call, args), SECONDS)
        assert isinstance(answer, Transacted)
        assert answer.error is None
        return answer.result

    async def ask(self, message: Any, expected: type[T], to: ActorAddress | None = None) -> T:
        answer = await self.base.ask(to or self.discovery, message, SECONDS)
        assert isinstance(answer, expected), answer
        return answer

    async def refused(self, message: Any) -> Failed:
        return await self.ask(message, Failed)

    async def discover(self, network: str | None = "10.0.0.0/29", **fields: Any) -> Discovered:
        overrides = {} if network is None else {"fake": {"network": network}}
        message = Discover(**({"protocols": ("fake",), "overrides": overrides} | fields))
        return await self.ask(message, Discovered)

    async def add_rule(self, **fields: Any) -> RuleRow:
        given = {"name": "scan", "protocol": "fake", "params_json": {"network": "10.0.0.0/29"}} | fields
        return (await self.ask(AddRule(**given), RuleChanged)).rule

    async def change_rule(self, uuid: str, **fields: Any) -> RuleRow:
        return (await self.ask(ChangeRule(uuid=uuid, **fields), RuleChanged)).rule

    async def run_rule(self, uuid: str, **fields: Any) -> RuleRan:
        return await self.ask(RunRuleNow(uuid, **fields), RuleRan)

    async def rules(self) -> list[RuleRow]:
        return (await self.ask(ListRules(), RulesListed)).rules

    async def runs(self, uuid: str | None = None, limit: int = 50) -> list[RunRow]:
        return (await self.ask(ListRuns(uuid, limit), RunsListed)).runs

    async def rows(self) -> dict[str, EndpointRow]:
        listed = await self.ask(ListEndpoints(), EndpointsListed, self.endpoints)
        return {row.name: row for row in listed.endpoints}

    async def add(self, name: str, host: str, **fields: Any) -> EndpointRow:
        message = AddEndpoint(name, fields.pop("protocol", "fake"), {"host": host}, **fields)
        return (await self.ask(message, EndpointChanged, self.endpoints)).endpoint


@asynccontextmanager
async def discovering(
    monkeypatch: pytest.MonkeyPatch, directory: Path, names: Sequence[str] = ("fake",), **environ: str
) -> AsyncIterator[DiscoveryRig]:
    rig = DiscoveryRig(directory, {name: Plant() for name in names})
    monkeypatch.setattr(protocols, "find", rig.find)
    monkeypatch.setattr(protocols, "look_up", rig.look_up)
    monkeypatch.setattr(protocols, "names", lambda: tuple(rig.plants))
    await rig.start(**environ)
    try:
        yield rig
    finally:
        await rig.kill()
