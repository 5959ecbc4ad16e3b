"""What two looks at a machine say, and what becomes of it as readings."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from actors.host import machine, metrics, probes
from actors.host.cgroups import Usage
from actors.host.machine import Look, Process, Storage, look, sample
from actors.host.network import Counters

GB = 1 << 30
PROCESS = Process(64 * GB // 1024, GB // 64, GB, 10.0, 5, 30, 100.0)
BEFORE = Look(
    at=100.0,
    busy=1000.0,
    total=4000.0,
    cores=4,
    memory_total=8 * GB,
    memory_available=6 * GB,
    load=(0.5, 0.4, 0.3),
    network={"eth0": Counters(1000, 1000), "lo": Counters(0, 0)},
    counted=("eth0",),
    container=Usage(),
    process=PROCESS,
)
NOW = msgspec.structs.replace(
    BEFORE,
    at=110.0,
    busy=1010.0,
    total=4040.0,
    network={"eth0": Counters(11_000, 6_000), "lo": Counters(10**9, 10**9)},
    process=msgspec.structs.replace(PROCESS, cpu_seconds=12.0),
)


def taken(now=NOW, before=BEFORE, storage=None, temperature=None):
    return sample(before, now, storage, temperature)


def changed(look, **fields):
    return msgspec.structs.replace(look, **fields)


def test_usage_is_that_since_the_look_before():
    found = taken()
    assert found.cpu_percent == 25.0
    assert found.process_cpu_percent == 20.0
    assert (found.memory_used, found.memory_percent) == (2 * GB, 25.0)


def test_the_loopback_is_no_network():
    found = taken()
    assert (found.received_rate, found.sent_rate) == (1000.0, 500.0)
    assert [one.name for one in found.interfaces] == ["eth0", "lo"]


@pytest.mark.parametrize("total", [4000.0, 3990.0])
def test_counters_that_stand_still_or_go_back_are_not_known_instead_of_zero(total):
    """A processor was taken away."""
    assert taken(changed(NOW, total=total)).cpu_percent is None


def test_usage_stays_between_nothing_and_all():
    assert taken(changed(NOW, busy=900.0)).cpu_percent == 0.0
    assert taken(changed(NOW, busy=1100.0)).cpu_percent == 100.0


def test_a_container_with_limits_is_measured_by_them():
    before = changed(BEFORE, container=Usage(GB, GB // 4, 0.5, 10.0))
    now = changed(NOW, container=Usage(GB, GB // 2, 0.5, 14.0))
    found = taken(now, before)
    assert found.limited
    assert (found.memory_used, found.memory_total, found.memory_percent) == (GB // 2, GB, 50.0)
    assert found.cpu_percent == 80.0  # 4 s of the 5 s that half a processor has in 10 s
    assert found.cpu_cores == 0.5


def test_a_limit_above_what_the_machine_has_is_none():
    found = taken(changed(NOW, container=Usage(64 * GB, GB, 64.0, 14.0)))
    assert (found.memory_total, found.cpu_percent, found.cpu_cores) == (8 * GB, 25.0, 4)


def test_what_could_not_be_read_is_unknown_and_the_rest_is_there():
    blind = changed(NOW, busy=None, total=None, memory_total=None, load=None, network=None, process=None)
    found = taken(blind)
    assert (found.cpu_percent, found.memory_percent, found.load, found.received_rate, found.process) == (
        None,
    ) * 5
    assert found.uptime > 0


def test_this_machine_can_be_looked_at():
    found = look()
    assert None not in (found.busy, found.memory_total, found.network, found.process)
    assert found.process.resident > 10**6
    assert found.process.threads >= 1
    assert machine.storage(Path("/")).total > 0


def test_one_thing_that_raises_costs_nothing_else(monkeypatch):
    import psutil

    def broken(*arguments, **options):
        raise KeyError("MemAvailable")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    monkeypatch.setattr(psutil, "net_io_counters", broken)
    found = look()
    assert (found.memory_total, found.network) == (None, None)
    assert found.busy is not None


# As readings


def test_readings_have_the_names_of_the_reference():
    found = taken(storage=Storage(GB, 4 * GB, 25.0), temperature=51.5)
    source = metrics.source("uuid", "line 7", metrics.points(found))
    batch = metrics.batch(source, found, 1234)
    values = {point.name: value for point, value in zip(source.points, batch.values, strict=True)}
    assert values["cpu_usage"] == 25.0
    assert values["memory_percent"] == 25.0
    assert values["cpu_temp"] == 51.5
    assert values["disk_usage"] == 25.0
    assert batch.qualities is None
    assert (source.protocol, source.endpoint, source.device) == ("system", "host", "line 7")
    assert "sensors/host/" in source.prefixes
    assert all(isinstance(value, int | float) for value in batch.values)


def test_where_there_is_no_temperature_there_is_no_point_for_it():
    names = {point.name for point in metrics.points(taken())}
    assert "cpu_temp" not in names
    assert "disk_usage" in names


def test_a_temperature_that_was_there_is_bad_when_it_cannot_be_read():
    points = metrics.points(taken(temperature=50.0))
    source = metrics.source("uuid", "name", metrics.points(taken(), points))
    batch = metrics.batch(source, taken(), 1)
    at = [point.name for point in source.points].index("cpu_temp")
    assert (batch.values[at], batch.qualities[at]) == (None, metrics.UNREAD)


# What hangs


async def test_a_call_that_hangs_is_given_up_and_no_second_begins_beside_it():
    """node_exporter once had a thread and a descriptor more for each time that it was asked."""
    hanging, calls = threading.Event(), []

    def statfs():
        calls.append(threading.current_thread())
        hanging.wait(10)
        return "late"

    assert [await probes.ask("test-storage", statfs, 0.02) for _ in range(5)] == [None] * 5
    assert len(calls) == 1
    hanging.set()
    calls[0].join(5)
    assert await probes.ask("test-storage", lambda: "well again", 5) == "well again"


def test_a_call_that_outlived_its_loop_holds_nothing_up():
    """As in a process that starts one agent after another."""
    hanging, threads = threading.Event(), []

    def call():
        threads.append(threading.current_thread())
        hanging.wait(10)

    assert asyncio.run(probes.ask("test-loops", call, 0.01)) is None
    assert asyncio.run(probes.ask("test-loops", lambda: 1, 0.01)) is None
    hanging.set()
    threads[0].join(5)
    assert asyncio.run(probes.ask("test-loops", lambda: 1, 5)) == 1
    assert len(threads) == 1


async def test_others_are_not_held_up_by_it():
    hanging = threading.Event()
    assert await probes.ask("test-one", lambda: hanging.wait(10), 0.01) is None
    assert await probes.ask("test-other", lambda: 7, 5) == 7
    hanging.set()


async def test_what_raises_could_not_be_read():
    assert await probes.ask("test-raises", lambda: 1 / 0, 5) is None
    assert await probes.ask("test-raises", lambda: 2, 5) == 2
