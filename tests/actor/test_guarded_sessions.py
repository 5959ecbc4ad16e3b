"""Sessions of protocols that other packages bring, which may say anything."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from fake_field import FakeDevice, FakePoint, FakePushed, Field, Stage, staged, until
from thespian.actors import ActorAddress

from actors.endpoints import third_party
from actors.endpoints.endpoint import Endpoint
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Description, Nobody
from actors.endpoints.messages import DescribeDevice, DeviceDescribed
from actors.publish.formats import NAMES, MessageIds, encode
from actors.readings.batch import Batch
from actors.readings.latest import Latest
from actors.readings.messages import Persisted
from actors.system.failure import Refusal

POINTS = [{"name": name} for name in ("speed", "level", "mode")]


@pytest.fixture
def field() -> Field:
    field = Field()
    field.protocol = third_party.guarded(field.protocol, "callboard-fake 1.0")
    return field


@pytest.fixture
def device(field: Field) -> FakeDevice:
    return field["plc"]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, field: Field) -> AsyncIterator[Stage]:
    async with staged(monkeypatch, field) as stage:
        yield stage


def run(stage: Stage, mode: str = "pushed") -> ActorAddress:
    given = {"device": "plc", "mode": mode}
    return stage.base.spawn(None, Endpoint, "plc", stage.start_of(connection=given, data_points=POINTS))


async def subscribed(device: FakeDevice, times: int = 1) -> FakePushed:
    await until(lambda: len(device.sessions) == times)
    return device.sessions[-1]


def is_sound(batch: Batch) -> bool:
    """Whether all who follow the readings can do with the batch what they do."""
    latest = Latest()
    latest.take(batch)
    ids = MessageIds("0e6e2c1c-0b8b-4f5f-9f39-1d1b2f4a0001")
    for name in NAMES:
        encode(name, "json", [(batch, tuple(range(len(batch.values))))], ids)
    return latest.batch() is not None


WRONG_CALLS: list[tuple[Any, ...]] = [
    ("", [-1], [1]),
    ("", [3], [1]),
    ("", [True], [1]),
    ("", ["0"], [1]),
    ("", [0, 0], [1, 2]),
    ("", [0, 1], [1]),
    ("", [0], [1, 2]),
    ("", [0, 1], [1, 2], [None]),
    ("", [0, 1], [1, 2], None, [1000]),
    ("", [0], [1], [5]),
    ("", [0], [1], ["\ud800"]),
    ("", [0], [1], None, [1.5]),
    ("", [0], [1], None, ["now"]),
    ("7", [0], [1]),
    (None, [0], [1]),
    ([], [0], [1]),
    ("", None, [1]),
    ("", [0], None),
]


@pytest.mark.parametrize("call", WRONG_CALLS, ids=repr)
async def test_a_call_that_says_nothing_for_certain_makes_all_bad_until_it_connects_anew(
    stage: Stage, device: FakeDevice, caplog: pytest.LogCaptureFixture, call: tuple[Any, ...]
) -> None:
    address = run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0, 1, 2], [10, 20, 30])
    session.listener.changed(*call)
    session.listener.changed("", [0], [666])
    session = await subscribed(device, 2)
    session.listener.changed("", [0], [11])
    await until(lambda: stage.batches[-1].values == [11])
    assert any(batch.qualities == ["READ_ERROR"] * 3 for batch in stage.batches)
    assert {value for batch in stage.batches for value in batch.values} <= {10, 20, 30, None, 11}
    assert all(map(is_sound, stage.batches))
    described = await stage.ask(address, DescribeDevice())
    assert isinstance(described, DeviceDescribed)
    assert [one["lastValue"] for one in described.registers] == [11, None, None]
    assert len([text for text in caplog.messages if "the protocol fake has told" in text]) == 1
    assert device.closed == 0  # the endpoint has not begun anew


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "NO_VALUE"),
        (float("nan"), "NOT_A_NUMBER"),
        (float("-inf"), "NOT_A_NUMBER"),
        (2**64, "READ_ERROR"),
        (-(2**300), "READ_ERROR"),
        ("\ud800", "READ_ERROR"),
        (b"bytes", "READ_ERROR"),
        ({1, 2}, "READ_ERROR"),
        (object(), "READ_ERROR"),
        ([["\ud800"]], "READ_ERROR"),
        ({"a": object()}, "READ_ERROR"),
    ],
)
async def test_a_value_that_no_reading_can_have_is_bad_and_costs_the_others_nothing(
    stage: Stage, device: FakeDevice, value: Any, code: str
) -> None:
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0, 2], [value, 5])
    await until(lambda: stage.batches)
    assert stage.batches[0].values == [None, 5]
    assert stage.batches[0].qualities == [code, None]
    assert is_sound(stage.batches[0])


@pytest.mark.parametrize("time", [-1, -(10**20), 10**18, 2**70])
async def test_a_time_that_no_clock_can_show_is_now(stage: Stage, device: FakeDevice, time: int) -> None:
    run(stage)
    session = await subscribed(device)
    session.listener.changed("", [0, 1], [1, 2], None, [time, 1000])
    await until(lambda: stage.batches)
    assert stage.batches[0].times == [stage.batches[0].timestamp, 1000]


@pytest.mark.parametrize(
    "tell",
    [
        lambda listener: listener.described(None),
        lambda listener: listener.described(Description("7", "pump", (None,))),
        lambda listener: listener.described(Description("7", "pump", (FakePoint("\ud800"),))),
        lambda listener: listener.described(Description("7", "pump", (FakePoint("a"), FakePoint("a")))),
        lambda listener: listener.described(Description(7, "pump", ())),
        lambda listener: listener.described(Description("7", "pump", (), 5)),
        lambda listener: listener.presence("", 5),
        lambda listener: listener.presence({}, None),
        lambda listener: listener.heard([]),
        lambda listener: listener.persisted(None),
        lambda listener: listener.raised("alarms/#", {}),
        lambda listener: listener.raised("alarms", {"a": object()}),
        lambda listener: listener.raised("alarms", None),
        lambda listener: listener.lost("gone"),
        lambda listener: listener.lost(None),
    ],
)
async def test_whatever_else_it_tells_wrongly_ends_the_connection_and_no_more(
    stage: Stage, device: FakeDevice, tell: Any
) -> None:
    run(stage)
    session = await subscribed(device)
    tell(session.listener)
    session = await subscribed(device, 2)
    session.listener.changed("", [0], [11])
    await until(lambda: stage.batches[-1].values == [11])
    assert device.closed == 0
    assert stage.events == []


async def test_what_it_wants_to_be_called_with_may_fail(stage: Stage, device: FakeDevice) -> None:
    address = run(stage)
    session = await subscribed(device)
    session.listener.persisted(lambda: json.loads("{"))
    await until(lambda: stage.questions)
    stage.base.tell(address, Persisted(stage.questions[0].number))
    await subscribed(device, 2)
    assert device.closed == 0


async def test_nothing_is_heard_from_another_thread(
    stage: Stage, device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    run(stage)
    session = await subscribed(device)
    thread = threading.Thread(target=session.listener.changed, args=("", [0], [1]))
    thread.start()
    await asyncio.to_thread(thread.join)
    session.listener.changed("", [1], [2])
    await until(lambda: stage.batches)
    assert [batch.values for batch in stage.batches] == [[2]]
    assert "a thread that is not the loop's" in caplog.text


async def test_one_that_tells_nonsense_for_ever_is_tried_less_and_less(
    stage: Stage, device: FakeDevice
) -> None:
    run(stage)
    for times in range(1, 4):
        session = await subscribed(device, times)
        for _ in range(1000):
            session.listener.changed("", [5], [1])
    await until(lambda: len(stage.batches) > 3)
    assert device.connects <= 5


async def test_what_a_poll_finds_is_looked_at_as_well(stage: Stage, device: FakeDevice) -> None:
    device.values = [float("nan"), b"x", 3]
    run(stage, "polled")
    batch = await stage.batch(lambda batch: batch.values[2] == 3)
    assert (batch.values, batch.qualities) == ([None, None, 3], ["NOT_A_NUMBER", "READ_ERROR", None])
    assert is_sound(batch)


def test_who_makes_no_session_is_refused(field: Field) -> None:
    endpoint = field.protocol.check({"device": "plc"}, POINTS)
    nothing = msgspec.structs.replace(field.protocol, session=lambda *_: None)
    with pytest.raises(Refusal, match="NoneType, not a Session"):
        third_party.guarded(nothing, "callboard-fake 1.0").session(endpoint, Nobody(), Lines())
