"""An endpoint that tells by itself what has changed."""

import asyncio
from typing import Any

import pytest
from fake_field import FakeDevice, FakePoint, FakePushed, Field, Stage, staged, until
from thespian.actors import ActorAddress

from actors.connections.connection import Transient
from actors.endpoints import endpoint, outlet
from actors.endpoints.endpoint import Endpoint
from actors.endpoints.listener import Description
from actors.endpoints.messages import DescribeDevice, DeviceDescribed, HealthReported, ReportHealth
from actors.readings.batch import Batch
from actors.readings.messages import Persisted

POINTS = [{"name": name} for name in ("speed", "level", "mode")]


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


def run(stage: Stage, **connection: Any) -> ActorAddress:
    given = {"device": "plc", "mode": "pushed", **connection}
    return stage.base.spawn(None, Endpoint, "plc", stage.start_of(connection=given, data_points=POINTS))


async def subscribed(device: FakeDevice, times: int = 1) -> FakePushed:
    await until(lambda: len(device.sessions) == times)
    return device.sessions[-1]


def readings(batch: Batch) -> list[tuple[str, Any, str | None, int]]:
    codes = batch.qualities or [None] * len(batch.values)
    times = batch.times or [batch.timestamp] * len(batch.values)
    names = [point.name for point in batch.points]
    return list(zip(names, batch.values, codes, times, strict=True))


def at(batches: list[Batch]) -> list[list[tuple[str, Any, str | None, int]]]:
    return [readings(batch) for batch in batches]


async def test_what_comes_in_one_turn_is_one_batch_with_times_of_its_own(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0], [1.5], None, [1000])
    session.listener.changed("", [2], ["auto"], ["SUSPECT"], [2000])
    await until(lambda: stage.batches)
    assert at(stage.batches) == [[("speed", 1.5, None, 1000), ("mode", "auto", "SUSPECT", 2000)]]


async def test_two_values_of_a_point_in_one_turn_are_two_readings_in_order(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0, 1], [1, 10], None, [1000, 1001])
    session.listener.changed("", [0], [2], None, [1002])
    session.listener.changed("", [0, 2], [3, 30], None, [1003, 1004])
    await until(lambda: len(stage.batches) == 3)
    assert at(stage.batches) == [
        [("speed", 1, None, 1000), ("level", 10, None, 1001), ("mode", 30, None, 1004)],
        [("speed", 2, None, 1002)],
        [("speed", 3, None, 1003)],
    ]


async def test_all_points_together_are_a_whole_batch(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", range(3), [1, 2, 3])
    await until(lambda: stage.batches)
    assert stage.batches[0].indices is None
    assert stage.batches[0].times is None


async def test_a_loss_makes_every_point_bad_at_once_and_at_each_tick(stage, device):
    run(stage)
    session = await subscribed(device)
    device.fault = Transient("nobody listens", code="CONNECTION_REFUSED")
    session.listener.lost(Transient("gone", code="CONNECTION_RESET"))
    await until(lambda: len(stage.batches) >= 3)
    assert stage.batches[0].qualities == ["CONNECTION_RESET"] * 3
    assert {code for batch in stage.batches for code in batch.qualities or ()} <= {
        "CONNECTION_RESET",
        "CONNECTION_REFUSED",
    }


async def test_after_a_loss_it_subscribes_again_and_what_comes_is_good(stage, device):
    address = run(stage)
    session = await subscribed(device)
    session.listener.lost(Transient("gone"))
    session = await subscribed(device, 2)
    session.listener.changed("", [1], [7])
    await until(lambda: stage.batches[-1].values == [7])
    assert stage.batches[-1].qualities is None
    report = await stage.ask(address, ReportHealth())
    assert isinstance(report, HealthReported)
    assert report.connected


async def test_what_an_earlier_session_still_has_to_say_is_not_heard(stage, device):
    address = run(stage)
    session = await subscribed(device)
    stage.base.deliver(
        address, stage.start_of(connection={"device": "plc", "mode": "pushed", "n": 2}), stage.router
    )
    await subscribed(device, 2)
    session.listener.changed("", [0], [666])
    device.sessions[-1].listener.changed("", [0], [1])
    await until(lambda: stage.batches)
    assert [batch.values for batch in stage.batches] == [[1]]


async def test_further_devices_are_sources_of_their_own(stage, device):
    address = run(stage)
    session = await subscribed(device)
    session.listener.described(Description("7", "pump-7", (FakePoint("flow", "l/s"),)))
    session.listener.changed("7", [0], [4.5])
    session.listener.changed("", [0], [1])
    await until(lambda: len(stage.batches) == 2)
    pump, own = sorted(
        (batch.source for batch in stage.batches), key=lambda source: source.device != "pump-7"
    )
    assert (pump.device, own.device) == ("pump-7", "plc")
    assert pump.device_uuid != own.device_uuid
    assert pump.prefixes[0] == "fake/plc/pump-7/"
    described = await stage.ask(address, DescribeDevice(pump.device_uuid))
    assert isinstance(described, DeviceDescribed)
    assert [(one["name"], one["lastValue"]) for one in described.registers] == [("flow", 4.5)]


async def test_points_may_grow(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0], [1])
    four = tuple(FakePoint(name) for name in ("speed", "level", "mode", "torque"))
    session.listener.described(Description("", "plc", four))
    session.listener.changed("", [3], [9])
    await until(lambda: len(stage.batches) == 2)
    assert at(stage.batches)[1][0][:2] == ("torque", 9)
    assert stage.batches[0].source.device_uuid == stage.batches[1].source.device_uuid


async def test_a_device_that_says_it_leaves_is_bad_until_it_is_back(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.described(Description("7", "pump-7", (FakePoint("flow"),)))
    session.listener.presence("7", "DEVICE_OFFLINE")
    await until(lambda: len(stage.batches) >= 2)
    assert {batch.source.device for batch in stage.batches} == {"pump-7"}
    assert stage.batches[-1].qualities == ["DEVICE_OFFLINE"]
    count = len(stage.batches)
    session.listener.changed("7", [0], [1])
    await until(lambda: stage.batches[count:] and stage.batches[-1].values == [1])
    assert stage.batches[-1].qualities is None


async def test_a_device_that_is_silent_for_too_long_is_away(stage, device):
    run(stage, silent_after=0.05)
    session = await subscribed(device)
    session.listener.changed("", [0], [1])
    await until(lambda: len(stage.batches) >= 2)
    assert stage.batches[1].qualities == ["TIMEOUT"] * 3
    session.listener.heard("")


async def test_what_was_told_before_a_loss_is_not_shown_as_good_after_it(stage, device):
    address = run(stage)
    session = await subscribed(device)
    session.listener.changed("", range(3), [1, 2, 3])
    session.listener.lost(Transient("gone"))
    session = await subscribed(device, 2)
    session.listener.changed("", [1], [7])
    await until(lambda: stage.batches[-1].values == [7])
    described = await stage.ask(address, DescribeDevice())
    shown = [(one["lastValue"], one["quality"]) for one in described.registers]
    assert shown == [(None, "BAD"), (7, "GOOD"), (None, "BAD")]


async def test_a_session_is_told_when_what_it_told_can_be_lost_by_no_crash(stage, device):
    address = run(stage)
    session = await subscribed(device)
    safe: list[int] = []
    session.listener.changed("", [0], [1])
    session.listener.persisted(lambda: safe.append(1))
    await until(lambda: stage.questions)
    assert stage.batches
    session.listener.persisted(lambda: safe.append(2))
    session.listener.persisted(lambda: safe.append(3))
    await stage.ask(address, ReportHealth())
    assert len(stage.questions) == 1

    stage.base.tell(address, Persisted(stage.questions[0].number))
    await until(lambda: len(stage.questions) == 2)
    assert safe == [1]

    stage.base.tell(address, Persisted(stage.questions[0].number))
    stage.base.tell(address, Persisted(stage.questions[1].number))
    await until(lambda: safe == [1, 2, 3])


async def test_an_answer_to_what_an_earlier_connection_asked_means_nothing(stage, device):
    address = run(stage)
    session = await subscribed(device)
    safe: list[int] = []
    session.listener.persisted(lambda: safe.append(1))
    await until(lambda: stage.questions)
    session.listener.lost(Transient("gone"))
    session = await subscribed(device, 2)
    session.listener.persisted(lambda: safe.append(2))
    await until(lambda: len(stage.questions) == 2)

    stage.base.tell(address, Persisted(stage.questions[0].number))
    stage.base.tell(address, Persisted(stage.questions[1].number))
    await until(lambda: safe)
    assert safe == [2]


async def test_what_may_have_gone_with_a_crash_is_sent_again_on_another_connection(stage, device):
    address = run(stage)
    session = await subscribed(device)
    safe: list[int] = []
    session.listener.changed("", [0], [1])
    session.listener.persisted(lambda: safe.append(1))
    await until(lambda: stage.questions)
    assert [batch.kept for batch in stage.batches] == [True]
    stage.base.tell(address, Persisted(stage.questions[0].number, certain=False))
    session = await subscribed(device, 2)
    session.listener.changed("", [0], [1])
    session.listener.persisted(lambda: safe.append(2))
    await until(lambda: len(stage.questions) == 2)
    stage.base.tell(address, Persisted(stage.questions[1].number))
    await until(lambda: safe == [2])
    assert device.closed == 1


async def test_what_nobody_waits_for_is_not_kept(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0], [1])
    await until(lambda: stage.batches)
    assert not stage.batches[0].kept


async def test_a_question_that_nobody_answers_is_asked_again(stage, device, monkeypatch):
    monkeypatch.setattr(endpoint, "ASK_AGAIN", 0.05)
    address = run(stage)
    session = await subscribed(device)
    safe: list[int] = []
    session.listener.persisted(lambda: safe.append(1))
    await until(lambda: len(stage.questions) >= 3)
    assert len({question.number for question in stage.questions}) == 1
    stage.base.tell(address, Persisted(stage.questions[0].number))
    await until(lambda: safe == [1])


async def test_what_is_no_reading_is_an_event_of_the_endpoint(stage, device):
    run(stage)
    session = await subscribed(device)
    session.listener.raised("alarms", {"type": "alarm", "active": True})
    await until(lambda: stage.events)
    [event] = stage.events
    assert event.topic == "events/alarms/fake/plc"
    assert event.body == {
        "protocol": "fake",
        "endpoint": "plc",
        "endpoint_uuid": "uuid-plc",
        "type": "alarm",
        "active": True,
    }
    assert stage.batches == []


async def test_events_wait_their_turn_like_readings(stage, device):
    run(stage)
    session = await subscribed(device)
    for number in range(3000):
        session.listener.raised("alarms", {"number": number})
    session.listener.changed("", [0], [1])
    await until(lambda: stage.batches)
    assert [event.body["number"] for event in stage.events] == list(range(3000))
    router = stage.base.mailboxes[stage.router.addressDetails]
    assert router.high <= 2 * outlet.AT_ONCE
    assert router.dropped == 0


async def test_more_than_a_mailbox_holds_is_told_in_one_turn_and_nothing_is_lost(stage, device):
    run(stage)
    session = await subscribed(device)
    names = [f"d{number}" for number in range(300)]
    for name in names:
        session.listener.described(Description(name, name, (FakePoint("speed"),)))
    for number in range(20):
        for name in names:
            session.listener.changed(name, [0], [number])
    session.listener.presence("d0", "DEVICE_OFFLINE")
    await until(lambda: len(stage.batches) >= 6001)
    by_device: dict[str, list[Any]] = {}
    for batch in stage.batches:
        by_device.setdefault(batch.source.device, []).append(batch.values[0])
    assert by_device.pop("d0")[:21] == [*range(20), None]
    assert by_device == {name: list(range(20)) for name in names[1:]}


async def test_what_waits_to_be_sent_is_bounded_and_the_oldest_goes_first(stage, device, monkeypatch):
    monkeypatch.setattr(outlet, "MOST", 100)
    address = run(stage)
    session = await subscribed(device)
    for number in range(500):
        session.listener.changed("", [0], [number])
    await until(lambda: stage.batches and stage.batches[-1].values == [499])
    values = [batch.values[0] for batch in stage.batches]
    assert values == [*range(32), *range(400, 500)]
    assert stage.base.mailboxes[address.addressDetails].dropped == 368


async def test_what_was_told_before_the_configuration_changed_goes_out(stage, device):
    address = run(stage)
    session = await subscribed(device)
    for number in range(100):
        session.listener.changed("", [0], [number])
    given = {"device": "plc", "mode": "pushed", "n": 2}
    stage.base.deliver(address, stage.start_of(connection=given, data_points=POINTS), stage.router)
    await subscribed(device, 2)
    await until(lambda: stage.forgotten)
    assert [batch.values for batch in stage.batches] == [[number] for number in range(100)]


async def connecting_again(stage: Stage, device: FakeDevice) -> FakePushed:
    """A session that is lost, and whose next attempt takes as long as `device.open` is clear."""
    session = await subscribed(device)
    device.open.clear()
    connects = device.connects
    session.listener.lost(Transient("gone", code="CONNECTION_RESET"))
    await until(lambda: device.connects > connects)
    return session


async def test_what_is_told_while_it_connects_is_not_bad_at_the_next_tick(stage, device):
    address = run(stage)
    session = await connecting_again(stage, device)
    session.listener.changed("", [0, 1, 2], [1, 2, 3])
    await until(lambda: stage.batches[-1].values == [1, 2, 3])
    await asyncio.sleep(0.06)
    device.open.set()
    await until(lambda: len(device.sessions) == 2)
    assert stage.batches[-1].values == [1, 2, 3]
    report = await stage.ask(address, ReportHealth())
    assert isinstance(report, HealthReported)
    assert report.connected


async def test_what_was_told_while_it_connected_is_bad_when_it_cannot_connect_after_all(stage, device):
    run(stage)
    session = await connecting_again(stage, device)
    device.fault = Transient("not now", code="CONNECTION_REFUSED")
    device.open.set()
    await until(lambda: device.connects >= 4)
    device.open.clear()
    connects = device.connects
    await until(lambda: device.connects > connects)
    session.listener.changed("", [0, 1, 2], [1, 2, 3])
    await until(lambda: stage.batches[-1].values == [1, 2, 3])
    device.open.set()
    await until(lambda: stage.batches[-1].qualities == ["CONNECTION_REFUSED"] * 3)


async def test_a_device_that_is_said_to_be_away_while_it_connects_is_away(stage, device):
    address = run(stage)
    session = await connecting_again(stage, device)
    session.listener.presence("", "DEVICE_OFFLINE")
    device.open.set()
    await until(lambda: len(device.sessions) == 2)
    count = len(stage.batches)
    await until(lambda: len(stage.batches) >= count + 2)
    assert stage.batches[-1].qualities == ["DEVICE_OFFLINE"] * 3
    report = await stage.ask(address, ReportHealth())
    assert isinstance(report, HealthReported)
    assert not report.connected
