"""What it costs to be watched: processor time of an answer to those who ask each second."""

from urllib.parse import urlsplit

import msgspec
from agent import Agent
from asker import Asked
from figures import Figure
from loads import Window, watch
from processes import Process, python
from rig import Load, Rig, Subject, rig

PATHS = ("/metrics", "/v1/dashboard/stats", "/v1/memory", "/v1/db/stats")


def measure_diagnosing(name: str, load: Load, start: Subject[Agent], seconds: float) -> list[Figure]:
    with rig(load, start) as running:
        quiet = watch(running, seconds).cpu_s
        figures = []
        for path in PATHS:
            asked, window = _ask(running, path, seconds)
            spent = (window.cpu_s - quiet) / max(1, asked.per_second * seconds)
            figures += [
                Figure(name, f"{path} CPU ms", 1000 * spent),
                Figure(name, f"{path} p99 ms", asked.p99),
                Figure(name, f"{path} bytes", asked.size),
            ]
        return figures


def _ask(running: Rig[Agent], path: str, seconds: float) -> tuple[Asked, Window]:
    port = urlsplit(running.subject.api.url).port
    options = ("--port", port, "--path", path, "--clients", 1, "--seconds", seconds)
    with Process(python("asker.py", *options), running.subject.log.with_name("asker.log")) as asker:
        window = watch(running, seconds)
        return msgspec.json.decode(asker.line(), type=Asked), window
