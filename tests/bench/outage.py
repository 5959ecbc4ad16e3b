"""A broker outage under load: what is lost, what it takes of memory, and how soon it is made up for."""

import time
from typing import Any

import msgspec
from figures import Figure
from loads import loss_figures
from rig import Load, Rig, Subject, rig
from subscriber import LATE_MS, Report

OUTAGE_S = 20
QUIET_S = 3
DRAIN_S = 40


class Memory(msgspec.Struct, frozen=True):
    """Resident MB: the most before the broker stops, what it is after a third of the outage, and the most
    until what has gathered is gone."""

    before: float
    third: float
    most: float


def measure_outage(name: str, load: Load, start: Subject[Any]) -> list[Figure]:
    with rig(load, start) as running:
        running.reset()
        before = running.subject.watch(QUIET_S)
        running.broker.stop()
        stopped_at = time.time()
        used = running.subject.cpu_s()
        most = running.subject.watch(OUTAGE_S / 3)
        third = running.subject.rss_mb()
        most = max(most, running.subject.watch(OUTAGE_S * 2 / 3))
        used = (running.subject.cpu_s() - used) / (time.time() - stopped_at)
        running.broker.start()
        report, rss = _until_drained(running)
        memory = Memory(before, third, max(most, rss))
        figures = outage_figures(name, running, report, stopped_at, memory)
        return [*figures, Figure(name, "CPU % of a core", 100 * used)]


def _until_drained(running: Rig[Any]) -> tuple[Report, float]:
    """What the subscriber saw until the backlog was gone, or for DRAIN_S; and the most resident MB."""
    rss = 0.0
    until = time.monotonic() + DRAIN_S
    while True:
        rss = max(rss, running.subject.watch(0.5))
        report = running.report()
        if drained(report) or time.monotonic() > until:
            return report, rss


def drained(report: Report) -> bool:
    """Readings have come for some time, and none that was late for QUIET_S."""
    latest = max(report.first_at or time.time(), report.late_at or 0)
    return time.time() - latest > QUIET_S


def outage_figures(
    name: str, running: Rig[Any], report: Report, stopped_at: float, memory: Memory
) -> list[Figure]:
    back = drained_after = speed = None
    if report.connected_at is not None and report.first_at is not None:
        back = report.first_at - report.connected_at
        if drained(report):
            drained_after = max(0.0, (report.late_at or report.connected_at) - report.connected_at)
            speed = drain_speed(report.first_at - stopped_at, report.first_at, report.late_at)
    return [
        *loss_figures(name, running, report),
        Figure(name, "points missing", report.missing * running.load.registers),
        Figure(name, "back after s", back),
        Figure(name, "drained after s", drained_after),
        Figure(name, "drain/fill speed", speed),
        Figure(name, "RSS MB before", memory.before),
        Figure(name, "RSS MB after a third", memory.third),
        Figure(name, "RSS MB", memory.most),
        Figure(name, "RSS growth MB", memory.most - memory.before),
    ]


def drain_speed(gathered: float, first_at: float, late_at: float | None) -> float | None:
    """How many times as fast the backlog shrinks as it grew, from the first reading after the outage to
    the last late one.

    A backlog is measured by the seconds of readings in it: `gathered` at `first_at`, which a second of
    outage makes one longer, and LATE_MS at `late_at`. So what comes in meanwhile is not counted as drained.
    """
    if late_at is None or late_at <= first_at:
        return None
    return (gathered - LATE_MS / 1000) / (late_at - first_at)
