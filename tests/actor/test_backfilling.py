"""What devices have recorded, told as readings of the past."""

import asyncio
from typing import Any

import msgspec
import pytest
from fake_field import FakeDevice, FakeReader, Field, Stage, staged, until
from thespian.actors import ActorAddress

from actors.connections.connection import Transient
from actors.endpoints import protocols
from actors.endpoints.endpoint import Endpoint
from actors.endpoints.messages import BackfillDevice, DeviceBackfilled
from actors.endpoints.protocol import BackfillRequest, Recorded
from actors.publish.throttle import DeviceThrottle
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Choice
from actors.readings.messages import ReportLatest
from actors.readings.router import Router, RunRouter
from actors.system.asyncio_base import AsyncioSystemBase
from actors.system.failure import Failed, Refusal


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
def device(field: Field) -> FakeDevice:
    return field["plc"]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field):
    async with staged(monkeypatch, field) as stage:
        known = protocols.find("fake")
        monkeypatch.setattr(protocols, "find", lambda name: msgspec.structs.replace(known, backfills=True))
        yield stage


async def run(stage: Stage) -> ActorAddress:
    address = stage.base.spawn(None, Endpoint, "plc", stage.start_of())
    await until(lambda: stage.batches)
    return address


def recording(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> list[BackfillRequest]:
    asked: list[BackfillRequest] = []

    async def backfill(self: FakeReader, request: BackfillRequest) -> list[Recorded]:
        asked.append(request)
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(FakeReader, "backfill", backfill, raising=False)
    return asked


def request(*points: str, **more: Any) -> BackfillDevice:
    return BackfillDevice(BackfillRequest(points, **more))


async def test_recorded_readings_go_the_way_of_all_with_their_own_times(stage, monkeypatch):
    recorded = Recorded("speed", "log:1", [1.5, None, 2.5], [None, "FAULT", None], [1000, 2000, 3000])
    asked = recording(monkeypatch, [recorded])
    address = await run(stage)
    done = await stage.ask(address, request())
    assert isinstance(done, DeviceBackfilled)
    [summary] = done.points
    assert (summary.readings, summary.bad, summary.first, summary.last) == (3, 1, 1000, 3000)
    assert asked[0].points == ("speed",)
    await until(lambda: len([batch for batch in stage.batches if batch.past]) == 3)
    past = [batch for batch in stage.batches if batch.past]
    assert [(batch.values, batch.qualities, batch.times) for batch in past] == [
        ([1.5], None, [1000]),
        ([None], ["FAULT"], [2000]),
        ([2.5], None, [3000]),
    ]


async def test_what_is_refused_is_answered(stage, device, monkeypatch):
    recording(monkeypatch, Refusal("no such log", "log", "not_found"))
    address = await run(stage)
    assert await stage.ask(address, request("nothing")) == Failed(
        "not_found", "Data point not found: nothing", "points[0]"
    )
    assert await stage.ask(address, request(log="log:9")) == Failed("not_found", "no such log", "log")
    recording(monkeypatch, Transient("no answer"))
    assert await stage.ask(address, request()) == Failed("unavailable", "Device did not answer: no answer")


async def test_one_at_a_time_and_an_end_for_whoever_waits(stage, device, monkeypatch):
    asked = recording(monkeypatch, asyncio.Event())
    address = await run(stage)
    waiting = asyncio.ensure_future(stage.ask(address, request()))
    await until(lambda: asked)
    again = await stage.ask(address, request())
    assert again == Failed("unavailable", "Its records are being read already; try again")
    stage.base.deliver(address, stage.start_of(name="another"), address)
    assert await waiting == Failed("unavailable", "Interrupted: nothing was read")


async def test_a_protocol_without_records_says_so(stage, monkeypatch):
    known = protocols.find("fake")
    monkeypatch.setattr(protocols, "find", lambda name: msgspec.structs.replace(known, backfills=False))
    failed = await stage.ask(await run(stage), request())
    assert (failed.kind, failed.message) == (
        "unsupported",
        f"Back-fill is not supported for protocol: {known.name}",
    )


def test_of_the_past_no_reading_is_one_too_many() -> None:
    source = Source("e", "plc", "fake", "d", "plc", (Point("speed"),), ())
    past = Batch(source, 5001, [1], indices=(0,), times=[1000], past=True)
    throttle, every = DeviceThrottle(10_000), Choice(None)
    assert throttle.admit(Batch(source, 5000, [5]), every, 5000) is not None
    assert throttle.admit(past, every, 5001) is past
    assert throttle.admit(Batch(source, 5002, [6]), every, 5002) is None


async def test_the_past_is_nobodys_latest() -> None:
    source = Source("e", "plc", "fake", "d", "plc", (Point("speed"),), ())
    base = AsyncioSystemBase()
    router = base.spawn(None, Router, "readings", RunRouter())
    for batch in (Batch(source, 5000, [5]), Batch(source, 5001, [1], indices=(0,), times=[1000], past=True)):
        base.deliver(router, batch, router)
    latest = await base.ask(router, ReportLatest(), 5)
    assert [batch.values for batch in latest.batches] == [[5]]
    base.shutdown()
    await base.released()
