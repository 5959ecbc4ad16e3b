"""`callboard run` ends with 0 after an orderly stop, and only then."""

import asyncio
from typing import Any

import msgspec
import pytest
from puppets import SECONDS, SOON, until
from thespian.actors import ActorAddress, ActorExitRequest

from actors.agent import Stop, Stopped
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart
from api.cli.run import _stop


class Clumsy(msgspec.Struct, frozen=True):
    """Start: how often it has crashed over a stop, how often it is going to, how often it has stopped."""

    crashed: list[int]
    times: int
    stopped: list[int]


class Root(Actor):
    def receiveMsg_Clumsy(self, message: Clumsy, sender: ActorAddress) -> None:
        self.start = message

    def receiveMsg_Stop(self, message: Stop, sender: ActorAddress) -> None:
        if len(self.start.crashed) < self.start.times:
            self.start.crashed.append(1)
            raise RuntimeError
        self.start.stopped.append(1)
        self.send(sender, Stopped())


def root(system: AsyncioSystemBase, times: int = 0, restart: Restart = SOON) -> tuple[ActorAddress, Any]:
    start = Clumsy([], times, [])
    address = system.spawn(None, Root, "agent", start, restart)
    return address, start


async def stop(system: AsyncioSystemBase, agent: ActorAddress) -> int:
    ended = asyncio.ensure_future(system.ended(agent))
    async with asyncio.timeout(SECONDS):
        return await _stop(system, agent, ended)


async def test_an_agent_that_stops_is_an_orderly_end(system):
    agent, _ = root(system)
    assert await stop(system, agent) == 0


async def test_an_agent_that_crashes_over_its_stop_is_told_again_and_waited_for(system):
    agent, start = root(system, times=2)
    assert await stop(system, agent) == 0
    assert len(start.crashed) == 2


@pytest.mark.parametrize("times", [0, 9])
async def test_an_agent_that_ends_before_it_has_stopped_is_a_failure(system, times):
    agent, _ = root(system, times, Restart("transient", max_restarts=2, backoff=0.001))
    if not times:
        system.tell(agent, ActorExitRequest())
    assert await stop(system, agent) == 1


async def test_an_agent_whose_mailbox_is_full_is_told_to_stop_when_there_is_room(system):
    agent, start = root(system)
    await until(lambda: not system.mailboxes[agent.addressDetails].mailbox)
    for number in range(20):
        system.tell(agent, number)
    assert await stop(system, agent) == 0
    assert start.stopped
