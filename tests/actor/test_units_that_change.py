"""A point whose unit becomes another: what was told in the one before is nobody's value any more."""

from collections.abc import AsyncIterator

import pytest
from fake_field import FakePoint, Field, Stage, staged, until

from actors.endpoints.endpoint import Endpoint
from actors.endpoints.listener import Description
from actors.endpoints.messages import DescribeDevice, DeviceDescribed
from actors.publish.throttle import DeviceThrottle
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Choice
from actors.readings.latest import Latest


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    async with staged(monkeypatch, field) as stage:
        yield stage


def source(*points: Point) -> Source:
    return Source("e", "plc", "fake", "d", "plc", points, ("fake/plc/plc/",), pushed=True)


BEFORE = source(Point("flow", "l/s"), Point("level", "m"))
AFTER = source(Point("flow", "m3/h"), Point("level", "m"), Point("mode"))


def told(of: Source, indices: tuple[int, ...], *values: float) -> Batch:
    return Batch(of, 1000, list(values), indices=indices, times=[1000] * len(values))


def test_the_latest_readings_of_the_other_points_stay() -> None:
    latest = Latest()
    latest.take(told(BEFORE, (0,), 4.5))
    latest.take(told(BEFORE, (1,), 2.0))
    latest.take(told(AFTER, (2,), 1.0))
    batch = latest.batch()
    assert batch is not None
    assert [(point.name, value) for point, value in zip(batch.points, batch.values, strict=True)] == [
        ("level", 2.0),
        ("mode", 1.0),
    ]


def test_what_is_held_back_of_the_other_points_goes_out() -> None:
    throttle = DeviceThrottle(1000)
    every = Choice(None)
    assert throttle.admit(told(BEFORE, (0, 1), 4.5, 2.0), every, 1000) is not None
    assert throttle.admit(told(BEFORE, (0, 1), 5.5, 3.0), every, 1100) is None
    assert throttle.admit(told(AFTER, (2,), 1.0), every, 1200) is not None
    released = throttle.release(2200, 2200)
    assert released is not None
    assert [(point.name, value) for point, value in zip(released.points, released.values, strict=True)] == [
        ("level", 3.0)
    ]


async def test_the_device_shows_no_value_of_another_unit(stage: Stage, field: Field) -> None:
    given = {"device": "plc", "mode": "pushed"}
    address = stage.base.spawn(None, Endpoint, "plc", stage.start_of(connection=given))
    device = field["plc"]
    await until(lambda: device.sessions)
    listener = device.sessions[-1].listener
    listener.described(Description("7", "pump", (FakePoint("flow", "l/s"), FakePoint("level", "m"))))
    listener.changed("7", [0, 1], [4.5, 2.0])
    listener.described(Description("7", "pump", (FakePoint("flow", "m3/h"), FakePoint("level", "m"))))
    await until(lambda: stage.batches)
    uuid = stage.batches[0].source.device_uuid
    described = await stage.ask(address, DescribeDevice(uuid))
    assert isinstance(described, DeviceDescribed)
    assert [(one["unit"], one["lastValue"], one["quality"]) for one in described.registers] == [
        ("m3/h", None, "BAD"),
        ("m", 2.0, "GOOD"),
    ]
