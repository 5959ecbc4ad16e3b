"""How the gateway gets readings, and runs of discovery, for the clients that follow them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fake_field import until
from thespian.actors import ActorAddress

from actors.discovery.messages import (
    FollowRuns,
    ListRuns,
    RunRow,
    RunsListed,
    RunsProgressed,
    UnfollowRuns,
)
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import Observe, Unobserve
from actors.readings.router import Router, RunRouter
from actors.subsystems.messages import LifecycleChanged, SubsystemStarted
from actors.system.actor import Actor
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart
from api.gateway import Gateway, GatewayListening, RunGateway
from conf.settings import load

SOON = Restart(backoff=0.001, backoff_max=0.004)
RUN = RunRow(
    uuid="r", rule_uuid=None, rule_name=None, protocol="modbus", trigger="manual", started_at=1, probed=7
)
PRESS = Source("u", "press", "modbus", "d", "press", (Point("speed"),), ())


class WatchedGateway(Gateway):
    """Tells where it listens."""

    ports: list[int]

    def receiveMsg_GatewayListening(self, message: GatewayListening, sender: ActorAddress) -> None:
        super().receiveMsg_GatewayListening(message, sender)
        self.ports.append(message.port)


class Scans(Actor):
    """Stands for discovery: tells who follows it of a run, whenever it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: list[ActorAddress] = []

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        for one in self.followers:
            self.send(one, RunsProgressed([RUN]))

    def receiveMsg_ListRuns(self, message: ListRuns, sender: ActorAddress) -> None:
        self.send(sender, RunsListed([]))

    def receiveMsg_FollowRuns(self, message: FollowRuns, sender: ActorAddress) -> None:
        self.followers = [sender]

    def receiveMsg_UnfollowRuns(self, message: UnfollowRuns, sender: ActorAddress) -> None:
        self.followers = []


class Root(Actor):
    """Stands for the agent."""

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.spawn(Scans, "discovery", "go")

    def receiveMsg_SubsystemStarted(self, message: SubsystemStarted, sender: ActorAddress) -> None:
        pass


class WatchedRouter(Router):
    """A router that keeps what it was asked by gateways."""

    asked: list[Observe | Unobserve]

    def receiveMsg_Observe(self, message: Observe, sender: ActorAddress) -> None:
        self.asked.append(message)
        super().receiveMsg_Observe(message, sender)

    def receiveMsg_Unobserve(self, message: Unobserve, sender: ActorAddress) -> None:
        self.asked.append(message)
        super().receiveMsg_Unobserve(message, sender)


class House:
    """A gateway and a router."""

    def __init__(self, base: AsyncioSystemBase) -> None:
        self.base = base
        self.ports: list[int] = []
        self.asked: list[Observe | Unobserve] = []
        WatchedRouter.asked = self.asked
        WatchedGateway.ports = self.ports
        self.agent = base.spawn(None, Root, "agent", "go")
        self.router = base.spawn(None, WatchedRouter, "readings", RunRouter(), SOON)
        discovery = child_address(self.agent, "discovery")
        start = RunGateway(load(None, {}, {"api.port": 0}), self.agent, self.router, self.agent, discovery)
        self.gateway = base.spawn(None, WatchedGateway, "gateway", start, SOON)

    @asynccontextmanager
    async def following(self, query: str = "", what: str = "readings") -> AsyncIterator[aiohttp.StreamReader]:
        url = f"http://127.0.0.1:{self.ports[-1]}/v1/{what}/stream{query}"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            assert reply.status == 200
            yield reply.content

    def publish(self, source: Source = PRESS) -> None:
        self.base.tell(self.router, Batch(source, 1, [1]))

    @property
    def scans(self) -> Any:
        return self.base.mailboxes["/agent/discovery"].instance

    def handled(self, address: ActorAddress) -> int:
        return self.base.mailboxes[address.addressDetails].handled

    def observers(self) -> int:
        router: Any = self.base.mailboxes[self.router.addressDetails].instance
        return len(router.observers) if router else 0

    def crash(self, address: ActorAddress) -> None:
        cell = self.base.mailboxes[address.addressDetails]
        self.base.crash(cell, RuntimeError("a defect"))


@pytest.fixture
async def house():
    base = AsyncioSystemBase()
    house = House(base)
    await until(lambda: house.ports)
    base.tell(house.gateway, LifecycleChanged("RUNNING"))
    yield house
    base.shutdown()
    await base.released()


async def event(content: aiohttp.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        while not (line := await content.readline()).startswith(b"data: "):
            assert line, "the stream has ended"
    return line


async def test_readings_reach_a_client_while_it_follows_and_cost_nothing_otherwise(house):
    house.publish()
    await asyncio.sleep(0)
    assert house.asked == [Unobserve(house.gateway)]
    async with house.following("?endpoint=press") as content:
        await until(house.observers)
        house.publish()
        assert b'"endpoint":"press"' in await event(content)
        assert house.asked[-1] == Observe(house.gateway)
    await until(lambda: house.observers() == 0)
    assert house.asked[-1] == Unobserve(house.gateway)
    handled = house.handled(house.gateway)
    for _ in range(10):
        house.publish()
    routed = house.handled(house.router)
    await until(lambda: house.handled(house.router) >= routed + 10)
    assert house.handled(house.gateway) == handled


async def test_for_a_second_client_the_router_is_not_asked_again(house):
    async with house.following() as one, house.following("?metric=speed") as other:
        await until(house.observers)
        house.publish()
        assert await event(one) == await event(other)
    assert house.asked.count(Observe(house.gateway)) == 1


async def test_a_router_that_restarts_knows_who_follows(house, caplog):
    async with house.following() as content:
        await until(house.observers)
        house.crash(house.router)
        house.publish()
        assert b'"endpoint":"press"' in await event(content)


async def test_a_gateway_that_restarts_ends_its_streams_and_serves_new_ones(house, caplog):
    async with house.following() as content:
        await until(house.observers)
        house.crash(house.gateway)
        async with asyncio.timeout(5):
            assert (await content.read()).startswith(b"retry: ")
    await until(lambda: len(house.ports) == 2)
    async with house.following() as content:
        await until(house.observers)
        house.publish()
        assert b'"endpoint":"press"' in await event(content)


async def test_runs_of_discovery_are_told_while_somebody_follows_them(house):
    async with house.following(what="discovery-runs") as one, house.following(what="discovery-runs") as other:
        await until(lambda: house.scans.followers)
        house.base.tell(house.scans.myAddress, "go on")
        assert b'"probed":7' in await event(one)
        assert b'"probed":7' in await event(other)
    await until(lambda: not house.scans.followers)
