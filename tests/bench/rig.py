"""What a benchmark measures: devices, brokers with their subscribers, and what moves the readings between."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from agent import Agent, Wanted
from processes import Process, python
from servers.mosquitto import Mosquitto
from subscriber import Report

WARM_UP_S = 5
APPEAR_S = 30
DECODED = "bench"

# The tests' broker queues without limit and sends at once; this is what a mosquitto does by default.
BROKER_DEFAULTS = ("max_queued_messages 1000", "set_tcp_nodelay false")


class Load(msgspec.Struct, frozen=True):
    devices: int
    registers: int
    interval_ms: int


LOADS = {
    "w1": Load(10, 50, 1_000),
    "w2": Load(100, 50, 1_000),
    "w3": Load(100, 100, 100),
    "w4": Load(200, 125, 50),
    "w5": Load(2_000, 50, 1_000),
}

ONE = (Wanted(0, DECODED, "tags", "json"),)
"""A single subscription, of which the subscriber sees everything."""

P = TypeVar("P", bound=Process)
Subject = Callable[[Load, Sequence[int], Sequence[int], Path], P]
"""Starts what moves readings: load, ports of the devices, ports of the brokers, directory."""


def start_agent(
    command: Sequence[str],
    wanted: Sequence[Wanted],
    load: Load,
    ports: Sequence[int],
    broker_ports: Sequence[int],
    directory: Path,
) -> Agent:
    agent = Agent(directory, command)
    try:
        agent.wait_until_running()
        agent.publish(broker_ports, wanted)
        agent.poll_devices(ports, load.registers, load.interval_ms)
    except BaseException:
        agent.__exit__(None, None, None)
        raise
    return agent


def start_floor(load: Load, ports: Sequence[int], broker_ports: Sequence[int], directory: Path) -> Process:
    broker = broker_ports[0]
    options = ("--registers", load.registers, "--interval-ms", load.interval_ms, "--broker-port", broker)
    return Process(
        python("floor.py", "--ports", list(ports), *options), directory / "floor.log", answers=False
    )


class Site(msgspec.Struct, frozen=True):
    """A broker and who counts what arrives there."""

    broker: Mosquitto
    subscriber: Process

    def reset(self) -> None:
        self.subscriber.tell("reset")

    def report(self) -> Report:
        self.subscriber.tell("report")
        return msgspec.json.decode(self.subscriber.line(), type=Report)


class Rig(Generic[P]):
    """A load in operation: devices, sites, and the subject that moves the readings. Of the first site's
    subscriber is all that is said of readings."""

    def __init__(self, load: Load, sites: Sequence[Site], subject: P) -> None:
        self.load = load
        self.sites = sites
        self.subject = subject

    @property
    def broker(self) -> Mosquitto:
        return self.sites[0].broker

    def reset(self) -> None:
        for site in self.sites:
            site.reset()

    def report(self) -> Report:
        return self.sites[0].report()

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
def rig(load: Load, start: Subject[P], counted: Sequence[Sequence[str]] = ((),)) -> Iterator[Rig[P]]:
    """One site for each of `counted`: the topics whose messages its subscriber counts without looking
    into them."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        options = ("--devices", load.devices, "--registers", load.registers)
        devices = stack.enter_context(
            Process(python("modbus_server.py", *options), directory / "devices.log")
        )
        ports = msgspec.json.decode(devices.line(), type=list[int])
        sites = [_site(stack, directory, topics) for topics in counted]
        subject = start(load, ports, [site.broker.port for site in sites], directory)
        stack.enter_context(subject)
        running = Rig(load, sites, subject)
        running.settle()
        yield running


def _site(stack: ExitStack, directory: Path, counted: Sequence[str]) -> Site:
    broker = stack.enter_context(Mosquitto(directory, options=BROKER_DEFAULTS))
    options = ("--port", broker.port, "--topic", DECODED, "--count", *counted)
    subscriber = stack.enter_context(
        Process(python("subscriber.py", *options), directory / f"subscriber-{broker.port}.log")
    )
    subscriber.line()
    return Site(broker, subscriber)
