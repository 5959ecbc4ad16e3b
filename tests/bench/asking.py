"""The API under load: answers a second, how long they take, and what they cost those who are polled."""

from urllib.parse import urlsplit

import msgspec
from agent import Agent
from asker import Asked
from figures import Figure
from loads import Window, watch
from processes import Process, python
from rig import Load, Rig, Subject, rig

CLIENTS = 8
PATHS = ("/v1/endpoints", "/v1/openapi.json", "/ping")


def measure_asking(name: str, load: Load, start: Subject[Agent], seconds: float) -> list[Figure]:
    with rig(load, start) as running:
        quiet = watch(running, seconds)
        figures = [Figure(name, "readings p99 ms, nobody asks", quiet.reports[0].p99)]
        for path in PATHS:
            asked, window = _ask(running, path, seconds)
            report = window.reports[0]
            figures += [
                Figure(name, f"{path} answers/s", asked.per_second),
                Figure(name, f"{path} p50 ms", asked.p50),
                Figure(name, f"{path} p99 ms", asked.p99),
                Figure(name, f"{path} bytes", asked.size),
                Figure(name, f"{path} points/s meanwhile", running.points(report) / window.seconds),
                Figure(name, f"{path} readings p99 ms", report.p99),
            ]
        return [*figures, Figure(name, "polls skipped", _skipped(running.subject))]


def _ask(running: Rig[Agent], path: str, seconds: float) -> tuple[Asked, Window]:
    port = urlsplit(running.subject.api.url).port
    options = ("--port", port, "--path", path, "--clients", CLIENTS, "--seconds", seconds)
    with Process(python("asker.py", *options), running.subject.log.with_name("asker.log")) as asker:
        window = watch(running, seconds)
        return msgspec.json.decode(asker.line(), type=Asked), window


def _skipped(agent: Agent) -> int:
    """Ticks at which an endpoint's last poll was still running."""
    devices = agent.api.get("/v1/adapters/modbus/devices")["devices"]
    return sum(device["pollsSkipped"] for device in devices)
