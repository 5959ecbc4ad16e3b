"""Figures of a benchmark run beside their targets: a table for people, a file for programs."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table


class Target(msgspec.Struct, frozen=True):
    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


LOADS = ("w1", "w2", "w3", "w4", "w5")
OUTAGES = ("outage", "outage-w3")
RUNS = (*LOADS, "w2x5", *OUTAGES)
TOPICS = ("1/bench", "1/readings", "1/copy", "2/bench", "2/packed")
SHARED = ("second", "sharing tags", "sharing custom")
RESTARTED = (
    *("sequence numbers missing", "devices silent", "messages unreadable", "duplicates"),
    *("descriptors left", "threads left", "actors left"),
)
RECONNECTS = tuple(f"reconnects {scheme}" for scheme in ("mqtt", "mqtts", "ws", "wss"))
FORMATS = ("custom", "tags", "ecp", "sparkplug", "line-protocol")
SLOW = ("waiting sine registers", "waiting walk registers")
WAITING = (
    *SLOW,
    "waiting noise registers",
    *(f"waiting {name} doubles" for name in ("sine", "walk", "noise")),
)
OPCUA = ("1,000", "10,000", "1,000 by hundreds", "10,000 by hundreds", "10,000 encrypted")
RINGS = ("actors 10", "actors 1,000", "actors 10,000")
# The edges of a window of 20 s may cut off 0.5 % of the polls: of 5,000 points/s, 4,975 must be seen.
TARGETS = {
    ("mqtt-ingest", "CPU ms/1,000 messages"): Target(8),
    ("mqtt-ingest", "messages lost"): Target(0),
    ("mqtt-ingest", "RSS growth MB, receiver slow"): Target(50),
    ("w2", "points/s"): Target(4_975, at_least=True),
    ("w2", "CPU s/1,000 points"): Target(0.0095),
    ("w2", "RSS MB"): Target(90),
    ("w2", "latency p50 ms"): Target(3),
    ("w2", "latency p99 ms"): Target(15),
    ("w3", "points/s"): Target(99_500, at_least=True),
    ("w3", "CPU s/1,000 points"): Target(0.0039),
    ("w3", "RSS MB"): Target(100),
    ("w4", "points/s"): Target(400_000, at_least=True),
    ("w5", "points/s"): Target(99_500, at_least=True),
    ("w5", "CPU s/1,000 points"): Target(0.0035),
    ("w5", "RSS MB"): Target(160),
    ("w5", "latency p99 ms"): Target(15),
    ("w5", "running after s"): Target(1),
    ("w5", "actors after s"): Target(1),
    ("w5", "last one added ms"): Target(5),
    ("w2x5", "points/s"): Target(4_975, at_least=True),
    **{("w2x5", f"{topic} messages/s"): Target(99.5, at_least=True) for topic in TOPICS},
    **{(run, "sequence numbers missing"): Target(0) for run in RUNS},
    **{(run, "devices silent"): Target(0) for run in RUNS},
    **{(run, "messages unreadable"): Target(0) for run in RUNS},
    **{(run, "back after s"): Target(2) for run in OUTAGES},
    **{(run, "drain/fill speed"): Target(5, at_least=True) for run in OUTAGES},
    **{(run, "RSS growth MB"): Target(15) for run in OUTAGES},
    **{(run, "second / first"): Target(0.33) for run in SHARED},
    **{(f"format {format}", "second / first"): Target(0.33) for format in FORMATS},
    **{(run, "RSS growth MB"): Target(3) for run in RECONNECTS},
    **{(run, "descriptors left"): Target(0) for run in RECONNECTS},
    **{(run, "tasks left"): Target(0) for run in RECONNECTS},
    ("outage", "CPU % of a core"): Target(20),
    **{(run, "B/point"): Target(3.7) for run in SLOW},
    **{(run, "GiB a day"): Target(1.5) for run in SLOW},
    **{(run, "CPU % of a core"): Target(20) for run in WAITING},
    **{(run, "drain/fill speed"): Target(5, at_least=True) for run in WAITING},
    **{(ring, "messages/s"): Target(300_000, at_least=True) for ring in RINGS},
    **{(ring, "bytes/idle actor"): Target(3_072) for ring in RINGS},
    ("asking", "/v1/endpoints answers/s"): Target(1_000, at_least=True),
    ("asking", "/v1/endpoints p99 ms"): Target(20),
    ("asking", "/v1/openapi.json answers/s"): Target(5_000, at_least=True),
    ("asking", "polls skipped"): Target(0),
    ("metrics", "/metrics CPU ms"): Target(5),
    **{("restarts", name): Target(0) for name in RESTARTED},
    ("restarts", "RSS growth MB, second half"): Target(1),
    ("restarts", "worst probe ms"): Target(500),
    **{
        (f"opcua {run}", "CPU ms/1,000 values"): Target(bound)
        for run, bound in (
            ("1,000", 5),
            ("10,000", 4),
            ("1,000 by hundreds", 8),
            ("10,000 by hundreds", 8),
            ("1,000 read", 5),
            ("10,000 read", 2.5),
            ("10,000 encrypted", 5),
            ("10,000 read encrypted", 5),
        )
    },
    **{(f"opcua {run}", "values lost"): Target(0) for run in OPCUA},
    **{(f"opcua {run}", "subscribed after s"): Target(3) for run in OPCUA},
    ("opcua 1,000", "RSS over idle MB"): Target(50),
    ("opcua 10,000", "RSS over idle MB"): Target(70),
    ("opcua again", "values after server restarted s"): Target(5),
    ("opcua again", "values after server silent s"): Target(5),
    ("opcua again", "values after subscription forgotten s"): Target(10),
    ("opcua latency", "latency p99 ms"): Target(200),
    ("bacnet read", "CPU ms/1,000 values"): Target(8),
    ("bacnet changes", "changes/s"): Target(935, at_least=True),
    ("bacnet changes", "CPU ms/1,000 values"): Target(20),
    ("bacnet changes", "changes lost"): Target(0),
    ("bacnet 500 devices", "CPU % of a core"): Target(15),
    ("bacnet 500 devices", "RSS growth MB"): Target(60),
    ("bacnet agent", "CPU % of a core"): Target(15),
    ("bacnet agent", "RSS over idle MB"): Target(60),
    ("bacnet beside dead ones", "slowest reading ms"): Target(200),
    ("idle", "RSS MB"): Target(65),
    ("idle", "running after s"): Target(0.5),
    ("start", "answers after s"): Target(0.5),
    ("start", "running after s"): Target(1),
    ("start", "RSS MB"): Target(90),
    ("snmp v2c", "CPU ms/1,000 values"): Target(4),
    ("snmp v3", "CPU ms/1,000 values"): Target(5),
}


class Figure(msgspec.Struct, frozen=True):
    """`value` is None when there was nothing to measure, which misses any target."""

    run: str
    name: str
    value: float | None

    @property
    def target(self) -> Target | None:
        return TARGETS.get((self.run, self.name))

    @property
    def met(self) -> bool | None:
        """None without a target."""
        if self.target is None:
            return None
        return self.value is not None and self.target.met(self.value)


def show(figures: Sequence[Figure]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "figure"):
        table.add_column(heading)
    for heading in ("measured", "target"):
        table.add_column(heading, justify="right")
    table.add_column("")
    verdicts = {None: "", True: "met", False: "MISSED"}
    latest = ""
    for figure in figures:
        if latest and figure.run != latest:
            table.add_row()
        latest = figure.run
        bound = ""
        if figure.target is not None:
            bound = f"{'>=' if figure.target.at_least else '<='} {text(figure.target.bound)}"
        table.add_row(figure.run, figure.name, text(figure.value), bound, verdicts[figure.met])
    Console().print(table)


def text(value: float | None) -> str:
    """As many decimals as the size of the number calls for."""
    if value is None:
        return "none"
    if value == int(value) or value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if value < 0.1 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_json(figures: Sequence[Figure], path: Path) -> None:
    rows = [
        {
            "run": figure.run,
            "figure": figure.name,
            "value": figure.value,
            "target": figure.target.bound if figure.target else None,
            "met": figure.met,
        }
        for figure in figures
    ]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    path.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": machine, "figures": rows})) + b"\n")
