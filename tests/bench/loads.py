"""A load for some time: what arrives, how late, and what it costs."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from figures import Figure
from rig import LOADS, Load, Rig, Subject, rig, start_floor
from subscriber import Report

FLOOR_S = 10
FLOOR_LOADS = ("w2", "w3", "w4")


class Window(msgspec.Struct, frozen=True):
    """What was seen in some time: a report of each site, CPU and memory of the subject."""

    seconds: float
    reports: list[Report]
    cpu_s: float
    rss_mb: float


def watch(running: Rig[Any], seconds: float) -> Window:
    running.reset()
    before, began = running.subject.cpu_s(), time.monotonic()
    rss = running.subject.watch(seconds)
    reports, after = [site.report() for site in running.sites], running.subject.cpu_s()
    return Window(time.monotonic() - began, reports, after - before, rss)


def measure_load(name: str, load: Load, start: Subject[Any], seconds: float) -> list[Figure]:
    with rig(load, start) as running:
        return load_figures(name, running, watch(running, seconds))


def load_figures(name: str, running: Rig[Any], window: Window) -> list[Figure]:
    report = window.reports[0]
    points = running.points(report)
    return [
        Figure(name, "points/s", points / window.seconds),
        *loss_figures(name, running, report),
        Figure(name, "CPU s/1,000 points", window.cpu_s / points * 1000 if points else None),
        Figure(name, "RSS MB", window.rss_mb),
        Figure(name, "latency p50 ms", report.p50),
        Figure(name, "latency p99 ms", report.p99),
    ]


def loss_figures(name: str, running: Rig[Any], report: Report) -> list[Figure]:
    return [
        Figure(name, "sequence numbers missing", report.missing),
        Figure(name, "devices silent", running.silent(report)),
        Figure(name, "messages unreadable", report.unreadable),
        Figure(name, "duplicates", report.duplicates),
    ]


def measure_floor(names: Sequence[str] = FLOOR_LOADS) -> list[Figure]:
    measured = (measure_load(f"floor {name}", LOADS[name], start_floor, FLOOR_S) for name in names)
    return [figure for figures in measured for figure in figures]
