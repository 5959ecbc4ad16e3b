"""The host and the memory watch, among actors that stand for the root and the router."""

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from puppets import Lives, Puppet, until
from thespian.actors import ActorAddress

from actors.host import growth, host, memory, metrics, probes, restarts, tracing
from actors.host.host import RunHost
from actors.host.machine import Process
from actors.host.messages import (
    HostReported,
    MemoryReported,
    MemoryTraced,
    ReportHost,
    ReportMemory,
    TraceBegun,
    TraceMemory,
)
from actors.host.subsystem import SUBSYSTEM
from actors.readings.batch import Batch, quality
from actors.readings.messages import ForgetSource
from actors.subsystems.messages import (
    CheckSubsystem,
    EndAgent,
    LifecycleChanged,
    SubsystemChecked,
    SubsystemStarted,
)
from actors.system.addresses import child_address
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed
from conf.runtime import Memory

MB = 1024 * 1024


class Root(Puppet):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Any] = []

    def receiveMessage(self, message: Any, sender: ActorAddress) -> Any:
        if isinstance(message, Batch | ForgetSource | EndAgent | SubsystemStarted):
            self.noted.append(message)
            return None
        return super().receiveMessage(message, sender)


class Stage:
    def __init__(self, system: AsyncioSystemBase, folder: Path) -> None:
        self.system = system
        self.lives: list[Puppet] = []
        self.root = system.spawn(None, Root, "root", Lives(self.lives))
        self.start = RunHost(self.root, self.root, "uuid-1", "line 7", folder, 1000, Memory())
        self.host: ActorAddress | None = None

    def begin(self, **changes: Any) -> None:
        self.start = msgspec.structs.replace(self.start, **changes)
        if self.host is None:
            cell = self.system.mailboxes[self.root.addressDetails]
            self.host = self.system.spawn(cell, SUBSYSTEM.actor, "host", self.start)
        else:
            self.lives[0].restate(self.host, self.start)

    def enter(self, state: str) -> None:
        self.system.deliver(self.host, LifecycleChanged(state), self.root)

    def noted(self, kind: type) -> list[Any]:
        return [one for one in self.lives[0].noted if isinstance(one, kind)] if self.lives else []

    async def ask(self, message: Any, path: str = "") -> Any:
        if path:
            await self.ask(CheckSubsystem())  # by then it has its child
        address = child_address(self.host, path) if path else self.host
        return await self.system.ask(address, message, 5.0)

    async def checked(self, times: int) -> None:
        """The memory watch has handled so many messages."""
        await self.ask(CheckSubsystem())
        watch = self.system.mailboxes[f"{self.host.addressDetails}/memory"]
        await until(lambda: watch.handled >= times)

    async def said(self, words: str) -> Any:
        """The line of the health report, once it says that."""
        async with asyncio.timeout(5):
            while words not in ((line := await self.check()).last_error or ""):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return line

    async def memory(self) -> MemoryReported:
        return await self.ask(ReportMemory(), "memory")

    async def check(self) -> Any:
        answer = await self.ask(CheckSubsystem())
        assert isinstance(answer, SubsystemChecked)
        return answer.checks[0]


@pytest.fixture
async def stage(system: AsyncioSystemBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(host, "FIRST", 0.02)
    monkeypatch.setattr(memory, "FIRST", 0.01)
    return Stage(system, tmp_path)


# The machine


async def test_the_first_sample_comes_at_once_and_who_asked_before_it_gets_it(stage):
    stage.begin(interval_ms=3_600_000)
    reported = await stage.ask(ReportHost())
    assert isinstance(reported, HostReported)
    assert reported.sample.memory_total > 0
    assert reported.sample.cpu_percent is not None
    assert reported.tally.actors == 3


async def test_a_question_is_answered_from_the_last_sample_and_takes_none(stage):
    stage.begin(interval_ms=3_600_000)
    first = await stage.ask(ReportHost())
    for _ in range(20):
        assert (await stage.ask(ReportHost())).sample == first.sample


async def test_readings_are_sent_while_the_agent_runs_and_at_once_when_it_does(stage):
    stage.begin(interval_ms=3_600_000)
    await stage.ask(ReportHost())
    assert not stage.noted(Batch)
    stage.enter("RUNNING")
    await until(lambda: stage.noted(Batch))
    stage.enter("STOPPING")
    stage.enter("RUNNING")  # after a soft restart, for a router that knows nothing
    await until(lambda: len(stage.noted(Batch)) == 2)
    first, second = stage.noted(Batch)
    assert first.source is second.source
    assert first.source.incidental
    values = dict(zip([point.name for point in first.source.points], first.values, strict=True))
    assert {"cpu_usage", "memory_percent", "disk_usage", "uptime"} <= values.keys()


async def test_another_interval_holds_at_once(stage):
    stage.begin(interval_ms=3_600_000)
    stage.enter("RUNNING")
    await until(lambda: stage.noted(Batch))
    stage.begin(interval_ms=20)
    await until(lambda: len(stage.noted(Batch)) >= 4)


async def test_a_dead_file_system_costs_what_is_on_it_and_no_more_than_a_thread(stage, monkeypatch):
    calls: list[int] = []

    async def ask(name, call, within):
        if name != "storage":
            return await original(name, call, within)
        calls.append(1)
        return None

    original = probes.ask
    monkeypatch.setattr(probes, "ask", ask)
    stage.begin(interval_ms=20)
    stage.enter("RUNNING")
    await until(lambda: len(stage.noted(Batch)) >= 2)
    batch = stage.noted(Batch)[-1]
    at = [point.name for point in batch.source.points].index("disk_usage")
    assert quality(batch.values[at], batch.qualities[at]) == "BAD"
    assert (await stage.ask(ReportHost())).sample.storage is None
    assert stage.system.mailboxes[stage.host.addressDetails].instance.health.startswith("degraded")


async def test_a_temperature_that_appears_makes_another_source(stage, monkeypatch):
    read: list[float] = []
    monkeypatch.setattr(host, "processor_temperature", lambda: read[0] if read else None)
    stage.begin(interval_ms=20)
    stage.enter("RUNNING")
    await until(lambda: stage.noted(Batch))
    assert "cpu_temp" not in {point.name for point in stage.noted(Batch)[0].source.points}
    read.append(51.0)
    await until(lambda: "cpu_temp" in {point.name for point in stage.noted(Batch)[-1].source.points})
    assert len(stage.noted(ForgetSource)) == 1
    read.clear()
    await until(lambda: metrics.UNREAD in (stage.noted(Batch)[-1].qualities or ()))


async def test_a_crash_costs_a_sample_and_the_memory_watch_goes_on(stage):
    stage.begin(interval_ms=3_600_000)
    stage.enter("RUNNING")
    await until(lambda: stage.noted(Batch))
    watch = stage.system.mailboxes[f"{stage.host.addressDetails}/memory"]
    before = watch.instance
    stage.system.crash(stage.system.mailboxes[stage.host.addressDetails], RuntimeError("boom"))
    await until(lambda: len(stage.noted(Batch)) == 2)
    assert watch.instance is before


# Memory


def resident(monkeypatch, sizes):
    """What is resident at each look from now on, MB; the last one stays."""
    left = list(sizes)

    def process():
        size = left.pop(0) if len(left) > 1 else left[0]
        return Process(int(size * MB), 20 * MB, 200 * MB, 1.0, 5, 30, 3600.0)

    monkeypatch.setattr(memory, "process", process)


LIMITED = Memory(check_interval_ms=1000, max_memory_mb=100)


@pytest.fixture
def quick(monkeypatch):
    """Checks follow each other at once."""
    monkeypatch.setattr(memory, "interval", lambda settings: 0.005)


async def test_memory_is_reported(stage):
    stage.begin()
    found = await stage.memory()
    assert found.process.resident > 10 * MB
    assert found.policy.limit_mb is None
    assert found.policy.blocked is not None
    assert (found.tracing, found.trace) == (False, None)


@pytest.mark.usefixtures("quick")
async def test_above_the_limit_the_agent_is_told_to_end_once_and_that_is_on_record(stage, monkeypatch):
    resident(monkeypatch, [80, 80, 120])
    stage.begin(memory=LIMITED)
    await until(lambda: stage.noted(EndAgent))
    [told] = stage.noted(EndAgent)
    assert "120 MB are resident, more than the limit of 100 MB" in told.reason
    assert len(restarts.load(stage.start.folder)) == 1
    line = await stage.check()
    assert (line.healthy, line.critical) == (False, True)
    await asyncio.sleep(0.05)
    assert len(stage.noted(EndAgent)) == 1


@pytest.mark.usefixtures("quick")
async def test_what_comes_and_goes_is_no_reason(stage, monkeypatch):
    resident(monkeypatch, [80, 120, 120, 90, 120, 120, 90])
    stage.begin(memory=LIMITED)
    await stage.checked(12)
    assert not stage.noted(EndAgent)


@pytest.mark.usefixtures("quick")
async def test_a_fourth_restart_within_the_hour_is_not_made(stage, monkeypatch):
    restarts.record(stage.start.folder, [restarts.now()] * 3)
    resident(monkeypatch, [80, 80, 120])
    stage.begin(memory=LIMITED)
    line = await stage.said("no restart: there were 3 within the hour")
    assert not stage.noted(EndAgent)
    assert not line.critical
    assert (await stage.memory()).policy.attempts == 3


@pytest.mark.usefixtures("quick")
async def test_a_limit_that_it_was_never_below_makes_no_restart(stage, monkeypatch):
    """It would be above it again, and restart again, for ever."""
    resident(monkeypatch, [120])
    stage.begin(memory=LIMITED)
    await stage.said("would change nothing")
    assert not stage.noted(EndAgent)


@pytest.mark.usefixtures("quick")
async def test_a_restart_that_cannot_be_recorded_is_not_made(stage, monkeypatch):
    resident(monkeypatch, [80, 80, 120])
    stage.begin(memory=LIMITED, folder=stage.start.folder / "gone")
    await stage.said("on record")
    assert not stage.noted(EndAgent)


@pytest.mark.usefixtures("quick")
async def test_a_limit_that_is_set_later_holds_at_once(stage, monkeypatch):
    resident(monkeypatch, [80, 80, 120])
    stage.begin()
    await stage.checked(8)
    assert (await stage.check()).healthy
    stage.begin(memory=LIMITED)
    await until(lambda: stage.noted(EndAgent))


async def test_a_leak_is_a_line_that_does_not_fail_the_agent(stage, monkeypatch):
    stage.begin()
    await stage.memory()
    monkeypatch.setattr(growth.Growth, "leaking", property(lambda self: True))
    stage.begin(memory=Memory(threshold_mb=20))
    assert not (await stage.said("it may leak")).critical
    assert (await stage.memory()).pattern == "rss-leak"
    assert (await stage.ask(ReportHost())).suspect


# Tracing


async def test_a_trace_names_who_keeps_what_it_allocates_and_leaves_nothing_on(stage):
    stage.begin()
    asked = asyncio.ensure_future(stage.ask(TraceMemory(0.6, 5), "memory"))
    await until(tracemalloc.is_tracing)
    kept = [bytearray(1000) for _ in range(3000)]
    answer = await asked
    assert isinstance(answer, MemoryTraced)
    assert answer.trace.top[0].file.endswith("test_host_actor.py")
    assert answer.trace.top[0].size_bytes > 1000 * len(kept)
    assert len(answer.trace.top) == 5
    assert not tracemalloc.is_tracing()
    assert (await stage.memory()).trace == answer.trace


async def test_there_is_one_trace_at_a_time(stage):
    stage.begin()
    first = asyncio.ensure_future(stage.ask(TraceMemory(0.5, 1), "memory"))
    await until(tracemalloc.is_tracing)
    second = await stage.ask(TraceMemory(0.5, 1), "memory")
    assert isinstance(second, Failed)
    assert second.kind == "conflict"
    assert isinstance(await first, MemoryTraced)


async def test_a_long_trace_is_answered_at_once(stage, monkeypatch):
    monkeypatch.setattr(memory, "WAITED_FOR", 0.1)
    stage.begin()
    assert await stage.ask(TraceMemory(0.3, 1), "memory") == TraceBegun(0.3)
    assert (await stage.memory()).tracing
    await until(lambda: not tracemalloc.is_tracing())
    async with asyncio.timeout(5):
        while (await stage.memory()).trace is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_trace_of_too_much_ends_early(stage, monkeypatch):
    monkeypatch.setattr(tracing, "ENOUGH", 50_000)
    stage.begin()
    asked = asyncio.ensure_future(stage.ask(TraceMemory(4, 1), "memory"))
    await until(tracemalloc.is_tracing)
    kept = [object() for _ in range(20_000)]
    answer = await asked
    assert answer.trace.ended_early
    assert answer.trace.seconds < 3
    assert kept


async def test_a_crash_during_a_trace_ends_it(stage):
    stage.begin()
    asking = asyncio.ensure_future(stage.ask(TraceMemory(30, 1), "memory"))
    await until(tracemalloc.is_tracing)
    cell = stage.system.mailboxes[f"{stage.host.addressDetails}/memory"]
    stage.system.crash(cell, RuntimeError("boom"))
    await until(lambda: not tracemalloc.is_tracing())
    asking.cancel()
    gc.collect()
