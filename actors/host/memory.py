"""The memory watch: how much is resident, whether it leaks, and the restart that there may be for it."""

import asyncio
import logging
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
from thespian.actors import ActorAddress

from actors.host import growth, restarts, tracing
from actors.host.growth import Growth
from actors.host.limits import NEVER_BELOW, MemoryLimit, Verdict, judge
from actors.host.machine import process
from actors.host.messages import (
    MemoryJudged,
    MemoryReported,
    MemoryTraced,
    ReportMemory,
    RestartPolicy,
    TraceBegun,
    TraceMemory,
)
from actors.host.restarts import COOLDOWN_MS, MAX_ATTEMPTS, Attempt
from actors.host.tracing import Traced
from actors.subsystems.messages import EndAgent
from actors.system.actor import Actor
from actors.system.failure import Failed
from conf.runtime import Memory

log = logging.getLogger(__name__)

MB = 1024 * 1024
FIRST = 1.0  # seconds after the start, or a change: the agent is to begin its work first
RECORD_AGAIN = 600.0  # seconds after which another attempt is made to record a restart
WAITED_FOR = 20.0
"""Seconds of a trace that who asks for it waits for; one that takes longer is answered at once."""
TRACE_COUNTS = 3600.0
"""Seconds for which a trace says what sort of a leak it is."""


class RunMemoryWatch(msgspec.Struct, frozen=True):
    """Start, and again whenever the settings change; `folder` is where restarts are recorded, `agent` the
    root."""

    settings: Memory
    folder: Path
    agent: ActorAddress


class CheckMemory(msgspec.Struct, frozen=True):
    """To itself; `series` tells those of an outdated interval apart."""

    series: int


class AttemptsLoaded(msgspec.Struct, frozen=True):
    """To itself."""

    attempts: list[Attempt]


class AttemptRecorded(msgspec.Struct, frozen=True):
    """To itself; `error` is why it is not on disk."""

    error: str | None
    attempts: list[Attempt]


class TraceEnded(msgspec.Struct, frozen=True):
    """To itself; `waiting` is who asked, unless answered already."""

    trace: Traced
    waiting: ActorAddress | None


class MemoryWatch(Actor):
    """Reading what is resident takes a tenth of a millisecond, and cannot block."""

    def __init__(self) -> None:
        self.series = 0
        self.growth: Growth | None = None
        self.limit = MemoryLimit(None)
        self.attempts: list[Attempt] | None = None
        self.shared: float | None = None
        self.baseline_shared = 0.0
        self.judged: Verdict | None = None
        self.ending = False
        self.unrecorded_at: float | None = None
        self.tracing = False
        self.trace: Traced | None = None
        self.traced_at = 0.0

    def receiveMsg_RunMemoryWatch(self, message: RunMemoryWatch, sender: ActorAddress) -> None:
        self.config, self.parent = message, sender
        settings = message.settings
        if self.growth is None:
            self.growth = Growth(settings.threshold_mb)
            self.run(_load(message.folder), then=AttemptsLoaded)
        self.growth.threshold = settings.threshold_mb
        self.limit.change(settings.max_memory_mb)
        self.series += 1
        self.wakeupAfter(FIRST, CheckMemory(self.series))

    def receiveMsg_AttemptsLoaded(self, message: AttemptsLoaded, sender: ActorAddress) -> None:
        self.attempts = message.attempts

    # Checking

    def receiveMsg_CheckMemory(self, message: CheckMemory, sender: ActorAddress) -> None:
        if message.series != self.series:
            return
        assert self.growth is not None
        self.wakeupAfter(interval(self.config.settings), message)
        found = process()
        resident, before = found.resident / MB, self.growth.baseline
        self.shared = found.shared / MB if self.shared is None else self.shared
        if not self.tracing:  # which takes memory of its own
            self.growth.add(found.uptime, resident)
        if self.growth.baseline != before:
            self.baseline_shared = found.shared / MB
        if found.uptime >= growth.IGNORED:
            self.limit.add(resident)
        self.health = f"{resident:.0f} MB, {self.growth.standing}"
        self._judge(resident)

    def _judge(self, resident: float) -> None:
        assert self.growth is not None
        leak = self._description() if self.growth.leaking else None
        verdict = judge(self.limit, resident, leak, self._blocked())
        if verdict.restart and not self.ending:
            self.ending = True
            attempts = [*(self.attempts or []), restarts.now()]
            self.run(_record(self.config.folder, attempts), then=_as_is)
        if self.judged is None or verdict.error != self.judged.error:
            if verdict.error and not verdict.restart and not (self.judged and self.judged.error):
                log.warning("%s", verdict.error)
            self.send(self.parent, MemoryJudged(verdict.error, verdict.restart, self.growth.leaking))
        self.judged = verdict

    def receiveMsg_AttemptRecorded(self, message: AttemptRecorded, sender: ActorAddress) -> None:
        """No restart without a record of it, for it would not be the last."""
        if message.error is not None:
            self.ending = False
            self.unrecorded_at = monotonic()
            log.error("no restart, for it cannot be recorded: %s", message.error)
            return
        self.attempts = message.attempts
        assert self.judged is not None
        self.send(self.config.agent, EndAgent(self.judged.error or "too much memory is resident"))

    def _blocked(self) -> str | None:
        """Why the agent may not restart itself now."""
        if self.limit.limit is None:
            return "none is configured (runtime.memory.maxMemoryMb)"
        unrecorded = self.unrecorded_at
        if self.attempts is None or (unrecorded is not None and monotonic() - unrecorded < RECORD_AGAIN):
            return "it cannot be put on record"
        if len(restarts.recent(self.attempts, restarts.now())) >= MAX_ATTEMPTS:
            return f"there were {MAX_ATTEMPTS} within the hour"
        return None if self.limit.helps else NEVER_BELOW

    # Answering

    def receiveMsg_ReportMemory(self, message: ReportMemory, sender: ActorAddress) -> None:
        assert self.growth is not None
        watch = self.growth
        now = process()
        resident = now.resident / MB
        self.send(
            sender,
            MemoryReported(
                process=now,
                standing=watch.standing,
                pattern=self._pattern(),
                description=self._description(),
                initial=resident if watch.initial is None else watch.initial,
                initial_shared=self.shared or 0.0,
                baseline=resident if watch.baseline is None else watch.baseline,
                baseline_shared=self.baseline_shared or self.shared or 0.0,
                rate=watch.rate,
                least_rate=growth.RATE,
                threshold_mb=watch.threshold,
                count=watch.count,
                samples=watch.samples,
                uptime=now.uptime,
                policy=self._policy(),
                tracing=self.tracing,
                trace=self.trace,
            ),
        )

    def _policy(self) -> RestartPolicy:
        at = restarts.now()
        known = self.attempts or []
        last = known[-1] if known else None
        return RestartPolicy(
            limit_mb=self.limit.limit,
            critical_mb=self.limit.critical,
            max_attempts=MAX_ATTEMPTS,
            cooldown_ms=COOLDOWN_MS,
            attempts=len(restarts.recent(known, at)),
            last_at=None if last is None else last.at,
            since_last_ms=None if last is None else restarts.age_ms(last, at),
            blocked=self._blocked(),
        )

    def _pattern(self) -> str:
        """What grows: a trace within the last hour tells whether it is Python's."""
        assert self.growth is not None
        standing = self.growth.standing
        if standing == "warming-up":
            return "unknown"
        if standing != "leaking":
            return standing
        if self.trace is None or monotonic() - self.traced_at > TRACE_COUNTS:
            return "rss-leak"
        expected = self.growth.rate * self.trace.seconds / 60 * MB
        return "python-leak" if self.trace.kept_bytes >= expected / 2 else "native-leak"

    def _description(self) -> str:
        assert self.growth is not None
        watch = self.growth
        match watch.standing:
            case "warming-up":
                return "It runs for too short a time to say"
            case "stable":
                return "Resident memory does not grow"
            case "growing":
                return f"Resident memory grows by {watch.rate:.1f} MB a minute; too little to speak of a leak"
        return (
            f"Resident memory grows by {watch.rate:.1f} MB a minute, {watch.grown:.0f} MB above the baseline:"
            " it may leak; POST /v1/memory/trace says where"
        )

    # Tracing

    def receiveMsg_TraceMemory(self, message: TraceMemory, sender: ActorAddress) -> None:
        if self.tracing or tracing.is_tracing():
            self.send(sender, Failed("conflict", "Memory is being traced already"))
            return
        self.tracing = True
        waiting: ActorAddress | None = sender
        if message.seconds > WAITED_FOR:
            self.send(sender, TraceBegun(message.seconds))
            waiting = None
        log.info("memory is traced for %.0f s", message.seconds)
        self.run(
            tracing.trace(message.seconds, message.top),
            then=lambda traced: TraceEnded(traced, waiting),
            within=message.seconds + 60,
        )

    def receiveMsg_TraceEnded(self, message: TraceEnded, sender: ActorAddress) -> None:
        self.tracing = False
        self.trace, self.traced_at = message.trace, monotonic()
        if message.waiting is not None:
            self.send(message.waiting, MemoryTraced(message.trace))


def interval(settings: Memory) -> float:
    """Seconds from check to check."""
    return settings.check_interval_ms / 1000


async def _load(folder: Path) -> list[Attempt]:
    return await asyncio.to_thread(restarts.load, folder)


async def _record(folder: Path, attempts: list[Attempt]) -> AttemptRecorded:
    try:
        await asyncio.to_thread(restarts.record, folder, attempts)
    except OSError as error:
        return AttemptRecorded(str(error), attempts)
    return AttemptRecorded(None, attempts)


def _as_is(message: Any) -> Any:
    return message
