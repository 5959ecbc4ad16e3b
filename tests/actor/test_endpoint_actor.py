import asyncio
import logging
import threading
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from fake_field import INTERVAL_MS, FakeDevice, FakeReader, Field, Stage, staged, until, until_answered
from thespian.actors import ActorAddress

from actors.connections import connecting, deadlines, retry
from actors.connections.connecting import Trouble
from actors.connections.connection import Permanent, Transient
from actors.endpoints import endpoint, protocols
from actors.endpoints.endpoint import Endpoint, FinishPoll, PollFinished
from actors.endpoints.messages import (
    DescribeDevice,
    DeviceDescribed,
    HealthReported,
    RegisterWritten,
    ReportHealth,
    SummariseMetrics,
    WriteRegister,
)
from actors.endpoints.polling import PollDone, PollFailed
from actors.endpoints.protocol import PollResult, Protocol
from actors.system import tree
from actors.system.actor import Actor
from actors.system.dispatch import LAG_INTERVAL
from actors.system.failure import Failed, Refusal

REFUSED = Transient("nobody listens", code="CONNECTION_REFUSED")


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
def device(field: Field) -> FakeDevice:
    return field["plc"]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field):
    async with staged(monkeypatch, field) as stage:
        yield stage


def run(stage: Stage, **changes: Any) -> ActorAddress:
    return stage.base.spawn(None, Endpoint, "plc", stage.start_of(**changes))


def reconfigure(stage: Stage, address: ActorAddress, **changes: Any) -> None:
    """As `restate` does."""
    start = stage.start_of(**changes)
    stage.base.mailboxes[address.addressDetails].start = start
    stage.base.deliver(address, start, stage.router)


async def health(stage: Stage, address: ActorAddress) -> HealthReported:
    reply = await stage.ask(address, ReportHealth())
    assert isinstance(reply, HealthReported)
    return reply


def node(stage: Stage, address: ActorAddress):
    return tree.dump(stage.base.mailboxes[address.addressDetails]).root


def code(batch) -> str | None:
    return batch.qualities[0] if batch.qualities else None


# Polling


async def test_each_poll_is_one_batch_of_all_points(stage, device):
    device.values = [7, 8]
    run(stage, data_points=[{"name": "speed", "unit": "m/s"}, {"name": "temp"}])
    batch = await stage.batch(lambda batch: True)
    assert (batch.values, batch.qualities) == ([7, 8], None)
    assert (batch.source.endpoint, batch.source.protocol, batch.source.device) == ("plc", "fake", "plc")
    assert [(point.name, point.unit) for point in batch.source.points] == [("speed", "m/s"), ("temp", None)]
    assert batch.source.prefixes == ("fake/plc/plc/", "sensors/plc/")


async def test_readings_of_a_poll_may_have_times_of_their_own(stage, device):
    device.values, device.times = [7, 8], [1000, 2000]
    run(stage, data_points=[{"name": "speed"}, {"name": "temp"}])
    batch = await stage.batch(lambda batch: True)
    assert (batch.values, batch.times) == ([7, 8], [1000, 2000])


async def test_batches_of_an_endpoint_share_their_source(stage):
    run(stage)
    await until(lambda: len(stage.batches) >= 3)
    assert len({id(batch.source) for batch in stage.batches}) == 1


async def test_polls_keep_to_the_interval(stage, device):
    run(stage)
    await until(lambda: len(stage.batches) >= 1)
    began = asyncio.get_running_loop().time()
    first = device.reads
    await until(lambda: device.reads >= first + 20)
    # However late each of them is: twenty ticks of a grid have nineteen intervals between them.
    assert 0.019 * INTERVAL_MS <= asyncio.get_running_loop().time() - began < 0.060 * INTERVAL_MS


async def test_an_endpoint_that_is_to_end_delivers_what_its_device_was_asked_and_asks_no_more(stage, device):
    address = run(stage, poll_interval=10)
    await until(lambda: device.reads == 2)
    device.open.clear()
    before = device.reads
    await until(lambda: device.reads > before and device.in_flight)
    finishing = asyncio.ensure_future(stage.ask(address, FinishPoll()))
    await asyncio.sleep(0.05)
    assert not finishing.done()
    asked = device.reads
    device.open.set()
    assert isinstance(await finishing, PollFinished)
    assert len(stage.batches) == asked
    await asyncio.sleep(0.05)
    assert device.reads == asked
    reconfigure(stage, address, poll_interval=20)
    await until(lambda: device.reads > asked)


async def test_an_endpoint_without_a_poll_under_way_ends_at_once(stage, device):
    device.fault = Transient("gone")
    address = run(stage, poll_interval=1000)
    await until(lambda: device.connects)
    assert isinstance(await stage.ask(address, FinishPoll()), PollFinished)


async def test_an_endpoint_of_a_long_interval_is_polled_soon(stage, device, monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_POLL_WITHIN", 0.2)
    address = run(stage, poll_interval=86_400_000, phase=0.9)
    await until(lambda: device.reads == 1)
    await until_answered(lambda: health(stage, address), lambda report: report.connected)


async def test_a_slow_poll_makes_ticks_be_skipped_and_counted_and_never_queued(stage, device):
    device.open.clear()
    address = run(stage)
    report = await until_answered(lambda: health(stage, address), lambda report: report.polls_skipped >= 5)
    assert (device.in_flight, device.reads, report.connected) == (1, 0, False)
    began = asyncio.get_running_loop().time()
    device.open.set()
    await until(lambda: device.reads >= 6)  # the one that was slow, and one a tick after it
    assert asyncio.get_running_loop().time() - began >= 4 * INTERVAL_MS / 1000
    assert device.peak == 1


@pytest.mark.parametrize(
    ("values", "qualities"),
    [([1], None), ([1, 2, 3], None), ([], None), ([1, 2], [None]), ([1, 2], [None, None, "READ_ERROR"])],
)
async def test_a_reading_that_does_not_fit_its_points_reaches_nobody(stage, device, values, qualities):
    device.values, device.qualities = values, qualities
    address = run(stage, data_points=[{"name": "speed"}, {"name": "temp"}])
    await until(lambda: node(stage, address).restarts > 0)
    assert stage.batches == []
    assert f"{len(values)} values of 2 points" in (node(stage, address).last_error or "")


async def test_an_endpoint_without_points_reports_health_and_no_batches(stage, device):
    device.values = []
    address = run(stage, data_points=[])
    await until(lambda: device.reads >= 3)
    assert (await health(stage, address)).connected
    device.fault = REFUSED
    await until_answered(lambda: health(stage, address), lambda report: not report.connected)
    assert stage.batches == []


async def test_an_endpoint_that_serves_discovery_only_is_not_polled(stage, device):
    address = run(stage, connection={"device": "plc", "mode": "idle"})
    assert (await health(stage, address)).status == "disconnected"
    assert node(stage, address).health == "not polled: serves discovery only"
    assert (device.connects, device.reads) == (0, 0)


# A device that is down


async def test_a_device_that_is_down_gives_bad_batches_each_tick(stage, device):
    device.fault = REFUSED
    run(stage, reconnect_min_ms=150, reconnect_max_ms=150)
    await until(lambda: device.connects >= 3)
    codes = [code(batch) for batch in stage.batches]
    assert all(batch.values == [None] for batch in stage.batches)
    assert codes[0] == "CONNECTION_REFUSED"
    assert codes[1] == "DEVICE_OFFLINE"
    assert set(codes) == {"CONNECTION_REFUSED", "DEVICE_OFFLINE"}
    # Between two attempts there is a batch at every tick.
    attempts = [index for index, one in enumerate(codes) if one == "CONNECTION_REFUSED"]
    assert attempts[1] - attempts[0] >= 4


async def test_an_attempt_that_hangs_does_not_keep_the_bad_batches_from_coming(stage, device):
    device.fault = REFUSED
    address = run(stage, reconnect_min_ms=100, reconnect_max_ms=100)
    await until(lambda: stage.batches)
    device.open.clear()
    await until(lambda: device.in_flight == 1)
    seen = len(stage.batches)
    await until(lambda: len(stage.batches) >= seen + 5)
    assert {code(batch) for batch in stage.batches[seen:]} == {"DEVICE_OFFLINE"}
    assert (device.in_flight, device.peak) == (1, 1)
    assert (await health(stage, address)).polls_skipped == 0
    device.fault = None
    device.open.set()
    await stage.batch(lambda batch: batch.values == [1])


async def test_attempts_back_off_up_to_the_longest_wait(stage, device, monkeypatch):
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: 1.0)
    loop = asyncio.get_running_loop()
    device.fault = REFUSED
    at: list[float] = []

    async def connect(self) -> None:
        at.append(loop.time())
        raise REFUSED

    monkeypatch.setattr("fake_field.FakeReader.connect", connect)
    run(stage, poll_interval=10, reconnect_min_ms=50, reconnect_max_ms=200)
    await until(lambda: len(at) >= 6)
    waits = [after - before for before, after in pairwise(at)]
    for wait, wanted in zip(waits, (0.05, 0.1, 0.2, 0.2, 0.2), strict=False):
        assert 0.95 * wanted <= wait < wanted + 0.5


async def test_a_device_that_comes_back_is_read_again(stage, device):
    address = run(stage)
    await until(lambda: stage.batches)
    device.fault = Transient("no answer", code="TIMEOUT")
    await stage.batch(lambda batch: code(batch) == "TIMEOUT")
    report = await health(stage, address)
    assert (report.connected, report.last_error, report.quality_word) == (False, "no answer", "offline")
    assert node(stage, address).health == "disconnected: no answer"
    device.fault = None
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)
    report = await health(stage, address)
    assert (report.connected, report.last_error, report.error_count) == (True, None, 0)
    assert node(stage, address).health == "connected"


async def test_a_loss_and_a_return_are_one_line_each_in_the_log(stage, device, caplog):
    caplog.set_level(logging.INFO)
    device.fault = REFUSED
    run(stage)
    await until(lambda: device.connects >= 3)
    device.fault = None
    await stage.batch(lambda batch: batch.values == [1])
    device.fault = Transient("no answer", code="TIMEOUT")
    seen = len(stage.batches)
    await stage.batch(lambda batch: code(batch) == "TIMEOUT", after=seen)
    connects = device.connects
    await until(lambda: device.connects >= connects + 2)
    assert [record.getMessage() for record in caplog.records] == [
        "plc: cannot reach fake:plc: nobody listens",
        "plc: connected to fake:plc",
        "plc: lost fake:plc: no answer",
    ]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_permanent_error_is_bad_and_tried_again_after_the_longest_wait(stage, device):
    device.fault = Permanent("the certificate has expired")
    address = run(stage, reconnect_min_ms=10, reconnect_max_ms=60_000)
    batch = await stage.batch(lambda batch: True)
    assert code(batch) == "DEVICE_NOT_CONFIGURED"
    await until(lambda: len(stage.batches) >= 10)
    assert device.connects == 1
    assert (await health(stage, address)).last_error == "the certificate has expired"


async def test_a_device_whose_certificate_only_the_clock_was_against_is_tried_when_that_is_set(
    stage, device, wall_clock
):
    device.fault = Permanent("the certificate is not yet valid")
    run(stage, reconnect_min_ms=60_000, reconnect_max_ms=60_000)
    await until(lambda: len(stage.batches) >= 3)
    device.fault = None
    wall_clock.jump(56 * 31_557_600.0)
    stage.base.clock.look()
    batch = await stage.batch(lambda batch: batch.qualities is None)
    assert batch.timestamp > 1000 * wall_clock.right
    assert device.connects == 2


async def test_a_configuration_that_cannot_be_checked_any_more_is_said_and_does_not_crash(stage, caplog):
    address = run(stage, protocol="gone")
    report = await health(stage, address)
    assert (report.connected, report.last_error) == (False, "Unknown protocol: gone")
    assert node(stage, address).health == "misconfigured: Unknown protocol: gone"
    described = await stage.ask(address, DescribeDevice())
    assert isinstance(described, DeviceDescribed)
    assert described.registers == []
    assert (await stage.ask(address, SummariseMetrics())).summary["totalPolls"] == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert (await stage.ask(address, WriteRegister("speed", 1))).kind == "unavailable"


# A device that comes back


async def test_an_endpoint_that_is_seldom_polled_is_read_when_its_device_is_back(stage, device, monkeypatch):
    """https://github.com/thingsboard/thingsboard-gateway/issues/1592
    https://github.com/home-assistant/core/issues/9026

    Attempts go by their own times, and flood nobody with readings that there are none of.
    """
    monkeypatch.setattr(endpoint, "FIRST_POLL_WITHIN", 0.05)
    device.fault = REFUSED
    address = run(stage, poll_interval=3_600_000, phase=0.5, reconnect_min_ms=10, reconnect_max_ms=20)
    await until(lambda: device.connects >= 6)
    assert [code(batch) for batch in stage.batches] == ["CONNECTION_REFUSED"]
    device.fault = None
    await stage.batch(lambda batch: batch.values == [1])
    assert (len(stage.batches), device.reads) == (2, 1)
    summary = (await stage.ask(address, SummariseMetrics())).summary
    assert summary["failedPolls"] >= 6
    assert (await health(stage, address)).poll_success_rate == 0.5


async def test_a_device_that_takes_connections_and_never_answers_is_asked_less_and_less(
    stage, device, monkeypatch
):
    """A serial port opens whoever is at its other end; so do gateways.

    https://github.com/thingsboard/thingsboard-gateway/issues/298"""
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: 1.0)
    silent = Transient("no answer", code="TIMEOUT")
    loop = asyncio.get_running_loop()
    at: list[float] = []

    async def read(self, within: float) -> PollResult:
        at.append(loop.time())
        raise silent.with_traceback(None)

    monkeypatch.setattr("fake_field.FakeReader.read", read)
    run(stage, poll_interval=10, reconnect_min_ms=30, reconnect_max_ms=10_000)
    await until(lambda: len(at) >= 5)
    for wait, least in zip((b - a for a, b in pairwise(at)), (0.03, 0.06, 0.12, 0.24), strict=False):
        assert wait >= least
    assert {code(batch) for batch in stage.batches} == {"TIMEOUT", "DEVICE_OFFLINE"}


async def test_once_a_device_is_back_a_slow_poll_is_only_slow(stage, device):
    device.fault = REFUSED
    address = run(stage, reconnect_min_ms=20, reconnect_max_ms=20)
    await until(lambda: device.connects >= 2)
    device.fault = None
    await stage.batch(lambda batch: batch.values == [1])
    device.open.clear()
    await until(lambda: device.in_flight == 1)
    seen = len(stage.batches)
    await until_answered(lambda: health(stage, address), lambda report: report.polls_skipped >= 5)
    assert len(stage.batches) == seen


async def test_endpoints_that_start_together_do_not_connect_together(stage, field, monkeypatch):
    """https://github.com/WeBankFinTech/DeFiBus/issues/33"""
    loop = asyncio.get_running_loop()
    began, at = loop.time(), dict[int, float]()

    async def connect(self) -> None:
        number = next(int(name) for name, device in field.devices.items() if device is self.device)
        at[number] = loop.time() - began

    monkeypatch.setattr("fake_field.FakeReader.connect", connect)
    for number in range(20):
        start = stage.start_of(str(number), poll_interval=400, phase=number / 20)
        stage.base.spawn(None, Endpoint, str(number), start)
    await until(lambda: len(at) == 20)
    # Each waits for its place in the interval, on a grid of 20 ms.
    for number, after in at.items():
        assert after >= 0.4 * number / 20 - 0.02


# A device that does not let go


async def test_a_read_that_never_ends_is_a_failed_poll_and_another_reader_takes_over(stage, device):
    """https://github.com/echoDaveD/ehs_sentinel_hacs_integration/issues/51
    https://github.com/abeggled/openbridgeserver/pull/1136
    https://github.com/influxdata/telegraf/issues/13913"""
    address = run(stage, reconnect_min_ms=20, reconnect_max_ms=20)
    await until(lambda: stage.batches)
    device.patience = 0.2
    device.hangs = {"read"}
    reads = device.reads
    await stage.batch(lambda batch: code(batch) == "TIMEOUT")
    assert (await health(stage, address)).last_error == "no answer within 0.2 s"
    assert node(stage, address).health == "disconnected: no answer within 0.2 s"
    await until(lambda: device.reads >= reads + 3)
    device.hangs.clear()
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)
    assert device.readers >= 3
    assert device.closed == device.readers - 1
    assert node(stage, address).restarts == 0


async def test_a_read_that_never_ends_is_noticed_however_seldom_the_device_is_polled(
    stage, device, monkeypatch
):
    monkeypatch.setattr(endpoint, "FIRST_POLL_WITHIN", 0.05)
    device.patience = 0.1
    device.hangs = {"read"}
    run(stage, poll_interval=3_600_000, phase=0.5, reconnect_min_ms=10, reconnect_max_ms=20)
    await stage.batch(lambda batch: code(batch) == "TIMEOUT")
    await until(lambda: device.readers >= 3)
    device.hangs.clear()
    await stage.batch(lambda batch: batch.values == [1])
    assert [code(batch) for batch in stage.batches] == ["TIMEOUT", None]


async def test_a_slow_read_that_ends_in_time_is_left_alone(stage, device):
    device.patience = 5.0
    device.open.clear()
    address = run(stage)
    await until_answered(lambda: health(stage, address), lambda report: report.polls_skipped >= 10)
    device.open.set()
    await stage.batch(lambda batch: batch.values == [1])
    assert (device.readers, device.closed) == (1, 0)


@pytest.mark.parametrize("call", ["connect", "read"])
async def test_what_a_slow_line_may_take_is_no_crash_however_long_it_is(stage, device, monkeypatch, call):
    """Many units behind one slow gateway have more patience than tasks of actors have otherwise."""
    monkeypatch.setattr(Actor.run, "__defaults__", (None, None, 0.1))
    monkeypatch.setattr(connecting, "WITHIN", 0.1)
    if call == "connect":
        device.open.clear()
    address = run(stage)
    if call == "read":
        await stage.batch(lambda batch: True)
        device.open.clear()
    await until(lambda: device.in_flight == 1)
    await asyncio.sleep(3 * LAG_INTERVAL)  # limits are looked at twice a second
    device.open.set()
    await stage.batch(lambda batch: code(batch) is None, after=len(stage.batches))
    assert device.readers == 1
    assert node(stage, address).restarts == 0


@pytest.mark.parametrize("call", ["connect", "read"])
async def test_a_panic_of_a_library_is_a_crash_at_once_and_not_a_silence(stage, device, call):
    class Panic(BaseException):
        """As pyo3's, which libraries written in Rust raise."""

    if call == "connect":
        device.fault = Panic()
    address = run(stage)
    if call == "read":
        await stage.batch(lambda batch: True)
        device.fault = Panic()
    await until(lambda: node(stage, address).restarts > 0)
    device.fault = None
    await stage.batch(lambda batch: code(batch) is None, after=len(stage.batches))


async def test_a_write_that_never_ends_is_answered_and_another_reader_takes_over(stage, device):
    address = run(stage, reconnect_min_ms=20, reconnect_max_ms=20)
    await until(lambda: stage.batches)
    device.patience = 0.1
    device.hangs = {"write"}
    reply = await stage.ask(address, WriteRegister("speed", 5))
    assert reply == Failed("unavailable", "Device did not answer: no answer within 0.1 s")
    await until(lambda: device.readers == 2)
    assert device.closed == 1
    await stage.batch(lambda batch: code(batch) == "TIMEOUT")
    device.hangs.clear()
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)
    assert await stage.ask(address, WriteRegister("speed", 5)) == RegisterWritten("speed", 5)


async def test_connecting_that_never_ends_gives_bad_batches_and_is_tried_again(stage, device):
    device.patience = 0.1
    device.hangs = {"connect"}
    run(stage, reconnect_min_ms=20, reconnect_max_ms=20)
    await stage.batch(lambda batch: code(batch) == "TIMEOUT")
    await stage.batch(lambda batch: code(batch) == "DEVICE_OFFLINE")
    await until(lambda: device.readers >= 3)
    device.hangs.clear()
    await stage.batch(lambda batch: batch.values == [1])


async def test_a_library_that_never_loads_is_said_and_holds_up_no_other_protocol(stage, field, monkeypatch):
    loaded = threading.Event()
    monkeypatch.setattr(connecting, "BUILD_SECONDS", 0.1)

    def find(name: str) -> Protocol:
        protocol = field.find(name)
        if name == "other":
            protocol = msgspec.structs.replace(protocol, session=lambda *_: loaded.wait())
        return protocol

    monkeypatch.setattr(protocols, "find", find)
    address = stage.base.spawn(None, Endpoint, "slow", stage.start_of("slow", protocol="other"))
    run(stage)
    await stage.batch(lambda batch: batch.source.endpoint == "slow" and code(batch) == "TIMEOUT")
    assert node(stage, address).health == "disconnected: the library for other does not load within 0.1 s"
    await stage.batch(lambda batch: batch.source.endpoint == "plc" and batch.values == [1])
    loaded.set()


async def test_a_close_that_never_ends_holds_up_neither_another_device_nor_the_end(
    stage, field, device, monkeypatch, caplog
):
    monkeypatch.setattr(deadlines, "CLOSE_SECONDS", 0.1)
    address = run(stage)
    await until(lambda: stage.batches)
    device.hangs = {"close"}
    field["other"].values = [42]
    reconfigure(stage, address, connection={"device": "other"})
    await stage.batch(lambda batch: batch.values == [42])
    async with asyncio.timeout(3.0):
        await stage.base.released()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["plc: its connection does not close within 0.1 s and is abandoned"]


async def test_a_thousand_devices_that_never_answer_leave_nothing_behind(stage, field, monkeypatch):
    monkeypatch.setattr(deadlines, "CLOSE_SECONDS", 0.05)
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    names = [f"plc-{number}" for number in range(1000)]
    for number, name in enumerate(names):
        field[name].patience = 0.1
        field[name].hangs = {("read", "connect", "close")[number % 3], "read"}
        start = stage.start_of(
            name, poll_interval=200, phase=number / 1000, reconnect_min_ms=20, reconnect_max_ms=20
        )
        stage.base.spawn(None, Endpoint, name, start)
    await until(lambda: all(device.readers >= 2 for device in field.devices.values()), 20.0)
    for name in names:
        stage.base.terminate(stage.base.mailboxes[f"/{name}"])
    async with asyncio.timeout(10.0):
        await stage.base.released()
    await until(lambda: asyncio.all_tasks() == tasks and threading.active_count() <= threads)
    assert all(device.in_flight == 0 for device in field.devices.values())


class Mute(asyncio.Protocol):
    """Takes connections and says nothing on them."""

    open: set[asyncio.BaseTransport] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.open.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.open.discard(self.transport)


class SocketReader(FakeReader):
    """Reads from a socket until something comes."""

    port = 0

    async def connect(self) -> None:
        self.streams = await asyncio.open_connection("127.0.0.1", self.port)

    async def read(self) -> PollResult:
        await self.streams[0].readexactly(1)
        raise AssertionError("nobody says anything")

    async def close(self) -> None:
        self.streams[1].close()


async def test_sockets_of_readers_that_hang_are_closed(stage, field, monkeypatch):
    server = await asyncio.get_running_loop().create_server(Mute, "127.0.0.1", 0)
    monkeypatch.setattr(SocketReader, "port", server.sockets[0].getsockname()[1])
    monkeypatch.setattr("fake_field.FakeReader", SocketReader)
    names = [f"plc-{number}" for number in range(20)]
    for name in names:
        field[name].patience = 0.1
        start = stage.start_of(name, reconnect_min_ms=20, reconnect_max_ms=20)
        stage.base.spawn(None, Endpoint, name, start)
    await until(lambda: all(device.readers >= 4 for device in field.devices.values()), 10.0)
    await until(lambda: len(Mute.open) <= len(names))
    for name in names:
        stage.base.terminate(stage.base.mailboxes[f"/{name}"])
    await stage.base.released()
    await until(lambda: not Mute.open)
    server.close()
    await server.wait_closed()


# Asking and writing


async def test_a_description_has_the_points_addresses_and_values(stage, device):
    device.values, device.qualities = [5, None], [None, "ILLEGAL_ADDRESS"]
    address = run(stage, data_points=[{"name": "speed", "unit": "m/s"}, {"name": "temp"}])
    await until(lambda: stage.batches)
    described = await stage.ask(address, DescribeDevice())
    speed, temp = described.registers
    assert (speed["address"], speed["lastValue"], speed["quality"]) == ("fake:speed", 5, "GOOD")
    assert (temp["address"], temp["quality"], temp["qualityCode"]) == ("fake:temp", "BAD", "ILLEGAL_ADDRESS")
    assert described.metrics["pollSuccessCount"] >= 1


async def test_a_write_reaches_the_device(stage, device):
    address = run(stage)
    await until(lambda: stage.batches)
    assert await stage.ask(address, WriteRegister("speed", 5)) == RegisterWritten("speed", 5)
    assert device.written == [("speed", 5)]


async def test_a_write_goes_out_while_a_read_waits(stage, device):
    address = run(stage)
    await until(lambda: stage.batches)
    device.open.clear()
    await until(lambda: device.in_flight == 1)
    assert await stage.ask(address, WriteRegister("speed", 5)) == RegisterWritten("speed", 5)
    assert device.in_flight == 1


async def test_a_write_is_refused_while_the_device_is_not_connected(stage, device):
    device.fault = REFUSED
    address = run(stage)
    await until(lambda: stage.batches)
    expected = Failed("unavailable", "Device not connected: plc")
    assert await stage.ask(address, WriteRegister("speed", 5)) == expected
    assert device.written == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            Refusal("x is read-only", "register", "read_only"),
            Failed("read_only", "x is read-only", "register"),
        ),
        (Transient("no answer", code="TIMEOUT"), Failed("unavailable", "Device did not answer: no answer")),
    ],
)
async def test_a_write_that_fails_says_why_and_the_endpoint_goes_on(stage, device, fault, expected):
    address = run(stage)
    await until(lambda: stage.batches)
    device.write_fault = fault
    assert await stage.ask(address, WriteRegister("x", 5)) == expected
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)
    assert node(stage, address).restarts == 0


async def test_a_write_that_crashes_the_endpoint_is_answered(stage, device, caplog):
    address = run(stage)
    await until(lambda: stage.batches)
    device.write_fault = ZeroDivisionError("a defect")
    reply = await stage.ask(address, WriteRegister("x", 5))
    assert isinstance(reply, Failed)
    assert reply.kind == "internal"
    device.write_fault = None
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)


# Reconfiguration


async def test_another_device_is_read_after_a_reconfiguration(stage, field):
    address = run(stage)
    await until(lambda: stage.batches)
    field["other"].values = [42]
    reconfigure(stage, address, connection={"device": "other"}, data_points=[{"name": "level"}])
    batch = await stage.batch(lambda batch: batch.values == [42])
    assert [point.name for point in batch.source.points] == ["level"]
    assert field["plc"].closed == 1
    assert node(stage, address).restarts == 0


async def test_another_interval_keeps_the_connection_and_the_history(stage, device, field):
    address = run(stage)
    await until(lambda: len(stage.batches) >= 3)
    reconfigure(stage, address, poll_interval=10)
    seen = device.reads
    await until(lambda: device.reads >= seen + 10)
    assert (device.connects, device.closed) == (1, 0)
    summary = (await stage.ask(address, SummariseMetrics())).summary
    assert summary["totalPolls"] >= 12
    assert device.peak == 1


async def test_only_the_new_schedule_ticks_after_another_interval(stage, device):
    address = run(stage, poll_interval=10)
    await until(lambda: stage.batches)
    reconfigure(stage, address, poll_interval=100)
    await until_answered(lambda: health(stage, address), lambda report: report.connected)
    seen, loop = device.reads, asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: device.reads >= seen + 3)
    assert loop.time() - began > 0.15


async def test_a_read_in_flight_on_a_closed_reader_is_forgotten(stage, device, field, caplog):
    address = run(stage)
    await until(lambda: stage.batches)
    device.open.clear()
    device.fault_on_close = RuntimeError("read on a closed connection")
    await until(lambda: device.in_flight == 1)
    field["other"].values = [42]
    reconfigure(stage, address, connection={"device": "other"})
    await stage.batch(lambda batch: batch.values == [42])
    assert (device.in_flight, device.closed) == (0, 1)
    assert node(stage, address).restarts == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_an_outdated_reader_still_delivers_is_ignored(stage, field):
    address = run(stage)
    await until(lambda: stage.batches)
    instance = stage.base.mailboxes[address.addressDetails].instance
    outdated = instance.number
    field["other"].open.clear()
    reconfigure(
        stage, address, connection={"device": "other"}, data_points=[{"name": "one"}, {"name": "two"}]
    )
    await until(lambda: field["other"].in_flight == 1)
    seen = len(stage.batches)
    stage.base.deliver(address, PollDone(outdated, PollResult([1]), 1, 1.0), address)
    stage.base.deliver(address, PollFailed(outdated, Trouble("late", False, 0.0, "TIMEOUT"), 1, 1.0), address)
    report = await health(stage, address)
    assert (report.connected, report.last_error, report.last_poll) == (False, None, None)
    assert len(stage.batches) == seen
    # The poll in flight is still known to be: none is started beside it.
    await until_answered(lambda: health(stage, address), lambda report: report.polls_skipped >= 3)
    assert field["other"].peak == 1


async def test_many_reconfigurations_in_a_row_end_in_the_last(stage, field):
    address = run(stage)
    for number in range(20):
        field[f"d{number}"].values = [number]
        reconfigure(stage, address, connection={"device": f"d{number}"})
    await stage.batch(lambda batch: batch.values == [19])
    seen = len(stage.batches)
    await until(lambda: len(stage.batches) >= seen + 3)
    assert {batch.values[0] for batch in stage.batches[seen:]} == {19}
    opened = [one for one in field.devices.values() if one.connects]
    assert sum(one.closed for one in opened) >= len(opened) - 1


async def test_a_write_in_flight_at_a_reconfiguration_is_answered(stage, field, monkeypatch):
    waiting = asyncio.Event()

    async def write(self, prepared: Any) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("fake_field.FakeReader.write", write)
    address = run(stage)
    await until(lambda: stage.batches)
    asked = asyncio.ensure_future(stage.ask(address, WriteRegister("speed", 5)))
    await waiting.wait()
    reconfigure(stage, address, connection={"device": "other"})
    reply = await asked
    assert isinstance(reply, Failed)
    assert reply.kind == "unavailable"


# Crashing and ending


async def test_a_crash_restarts_the_endpoint_under_its_address(stage, device, caplog):
    address = run(stage)
    await until(lambda: stage.batches)
    device.fault = ZeroDivisionError("a defect in the reader")
    await until(lambda: node(stage, address).restarts >= 1)
    device.fault = None
    seen = len(stage.batches)
    await stage.batch(lambda batch: batch.values == [1], after=seen)
    found = node(stage, address)
    assert found.last_error == "ZeroDivisionError: a defect in the reader"
    assert (found.state, found.health, found.restarts >= 1) == ("running", "connected", True)
    assert device.closed >= 1
    assert (await health(stage, address)).connected


async def test_an_end_closes_the_connection_and_answers_who_waits(stage, device):
    address = run(stage)
    await until(lambda: stage.batches)
    device.open.clear()
    await until(lambda: device.in_flight == 1)
    stage.base.terminate(stage.base.mailboxes[address.addressDetails])
    await stage.base.released()
    assert (device.closed, device.in_flight) == (1, 0)
    reply = await stage.ask(address, ReportHealth())
    assert reply == Failed("unavailable", "plc is not running")
