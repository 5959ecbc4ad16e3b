"""Writes to the devices of an endpoint."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest
from fake_field import FakeDevice, FakePoint, Field, Stage, as_json, staged, until
from thespian.actors import ActorAddress

from actors.connections.connection import Transient
from actors.endpoints import writing
from actors.endpoints.endpoint import Endpoint, FinishPoll, PollFinished
from actors.endpoints.listener import Description
from actors.endpoints.messages import RegisterWritten, WriteRegister
from actors.endpoints.protocol import WriteRequest
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
        yield stage


async def run(stage: Stage, **changes: Any) -> ActorAddress:
    address = stage.base.spawn(None, Endpoint, "plc", stage.start_of(**changes))
    await until(lambda: stage.batches)
    return address


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "actors.endpoints.writing"]


async def ask(stage: Stage, address: ActorAddress, register: str, value: Any, **more: Any) -> Any:
    return await stage.ask(address, WriteRegister(register, value, **more))


# In the log


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        ("on", "on"),
        ("a\nb", '"a\\nb"'),
        ([1, 2], "[1,2]"),
        ("x" * 999, "x" * 200 + "..."),
        ("", '""'),
    ],
)
async def test_each_write_is_in_the_log_with_who_asked(stage, caplog, value, shown):
    caplog.set_level(logging.INFO)
    address = await run(stage)
    await ask(stage, address, "speed", value, by="user anna from 10.0.0.1")
    assert told(caplog) == [f"write to plc, register speed, value {shown}, by user anna from 10.0.0.1: done"]


async def test_what_is_refused_or_fails_is_in_the_log_too(stage, device, caplog):
    address = await run(stage)
    await ask(stage, address, "unknown", 5, by="x")
    device.write_fault = Refusal("ILLEGAL_ADDRESS", "register")
    await ask(stage, address, "speed", 5, by="x")
    device.write_fault = Transient("no answer")
    await ask(stage, address, "speed", 6)
    assert told(caplog) == [
        "write to plc, register unknown, value 5, by x: refused: Register not found: unknown",
        "write to plc, register speed, value 5, by x: refused: ILLEGAL_ADDRESS",
        "write to plc, register speed, value 6, by nobody known: failed: Device did not answer: no answer",
    ]
    assert {one.levelname for one in caplog.records if one.name == "actors.endpoints.writing"} == {"WARNING"}


# Verifying


async def test_a_value_is_read_back_when_that_is_asked_for(stage, device, caplog):
    caplog.set_level(logging.INFO)
    address = await run(stage)
    assert await ask(stage, address, "speed", 5, verify=True) == RegisterWritten("speed", 5, True, 5)
    device.held = 4
    assert await ask(stage, address, "speed", 5, verify=True) == RegisterWritten("speed", 5, False, 4)
    assert await ask(stage, address, "speed", 5) == RegisterWritten("speed", 5)
    assert [line.rpartition(": ")[2] for line in told(caplog)] == [
        "done, verified",
        "done, but it reads 4",
        "done",
    ]


async def test_what_was_written_and_cannot_be_read_back_says_so(stage, device):
    address = await run(stage)
    device.read_back_fault = Refusal("the device does not let it be read", "verify", "conflict")
    reply = await ask(stage, address, "speed", 5, verify=True)
    assert reply == Failed("conflict", "Written, but the device does not let it be read", "verify")
    device.read_back_fault = Transient("gone")
    reply = await ask(stage, address, "speed", 6, verify=True)
    assert reply == Failed("unavailable", "Written, but it could not be read back: gone")


async def test_a_protocol_that_cannot_read_back_refuses_before_it_writes(stage, device, field):
    field.protocol = msgspec.structs.replace(field.protocol, verifies=False)
    address = await run(stage)
    reply = await ask(stage, address, "speed", 5, verify=True)
    assert (reply.kind, reply.field) == ("unsupported", "verify")
    assert device.written == []


async def test_a_protocol_without_writing_says_so(stage, field):
    field.protocol = msgspec.structs.replace(field.protocol, prepare=None)
    address = await run(stage)
    assert (await ask(stage, address, "speed", 5)).kind == "unsupported"


# Units, types, priorities


@pytest.mark.parametrize(
    ("register", "unit", "expected"),
    [
        ("speed", "m/s", None),
        ("fake:speed", "m/s", None),
        ("speed", "km/h", "speed is in m/s, not in km/h"),
        ("elsewhere", "m/s", "elsewhere has no unit"),
    ],
)
async def test_a_value_is_in_the_unit_of_its_point_or_refused(stage, device, register, unit, expected):
    address = await run(stage)
    reply = await ask(stage, address, register, 5, unit=unit)
    if expected is None:
        assert reply == RegisterWritten(register, 5)
    else:
        assert reply == Failed("invalid", expected, "unit")
        assert device.written == []


async def test_type_and_priority_are_for_the_protocol(stage, field):
    requests: list[WriteRequest] = []

    def prepare(endpoint: Any, request: WriteRequest) -> tuple[str, Any]:
        requests.append(request)
        return request.register, request.value

    field.protocol = msgspec.structs.replace(field.protocol, prepare=prepare)
    address = await run(stage)
    await ask(stage, address, "speed", 5, data_type="uint16", priority=8)
    assert requests == [WriteRequest("", "speed", 5, "uint16", 8)]


async def test_a_write_goes_to_the_device_that_is_meant_by_its_points(stage, field, device):
    seen: list[Any] = []

    def prepare(endpoint: Any, request: WriteRequest) -> tuple[str, Any]:
        seen.append((request.device, [point.name for point in endpoint.points]))
        return request.register, request.value

    field.protocol = msgspec.structs.replace(field.protocol, prepare=prepare)
    points = [{"name": "speed"}]
    given = {"device": "plc", "mode": "pushed"}
    start = stage.start_of(connection=given, data_points=points, keeper=stage.router)
    address = stage.base.spawn(None, Endpoint, "plc", start)
    await until(lambda: device.sessions)
    listener = device.sessions[-1].listener
    listener.described(Description("7", "pump", (FakePoint("flow"),)))
    listener.changed("7", [0], [1])
    await until(lambda: stage.batches)
    uuid = stage.batches[0].source.device_uuid
    assert await ask(stage, address, "flow", 5, device_uuid=uuid) == RegisterWritten("flow", 5)
    assert seen == [("7", ["flow"])]
    assert device.written == [("flow", 5)]
    reply = await ask(stage, address, "flow", 5, device_uuid="nobody")
    assert reply == Failed("unavailable", "Device not connected: nobody")


# One at a time


async def test_writes_to_a_device_are_done_in_order_and_one_at_a_time(stage, device):
    address = await run(stage)
    device.writable.clear()
    asked = [asyncio.ensure_future(ask(stage, address, "speed", value)) for value in range(10)]
    await until(lambda: device.writing)
    await asyncio.sleep(0.02)
    assert device.writing == 1
    device.writable.set()
    assert [reply.value for reply in await asyncio.gather(*asked)] == list(range(10))
    assert [value for _, value in device.written] == list(range(10))


async def test_what_nobody_waits_for_any_more_is_not_written(stage, device, caplog):
    address = await run(stage)
    device.writable.clear()
    first = asyncio.ensure_future(ask(stage, address, "speed", 1))
    await until(lambda: device.writing)
    assert await stage.base.ask(address, WriteRegister("speed", 2), 0.02) is None
    last = asyncio.ensure_future(ask(stage, address, "speed", 3))
    await asyncio.sleep(0)
    device.writable.set()
    assert [(await one).value for one in (first, last)] == [1, 3]
    assert [value for _, value in device.written] == [1, 3]
    assert any("not begun: nobody waits" in line for line in told(caplog))


async def test_too_many_that_wait_are_refused(stage, device, monkeypatch):
    monkeypatch.setattr(writing, "WAITING", 3)
    address = await run(stage)
    device.writable.clear()
    asked = [asyncio.ensure_future(ask(stage, address, "speed", value)) for value in range(6)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert all("Too many writes wait" in one.result().message for one in done)
    device.writable.set()
    replies = await asyncio.gather(*asked)
    assert sum(isinstance(reply, RegisterWritten) for reply in replies) == 4


@pytest.mark.parametrize("how", ["changed", "ended", "crashed"])
async def test_writes_under_way_are_answered_whatever_becomes_of_the_endpoint(stage, device, caplog, how):
    address = await run(stage)
    device.writable.clear()
    asked = [asyncio.ensure_future(ask(stage, address, "speed", value)) for value in range(3)]
    await until(lambda: device.writing)
    await asyncio.sleep(0.02)
    cell = stage.base.mailboxes[address.addressDetails]
    if how == "changed":
        start = msgspec.structs.replace(stage.start_of(), data_points=as_json([{"name": "other"}]))
        stage.base.deliver(address, start, stage.router)
    elif how == "ended":
        stage.base.terminate(cell)
    else:
        stage.base.crash(cell, RuntimeError("boom"))
    replies = await asyncio.gather(*asked)
    assert [reply.message for reply in replies] == [
        "Interrupted: it may have been written",
        "Interrupted: it was not written",
        "Interrupted: it was not written",
    ]
    assert {reply.kind for reply in replies} == {"unavailable"}
    assert len(told(caplog)) == 3
    device.writable.set()
    await asyncio.sleep(0.02)
    assert device.written == []


async def test_behind_a_write_that_hangs_nothing_is_written(stage, device):
    device.patience = 0.1
    device.hangs = {"write"}
    address = await run(stage)
    replies = await asyncio.gather(*(ask(stage, address, "speed", value) for value in range(2)))
    assert [reply.message for reply in replies] == [
        "Device did not answer: no answer within 0.1 s",
        "Interrupted: it was not written",
    ]
    device.hangs = set()
    await until(lambda: device.readers >= 2 and stage.batches[-1].values == [1])


async def test_a_read_back_that_hangs_is_told_from_the_write(stage, device):
    device.patience = 0.1
    device.hangs = {"read_back"}
    address = await run(stage)
    reply = await ask(stage, address, "speed", 5, verify=True)
    assert reply == Failed("unavailable", "Written, but it could not be read back: no answer within 0.1 s")
    assert device.written == [("speed", 5)]


async def test_an_end_waits_for_a_write_under_way(stage, device):
    address = await run(stage)
    device.writable.clear()
    asked = asyncio.ensure_future(ask(stage, address, "speed", 5))
    await until(lambda: device.writing)
    finished = asyncio.ensure_future(stage.ask(address, FinishPoll()))
    await asyncio.sleep(0.05)
    assert not finished.done()
    device.writable.set()
    assert await finished == PollFinished()
    assert await asked == RegisterWritten("speed", 5)
