"""What scans run with: their bounds, and what is left of them."""

import asyncio
import contextlib
import socket
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from actors.discovery import probing as probing_module
from actors.discovery.pace import Pace
from actors.discovery.planning import Planned
from actors.discovery.probing import MOST_FOUND, TOLD, Hosts, Probing, ScanOver
from actors.discovery.running import run_scan
from actors.endpoints.discovering import Discovery, Found, Plan
from actors.endpoints.lines import Lines
from actors.system.failure import Refusal


class Options:
    pass


def probing_of(pace: Pace, hosts: Hosts | None = None, planned: int = 0) -> Probing:
    shared = Hosts() if hosts is None else hosts
    return Probing("fake", pace, shared, Lines(), validate=False, planned=planned)


def planned_of(scan: Any, within: float = 1.0) -> Planned:
    def scanner() -> Any:
        if isinstance(scan, BaseException):
            raise scan
        return scan

    discovery = Discovery(Options, lambda *_: None, scanner)  # type: ignore[arg-type]
    return Planned("fake", discovery, Plan(1, within), "scope")


class Counting:
    """Counts who is inside at once, of all and of each host."""

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self.by_host: dict[str, int] = {}
        self.same_host = 0

    async def ask(self, probing: Probing, host: str, seconds: float = 0.001) -> None:
        async with probing.probe(host):
            self.now += 1
            self.by_host[host] = self.by_host.get(host, 0) + 1
            self.peak = max(self.peak, self.now)
            self.same_host = max(self.same_host, self.by_host[host])
            try:
                await asyncio.sleep(seconds)
            finally:
                self.now -= 1
                self.by_host[host] -= 1


async def test_all_scans_together_keep_to_the_bounds() -> None:
    pace = Pace(at_once=8, per_second=1e6)
    counting = Counting()
    runs = [probing_of(pace, planned=40) for _ in range(3)]

    await asyncio.gather(*(counting.ask(run, f"10.0.0.{n % 20}") for run in runs for n in range(40)))

    assert counting.peak == 8
    assert counting.same_host == 1
    assert [(run.planned, run.probed) for run in runs] == [(40, 40)] * 3
    assert (pace.hosts, pace.under_way) == (0, 0)


async def test_probes_begin_no_faster_than_they_may() -> None:
    pace = Pace(at_once=64, per_second=200)
    probing = probing_of(pace)
    began = monotonic()

    await asyncio.gather(*(Counting().ask(probing, f"10.0.0.{n}", 0) for n in range(60)))

    assert monotonic() - began >= (60 - 17) / 200


async def test_a_small_scan_does_not_wait_for_all_of_a_large_one() -> None:
    pace = Pace(at_once=4, per_second=1e6)
    large, small = probing_of(pace), probing_of(pace)
    counting = Counting()
    names = [f"10.0.{n // 250}.{n % 250}" for n in range(1000)]
    tasks = [asyncio.create_task(counting.ask(large, name, 0.002)) for name in names]
    await asyncio.sleep(0.02)

    await asyncio.gather(*(counting.ask(small, f"10.9.0.{n}") for n in range(3)))

    assert large.probed < 300
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (pace.hosts, pace.under_way) == (0, 0)


async def test_no_more_hosts_than_a_run_may_ask() -> None:
    hosts = Hosts(most=3)
    pace = Pace(per_second=1e6)
    one, other = probing_of(pace, hosts), probing_of(pace, hosts)
    for host in ("a", "b", "a"):
        await Counting().ask(one, host)
    await Counting().ask(other, "c")
    with pytest.raises(Refusal, match="more than 3"):
        await Counting().ask(other, "d")
    for name in ("localhost", "ip6-localhost", "a.invalid"):
        hosts.admit_name(name)
    with pytest.raises(Refusal, match="more than 3"):
        await other.address("e.example")


async def test_a_name_is_looked_up_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def addresses(host: str, port: int) -> list[Any]:
        asked.append(host)
        await asyncio.sleep(0)
        if host == "nobody.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        found = "10.0.0.7" if host == "plc" else "224.0.0.9"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, 0))]

    monkeypatch.setattr(probing_module, "addresses", addresses)
    probing = probing_of(Pace(per_second=1e6))

    assert await asyncio.gather(*(probing.address("plc") for _ in range(20))) == ["10.0.0.7"] * 20
    assert await probing.address("10.0.0.8") == "10.0.0.8"
    for _ in range(2):
        with pytest.raises(OSError, match=r"^unknown$"):
            await probing.address("nobody.example")
    with pytest.raises(OSError, match="leads nowhere"):
        await probing.address("multicast.example")
    assert sorted(asked) == ["multicast.example", "nobody.example", "plc"]
    counting = Counting()
    await asyncio.gather(counting.ask(probing, "plc"), counting.ask(probing, "10.0.0.7"))
    assert counting.peak == 1


async def test_the_protocols_of_a_run_look_a_name_up_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def addresses(host: str, port: int) -> list[Any]:
        asked.append(host)
        await answer.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(probing_module, "addresses", addresses)
    hosts = Hosts()
    one, other = probing_of(Pace(), hosts), probing_of(Pace(), hosts)
    waiting = [asyncio.create_task(probing.address("plc")) for probing in (one, other)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await one.close()
    answer.set()
    assert await waiting[1] == "10.0.0.7"
    assert asked == ["plc"]
    await other.close()


async def test_a_name_that_hangs_is_let_go_of_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(host: str, port: int) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(probing_module, "addresses", addresses)
    probing = probing_of(Pace())
    waiting = asyncio.create_task(probing.address("plc"))
    await asyncio.sleep(0)
    await probing.close()
    with pytest.raises(ScanOver):
        await waiting
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_what_was_found_and_met_is_bounded_and_each_counts_once() -> None:
    probing = probing_of(Pace())
    for number in range(MOST_FOUND + 10):
        probing.found(Found(identity=f"fake:{number}", name="x", connection={}))
    probing.found(Found(identity="fake:1", name="better", connection={}, validated=True))
    for number in range(3 * TOLD):
        for _ in range(2):
            probing.trouble(f"10.0.0.{number}", "it hangs up\x1b[31m")

    assert len(probing.devices) == MOST_FOUND
    again = Found(identity="fake:1", name="", connection={}).fingerprint
    device = probing.devices[again].device
    assert (device.name, device.confidence) == ("better", "high")
    assert len(probing.troubles) == TOLD
    assert probing.trouble_count == 3 * TOLD + 1  # and the devices that are too many
    assert all(one.reason.isprintable() for one in probing.troubles)


async def test_what_goes_on_after_the_end_can_do_nothing() -> None:
    pace = Pace()
    probing = probing_of(pace)
    await probing.close()
    probing.found(Found(identity="late", name="late", connection={}))
    probing.trouble("late", "late")
    with pytest.raises(ScanOver):
        await Counting().ask(probing, "10.0.0.1")
    with pytest.raises(ScanOver):
        await probing.address("plc")
    assert (probing.devices, probing.troubles) == ({}, {})


@pytest.mark.parametrize(
    ("scan", "reason"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (ImportError("no such library"), "ImportError: no such library"),
        (Refusal("more than it may"), "more than it may"),
        (OSError(101, "Network is unreachable"), "OSError: [Errno 101] Network is unreachable"),
    ],
)
async def test_what_a_scan_raises_is_its_outcome(scan: Exception, reason: str) -> None:
    async def raising(plan: Any, probing: Any) -> None:
        raise scan

    for one in (scan, raising):
        outcome = await run_scan(planned_of(one), probing_of(Pace()), 5)
        assert outcome.error == reason


async def test_a_scan_that_withstands_its_end_is_left_to_itself_and_holds_nobody_up() -> None:
    stubborn: list[Any] = []
    turns = 0
    enough = asyncio.Event()

    async def scan(plan: Any, probing: Probing) -> None:
        nonlocal turns
        stubborn.append(asyncio.current_task())
        while not enough.is_set():
            turns += 1
            with contextlib.suppress(asyncio.CancelledError):
                async with probing.probe("10.0.0.1"):
                    await asyncio.sleep(0.01)

    outcome = await run_scan(planned_of(scan), probing_of(Pace(per_second=1e6)), 0.05)

    assert "has not ended" in (outcome.error or "")
    before = turns
    await asyncio.sleep(0.6)
    assert turns - before < 5
    enough.set()
    await asyncio.wait(stubborn, timeout=2)
    assert stubborn[0].done()


async def test_a_scan_that_cancels_itself_is_told() -> None:
    async def scan(plan: Any, probing: Probing) -> None:
        raise asyncio.CancelledError

    assert (await run_scan(planned_of(scan), probing_of(Pace()), 5)).error == "it was cancelled from inside"


async def test_cancelled_at_every_await_it_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses(host: str, port: int) -> list[Any]:
        for _ in range(3):
            await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(probing_module, "addresses", addresses)
    opened: set[int] = set()

    async def probe(probing: Probing, number: int) -> None:
        async with probing.probe(f"10.0.0.{number % 4}"):
            opened.add(number)
            try:
                await asyncio.sleep(0)
                await probing.address("plc")
            finally:
                opened.discard(number)

    async def scan(plan: Any, probing: Probing) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(probe(probing, number))

    pace = Pace(at_once=2, per_second=1e9)
    turns = asyncio.Semaphore(1)
    finished = False
    for steps in range(200):
        task = asyncio.create_task(run_scan(planned_of(scan), probing_of(pace), 5, turns))
        for _ in range(steps):
            await asyncio.sleep(0)
            if task.done():
                break
        finished = finished or task.done()
        task.cancel()
        await asyncio.wait([task])
        assert (pace.hosts, pace.under_way, opened, turns.locked()) == (0, 0, set(), False)
        assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    outcome = await run_scan(planned_of(scan), probing_of(pace), 5, turns)
    assert outcome.error is None


def test_a_device_that_is_told_again_has_no_other_place_by_that():
    probing = probing_of(Pace())
    for host in ("a", "a", "b", "b", "a", "c", "c"):
        probing.found(Found(identity="one", name="one", connection={"host": host}))
    [one] = probing.devices.values()
    assert one.device.connection == {"host": "c"}
    assert sorted(other["host"] for other in one.others) == ["a", "b"]


async def test_all_devices_together_take_no_more_than_a_run_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing_module, "MOST_BYTES", 50_000)
    probing = probing_of(Pace())
    points = tuple({"name": f"{number:0100}"} for number in range(100))
    for _ in range(2):
        for number in range(10):
            host = f"10.0.0.{number}"
            probing.found(Found(identity=host, name=host, connection={"host": host}, data_points=points))

    kept = [bool(one.device.data_points) for one in probing.devices.values()]
    assert kept == [True] * 4 + [False] * 6
    assert {one.where for one in probing.troubles} == {f"10.0.0.{number}" for number in range(4, 10)}


async def test_a_host_has_a_moment_between_two_who_ask_it() -> None:
    probing = probing_of(Pace(per_second=1e6))
    times: list[float] = []

    async def ask() -> None:
        async with probing.probe("10.0.0.1"):
            times.append(monotonic())

    await asyncio.gather(ask(), ask(), ask())

    assert all(later - earlier >= 0.045 for earlier, later in pairwise(times))
