"""An agent that ends by its own wish, to be started again."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from test_agent_actor import opened, run, settings, until_state

from actors.agent import Stop, Stopped
from actors.host.messages import MemoryReported, ReportMemory
from actors.subsystems.messages import EndAgent, RestartAgent
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase


@pytest.fixture
async def base() -> AsyncIterator[AsyncioSystemBase]:
    base = AsyncioSystemBase()
    yield base
    base.shutdown()
    await base.released()


async def test_it_stops_in_order_and_ends_with_the_reason_in_the_log(base, tmp_path, caplog):
    caplog.set_level("INFO")
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    base.tell(agent, EndAgent("too much memory"))
    async with asyncio.timeout(10):
        await base.ended(agent)
    told = [record.getMessage() for record in caplog.records]
    assert "the agent ends, to be started again: too much memory" in told
    assert told.index("lifecycle: STOPPING") < told.index("lifecycle: STOPPED")


async def test_told_so_twice_or_during_a_soft_restart_it_ends_once(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    base.tell(agent, RestartAgent())
    base.tell(agent, EndAgent("too much memory"))
    base.tell(agent, EndAgent("too much memory"))
    async with asyncio.timeout(10):
        await base.ended(agent)


async def test_who_waits_for_it_to_stop_is_answered_whatever_it_wishes_itself(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    stopping = asyncio.ensure_future(base.ask(agent, Stop(), 10.0))
    await asyncio.sleep(0)
    base.tell(agent, EndAgent("too much memory"))
    assert isinstance(await stopping, Stopped)


async def test_what_memory_did_is_known_over_a_soft_restart(base, tmp_path):
    agent = run(base, settings(tmp_path))
    await opened(base, agent)
    watch = base.mailboxes["/agent/host/memory"].instance
    await base.ask(agent, RestartAgent(), 5.0)
    await until_state(base, agent, "RUNNING")
    assert base.mailboxes["/agent/host/memory"].instance is watch
    reported = await base.ask(child_address(child_address(agent, "host"), "memory"), ReportMemory(), 5.0)
    assert isinstance(reported, MemoryReported)
