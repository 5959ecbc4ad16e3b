"""What is counted of a whole system, and who misses which readings."""

import asyncio

import msgspec
from puppets import SOON, Ask, Lives, Puppet, Reading, until
from thespian.actors import ActorAddress

from actors.readings.batch import Batch, Point, Source
from actors.readings.messages import Observe, ReportRouting
from actors.readings.router import Router, RunRouter
from actors.system import dispatch
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.tree import tally

MACHINE = Source(
    "u", "host", "system", "d", "agent", (Point("cpu_usage"),), ("system/host/",), incidental=True
)


class Listener(Puppet):
    """Notes the batches that it gets."""

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        self.told.append(message)


async def test_crashes_drops_and_dead_letters_are_counted_and_stay_when_their_actor_is_gone(system):
    lives: list[Puppet] = []
    address = system.spawn(None, Puppet, "one", Lives(lives), SOON)
    await until(lambda: lives)
    before = tally(system)
    assert (before.actors, before.restarting, before.restarts, before.dropped) == (1, 0, 0, 0)
    cell = system.mailboxes[address.addressDetails]
    system.crash(cell, RuntimeError("boom"))
    assert tally(system).restarting == 1
    for number in range(15):  # the mailbox has room for ten
        system.deliver(address, Reading(number), address)
    await until(lambda: len(lives) == 2)
    system.terminate(cell)
    system.deliver(ActorAddress("/nobody"), Ask(1), address)
    found = tally(system)
    assert (found.actors, found.restarts) == (0, 1)
    assert found.dropped >= 5
    assert found.dead_letters == before.dead_letters + 1


async def test_a_lag_is_forgotten_after_a_minute(monkeypatch):
    monkeypatch.setattr(dispatch, "LAG_INTERVAL", 0.001)
    system = AsyncioSystemBase()
    await asyncio.sleep(0.01)
    system.lags.append(5.0)
    assert tally(system).lag_recent == 5.0
    for _ in range(dispatch.LAGS):
        system.lags.append(0.0)
    assert tally(system).lag_recent < 1.0
    system.shutdown()
    await system.released()


async def test_what_nobody_wants_of_the_machine_is_not_missed_and_who_wants_it_gets_it(system):
    lives: list[Puppet] = []
    root = system.spawn(None, Listener, "root", Lives(lives))
    router = system.spawn(system.mailboxes[root.addressDetails], Router, "readings", RunRouter())
    plant = msgspec.structs.replace(MACHINE, endpoint_uuid="p", incidental=False)
    for source in (MACHINE, plant):
        system.deliver(router, Batch(source, 1, [1.0]), root)
    assert (await system.ask(router, ReportRouting(), 5.0)).unrouted == 1
    system.deliver(router, Observe(root, delivers=True), root)
    system.deliver(router, Batch(MACHINE, 2, [2.0]), root)
    assert (await system.ask(router, ReportRouting(), 5.0)).unrouted == 1
    assert [batch.timestamp for batch in lives[0].told] == [2]
