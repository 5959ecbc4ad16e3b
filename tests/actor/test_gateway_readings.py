"""How the gateway gets readings for the clients that follow them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fake_field import until
from thespian.actors import ActorAddress

from actors.agent import GatewayListening, RunGateway
from actors.publish.publisher import ROUTER
from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import Observe, Route
from actors.readings.router import Router
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart
from api import gateway
from api.gateway import Gateway
from conf.settings import load

SOON = Restart(backoff=0.001, backoff_max=0.004)
PRESS = Source("u", "press", "modbus", "d", "press", (Point("speed"),), ())


class Ports(Actor):
    """Stands for the agent: keeps where the gateway listens in the list that is its start message."""

    def receiveMsg_list(self, message: list[int], sender: ActorAddress) -> None:
        self.ports = message

    def receiveMsg_GatewayListening(self, message: GatewayListening, sender: ActorAddress) -> None:
        self.ports.append(message.port)


class WatchedRouter(Router):
    """A router that keeps what it was asked by gateways."""

    asked: list[Observe]

    def receiveMsg_Observe(self, message: Observe, sender: ActorAddress) -> None:
        self.asked.append(message)
        super().receiveMsg_Observe(message, sender)


class House:
    """A gateway and a router."""

    def __init__(self, base: AsyncioSystemBase) -> None:
        self.base = base
        self.ports: list[int] = []
        self.asked: list[Observe] = []
        WatchedRouter.asked = self.asked
        self.agent = base.spawn(None, Ports, "agent", self.ports)
        self.router = base.spawn(None, WatchedRouter, ROUTER, Route(()), SOON)
        settings = load(None, {}, {"api.port": 0})
        start = RunGateway(settings, self.agent, self.agent, self.agent, self.router, self.agent)
        self.gateway = base.spawn(None, Gateway, "gateway", start, SOON)

    @asynccontextmanager
    async def following(self, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
        url = f"http://127.0.0.1:{self.ports[-1]}/v1/readings/stream{query}"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            assert reply.status == 200
            yield reply.content

    def publish(self, source: Source = PRESS) -> None:
        self.base.tell(self.router, Batch(source, 1, [1]))

    def handled(self, address: ActorAddress) -> int:
        return self.base.mailboxes[address.addressDetails].handled

    def observers(self) -> int:
        router: Any = self.base.mailboxes[self.router.addressDetails].instance
        return len(router.leases) if router else 0

    def crash(self, address: ActorAddress) -> None:
        cell = self.base.mailboxes[address.addressDetails]
        self.base.crash(cell, RuntimeError("a defect"))


@pytest.fixture
async def house():
    base = AsyncioSystemBase()
    house = House(base)
    await until(lambda: house.ports)
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
    assert house.asked == []
    async with house.following("?endpoint=press") as content:
        await until(house.observers)
        house.publish()
        assert b'"endpoint":"press"' in await event(content)
        assert house.asked == [Observe(house.gateway, gateway.LEASE)]
    await until(lambda: house.observers() == 0)
    assert house.asked[-1] == Observe(house.gateway, 0)
    handled = house.handled(house.gateway)
    for _ in range(10):
        house.publish()
    routed = house.handled(house.router)
    await until(lambda: house.handled(house.router) >= routed + 10)
    assert house.handled(house.gateway) == handled


async def test_a_second_client_needs_no_lease_of_its_own(house):
    async with house.following() as one, house.following("?metric=speed") as other:
        await until(house.observers)
        house.publish()
        assert await event(one) == await event(other)
    assert [asked.seconds for asked in house.asked].count(gateway.LEASE) == 1


async def test_the_lease_is_renewed_while_it_is_needed(house, monkeypatch):
    monkeypatch.setattr(gateway, "RENEW_EVERY", 0.01)
    async with house.following():
        await until(lambda: len(house.asked) >= 5)
    await until(lambda: house.asked[-1].seconds == 0)
    asked = len(house.asked)
    async with house.following():
        await until(lambda: len(house.asked) >= asked + 5)
    await until(lambda: house.asked[-1].seconds == 0)
    timers = house.base.mailboxes[house.gateway.addressDetails].timers
    await until(lambda: not timers)


async def test_a_router_that_restarts_is_asked_again(house, monkeypatch, caplog):
    monkeypatch.setattr(gateway, "RENEW_EVERY", 0.05)
    async with house.following() as content:
        await until(house.observers)
        house.crash(house.router)
        await until(house.observers)
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
