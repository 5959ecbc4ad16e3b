"""The host actor: samples the machine, and sends what it has read to the router as any source does."""

import asyncio
from functools import partial
from pathlib import Path
from time import monotonic

import msgspec
from thespian.actors import ActorAddress

from actors.host import machine, metrics, probes
from actors.host.machine import Look, Sample
from actors.host.memory import MemoryWatch, RunMemoryWatch
from actors.host.messages import HostReported, MemoryJudged, ReportHost
from actors.host.temperature import processor_temperature
from actors.readings.batch import Point, Source
from actors.readings.messages import ForgetSource
from actors.subsystems.descriptor import SubsystemActor
from actors.subsystems.messages import (
    Check,
    CheckSubsystem,
    LifecycleChanged,
    SubsystemChecked,
    SubsystemStarted,
)
from actors.system.addresses import child_address
from actors.system.supervision import Restart
from actors.system.tree import tally
from conf.runtime import Memory
from storage.timestamps import unix_ms

FIRST = 0.25  # seconds between the first look and the second, which make the first sample
WITHIN = 2.0  # seconds that a look may take; what hangs for longer could not be read
SLACK = 30.0  # seconds beyond, until a look is taken for lost
UNREACHABLE = "the data directory's file system does not answer"
MEMORY = "memory"


class RunHost(msgspec.Struct, frozen=True):
    """Start, and again whenever the settings change. `interval_ms` is from sample to sample; the readings go
    to `router`, as those of the agent of that uuid and name."""

    router: ActorAddress
    agent: ActorAddress
    agent_uuid: str
    agent_name: str
    folder: Path
    interval_ms: int
    memory: Memory


class TakeSample(msgspec.Struct, frozen=True):
    """To itself; `series` tells those of an outdated interval apart."""

    series: int


class Looked(msgspec.Struct, frozen=True):
    """To itself; None: it could not be looked at."""

    look: Look | None
    storage: machine.Storage | None
    temperature: float | None


class Host(SubsystemActor):
    """Goes on through soft restarts: what memory does over them is seen. Readings are sent while the agent is
    RUNNING, so that those who want them are there."""

    RESTART = Restart(keep_children=True)

    def __init__(self) -> None:
        self.series = 0
        self.looking = False
        self.began = 0.0
        self.look: Look | None = None
        self.sample: Sample | None = None
        self.waiting: list[ActorAddress] = []
        self.points: tuple[Point, ...] = ()
        self.source: Source | None = None
        self.judged = MemoryJudged(None)
        self.publishing = False

    def receiveMsg_RunHost(self, message: RunHost, sender: ActorAddress) -> None:
        self.config = message
        self._watch_memory()
        self.series += 1
        if not self.looking:
            self.receiveMsg_TakeSample(TakeSample(self.series), sender)
        self.send(sender, SubsystemStarted())

    def _watch_memory(self) -> None:
        start = RunMemoryWatch(self.config.memory, self.config.folder, self.config.agent)
        address = child_address(self.myAddress, MEMORY)
        if not self.running(address):
            self.spawn(MemoryWatch, MEMORY, start)
        elif self.start_of(address) != start:
            self.restate(address, start)

    # Sampling

    def receiveMsg_TakeSample(self, message: TakeSample, sender: ActorAddress) -> None:
        if message.series != self.series or self.looking:
            return
        self.looking = True
        self.began = monotonic()
        self.run(_look(self.config.folder), then=lambda found: found, within=WITHIN + SLACK)

    def receiveMsg_Looked(self, message: Looked, sender: ActorAddress) -> None:
        self.looking = False
        before, self.look = self.look, message.look or self.look
        if before is None and message.look is not None:
            self.wakeupAfter(FIRST, TakeSample(self.series))
            return
        spent = monotonic() - self.began
        self.wakeupAfter(max(0.0, self.config.interval_ms / 1000 - spent), TakeSample(self.series))
        if before is None or message.look is None:
            return
        self.sample = machine.sample(before, message.look, message.storage, message.temperature)
        waiting, self.waiting = self.waiting, []
        for requester in waiting:
            self._report(self.sample, requester)
        self._publish(self.sample)

    def _publish(self, sample: Sample) -> None:
        """What there is on a machine may become more, which makes another source of it."""
        self.health = None if sample.storage is not None else f"degraded: {UNREACHABLE}"
        if not self.publishing:
            return
        points = metrics.points(sample, self.points)
        if self.source is None or points != self.points:
            self._forget()
            self.points = points
            self.source = metrics.source(self.config.agent_uuid, self.config.agent_name, points)
        self.send(self.config.router, metrics.batch(self.source, sample, unix_ms()))

    def _forget(self) -> None:
        if self.source is not None:
            self.send(self.config.router, ForgetSource(self.source.endpoint_uuid))
            self.source = None

    def receiveMsg_LifecycleChanged(self, message: LifecycleChanged, sender: ActorAddress) -> None:
        """The router of a new run knows nothing, and is told at once what was read last."""
        before, self.publishing = self.publishing, message.state == "RUNNING"
        self.remember(message)
        if self.publishing and not before and self.sample is not None:
            self._publish(self.sample)

    # Answering

    def receiveMsg_ReportHost(self, message: ReportHost, sender: ActorAddress) -> None:
        if self.sample is None:
            self.waiting.append(sender)
        else:
            self._report(self.sample, sender)

    def _report(self, sample: Sample, requester: ActorAddress) -> None:
        self.send(requester, HostReported(sample, tally(self._myRef.system), self.judged.suspect))

    def receiveMsg_MemoryJudged(self, message: MemoryJudged, sender: ActorAddress) -> None:
        self.judged = message

    def receiveMsg_CheckSubsystem(self, message: CheckSubsystem, sender: ActorAddress) -> None:
        """A suspicion does not fail the agent, nor does a limit that a restart does not help with: whoever
        restarts what is not healthy would do so for ever."""
        memory = Check(
            MEMORY, self.judged.error is None, critical=self.judged.ending, last_error=self.judged.error
        )
        self.send(sender, SubsystemChecked(checks=[memory]))


async def _look(folder: Path) -> Looked:
    """The machine's files, a file system and a sensor: each may hang without the others."""
    look, storage, temperature = await asyncio.gather(
        probes.ask("machine", machine.look, WITHIN),
        probes.ask("storage", partial(machine.storage, folder), WITHIN),
        probes.ask("temperature", processor_temperature, WITHIN),
    )
    return Looked(look, storage, temperature)
