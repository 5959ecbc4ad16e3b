"""An endpoint that is told by its session, against a model of it: whatever happens, each change comes out
once, in order, with its own time; what is lost is BAD until something new is told."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from fake_field import FakeDevice, FakePoint, FakePushed, Field, Stage, staged, until
from thespian.actors import ActorAddress

from actors.connections.connection import Transient
from actors.endpoints import roster
from actors.endpoints.endpoint import Endpoint
from actors.endpoints.listener import Description
from actors.endpoints.messages import DescribeDevice, DeviceDescribed
from actors.readings.batch import Batch

SEEDS = range(6)
STEPS = 120
OWN_POINTS = ("a", "b", "c")
MOST_DEVICES = 5


class Reading(NamedTuple):
    """`value` is a number that was told, or the code of a BAD reading that was told, or None of one that the
    endpoint has made. `time` None: when it was told."""

    value: Any
    code: str | None
    time: int | None


class Told(NamedTuple):
    reading: Reading
    sure: bool
    """Nothing that ends the session was under way when it was told."""


Place = tuple[str, str]
"""Device and point."""


class Model:
    """What was done to the endpoint, and what should have come of it."""

    def __init__(self, stage: Stage, device: FakeDevice, seed: int) -> None:
        self.stage = stage
        self.device = device
        self.random = random.Random(seed)
        self.address: ActorAddress | None = None
        self.told: defaultdict[Place, list[Told]] = defaultdict(list)
        self.points: dict[str, list[str]] = {}
        """By device, as the endpoint knows them; those beyond what it may have are not in it."""
        self.bad: dict[Place, bool] = {}
        """Of points about which something was told, or had to be, in this life of the endpoint."""
        self.uuids: dict[str, set[str]] = defaultdict(set)
        self.numbers = 0
        self.configured = 0
        self.crashes = 0
        self.seen = 0
        """How many sessions the device had when the present one ended."""
        self.session: FakePushed | None = None

    async def begin(self) -> None:
        self.address = self.stage.base.spawn(None, Endpoint, "plc", self._start())
        self._begun_anew()
        await self.subscribed()

    def _start(self) -> Any:
        given = {"device": "plc", "mode": "pushed", "n": self.configured}
        points = [{"name": name} for name in OWN_POINTS]
        return self.stage.start_of(connection=given, data_points=points)

    def _begun_anew(self) -> None:
        self.points = {"": list(OWN_POINTS)}
        self.bad = {}
        self.session = None

    async def subscribed(self) -> None:
        """Until there is a session, or there can be none."""
        if self.session is not None:
            return
        await until(self._is_decided)
        if self.endpoint.connected:
            self.session = self.device.sessions[-1]

    def _is_decided(self) -> bool:
        if self.endpoint is None or not self.endpoint.begun:
            return False
        if len(self.device.sessions) > self.seen:
            return bool(self.endpoint.connected)
        return self.device.fault is not None and self.endpoint.failures > 0

    @property
    def endpoint(self) -> Any:
        assert self.address is not None
        return self.stage.base.mailboxes[self.address.addressDetails].instance

    # What may happen

    async def step(self) -> None:
        acts = [self.change] * 10 + [self.describe] * 3 + [self.grow, self.present, self.hear, self.nap] * 2
        acts += [self.lose, self.refuse, self.admit, self.configure, self.crash, self.lose_and_say_more]
        acts += [self.connect_slowly] * 2
        await self.random.choice(acts)()
        if self.random.random() < 0.3:
            await self.settle()

    async def change(self, session: FakePushed | None = None, sure: bool = True) -> None:
        session = session or self.session
        if session is None:
            return
        for _ in range(self.random.randrange(1, 4)):
            device = self.random.choice([*self.points, "unheard of"])
            names = self.points.get(device, ["x"])
            indices = self.random.sample(range(len(names)), self.random.randrange(1, len(names) + 1))
            readings = [self._reading() for _ in indices]
            codes = [reading.code for reading in readings]
            times = [reading.time for reading in readings]
            session.listener.changed(
                device,
                indices,
                [None if isinstance(reading.value, str) else reading.value for reading in readings],
                codes if any(codes) or self.random.random() < 0.2 else None,
                times if any(times) or self.random.random() < 0.2 else None,
            )
            if device not in self.points:
                continue
            for index, reading in zip(indices, readings, strict=True):
                self.told[device, names[index]].append(Told(reading, sure))
                if sure:
                    self.bad[device, names[index]] = isinstance(reading.value, str)

    def _reading(self) -> Reading:
        self.numbers += 1
        code = f"TOLD-{self.numbers}" if self.random.random() < 0.1 else None
        time = 1_000_000 + self.numbers if self.random.random() < 0.5 else None
        return Reading(code or self.numbers, code, time)

    async def describe(self) -> None:
        """A device, new or known."""
        if self.session is None:
            return
        identifier = f"device-{self.random.randrange(8)}"
        known = self.points.get(identifier) or [f"p{n}" for n in range(self.random.randrange(1, 4))]
        self._describe(identifier, known)

    async def grow(self) -> None:
        if self.session is not None:
            identifier = self.random.choice(list(self.points))
            known = self.points[identifier]
            self._describe(identifier, [*known, f"p{len(known)}"])

    def _describe(self, identifier: str, names: list[str]) -> None:
        assert self.session is not None
        points = tuple(FakePoint(name) for name in names)
        self.session.listener.described(Description(identifier, identifier or "plc", points))
        if identifier in self.points or len(self.points) < MOST_DEVICES:
            self.points[identifier] = list(names)

    async def present(self) -> None:
        if self.session is None:
            return
        device = self.random.choice(list(self.points))
        away = self.random.random() < 0.6
        self.session.listener.presence(device, "DEVICE_OFFLINE" if away else None)
        if away:
            self._all_bad(device)

    async def hear(self) -> None:
        if self.session is not None:
            self.session.listener.heard(self.random.choice([*self.points, "unheard of"]))

    async def nap(self) -> None:
        await asyncio.sleep(self.random.choice((0, 0, 0.002, 0.03)))

    async def lose(self) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        self.seen = len(self.device.sessions)
        session.listener.lost(Transient("gone", code="CONNECTION_RESET"))
        for device in self.points:
            self._all_bad(device)

    async def lose_and_say_more(self) -> None:
        """As a session should not: nobody is to see it."""
        session = self.session
        await self.lose()
        if session is not None:
            self.numbers += 1
            session.listener.changed("", [0], [-self.numbers])

    async def connect_slowly(self) -> None:
        """What is told before it has subscribed to all is as good as any; unless it cannot in the end."""
        if self.session is None or self.device.fault is not None:
            return
        await self.settle()
        connects = self.device.connects
        self.device.open.clear()
        await self.lose()
        await until(lambda: self.device.connects > connects)
        await self.change(self.device.subscribing)
        await self.nap()
        if self.random.random() < 0.3:
            await self.refuse()
            failures = self.endpoint.failures
            for device in self.points:
                self._all_bad(device)
            self.device.open.set()
            await until(lambda: self.endpoint.failures > failures)
        else:
            self.device.open.set()
            await self.subscribed()

    async def refuse(self) -> None:
        self.device.fault = Transient("nobody there", code="CONNECTION_REFUSED")

    async def admit(self) -> None:
        self.device.fault = None

    async def configure(self) -> None:
        """Its configuration changes; what the session says before that has come through may be lost."""
        self.configured += 1
        session = self.session
        assert self.address is not None
        self.seen = len(self.device.sessions)
        self.stage.base.deliver(self.address, self._start(), self.stage.router)
        if session is not None:
            await self.change(session, sure=False)
        self._begun_anew()

    async def crash(self) -> None:
        """Its session may say something yet; what it has said in the same turn is lost with it."""
        if self.crashes == 4:
            return
        await self.settle()
        session = self.session
        self.crashes += 1
        self.seen = len(self.device.sessions)
        assert self.address is not None
        cell = self.stage.base.mailboxes[self.address.addressDetails]
        cell.start = self._start()
        self.stage.base.crash(cell, RuntimeError("boom"))
        if session is not None:
            await self.change(session, sure=False)
        self._begun_anew()

    def _all_bad(self, device: str) -> None:
        for name in self.points[device]:
            self.bad[device, name] = True

    # What has come of it

    async def settle(self) -> None:
        """Until everything that was told has come through; then look at what the readings are now."""
        await self.subscribed()
        for _ in range(4):
            await asyncio.sleep(0)
        latest = {place: readings[-1] for place, readings in self.came().items()}
        for place, bad in self.bad.items():
            if place[1] in self.points.get(place[0], ()):
                came = latest.get(place)
                assert (came is None or came.code is not None) == bad, (place, came)

    def came(self) -> dict[Place, list[Reading]]:
        found: defaultdict[Place, list[Reading]] = defaultdict(list)
        for batch in self.stage.batches:
            device = "" if batch.source.device == "plc" else batch.source.device
            self.uuids[device].add(batch.source.device_uuid)
            for name, value, code, time in readings(batch):
                told = code if code is not None and code.startswith("TOLD") else value
                found[device, name].append(Reading(told, code, time))
        return found

    def check(self) -> None:
        """All of it came once, in order, with its own time, and nothing else but that there is nothing."""
        for place, came in self.came().items():
            expected = iter(self.told[place])
            for reading in came:
                if reading.value is None:
                    assert reading.code, "GOOD without a value"
                    continue
                for one in expected:
                    if one.reading.value == reading.value:
                        assert reading.code == one.reading.code
                        assert one.reading.time in (None, reading.time)
                        break
                    assert not one.sure, f"{place}: {one} was lost, or is out of order"
                else:
                    raise AssertionError(f"{place}: {reading} was never told, or came twice")
            for one in expected:
                assert not one.sure, f"{place}: {one} was lost"
        for place, told in self.told.items():
            assert place in self.came() or not any(one.sure for one in told), f"{place}: all of it was lost"
        assert all(len(uuids) == 1 for uuids in self.uuids.values())


def readings(batch: Batch) -> list[tuple[str, Any, str | None, int]]:
    codes = batch.qualities or [None] * len(batch.values)
    times = batch.times or [batch.timestamp] * len(batch.values)
    names = [point.name for point in batch.points]
    assert len(set(names)) == len(names), "a point is in a batch twice"
    return list(zip(names, batch.values, codes, times, strict=True))


@pytest.fixture
def field() -> Field:
    return Field()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    async with staged(monkeypatch, field) as stage:
        yield stage


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_the_readings_are_those_that_were_told(
    stage: Stage, field: Field, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "MAX_DEVICES", MOST_DEVICES)
    model = Model(stage, field["plc"], seed)
    await model.begin()
    for _ in range(STEPS):
        await model.step()
    await model.admit()
    await model.settle()
    model.check()


async def test_no_more_devices_are_read_than_there_may_be_which_is_said_once(
    stage: Stage, field: Field, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model(stage, field["plc"], 0)
    await model.begin()
    assert model.session is not None
    for number in range(3 * roster.MAX_DEVICES):
        model.session.listener.described(Description(str(number), f"device {number}", (FakePoint("p"),)))
        model.session.listener.changed(str(number), [0], [number])
    await until(lambda: len(stage.batches) >= roster.MAX_DEVICES - 1)
    assert len(model.endpoint.images) == roster.MAX_DEVICES
    assert len(stage.batches) == roster.MAX_DEVICES - 1
    assert len([text for text in caplog.messages if "more than" in text]) == 1
    described = await stage.ask(model.address, DescribeDevice(None))
    assert isinstance(described, DeviceDescribed)


async def test_a_device_that_loses_a_point_is_no_value_of_another(stage: Stage, field: Field) -> None:
    model = Model(stage, field["plc"], 0)
    await model.begin()
    assert model.session is not None
    listener = model.session.listener
    listener.described(Description("7", "pump", (FakePoint("flow"), FakePoint("level"))))
    listener.changed("7", [1], [3])
    listener.described(Description("7", "pump", (FakePoint("level"),)))
    listener.changed("7", [0], [4])
    await until(lambda: len(field["plc"].sessions) == 2)
    assert {batch.values[0] for batch in stage.batches} <= {3, None}


async def test_a_device_that_is_described_again_as_it_is_stays_the_same_source(
    stage: Stage, field: Field
) -> None:
    model = Model(stage, field["plc"], 0)
    await model.begin()
    assert model.session is not None
    for value in (1, 2):
        model.session.listener.described(Description("7", "pump", (FakePoint("flow"),)))
        model.session.listener.changed("7", [0], [value])
    await until(lambda: len(stage.batches) == 2)
    assert stage.batches[0].source is stage.batches[1].source
