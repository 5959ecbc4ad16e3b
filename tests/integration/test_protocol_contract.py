"""What holds of every field protocol: real adapter, endpoint and session, and a real device behind a relay
that makes trouble.

A new protocol needs a counterpart in `servers.field_counterparts` and gets these tests with it. The values of
its device carry a number that only grows: so what is old, another's or made up is seen.
"""

import asyncio
import gc
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from field_rig import INTERVAL_MS, SETTLED, Boom, FieldRig
from packages import on_path
from servers.field_counterpart import TWIN, FieldCounterpart
from servers.field_counterparts import FIELD_COUNTERPARTS
from servers.toy import install_toy
from wall_clock import YEAR, WallClock

from actors.endpoints import protocols, trying
from actors.endpoints.endpoint import Endpoint
from actors.endpoints.lines import lines_of
from actors.endpoints.messages import RegisterWritten, Tried
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.trying import WITHIN, attempt
from actors.system.failure import Failed

GARBAGE = {
    "noise": bytes(range(256)) * 4,
    "zeros": bytes(300),
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nlogin!",
    "JSON": b'{"id": 1, "values": [1, 2, 3], "counter": 7}\n[]\n{"id": 2}\n',
    "nothing": b"",
}


@pytest.fixture(scope="module", autouse=True)
def _toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with on_path(install_toy(tmp_path_factory.mktemp("toy"))):
        yield


@pytest.fixture(scope="module", params=FIELD_COUNTERPARTS)
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], FieldCounterpart]]:
    """What makes counterparts of one kind."""
    found = FIELD_COUNTERPARTS[request.param]
    with found.share(tmp_path_factory.mktemp("field")) as shared:
        yield lambda: found(shared)


@pytest.fixture
async def counterpart(kind: Callable[[], FieldCounterpart]) -> AsyncIterator[FieldCounterpart]:
    async with kind() as running:
        yield running


@pytest.fixture
async def rig(counterpart: FieldCounterpart) -> AsyncIterator[FieldRig]:
    async with FieldRig(counterpart) as running:
        yield running
        running.check()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of the endpoint, without the reasons."""
    own = [text for text in caplog.messages if text.startswith("plc: ")]
    return [text.removeprefix("plc: ").split(" ")[0] for text in own]


def test_every_protocol_has_a_counterpart() -> None:
    assert {each.protocol for each in FIELD_COUNTERPARTS.values()} == set(protocols.names())


# Tried without an endpoint


def checked(counterpart: FieldCounterpart, right: bool = True) -> CheckedEndpoint:
    connection = counterpart.connection(counterpart.relay, right)
    return protocols.find(counterpart.protocol).accept(connection, counterpart.data_points)


async def tried(counterpart: FieldCounterpart, right: bool = True, within: float = WITHIN) -> Tried:
    protocol = protocols.find(counterpart.protocol)
    return await attempt(protocol, checked(counterpart, right), lines_of(protocol.name), within)


async def test_what_an_endpoint_would_read_is_what_it_reads(
    rig: FieldRig, counterpart: FieldCounterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "FIRST_VALUES", 1.0)
    for running in (False, True):
        if running:
            await rig.begin()
        trial = asyncio.ensure_future(tried(counterpart))
        while not trial.done():  # who tells by himself tells what changes
            await rig.advance()
            await asyncio.sleep(0.05)
        found = trial.result()
        assert found.error is None
        values = {one.name: one for one in found.values if one.value is not None}
        assert {"counter", "twin"} <= set(values), found
        assert values["counter"].value in rig.numbers
        assert values["twin"].value - TWIN in rig.numbers
        assert not running or await rig.good() is None
    assert len(rig.lines) <= 1


async def test_a_trial_leaves_no_connection_whatever_becomes_of_it(
    rig: FieldRig, counterpart: FieldCounterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "FIRST_VALUES", 0.3)
    await counterpart.relay.refuse()
    refused = await tried(counterpart)
    assert refused.error is not None
    assert refused.code is not None
    assert not refused.good
    await counterpart.relay.admit()
    with counterpart.relay.answers.held():
        silent = await tried(counterpart, within=1.5)
        assert silent.error is not None
        assert silent.duration_ms < 4000
        abandoned = asyncio.ensure_future(tried(counterpart))
        await asyncio.sleep(0.1)
        abandoned.cancel()
        await asyncio.wait([abandoned])
    await rig.until(lambda: counterpart.relay.connections == 0)
    assert len(rig.lines) == 0


# Away, and back


async def test_a_device_that_is_not_there_at_the_start_is_read_when_it_is(
    rig: FieldRig, counterpart: FieldCounterpart, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await counterpart.relay.refuse()
    rig.run()
    since = await rig.away()
    report = await rig.report()
    assert not report.connected
    assert report.last_error
    assert said(caplog) == ["cannot"]
    await rig.advance()
    await counterpart.relay.admit()
    await rig.back(since)
    await rig.until(lambda: said(caplog) == ["cannot", "connected"])
    assert (await rig.report()).connected


@pytest.mark.parametrize("away", ["the network", "the device"])
async def test_a_device_that_goes_away_is_bad_until_it_is_back(
    rig: FieldRig, counterpart: FieldCounterpart, away: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await rig.begin()
    await (counterpart.relay.refuse() if away == "the network" else counterpart.stop())
    since = await rig.away()
    assert not (await rig.report()).connected
    await rig.advance(3)
    await (counterpart.relay.admit() if away == "the network" else counterpart.start())
    await rig.back(since)
    await rig.until(lambda: said(caplog)[-1] == "connected")  # values may come before the connection is whole
    words = said(caplog)
    assert words[0] == "connected"
    assert 1 <= len(words) - 2 <= 3, words


async def test_a_connection_that_is_cut_under_load_costs_nothing_but_time(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    for _ in range(5):
        accepted = counterpart.relay.accepted
        await counterpart.relay.cut()
        await rig.run_on(lambda seen=accepted: counterpart.relay.accepted > seen)  # type: ignore[misc]
    await rig.good()


# Slow and silent


async def test_a_device_that_answers_late_is_read_all_the_same(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    counterpart.relay.answers.delay = 0.05
    accepted = counterpart.relay.accepted
    await rig.advance()
    await rig.good()
    count = len(rig.readings["counter"])
    ends = asyncio.get_running_loop().time() + 1.0
    await rig.run_on(lambda: asyncio.get_running_loop().time() > ends, pause=0.05)
    assert all(reading.code is None for reading in rig.readings["counter"][count:])
    assert counterpart.relay.accepted == accepted
    await rig.good()


async def test_a_connection_that_has_died_without_a_word_is_made_anew(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    if not counterpart.connects:
        return
    await rig.begin()
    accepted = counterpart.relay.accepted
    with counterpart.relay.cut_off():
        await rig.run_on(lambda: counterpart.relay.accepted > accepted)
        await rig.good()


async def test_a_device_that_falls_silent_is_away_and_what_it_says_too_late_is_not_taken(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    with counterpart.relay.answers.held():
        await rig.run_on(lambda: bool((found := rig.latest()) and found.code))
        since = await rig.away()
        await rig.advance(5)
    await rig.back(since)


async def test_a_device_that_accepts_connections_and_never_answers_is_tried_less_and_less(
    rig: FieldRig, counterpart: FieldCounterpart, caplog: pytest.LogCaptureFixture
) -> None:
    with counterpart.relay.answers.held():
        rig.run()
        since = await rig.away()
        assert counterpart.relay.accepted <= 8
        assert counterpart.connects or counterpart.relay.requests.count <= 8 * counterpart.a_try
        assert len(said(caplog)) <= 2
        await rig.advance()
    await rig.back(since)


# Datagrams


@pytest.mark.parametrize("trouble", ["lost", "twice", "mixed up"])
async def test_datagrams_that_come_as_they_like_are_told_apart(
    rig: FieldRig, counterpart: FieldCounterpart, trouble: str
) -> None:
    if counterpart.connects:
        return
    await rig.begin()
    ways = counterpart.relay.requests, counterpart.relay.answers
    for way in ways:
        way.loss = 0.2 if trouble == "lost" else 0.0
        way.copies = 2 if trouble == "twice" else 1
        way.jitter = 0.1 if trouble == "mixed up" else 0.0
    ends = asyncio.get_running_loop().time() + 2.0
    await rig.run_on(lambda: asyncio.get_running_loop().time() > ends, pause=0.02)
    for way in ways:
        way.loss, way.copies, way.jitter = 0.0, 1, 0.0
    await rig.good()
    assert rig.crashes == 0


async def test_answers_from_somebody_else_are_not_taken(rig: FieldRig, counterpart: FieldCounterpart) -> None:
    if counterpart.connects:
        return
    await rig.begin()
    for impostor in (("127.0.0.1", 0), ("127.0.0.2", counterpart.relay.port)):
        counterpart.relay.impostor = impostor
        since = await rig.away()
        await rig.advance()
        counterpart.relay.impostor = None
        await rig.back(since)


# Garbage


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_something_else_in_its_place_gives_no_values(
    rig: FieldRig, counterpart: FieldCounterpart, garbage: str
) -> None:
    await rig.begin()
    counterpart.relay.portal = GARBAGE[garbage]
    await counterpart.relay.cut()
    since = await rig.away()
    await rig.advance()
    counterpart.relay.portal = None
    await rig.back(since)
    assert rig.crashes == 0


@pytest.mark.parametrize("garbage", [name for name, octets in GARBAGE.items() if octets])
async def test_garbage_on_the_wire_does_no_lasting_harm(
    rig: FieldRig, counterpart: FieldCounterpart, garbage: str
) -> None:
    await rig.begin()
    for _ in range(5):
        counterpart.relay.inject(GARBAGE[garbage])
        count = len(rig.readings["counter"])
        await rig.run_on(lambda seen=count: len(rig.readings["counter"]) > seen)  # type: ignore[misc]
    await rig.good()
    assert rig.crashes == 0


# Changed, ended


async def test_a_changed_connection_takes_the_place_of_the_one_before(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    for relay, other in [(counterpart.detour, counterpart.relay), (counterpart.relay, counterpart.detour)]:
        rig.run(relay)
        await rig.until(lambda relay=relay: relay.connections == 1)  # type: ignore[misc]
        await rig.advance()
        await rig.good()
        await rig.until(lambda other=other: other.connections == 0)  # type: ignore[misc]


async def test_another_interval_keeps_the_connection(rig: FieldRig, counterpart: FieldCounterpart) -> None:
    await rig.begin()
    rig.run(poll_interval=INTERVAL_MS // 2)
    await rig.advance()
    await rig.good()
    assert counterpart.relay.accepted == 1


@pytest.mark.parametrize("change", ["removed", "changed"])
async def test_one_that_is_ended_while_it_connects_leaves_no_connection(
    rig: FieldRig, counterpart: FieldCounterpart, change: str
) -> None:
    with counterpart.relay.answers.held():
        rig.run()
        await rig.until(lambda: counterpart.relay.connections == 1)
        if change == "removed":
            rig.end()
            await rig.until(lambda: not rig.running)
        else:
            rig.run(counterpart.detour)
            await rig.good()
        await rig.until(lambda: counterpart.relay.connections == 0)
    if change == "removed":
        assert rig.latest() is None or rig.latest().code is not None  # type: ignore[union-attr]
        assert counterpart.relay.accepted == 1
        assert len(rig.lines) == 0


async def test_one_that_is_disabled_says_no_more_and_is_read_again_when_it_is_enabled(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    for _ in range(3):
        rig.end()
        await rig.until(lambda: not rig.running and counterpart.relay.connections == 0)
        await asyncio.sleep(0)
        count = len(rig.readings["counter"])
        await rig.advance(3)
        await asyncio.sleep(2 * INTERVAL_MS / 1000)
        assert len(rig.readings["counter"]) == count
        rig.run()
        await rig.good()
    assert len(rig.lines) <= 1


async def test_one_that_crashes_is_read_again(
    rig: FieldRig, counterpart: FieldCounterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Endpoint, message: Boom, sender: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Endpoint, "receiveMsg_Boom", explode, raising=False)
    await rig.begin()
    before = rig.instance
    rig.base.tell(rig.endpoint, Boom())
    await rig.until(lambda: rig.instance not in (None, before))
    await rig.advance()
    await rig.good()
    await rig.until(lambda: counterpart.relay.connections == 1)


# Credentials


async def test_with_the_wrong_credentials_it_is_away_until_they_are_corrected(
    rig: FieldRig, counterpart: FieldCounterpart, caplog: pytest.LogCaptureFixture
) -> None:
    if not counterpart.login:
        return
    rig.run(right=False)
    since = await rig.away()
    assert len(said(caplog)) == 1
    assert counterpart.relay.accepted <= 4, "refused for good, it is tried as often as if it were not there"
    assert "wrong one" not in caplog.text
    rig.run(right=True)
    await rig.back(since)


# Writing


async def test_what_is_written_is_there_and_comes_back_as_a_reading(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    for value in (7, 9):
        assert await rig.write(value) == RegisterWritten("setpoint", value)
        assert counterpart.written[-1] == value
        await rig.until(lambda value=value: (found := rig.latest("setpoint")) and found.value == value)  # type: ignore[misc]


async def test_what_cannot_be_written_is_refused_whether_the_device_is_there_or_not(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await counterpart.relay.refuse()
    rig.run()
    await rig.away()
    for there in (False, True):
        if there:
            await counterpart.relay.admit()
            await rig.good()
        for value, register in ((7, "no such point"), (7, "counter"), ("many", "setpoint")):
            answer = await rig.write(value, register)
            assert isinstance(answer, Failed), (value, register)
            assert answer.kind in ("invalid", "not_found", "read_only"), answer
    assert counterpart.written == []


async def test_a_write_to_a_device_that_is_away_fails_and_is_not_made_up_for(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    await counterpart.relay.refuse()
    await rig.away()
    answer = await rig.write(7)
    assert isinstance(answer, Failed)
    assert answer.kind == "unavailable"
    await counterpart.relay.admit()
    await rig.advance()
    await rig.good()
    assert counterpart.written == []
    assert await rig.write(8) == RegisterWritten("setpoint", 8)


async def test_a_write_that_nobody_answers_is_told_as_that_within_bounds(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    with counterpart.relay.answers.held():
        answer = await rig.write(7)
        assert isinstance(answer, Failed), answer
        assert answer.kind == "unavailable"
    await rig.advance()
    await rig.good()
    assert await rig.write(8) == RegisterWritten("setpoint", 8)


async def test_a_write_that_the_device_refuses_costs_no_reading(
    rig: FieldRig, counterpart: FieldCounterpart
) -> None:
    await rig.begin()
    if not counterpart.refuse_writes():
        return
    count = len(rig.readings["counter"])
    answer = await rig.write(7)
    assert isinstance(answer, Failed)
    assert answer.kind not in ("internal", "unavailable"), answer
    await rig.advance()
    await rig.good()
    assert all(reading.code is None for reading in rig.readings["counter"][count:])
    assert counterpart.relay.accepted == 1
    assert counterpart.written == []


# The clock


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR, 3600.0, -3600.0])
async def test_a_clock_that_is_set_costs_neither_values_nor_the_connection(
    rig: FieldRig, counterpart: FieldCounterpart, wall_clock: WallClock, jump: float
) -> None:
    await rig.begin()
    count = len(rig.readings["counter"])
    for ahead in (jump, -jump):
        wall_clock.jump(ahead)
        rig.base.clock.look()
        for _ in range(SETTLED):
            await rig.advance()
            await rig.good()
    assert counterpart.relay.accepted == 1
    assert all(reading.code is None for reading in rig.readings["counter"][count:])


@pytest.mark.parametrize("jump", [10 * YEAR, -10 * YEAR])
async def test_a_clock_that_is_set_while_the_device_is_away_does_not_keep_it_away(
    rig: FieldRig, counterpart: FieldCounterpart, wall_clock: WallClock, jump: float
) -> None:
    await rig.begin()
    await counterpart.relay.refuse()
    since = await rig.away()
    wall_clock.jump(jump)
    rig.base.clock.look()
    await rig.advance()
    await counterpart.relay.admit()
    await rig.back(since)
    wall_clock.correct()


# Without end


async def left_behind(rig: FieldRig, tasks: int = 10_000) -> Counter[str]:
    """How many there are of all that connections are made of, when there are no more than so many tasks."""
    await rig.until(lambda: len(asyncio.all_tasks()) <= tasks)
    loop: Any = asyncio.get_running_loop()
    for _ in range(200):  # cancelled timers keep their contexts until there are many of them
        loop.call_later(60, str).cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    modules = ("actors.", "asyncio.", "ssl", "asyncua.", "gmqtt.", "pymodbus.", "toy_protocol", "serial")
    kinds = Counter(type(one) for one in gc.get_objects())
    found = Counter({k.__qualname__: n for k, n in kinds.items() if str(k.__module__).startswith(modules)})
    del found["TimerHandle"], found["Reading"]
    found["tasks"] = len(asyncio.all_tasks())
    found["timers"] = sum(not timer.cancelled() for timer in loop._scheduled)
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    found["threads"] = threading.active_count()
    return found


async def lose(rig: FieldRig, times: int) -> None:
    relay = rig.counterpart.relay
    for _ in range(times):
        accepted = relay.accepted
        await relay.cut()
        await rig.until(lambda seen=accepted: relay.accepted > seen)  # type: ignore[misc]
        await rig.advance()
        await rig.good()


async def test_connections_that_are_lost_without_end_leave_nothing_behind(rig: FieldRig) -> None:
    await rig.begin()
    await lose(rig, 10)
    before = await left_behind(rig)
    await lose(rig, 40)
    grown = await left_behind(rig, before["tasks"]) - before
    assert {name: count for name, count in grown.items() if count > 10} == {}


async def test_endpoints_that_come_and_go_leave_nothing_behind(rig: FieldRig) -> None:
    async def come_and_go(times: int) -> None:
        for _ in range(times):
            rig.run()
            await rig.advance()
            await rig.good()
            rig.end()
            await rig.until(lambda: not rig.running and rig.counterpart.relay.connections == 0)

    await come_and_go(5)
    before = await left_behind(rig)
    await come_and_go(20)
    grown = await left_behind(rig, before["tasks"]) - before
    assert {name: count for name, count in grown.items() if count > 5} == {}
    assert len(rig.lines) == 0
