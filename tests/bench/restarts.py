"""Soft restarts in a row, under load: what is lost, what is left over, and who waits meanwhile."""

import time
from statistics import median
from typing import Any

from figures import Figure
from loads import loss_figures
from rig import Load, Rig, Subject, rig
from servers.watching import Following, Footprint

WARM_UP = 20
"""Restarts after which everything has been loaded that is ever loaded."""
WITHIN_S = 30


def measure_restarts(name: str, load: Load, start: Subject[Any], restarts: int) -> list[Figure]:
    with rig(load, start) as running:
        api, pid = running.subject.api, running.subject.pid
        for _ in range(WARM_UP):
            _restart(running)
        running.reset()
        before = _at_rest(running)
        with Following(api) as probes:
            took = [_restart(running) for _ in range(restarts // 2)]
            halfway = Footprint.of(api, pid)
            took += [_restart(running) for _ in range(restarts - len(took))]
        after, report = _at_rest(running), running.report()
        return [
            Figure(name, "soft restarts", restarts),
            *loss_figures(name, running, report),
            Figure(name, "RSS growth MB, first half", halfway.rss_mb - before.rss_mb),
            Figure(name, "RSS growth MB, second half", after.rss_mb - halfway.rss_mb),
            Figure(name, "descriptors left", after.descriptors - before.descriptors),
            Figure(name, "threads left", after.threads - before.threads),
            Figure(name, "actors left", after.actors - before.actors),
            Figure(name, "RUNNING again after ms", 1000 * median(took)),
            Figure(name, "probes answered", probes.answers),
            Figure(name, "worst probe ms", 1000 * probes.worst),
        ]


def _at_rest(running: Rig[Any]) -> Footprint:
    """When the connections of those who have asked are gone."""
    seen = []
    for _ in range(10):
        running.subject.watch(0.3)
        seen.append(Footprint.of(running.subject.api, running.subject.pid))
    return min(seen, key=lambda one: one.descriptors)


def _restart(running: Rig[Any]) -> float:
    """Seconds until it is RUNNING; then every device is heard anew."""
    api, heard = running.subject.api, running.report().messages
    began = time.monotonic()
    status, reply = api.request("POST", "/v1/reboot")
    if status != 202:
        raise RuntimeError(f"/v1/reboot: {status} {reply}")
    while not api.ready():
        _in_time(running, began)
        time.sleep(0.005)
    took = time.monotonic() - began
    while running.report().messages < heard + running.load.devices:
        _in_time(running, began)
        time.sleep(0.02)
    return took


def _in_time(running: Rig[Any], began: float) -> None:
    if running.subject.ended() or time.monotonic() - began > WITHIN_S:
        raise RuntimeError(f"it did not come back: {running.subject.last_words()}")
