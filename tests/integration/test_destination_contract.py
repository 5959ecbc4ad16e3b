"""What holds of every destination type: real store, publisher, destination and driver, and a real server
behind a relay that makes trouble.

A new type needs a counterpart in `servers.counterparts` and gets these tests with it; only those of tokens
name types.
"""

import asyncio
import gc
import logging
import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from line_protocol_parser import parse_line
from publishing_system import PATIENCE, PublishingSystem, hasten, limits, source_of
from servers.counterparts import COUNTERPARTS, Counterpart, MqttBroker, Reading, TokenCounterpart, reading_in
from servers.relay import Relay
from servers.slow_reader import SlowReader
from wall_clock import YEAR, WallClock

from actors.publish import destinations
from actors.publish.destination import Destination
from actors.publish.destinations import azure_iot, gcp_iot
from actors.publish.destinations.mqtt_driver import MqttDriver
from actors.publish.destinations.token_clock import token_clock
from actors.publish.messages import (
    DeadLettersListed,
    DestinationRemoved,
    JoinCloud,
    ListDeadLetters,
    RemoveDestination,
)
from actors.publish.outbox import Outbox
from actors.publish.pace import Flow
from actors.publish.subscription import Publish
from actors.readings.batch import Batch

LINES = ("line-1", "line-2", "line-3")
BOUND = 20_000
"""Bytes that an outbox is to keep in memory at most."""


class Boom(msgspec.Struct, frozen=True):
    """Makes a destination crash."""


class Rig(PublishingSystem):
    """With a server at the other end."""

    def __init__(self, directory: Path, counterpart: Counterpart) -> None:
        super().__init__(directory)
        self.counterpart = counterpart
        self.ends = 0

    async def start_store(self) -> None:
        await super().start_store()
        cloud = self.counterpart.cloud(self.counterpart.relay)
        self.terms = msgspec.structs.replace(self.terms, cloud=cloud)

    async def begin(self, **fields: Any) -> int:
        """A destination that is connected and gets everything, unless the subscription's fields say
        otherwise."""
        id = await self.add(self.counterpart, **fields)
        await self.until(lambda: self.instance(id).connected)
        return id

    async def add(
        self, counterpart: Counterpart, name: str = "one", right: bool = True, **fields: Any
    ) -> int:
        self.join(counterpart, counterpart.relay, right)
        config_json = counterpart.config_json(counterpart.relay, right)
        destination = await self.new_destination(name, counterpart.type, config_json)
        route_json = counterpart.route_json | fields.pop("route_json", {})
        fields.setdefault("payload_format", counterpart.payload_format)
        await self.add_subscription(destination.id, route_json=route_json, **fields)
        return destination.id

    async def go_by(self, id: int, relay: Relay, right: bool = True) -> None:
        """Change the destination so that it connects there."""
        counterpart = self.counterpart
        self.join(counterpart, relay, right)
        if counterpart.cloud(relay) is None:
            await self.change_destination(id, config_json=counterpart.config_json(relay, right))

    def join(self, counterpart: Counterpart, relay: Relay, right: bool) -> None:
        cloud = counterpart.cloud(relay, right)
        if cloud is not None:
            self.base.tell(self.publisher, JoinCloud(cloud))

    def poll_lines(self, numbers: Iterable[int]) -> None:
        """Every line once per number, in turn."""
        for number in numbers:
            for line in LINES:
                self.poll(number, endpoint=line)

    async def finish(self, id: int) -> None:
        """Wait until everything polled before has arrived, what is sent twice included: servers keep the
        order."""
        self.ends += 1
        end = "end", self.ends
        self.poll(self.ends, endpoint="end")
        await self.until(lambda: end in self.counterpart.received)
        await self.settle(id)

    def readings(self, id: int) -> list[Reading]:
        """Those on disk."""
        return [_stored(payload) for payload in self.stored_payloads(id)]

    def outbox(self, id: int) -> Outbox:
        found = self.instance(id).outbox
        assert found is not None
        return found

    def window_of(self, id: int) -> int:
        """How many payloads may be in flight."""
        driver = self.instance(id).connection
        assert driver is not None
        return driver.window or self.flow.window

    async def under_way(self, id: int, oldest: Reading, count: int) -> None:
        """Until the server has got the `oldest` of `count` readings, none of them acknowledged."""
        await self.until(lambda: oldest in self.counterpart.received and self.held(id) == count)


def _stored(payload: bytes) -> Reading:
    if payload.startswith(b"{"):
        return reading_in(payload)
    point = parse_line(f"m,{payload.decode()}")
    return point["tags"]["endpoint"], int(point["fields"]["seq"])


def by_line(readings: Iterable[Reading]) -> dict[str, list[int]]:
    """The numbers of every line, as they come."""
    found: dict[str, list[int]] = {line: [] for line in LINES}
    for endpoint, number in readings:
        found.setdefault(endpoint, []).append(number)
    found.pop("end", None)
    return found


def strange(readings: Iterable[Reading], numbers: Iterable[int]) -> dict[str, Any]:
    """What is missing of the numbers, there twice, or out of order, by line; nothing when every line has
    each of them once and in order."""
    expected = list(numbers)
    found = {}
    for line, got in by_line(readings).items():
        if got != expected:
            found[line] = {
                "missing": sorted(set(expected) - set(got)),
                "repeated": sorted(number for number, count in Counter(got).items() if count > 1),
                "in order": got == sorted(got),
            }
    return found


def first_times(readings: Iterable[Reading]) -> list[Reading]:
    """Without repetitions."""
    return list(dict.fromkeys(readings))


def repeated(readings: Iterable[Reading]) -> set[Reading]:
    return {reading for reading, count in Counter(readings).items() if count > 1}


@pytest.fixture(params=COUNTERPARTS)
async def counterpart(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counterpart]:
    async with COUNTERPARTS[request.param](tmp_path / "server") as running:
        yield running


@pytest.fixture
async def neighbour(tmp_path: Path) -> AsyncIterator[Counterpart]:
    """For a destination beside the one in trouble."""
    async with MqttBroker(tmp_path / "neighbour") as running:
        yield running


@pytest.fixture
async def rig(
    tmp_path: Path, counterpart: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    hasten(monkeypatch)
    async with Rig(tmp_path, counterpart) as running:
        yield running


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: Destination, message: Boom, sender: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Destination, "receiveMsg_Boom", explode, raising=False)


def test_every_type_has_a_counterpart() -> None:
    assert {each.type for each in COUNTERPARTS.values()} == set(destinations.TYPES)


# Outages


@pytest.mark.parametrize("away", ["the network", "the server"])
async def test_readings_of_an_outage_arrive_afterwards_once_and_in_order(
    rig: Rig, counterpart: Counterpart, away: str
) -> None:
    id = await rig.begin()
    rig.poll_lines(range(20))
    await rig.finish(id)
    await (counterpart.relay.refuse() if away == "the network" else counterpart.stop())
    rig.poll_lines(range(20, 120))
    await rig.until(lambda: len(rig.readings(id)) == 300 and not rig.instance(id).connected)
    await (counterpart.relay.admit() if away == "the network" else counterpart.start())
    await rig.until(lambda: rig.held(id) == 0)
    rig.poll_lines(range(120, 140))
    await rig.finish(id)
    assert strange(counterpart.received, range(140)) == {}


async def test_what_was_in_flight_when_the_connection_was_cut_and_only_that_is_sent_again(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    rig.poll_lines(range(20))
    await rig.until(lambda: len(counterpart.received) == 60 and rig.held(id) == 0)
    with counterpart.relay.answers.held():
        rig.poll_lines(range(20, 30))
        await rig.under_way(id, ("line-1", 20), 30)
        await counterpart.relay.cut()
    rig.poll_lines(range(30, 40))
    await rig.finish(id)
    received = counterpart.received
    assert strange(first_times(received), range(40)) == {}
    assert ("line-1", 20) in repeated(received)
    assert all(20 <= number < 30 for _, number in repeated(received))
    again = len(received) - list(reversed(received)).index(("line-1", 20)) - 1
    for numbers in by_line(received[again:]).values():
        assert numbers == sorted(set(numbers)), "what is sent again is in order, and so is what follows"


# Rejected


def _spoil(rig: Rig, id: int, counterpart: Counterpart) -> None:
    """Have a reading of `seq` 10 published that is rejected."""
    if counterpart.spoilt_topic is None:
        source = source_of("spoilt", "seq", "text")
        rig.base.tell(rig.router, Batch(source, 1_700_000_000_000, [10, counterpart.spoilt_text]))
    else:
        payload = b'{"node":"spoilt","tags":[{"name":"seq","value":10}]}'
        rig.base.tell(rig.destination(id), Publish(counterpart.spoilt_topic, [payload]))


async def test_a_rejected_payload_is_kept_with_its_reason_and_all_others_arrive(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    rig.poll_lines(range(10))
    _spoil(rig, id, counterpart)
    rig.poll_lines(range(10, 20))
    await rig.finish(id)
    assert strange(first_times(counterpart.received), range(20)) == {}
    assert repeated(counterpart.received) == set() or counterpart.replaces
    report = await rig.reported(id, lambda report: report.rejected == 1 and report.rows == 0)
    listed = await rig.ask(ListDeadLetters(id, 10), DeadLettersListed)
    [letter] = listed.dead_letters
    assert _stored(letter.payload)[1] == 10
    assert counterpart.rejection in letter.reason
    assert (report.connected, report.rows, rig.readings(id)) == (True, 0, [])
    assert counterpart.rejection in (report.latest_error or "")


# Slow


async def test_a_slow_server_gets_what_it_can_take_and_delays_nobody(
    tmp_path: Path, counterpart: Counterpart, neighbour: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    rig = Rig(tmp_path, counterpart)
    rig.flow, rig.limits = Flow(window=30), limits(memory_bytes=BOUND)
    async with rig:
        id = await rig.begin()
        other = await rig.add(neighbour, "two")
        most = rig.window_of(id)
        with counterpart.relay.answers.held():
            rig.poll_lines(range(300))
            await rig.until(lambda: len(neighbour.received) == 900 and rig.held(other) == 0)
            await rig.until(lambda: len(rig.readings(id)) == 900 and rig.outbox(id).memory <= BOUND)
            assert 0 < len(counterpart.received) <= most
            assert 0 < rig.outbox(id).in_flight <= most
        counterpart.relay.answers.delay, counterpart.relay.answers.chunk = 0.003, 256
        looks: list[tuple[int, int]] = []

        def arrived() -> bool:
            looks.append((rig.outbox(id).in_flight, rig.outbox(id).memory))
            return len(counterpart.received) >= 900

        await rig.until(arrived)
        await rig.finish(id)
        assert max(in_flight for in_flight, _ in looks) <= most
        assert max(memory for _, memory in looks) <= BOUND
        assert strange(counterpart.received, range(300)) == {}
        assert strange(neighbour.received, range(300)) == {}


# Reconfigured


async def test_a_new_connection_waits_for_what_is_in_flight(rig: Rig, counterpart: Counterpart) -> None:
    id = await rig.begin()
    with counterpart.relay.answers.held():
        rig.poll_lines(range(10))
        await rig.under_way(id, ("line-1", 0), 30)
        await rig.go_by(id, counterpart.detour)
        rig.poll_lines(range(10, 20))
        await rig.until(lambda: rig.held(id) == 60 and rig.instance(id).draining)
        assert counterpart.detour.accepted == 0
    await rig.finish(id)
    assert strange(counterpart.received, range(20)) == {}
    await rig.until(lambda: counterpart.relay.connections == 0)
    assert (counterpart.relay.accepted, counterpart.detour.connections) == (1, 1)


async def test_subscriptions_change_while_readings_are_in_flight(rig: Rig, counterpart: Counterpart) -> None:
    id = await rig.begin(topics=["modbus/line-1/#", "modbus/end/#"])
    [first] = rig.instance(id).config.subscriptions
    fields = {"route_json": counterpart.route_json, "payload_format": counterpart.payload_format}
    with counterpart.relay.answers.held():
        rig.poll(*range(20), endpoint="line-1")
        await rig.under_way(id, ("line-1", 0), 20)
        await rig.add_subscription(id, topics=["modbus/line-2/#"], **fields)
        rig.poll(*range(20), endpoint="line-2")
        await rig.change_subscription(first.id, topics=["modbus/line-1/#", "modbus/line-3/#", "modbus/end/#"])
        rig.poll(*range(20, 40), endpoint="line-1")
        rig.poll(*range(20), endpoint="line-3")
        await rig.until(lambda: (rig.held(id) or 0) >= 80)
    await rig.finish(id)
    expected = {"line-1": list(range(40)), "line-2": list(range(20)), "line-3": list(range(20))}
    assert by_line(counterpart.received) == expected
    assert counterpart.relay.accepted == 1


async def test_credentials_that_are_corrected_let_go_what_has_waited(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.add(counterpart, right=False)
    rig.poll_lines(range(20))
    await rig.reported(id, lambda report: report.last_error and not report.connected and report.rows == 60)
    assert counterpart.received == []
    await rig.go_by(id, counterpart.relay)
    await rig.finish(id)
    assert strange(counterpart.received, range(20)) == {}
    await rig.reported(id, lambda report: report.connected and not report.last_error)


async def test_a_destination_removed_while_readings_are_in_flight_leaves_nothing(
    rig: Rig, counterpart: Counterpart, neighbour: Counterpart, caplog: pytest.LogCaptureFixture
) -> None:
    id = await rig.begin()
    other = await rig.add(neighbour, "two")
    with counterpart.relay.answers.held():
        rig.poll_lines(range(10))
        await rig.under_way(id, ("line-1", 0), 30)
        await rig.ask(RemoveDestination(id), DestinationRemoved)
        rig.poll_lines(range(10, 20))
        await rig.until(lambda: counterpart.relay.connections == 0)
    await rig.until(lambda: len(neighbour.received) == 60 and rig.held(other) == 0)
    assert strange(neighbour.received, range(20)) == {}
    assert rig.destination(id).addressDetails not in rig.base.mailboxes
    with closing(sqlite3.connect(rig.path)) as connection:
        for query in (
            "SELECT count(*) FROM outbox WHERE destination_id = ?",
            "SELECT count(*) FROM dead_letters WHERE destination_id = ?",
            "SELECT count(*) FROM target_state WHERE ? IN (id, parent_id)",
        ):
            assert connection.execute(query, (id,)).fetchone() == (0,)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_payload_that_the_server_fails_over_delays_the_others_by_seconds_once(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    rig.poll_lines(range(20))
    poisoned = source_of("poisoned", "seq", "text")
    rig.base.tell(rig.router, Batch(poisoned, 1_700_000_000_000, [7, counterpart.poison_text]))
    rig.poll_lines(range(20, 40))
    await rig.finish(id)
    assert strange(first_times(counterpart.received), range(40)) == {}
    listed = await rig.ask(ListDeadLetters(id, 10), DeadLettersListed)
    assert [_stored(letter.payload) for letter in listed.dead_letters] == [("poisoned", 7)]
    assert listed.dead_letters[0].reason.startswith("whenever it is sent: ")


PORTALS = {
    "a page to log in": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nlogin!",
    "a redirection": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "nothing": b"",
}


@pytest.mark.parametrize("portal", PORTALS)
async def test_answers_of_something_else_in_its_place_prove_nothing(
    rig: Rig, counterpart: Counterpart, portal: str
) -> None:
    id = await rig.begin()
    rig.poll_lines(range(10))
    await rig.finish(id)
    counterpart.relay.portal = PORTALS[portal]
    await counterpart.relay.cut()
    rig.poll_lines(range(10, 60))
    tries = counterpart.relay.accepted + 5
    await rig.until(lambda: counterpart.relay.accepted >= tries)
    assert rig.held(id) == 150
    counterpart.relay.portal = None
    await rig.finish(id)
    assert strange(counterpart.received, range(60)) == {}
    assert (await rig.ask(ListDeadLetters(id, 10), DeadLettersListed)).total == 0


async def test_over_a_slow_line_large_payloads_and_a_backlog_arrive_without_a_loss(
    rig: Rig, counterpart: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience is for a second without a byte moving; each large payload takes longer."""
    monkeypatch.setitem(MqttDriver.__init__.__kwdefaults__, "acknowledge_seconds", 1.0)
    counterpart.impatient = True
    id = await rig.begin()
    rig.poll_lines(range(10))
    await rig.finish(id)
    async with SlowReader(counterpart.relay.target, rate=15_000) as slow:
        await rig.go_by(id, slow)
        await rig.until(lambda: slow.accepted == 1 and rig.instance(id).connected)
        large = source_of("large", "seq", "note")
        for number in range(2):
            rig.base.tell(rig.router, Batch(large, 1_700_000_000_000 + number, [number, "x" * 20_000]))
        rig.poll_lines(range(10, 30))
        await rig.finish(id)
        assert (await rig.report(id)).latest_error is None
    assert [number for line, number in counterpart.received if line == "large"] == [0, 1]
    assert strange([one for one in counterpart.received if one[0] in LINES], range(30)) == {}


def left_behind() -> Counter[str]:
    """How many there are now of all that connections are made of."""
    gc.collect()
    modules = ("actors.", "aiohttp.", "gmqtt.", "asyncio.", "ssl")
    kinds = Counter(type(one) for one in gc.get_objects())
    found = Counter({k.__qualname__: n for k, n in kinds.items() if str(k.__module__).startswith(modules)})
    del found["TimerHandle"]  # cancelled ones are empty, and go a hundred at a time
    loop: Any = asyncio.get_running_loop()
    found["tasks"] = len(asyncio.all_tasks())
    found["timers"] = sum(not timer.cancelled() for timer in loop._scheduled)
    found["descriptors"] = len(os.listdir("/proc/self/fd"))
    found["threads"] = threading.active_count()
    return found


async def test_connections_that_are_lost_without_end_leave_nothing_behind(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    relay = counterpart.relay
    polled = 0

    async def lose(times: int) -> None:
        nonlocal polled
        for _ in range(times):
            accepted = relay.accepted
            with relay.answers.held():
                rig.poll_lines([polled])
                polled += 1
                await rig.until(lambda: rig.outbox(id).in_flight)
                await relay.cut()
            await rig.until(lambda seen=accepted: relay.accepted > seen and rig.instance(id).connected)

    await lose(10)
    before = left_behind()
    await lose(30)
    grown = left_behind() - before
    assert {name: count for name, count in grown.items() if count > 10} == {}
    await rig.finish(id)
    assert strange(first_times(counterpart.received), range(polled)) == {}


# Stopped and crashed


async def test_a_stop_waits_for_what_is_in_flight_and_the_next_start_sends_the_rest(
    tmp_path: Path, counterpart: Counterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    rig = Rig(tmp_path, counterpart)
    rig.flow = Flow(window=10)
    async with rig:
        id = await rig.begin()
        with counterpart.relay.answers.held():
            rig.poll_lines(range(100))
            await rig.under_way(id, ("line-1", 0), 300)
            most = rig.outbox(id).in_flight
            assert 0 < most <= rig.window_of(id)
            stopping = asyncio.create_task(rig.stop())
            await rig.until(lambda: rig.instance(id).draining)
        await stopping
        await rig.until(lambda: counterpart.relay.connections == 0)
        assert len(counterpart.received) == most
        assert sorted([*counterpart.received, *rig.readings(id)]) == sorted(
            (line, number) for line in LINES for number in range(100)
        )
        await rig.start()
        await rig.finish(id)
        assert strange(counterpart.received, range(100)) == {}


async def test_a_stop_during_an_outage_keeps_everything_for_the_next_start(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin(route_json={"bufferSize": 7})
    await counterpart.relay.refuse()
    rig.poll_lines(range(100))
    await rig.stop()
    assert strange(rig.readings(id), range(100)) == {}
    await rig.start()
    await counterpart.relay.admit()
    await rig.until(lambda: len(counterpart.received) >= 300)
    await rig.settle(id)
    assert strange(counterpart.received, range(100)) == {}


@pytest.mark.usefixtures("fragile")
async def test_a_crash_during_an_outage_costs_at_most_what_came_within_a_commit_interval(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    await counterpart.relay.refuse()
    rig.poll_lines(range(20))
    await rig.until(lambda: len(rig.readings(id)) == 60)
    before = rig.instance(id)
    rig.poll_lines(range(20, 22))
    rig.base.tell(rig.destination(id), Boom())
    rig.poll_lines(range(22, 40))
    await rig.until(lambda: rig.instance(id) not in (None, before))
    await counterpart.relay.admit()
    await rig.finish(id)
    for numbers in by_line(counterpart.received).values():
        assert numbers == [number for number in range(40) if number in numbers], "not in order, or twice"
        assert set(range(40)) - set(numbers) <= {20, 21}


@pytest.mark.usefixtures("fragile")
async def test_a_crash_while_readings_are_in_flight_loses_none_that_are_on_disk(
    rig: Rig, counterpart: Counterpart
) -> None:
    id = await rig.begin()
    with counterpart.relay.answers.held():
        rig.poll_lines(range(10))
        await rig.under_way(id, ("line-1", 0), 30)
        await rig.until(lambda: len(rig.readings(id)) == 30)
        rig.base.tell(rig.destination(id), Boom())
        await rig.until(lambda: counterpart.relay.accepted == 2)
    rig.poll_lines(range(10, 20))
    await rig.finish(id)
    assert strange(first_times(counterpart.received), range(20)) == {}
    assert all(number < 10 for _, number in repeated(counterpart.received))
    await rig.until(lambda: counterpart.relay.connections == 1)


# The clock

JUMPS = (10 * YEAR, -10 * YEAR, 3600.0, -3600.0)


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_clock_that_is_set_costs_no_reading_and_delays_none(
    rig: Rig, counterpart: Counterpart, wall_clock: WallClock, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    """With a backlog in memory and on disk, and by a connection that is made while the clock is wrong.
    https://github.com/Tr3kkR/Yuzu/issues/2361, https://github.com/Azure/iotedge/issues/3982"""
    id = await rig.begin()
    rig.poll_lines(range(10))
    await rig.finish(id)
    await counterpart.relay.refuse()
    rig.poll_lines(range(10, 60))
    await rig.until(lambda: len(rig.readings(id)) == 150 and not rig.instance(id).connected)
    wall_clock.jump(jump)
    rig.poll_lines(range(60, 110))
    await rig.until(lambda: len(rig.readings(id)) == 300)
    assert (await rig.report(id)).dropped_expired == 0
    await counterpart.relay.admit()
    await rig.finish(id)
    wall_clock.correct()
    rig.poll_lines(range(110, 120))
    await rig.finish(id)
    report = await rig.report(id)
    assert (report.dropped_expired, report.dropped_quota, report.rejected) == (0, 0, 0)
    assert strange(counterpart.received, range(120)) == {}
    assert [message.partition(" by ")[0] for message in caplog.messages if " by " in message] == [
        f"the clock jumped {way}" for way in (("forward", "back") if jump > 0 else ("back", "forward"))
    ]


async def test_a_connection_that_works_outlives_a_clock_that_is_set_for_a_moment(
    rig: Rig, counterpart: Counterpart, wall_clock: WallClock
) -> None:
    id = await rig.begin()
    for number, jump in enumerate([*JUMPS, 5.0, -5.0]):
        rig.poll_lines([2 * number])
        wall_clock.jump(jump)
        rig.base.clock.look()
        rig.poll_lines([2 * number + 1])
        await rig.finish(id)
        wall_clock.correct()
        rig.base.clock.look()
    assert strange(counterpart.received, range(12)) == {}
    assert counterpart.relay.accepted == 1


@pytest.mark.parametrize("jump", JUMPS)
async def test_what_waits_over_a_restart_with_a_wrong_clock_is_delivered(
    rig: Rig, counterpart: Counterpart, wall_clock: WallClock, jump: float
) -> None:
    """Where the wrong clock makes the login impossible: as soon as it is right.
    https://github.com/Azure/iotedge/issues/6421"""
    id = await rig.begin()
    await counterpart.relay.refuse()
    rig.poll_lines(range(50))
    await rig.stop()
    token_clock.cache_clear()
    wall_clock.jump(jump)
    await rig.start()
    rig.join(counterpart, counterpart.relay, right=True)
    rig.poll_lines(range(50, 100))
    await rig.until(lambda: len(rig.readings(id)) == 300)
    await counterpart.relay.admit()
    if isinstance(counterpart, TokenCounterpart) and (jump < 0 or counterpart.type == "gcp-iot"):
        await rig.until(lambda: counterpart.gate.logins)
        assert counterpart.received == []
        wall_clock.correct()
    await rig.finish(id)
    assert (await rig.report(id)).dropped_expired == 0
    assert strange(counterpart.received, range(100)) == {}


# Everything at once


class Trouble:
    """A random sequence of what may happen to a destination and must not cost a reading."""

    def __init__(self, rig: Rig, id: int, seed: int) -> None:
        self.rig = rig
        self.id = id
        self.subscription = rig.instance(id).config.subscriptions[0].id
        self.random = random.Random(seed)
        self.polled = 0
        self.relay = rig.counterpart.relay

    async def go_on(self, times: int) -> None:
        kinds = (
            self.polls,
            self.cut,
            self.outage,
            self.server_restart,
            self.stall,
            self.reroute,
            self.rebuffer,
            self.disable,
            self.restart,
            self.crash,
        )
        for _ in range(times):
            await self.polls()
            await self.random.choice(kinds)()
        await self.rebuffer(1)

    async def polls(self) -> None:
        for _ in range(self.random.randrange(60)):
            self.rig.poll_lines([self.polled])
            self.polled += 1
            await asyncio.sleep(0)
        await self.moment()

    async def moment(self) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.05))

    async def cut(self) -> None:
        await self.relay.cut()

    async def outage(self) -> None:
        await self.relay.refuse()
        await self.polls()
        await self.relay.admit()

    async def stall(self) -> None:
        way = self.random.choice((self.relay.answers, self.relay.requests))
        with way.held():
            await self.polls()
            if self.random.random() < 0.5:
                await self.relay.cut()

    async def server_restart(self) -> None:
        await self.rig.counterpart.stop()
        await self.polls()
        await self.rig.counterpart.start()

    async def reroute(self) -> None:
        counterpart = self.rig.counterpart
        self.relay = counterpart.detour if self.relay is counterpart.relay else counterpart.relay
        await self.rig.go_by(self.id, self.relay)

    async def rebuffer(self, size: int | None = None) -> None:
        """What was buffered is published as it was to be."""
        buffered = {"bufferSize": size or self.random.randrange(1, 20), "bufferTimeMs": 20}
        route_json = self.rig.counterpart.route_json | buffered
        await self.rig.change_subscription(self.subscription, route_json=route_json)

    async def disable(self) -> None:
        await self.rig.change_destination(self.id, enabled=False)
        await self.moment()
        await self.rig.change_destination(self.id, enabled=True)
        await self.rig.observed(self.id)

    async def restart(self) -> None:
        await self.rig.stop()
        await self.rig.start()
        self.rig.join(self.rig.counterpart, self.relay, right=True)
        await self.rig.observed(self.id)

    async def crash(self) -> None:
        """When everything is on disk or has arrived; what comes meanwhile waits."""
        rig = self.rig
        await self.rebuffer(1)
        polled = {(line, number) for line in LINES for number in range(self.polled)}
        await rig.until(lambda: polled <= {*rig.counterpart.received, *rig.readings(self.id)})
        before = rig.instance(self.id)
        rig.base.tell(rig.destination(self.id), Boom())
        await self.polls()
        await rig.until(lambda: rig.instance(self.id) not in (None, before))


SEEDS = (1,)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("fragile")
async def test_whatever_happens_no_reading_is_lost_or_out_of_order(
    tmp_path: Path, counterpart: Counterpart, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    rig = Rig(tmp_path, counterpart)
    rig.flow, rig.limits = Flow(window=30), limits(memory_bytes=BOUND)
    async with rig:
        id = await rig.begin()
        trouble = Trouble(rig, id, seed)
        await trouble.go_on(15)
        await rig.finish(id)
        assert strange(first_times(counterpart.received), range(trouble.polled)) == {}


# Tokens


@pytest.mark.parametrize(
    "counterpart",
    [type for type, found in COUNTERPARTS.items() if issubclass(found, TokenCounterpart)],
    indirect=True,
)
async def test_tokens_are_renewed_under_load_and_nothing_is_lost_or_sent_twice(
    rig: Rig, counterpart: TokenCounterpart, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (azure_iot, gcp_iot):
        monkeypatch.setattr(module, "RENEW_AT", 0.1)
    id = await rig.begin()
    count = 0
    async with asyncio.timeout(PATIENCE):
        while counterpart.relay.accepted < 5:
            rig.poll_lines([count])
            count += 1
            await asyncio.sleep(0.002)
    await rig.finish(id)
    assert count > 50
    assert strange(counterpart.received, range(count)) == {}
    assert counterpart.gate.outlived == 0
    assert len(counterpart.gate.logins) == counterpart.relay.accepted
