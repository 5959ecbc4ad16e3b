"""Benchmarks that are scripts: each in a fresh interpreter, so that none inherits another's heap."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from actors_bench import Ring
from backups_bench import Backing
from bacnet_bench import Cost
from changes_bench import Path as ChangesPath
from figures import Figure
from formats_bench import Encoding
from mqtt_ingest_bench import Ingest
from polls_bench import Polls
from processes import Process, python
from reconnects_bench import Left
from sharing_bench import Costs
from snmp_bench import Costs as SnmpCosts
from waiting_bench import PER_S, Waiting

ACTORS = (10, 1_000, 10_000)
ANSWER_S = 120
FIELD_S = 600
FIELD = (
    *("modbus", "mqtt", "opcua polled", "opcua pushed", "bacnet polled", "bacnet pushed"),
    *("toy polled", "toy pushed"),
)
DAY_S = 86_400

T = TypeVar("T")


def ask(expected: type[T], script: str, *arguments: object, within: float = ANSWER_S) -> T:
    """The JSON line that it prints. Raises RuntimeError without one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        log = Path(directory) / "script.log"
        with Process(python(script, *arguments), log) as process:
            return msgspec.json.decode(process.line(within), type=expected)


def measure_actors() -> list[Figure]:
    figures = []
    for size in ACTORS:
        ring = ask(Ring, "actors_bench.py", "--actors", size)
        figures.append(Figure(f"actors {size:,}", "messages/s", ring.messages_per_s))
        figures.append(Figure(f"actors {size:,}", "bytes/idle actor", ring.bytes_per_actor))
    return figures


def measure_backups() -> list[Figure]:
    figures = []
    for each in ask(list[Backing], "backups_bench.py"):
        run = f"backup of {each.content}"
        figures.append(Figure(run, "took s", each.took_s))
        figures.append(Figure(run, "commit before ms", each.before_ms))
        figures.append(Figure(run, "commit during ms", each.during_ms))
        figures.append(Figure(run, "longest during ms", each.most_ms))
    return figures


def measure_formats() -> list[Figure]:
    encodings = ask(list[Encoding], "formats_bench.py")
    figures = []
    for format in dict.fromkeys(each.format for each in encodings):
        figures += _format_figures(format, [each for each in encodings if each.format == format])
    return figures


def _format_figures(format: str, encodings: Sequence[Encoding]) -> list[Figure]:
    run = f"format {format}"
    figures = []
    for each in encodings:
        figures.append(Figure(run, f"{each.compression} points/s", each.points_per_s))
        figures.append(Figure(run, f"{each.compression} B/point", each.bytes_per_point))
    equals = [each.equal for each in encodings if each.equal is not None]
    if equals:
        figures.append(Figure(run, "second / first", max(equals)))
    others = [each.other for each in encodings if each.other is not None]
    if others:
        figures.append(Figure(run, "beside json / alone", max(others)))
    return figures


def measure_bacnet() -> list[Figure]:
    costs = ask(list[Cost], "bacnet_bench.py", within=FIELD_S)
    return [Figure(each.run, each.name, each.value) for each in costs]


def measure_polls() -> list[Figure]:
    polls = ask(Polls, "polls_bench.py")
    return [
        Figure("polls", "CPU us/poll", polls.cpu_us),
        Figure("polls", "messages/poll", polls.messages),
    ]


def measure_ingest() -> list[Figure]:
    found = ask(Ingest, "mqtt_ingest_bench.py")
    return [
        Figure("mqtt-ingest", "CPU ms/1,000 messages", found.cpu_ms),
        Figure("mqtt-ingest", "messages lost", found.lost),
        Figure("mqtt-ingest", "batches/message", found.batches),
        Figure("mqtt-ingest", "RSS MB", found.rss_mb),
        Figure("mqtt-ingest", "RSS growth MB, receiver slow", found.slow_mb),
    ]


def measure_reconnects() -> list[Figure]:
    figures = []
    # mosquitto takes a tenth of a second or two to answer over a websocket.
    for scheme, connections in (("mqtt", 1_000), ("mqtts", 1_000), ("ws", 300), ("wss", 300)):
        left = ask(Left, "reconnects_bench.py", "--scheme", scheme, "--connections", connections)
        run = f"reconnects {scheme}"
        figures += [
            Figure(run, "RSS growth MB", left.mb),
            Figure(run, "descriptors left", left.descriptors),
            Figure(run, "tasks left", left.tasks),
        ]
    return figures


def measure_field_reconnects() -> list[Figure]:
    figures = []
    for name in FIELD:
        left = ask(Left, "field_reconnects_bench.py", "--counterpart", name, within=FIELD_S)
        run = f"reconnects {name}"
        figures += [
            Figure(run, "RSS growth MB", left.mb),
            Figure(run, "descriptors left", left.descriptors),
            Figure(run, "tasks left", left.tasks),
        ]
    return figures


def measure_sharing() -> list[Figure]:
    figures = []
    for costs in ask(list[Costs], "sharing_bench.py"):
        run = f"sharing {costs.format}"
        figures += [
            Figure(run, "CPU us/poll without", costs.none),
            Figure(run, "CPU us/poll first", costs.first),
            Figure(run, "CPU us/poll second", costs.second),
            Figure(run, "second / first", costs.second / costs.first),
        ]
    return figures


def measure_changes() -> list[Figure]:
    figures = []
    for each in ask(list[ChangesPath], "changes_bench.py", "custom", "tags", "sparkplug"):
        run = f"changes {each.case}"
        figures.append(Figure(run, f"{each.format} CPU ms/1,000", each.published))
        if each.format == "custom":
            figures.append(Figure(run, "drift CPU ms/1,000", each.watched))
            figures.append(Figure(run, "live view CPU ms/1,000", each.followed))
    return figures


def measure_waiting(seconds: int) -> list[Figure]:
    """`seconds` are simulated; what is said of a day follows from them."""
    figures = []
    for each in ask(list[Waiting], "waiting_bench.py", "--seconds", seconds, within=10 * ANSWER_S + seconds):
        run = f"waiting {each.signal} {each.values}"
        day = each.bytes_per_point * PER_S * DAY_S + each.fixed_bytes
        figures += [
            Figure(run, "B/point", each.bytes_per_point),
            Figure(run, "GiB a day", day / 2**30),
            Figure(run, "CPU % of a core", 100 * each.cpu),
            Figure(run, "KB/s written", each.written / 1000),
            Figure(run, "drain/fill speed", each.drain),
        ]
    return figures


def measure_snmp() -> list[Figure]:
    figures = []
    for costs in ask(list[SnmpCosts], "snmp_bench.py", within=300):
        run = f"snmp {costs.version}"
        figures.append(Figure(run, "CPU ms/1,000 values", costs.ours))
        figures.append(Figure(run, "its CPU ms/1,000 values", costs.library))
        figures.append(Figure(run, "ours / its", costs.ours / costs.library))
    return figures
