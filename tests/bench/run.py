"""Benchmarks of the agent, end to end and on this machine; docs/benchmarks.rst says what each figure means.

Devices, a mosquitto with its default settings, a counting subscriber and the agent run as processes of
their own. A missed target does not fail the run; a benchmark that could not be carried out does.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from actors_bench import Ring
from agent import Agent, default_command
from figures import Figure, show, write_json
from processes import Process, Usage, in_own_group, python
from servers.mosquitto import Mosquitto
from subscriber import Report

WARM_UP_S = 5
APPEAR_S = 30
FLOOR_S = 10
OUTAGE_S = 20
QUIET_S = 3
DRAIN_S = 40
ACTORS = (10, 1_000, 10_000)


class Load(msgspec.Struct, frozen=True):
    devices: int
    registers: int
    interval_ms: int


LOADS = {
    "w1": Load(10, 50, 1_000),
    "w2": Load(100, 50, 1_000),
    "w3": Load(100, 100, 100),
    "w4": Load(200, 125, 50),
}
FLOOR_LOADS = ("w2", "w3", "w4")

Subject = Callable[[Load, Sequence[int], int, Path], Process]
"""Starts what moves readings: load, ports of the devices, port of the broker, directory."""


def start_agent(
    command: Sequence[str], load: Load, ports: Sequence[int], broker_port: int, directory: Path
) -> Process:
    agent = Agent(directory, command)
    try:
        agent.wait_until_running()
        agent.publish_to(broker_port)
        agent.poll_devices(ports, load.registers, load.interval_ms)
    except BaseException:
        agent.__exit__(None, None, None)
        raise
    return agent


def start_floor(load: Load, ports: Sequence[int], broker_port: int, directory: Path) -> Process:
    options = ("--registers", load.registers, "--interval-ms", load.interval_ms, "--broker-port", broker_port)
    return Process(
        python("floor.py", "--ports", list(ports), *options), directory / "floor.log", answers=False
    )


class Rig:
    """A load in operation: broker, devices, subscriber, and the subject that moves the readings."""

    def __init__(self, load: Load, broker: Mosquitto, subscriber: Process, subject: Process) -> None:
        self.load = load
        self.broker = broker
        self.subscriber = subscriber
        self.subject = subject

    def report(self) -> Report:
        self.subscriber.tell("report")
        return msgspec.json.decode(self.subscriber.line(), type=Report)

    def settle(self) -> None:
        """Wait until every device was heard, and WARM_UP_S more."""
        until = time.monotonic() + APPEAR_S
        while (seen := self.report().devices) < self.load.devices:
            if time.monotonic() > until:
                words = self.subject.last_words()
                raise RuntimeError(f"heard {seen} of {self.load.devices} devices: {words}")
            self.subject.watch(0.2)
        self.subject.watch(WARM_UP_S)

    def points(self, report: Report) -> int:
        """Registers delivered: the tags seq and clock are two registers each, every other is one."""
        return report.tags + 2 * report.messages

    def silent(self, report: Report) -> int:
        return self.load.devices - report.devices + report.silent


@contextmanager
def rig(load: Load, start: Subject) -> Iterator[Rig]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        # the tests' broker queues without limit; this is what a mosquitto does by default
        broker = stack.enter_context(Mosquitto(directory, options=("max_queued_messages 1000",)))
        options = ("--devices", load.devices, "--registers", load.registers)
        devices = stack.enter_context(
            Process(python("modbus_server.py", *options), directory / "devices.log")
        )
        ports = msgspec.json.decode(devices.line(), type=list[int])
        subscriber = stack.enter_context(
            Process(python("subscriber.py", "--port", broker.port), directory / "subscriber.log")
        )
        subscriber.line()
        subject = stack.enter_context(start(load, ports, broker.port, directory))
        running = Rig(load, broker, subscriber, subject)
        running.settle()
        yield running


def measure_load(name: str, load: Load, start: Subject, seconds: float) -> list[Figure]:
    with rig(load, start) as running:
        running.subscriber.tell("reset")
        before, began = running.subject.usage(), time.monotonic()
        rss = running.subject.watch(seconds)
        report, after = running.report(), running.subject.usage()
        return load_figures(name, running, report, time.monotonic() - began, before, after, rss)


def load_figures(
    name: str, running: Rig, report: Report, seconds: float, before: Usage, after: Usage, rss: float
) -> list[Figure]:
    points = running.points(report)
    return [
        Figure(name, "points/s", points / seconds),
        Figure(name, "sequence numbers missing", report.missing),
        Figure(name, "devices silent", running.silent(report)),
        Figure(name, "messages unreadable", report.unreadable),
        Figure(name, "duplicates", report.duplicates),
        Figure(name, "CPU s/1,000 points", (after.cpu_s - before.cpu_s) / points * 1000 if points else None),
        Figure(name, "RSS MB", rss),
        Figure(name, "latency p50 ms", report.p50),
        Figure(name, "latency p99 ms", report.p99),
    ]


def measure_outage(load: Load, start: Subject) -> list[Figure]:
    with rig(load, start) as running:
        running.subscriber.tell("reset")
        running.subject.watch(QUIET_S)
        running.broker.stop()
        rss = running.subject.watch(OUTAGE_S)
        running.broker.start()
        until = time.monotonic() + DRAIN_S
        while True:
            rss = max(rss, running.subject.watch(0.5))
            report = running.report()
            if drained(report) or time.monotonic() > until:
                return outage_figures(running, report, rss)


def drained(report: Report) -> bool:
    """Readings have come for some time, and none that was late for QUIET_S."""
    latest = max(report.first_at or time.time(), report.late_at or 0)
    return time.time() - latest > QUIET_S


def outage_figures(running: Rig, report: Report, rss: float) -> list[Figure]:
    back = drained_after = None
    if report.connected_at is not None and report.first_at is not None:
        back = report.first_at - report.connected_at
        if drained(report):
            drained_after = max(0.0, (report.late_at or report.connected_at) - report.connected_at)
    return [
        Figure("outage", "sequence numbers missing", report.missing),
        Figure("outage", "points missing", report.missing * running.load.registers),
        Figure("outage", "devices silent", running.silent(report)),
        Figure("outage", "messages unreadable", report.unreadable),
        Figure("outage", "duplicates", report.duplicates),
        Figure("outage", "back after s", back),
        Figure("outage", "drained after s", drained_after),
        Figure("outage", "RSS MB", rss),
    ]


def measure_floor(names: Sequence[str]) -> list[Figure]:
    measured = (measure_load(f"floor {name}", LOADS[name], start_floor, FLOOR_S) for name in names)
    return [figure for figures in measured for figure in figures]


def measure_actors() -> list[Figure]:
    """Each size in a fresh interpreter, so that no size inherits another's heap."""
    figures = []
    for size in ACTORS:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            command = python("actors_bench.py", "--actors", size)
            with Process(command, Path(directory) / "actors.log") as process:
                ring = msgspec.json.decode(process.line(timeout=60), type=Ring)
        figures.append(Figure(f"actors {size:,}", "messages/s", ring.messages_per_s))
        figures.append(Figure(f"actors {size:,}", "bytes/idle actor", ring.bytes_per_actor))
    return figures


def measure_idle(command: Sequence[str]) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Agent(Path(directory), command) as agent:
        running_after = agent.wait_until_running()
        agent.watch(WARM_UP_S)
        return [
            Figure("idle", "RSS MB", agent.usage().rss_mb),
            Figure("idle", "running after s", running_after),
        ]


def benchmarks(command: Sequence[str], seconds: float) -> dict[str, Callable[[], list[Figure]]]:
    agent = partial(start_agent, command)
    return {
        **{name: partial(measure_load, name, load, agent, seconds) for name, load in LOADS.items()},
        "outage": partial(measure_outage, LOADS["w2"], agent),
        "actors": measure_actors,
        "idle": partial(measure_idle, command),
        "floor": partial(measure_floor, FLOOR_LOADS),
    }


def run(options: argparse.Namespace) -> int:
    found = benchmarks(options.agent.split() if options.agent else default_command(), options.seconds)
    unknown = set(options.only or ()) - set(found)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(found)}")
        return 2
    figures: list[Figure] = []
    failed = False
    for name in options.only or found:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            figures += found[name]()
        except (OSError, RuntimeError) as error:
            failed = True
            print(f"{name} could not be measured: {error}", file=sys.stderr)
    show(figures)
    if options.json:
        write_json(figures, options.json)
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", type=lambda names: names.split(","), help="some of w1,w2,w3,w4,outage,actors,idle,floor"
    )
    parser.add_argument("--seconds", type=float, default=20, help="measured time of a load (default 20)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument(
        "--agent", help="command that starts the agent (default: `callboard run` beside this python)"
    )
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return in_own_group(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
