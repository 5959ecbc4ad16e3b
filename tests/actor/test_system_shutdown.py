"""The end of a system: nobody lives on, and what was left behind is waited for."""

import asyncio

from puppets import CRASH, SECONDS, Lives, Puppet, Tell, below, spawn, until, with_child
from thespian.actors import ActorExitRequest

from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.supervision import Restart


async def test_shutdown_stops_every_actor():
    system = AsyncioSystemBase()
    child: list[Puppet] = []
    _, parents = spawn(system, "parent", with_child(child))
    other = system.newPrimaryActor(Puppet, None, None)
    await until(lambda: child)
    system.shutdown()
    assert parents[0].ended
    assert child[0].ended
    assert other.addressDetails not in system.mailboxes
    assert all("puppet" not in path and "parent" not in path for path in system.mailboxes)
    await system.released()


async def test_an_actor_that_waits_for_its_restart_does_not_come_back_after_shutdown():
    system = AsyncioSystemBase()
    puppet, instances = spawn(system, restart=Restart(backoff=0.01))
    system.tell(puppet, CRASH)
    await until(lambda: instances and instances[0].ended)
    system.shutdown()
    await system.released()
    over = asyncio.Event()
    system.loop.call_later(0.03, over.set)
    await over.wait()
    assert len(instances) == 1
    assert puppet.addressDetails not in system.mailboxes


async def test_released_waits_for_what_actors_leave_behind():
    closed: list[str] = []

    class Connected(Puppet):
        def stopped(self) -> None:
            self.release(close())

    async def close() -> None:
        await asyncio.sleep(0.02)
        closed.append("connection")

    system = AsyncioSystemBase()
    system.spawn(None, Connected, "connected", Lives([]))
    system.shutdown()
    assert closed == []
    await system.released()
    assert closed == ["connection"]


async def test_released_waits_for_tasks_to_unwind():
    unwound: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            unwound.append("task")

    system = AsyncioSystemBase()
    _, instances = spawn(system, first=lambda self: self.run(stubborn(), then=Tell))
    await until(lambda: instances)
    await asyncio.sleep(0)
    system.shutdown()
    await system.released()
    assert unwound == ["task"]


async def test_released_returns_at_once_when_nothing_was_left_behind(system):
    await asyncio.wait_for(system.released(), SECONDS)


async def test_a_system_of_its_own_thread_waits_for_what_actors_leave_behind():
    closed: list[str] = []

    class Connected(Puppet):
        def stopped(self) -> None:
            self.release(close())

    async def close() -> None:
        await asyncio.sleep(0.02)
        closed.append("connection")

    def live_and_die() -> None:
        system = AsyncioSystemBase()
        system.newPrimaryActor(Connected, None, None)
        system.shutdown()

    await asyncio.to_thread(live_and_die)
    assert closed == ["connection"]


async def test_the_end_of_a_root_is_announced(system):
    child: list[Puppet] = []
    parent, _ = spawn(system, "parent", with_child(child))
    await until(lambda: child)
    ends = asyncio.gather(system.ended(parent), system.ended(below(parent)))
    system.tell(parent, ActorExitRequest())
    await asyncio.wait_for(ends, SECONDS)
