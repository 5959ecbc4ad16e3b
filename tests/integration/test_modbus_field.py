"""What devices and gateways do that are slower, ruder and older than a test server: each situation with a
fake that behaves so. A wrong value marked GOOD is the worst that can happen, then a value that is lost, then
one that stays BAD after the device has recovered."""

import asyncio
import gc
import os
import time
from typing import Any

import pytest
from servers.polling import good, never_wrong, polling
from servers.rude_device import (
    RudeDevice,
    always,
    deaf_after_connect,
    deaf_after_reply,
    echoes,
    larger_than,
    loses,
    renumbers,
    rude_datagrams,
    rude_device,
    rude_serial,
    silent_on,
    the,
    unnumbered,
    when,
)

from actors.endpoints.protocols.modbus import learning, line
from actors.endpoints.protocols.modbus.wire import Wire

RTU = {"type": "rtu-over-tcp"}
FAR_APART = (0, 50, 100)
"""Registers that are read by requests of their own, of equal shape."""


# Late replies


LATE = when(the(1), delay=0.3)


@pytest.mark.parametrize("attempts", [0, 3])
async def test_a_late_reply_with_its_own_number_is_nobody_elses(attempts: int):
    async with rude_device(LATE) as device, polling(device, *FAR_APART, retryAttempts=attempts) as plc:
        never_wrong(await plc.polls(4))
        assert await plc.poll() == good(*FAR_APART)


@pytest.mark.parametrize("attempts", [0, 3])
@pytest.mark.parametrize("gateway", [unnumbered, renumbers])
async def test_a_late_reply_of_a_gateway_that_numbers_as_it_likes_is_nobody_elses(
    gateway: Any, attempts: int
):
    async with (
        rude_device(gateway(), LATE) as device,
        polling(device, *FAR_APART, retryAttempts=attempts) as plc,
    ):
        never_wrong(await plc.polls(5))
        assert await plc.poll() == good(*FAR_APART)


@pytest.mark.parametrize("attempts", [0, 3])
@pytest.mark.parametrize("delay", [0.22, 0.3, 0.45, 0.7])
async def test_a_late_reply_over_rtu_is_nobody_elses(delay: float, attempts: int):
    async with (
        rude_device(when(the(1), delay=delay), framing="rtu") as device,
        polling(device, *FAR_APART, retryAttempts=attempts, **RTU) as plc,
    ):
        never_wrong(await plc.polls(6))
        await plc.until_good()


async def test_a_late_reply_on_a_serial_line_is_nobody_elses():
    async with rude_serial(LATE) as device, polling(device, *FAR_APART, retryAttempts=0) as plc:
        never_wrong(await plc.polls(6))
        await plc.until_good()


@pytest.mark.parametrize("framing", ["ascii"])
async def test_a_late_reply_in_ascii_is_nobody_elses(framing: str):
    async with (
        rude_serial(LATE, framing=framing) as device,
        polling(device, *FAR_APART, retryAttempts=0, type="ascii") as plc,
    ):
        never_wrong(await plc.polls(6))
        await plc.until_good()


async def test_late_datagrams_are_nobody_elses():
    async with (
        rude_datagrams(unnumbered(), LATE) as device,
        polling(device, *FAR_APART, retryAttempts=0, type="udp") as plc,
    ):
        never_wrong(await plc.polls(6))
        await plc.until_good()


async def test_a_device_that_is_always_late_gives_no_wrong_value_and_is_good_once_it_is_quick():
    async with (
        rude_device(renumbers(), when(always, delay=0.25)) as device,
        polling(device, *FAR_APART, retryAttempts=0) as plc,
    ):
        never_wrong(await plc.polls(4))
        device.behave(renumbers())
        await plc.until_good()


async def test_a_reply_that_a_gateway_gave_up_waiting_for_may_come_later():
    """The gateway says exception 11; the device's own reply reaches it after that, and it passes it on."""

    def gives_up(asked: Any) -> None:
        if asked.number == 1:
            asked.exception = 11
            late = when(always, reply_transaction=lambda: asked.line.latest_transaction)
            again = type(asked)(asked.device, asked.line, asked.transaction, asked.unit, asked.pdu)
            late(again)
            asyncio.get_running_loop().call_later(0.02, asked.line._reply, again)

    def slow_afterwards(asked: Any) -> None:
        if asked.number > 1:
            asked.delay = 0.05

    async with (
        rude_device(gives_up, slow_afterwards) as device,
        polling(device, *FAR_APART, retryAttempts=0) as plc,
    ):
        never_wrong(await plc.polls(4))
        await plc.until_good()


async def test_a_reply_of_another_unit_is_reported_as_such():
    async with (
        rude_device(when(always, reply_unit=9)) as device,
        polling(device, 0, unitId=3, retryAttempts=0) as plc,
    ):
        await plc.reader.connect()
        with pytest.raises(Exception, match="answered as unit 9") as failure:
            await plc.reader.read(1.0)
        assert failure.value.code == "READ_ERROR"


@pytest.mark.parametrize("framing", ["rtu"])
async def test_a_reply_of_another_unit_is_reported_over_rtu_too(framing: str):
    async with (
        rude_device(when(always, reply_unit=9), framing=framing) as device,
        polling(device, 0, unitId=3, retryAttempts=0, **RTU) as plc,
    ):
        await plc.reader.connect()
        with pytest.raises(Exception, match="answered as unit 9"):
            await plc.reader.read(1.0)


@pytest.mark.parametrize("unit", [0, 248, 255])
async def test_units_that_only_a_network_has_are_asked(unit: int):
    async with rude_device() as device, polling(device, 0, unitId=unit) as plc:
        assert await plc.poll() == good(0)
        assert device.log[0][0] == unit


# Connections that end


CLOSES = when(always, close="after")


@pytest.mark.parametrize("points", [(0,), FAR_APART])
async def test_every_poll_of_a_device_that_closes_after_each_reply_is_good(points: tuple[int, ...]):
    async with rude_device(CLOSES) as device, polling(device, *points) as plc:
        for reading in await plc.polls(5):
            assert reading == good(*points)
        assert await plc.write("p0", 7) == 7
        assert await plc.write("p0", 100) == 100


async def test_every_poll_of_a_device_that_closes_idle_connections_is_good():
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        device.close_idle_after = 0.03
        for _ in range(5):
            assert await plc.poll() == good(*FAR_APART)
            await asyncio.sleep(0.05)
            assert await plc.write("p0", 100) == 100
            await asyncio.sleep(0.05)


async def test_a_connection_that_ends_under_a_request_is_made_again():
    async with (
        rude_device(when(the(1, 4), close="instead")) as device,
        polling(device, *FAR_APART, retryAttempts=0) as plc,
    ):
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)
        device.behave(when(the(len(device.log)), close="instead"))
        assert await plc.write("p0", 100) == 100


async def test_a_connection_can_be_closed_after_each_poll():
    async with rude_device() as device, polling(device, *FAR_APART, closeAfterPoll=True) as plc:
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)
        assert device.connections == 3
        assert await plc.write("p0", 5) == 5


async def test_a_device_that_restarts_is_read_by_the_next_poll():
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        assert await plc.poll() == good(*FAR_APART)
        device.hang_up()
        assert await plc.poll() == good(*FAR_APART)


# Requests that a device does not like


@pytest.mark.parametrize("attempts", [0, 3])
@pytest.mark.parametrize(
    ("rudeness", "code"),
    [
        (silent_on(7), "TIMEOUT"),
        (when(lambda asked: asked.touches((7,)), close="instead"), "CONNECTION_RESET"),
        (when(lambda asked: asked.touches((7,)), exception=11), "MODBUS_EXCEPTION"),
        (when(lambda asked: asked.touches((7,)), exception=4), "DEVICE_FAILURE"),
        (when(lambda asked: asked.touches((7,)), exception=2), "ILLEGAL_ADDRESS"),
    ],
    ids=["silent", "closes", "gateway", "failure", "illegal"],
)
async def test_what_a_device_does_not_answer_is_found_and_the_others_are_good(
    rudeness: Any, code: str, attempts: int
):
    registers = range(10)
    others = [f"p{register}" for register in registers if register != 7]
    async with (
        rude_device(rudeness) as device,
        polling(device, *registers, retryAttempts=attempts, timeout=100) as plc,
    ):
        await plc.until_good(*others)
        reading = await plc.poll()
        assert reading == {**good(*registers), "p7": (None, code)}
        began, before = time.monotonic(), len(device.log)
        never_wrong(await plc.polls(10))
        assert len(device.log) - before <= 10 * 5, "what is known not to be answered is asked for again"
        assert time.monotonic() - began < 2.0


async def test_one_silent_register_among_blocks_is_found_while_the_others_stay_good():
    registers = [0, 1, 2, 3, 50, 51, 52, 53]
    async with (
        rude_device(silent_on(52)) as device,
        polling(device, *registers, retryAttempts=0, timeout=100) as plc,
    ):
        for reading in await plc.polls(8):
            assert {name: reading[name] for name in ("p0", "p1", "p2", "p3")} == good(0, 1, 2, 3)
        assert reading == {**good(*registers), "p52": (None, "TIMEOUT")}


@pytest.mark.parametrize(
    "change", [{"silent": True}, {"close": "instead"}, {"exception": 4}, {"exception": 3}]
)
async def test_a_device_that_only_takes_small_requests_is_read_whole(change: dict[str, Any]):
    registers = range(20)
    async with (
        rude_device(when(larger_than(6), **change)) as device,
        polling(device, *registers, retryAttempts=0, timeout=100) as plc,
    ):
        await plc.until_good()
        await plc.poll()
        before = len(device.log)
        assert await plc.poll() == good(*registers)
        assert len(device.log) - before <= 6


async def test_a_silent_register_takes_no_more_than_a_share_of_the_interval():
    async with (
        rude_device() as device,
        polling(device, *FAR_APART, timeout=5000, within=0.4, retryAttempts=0) as plc,
    ):
        assert await plc.poll() == good(*FAR_APART)
        device.behave(silent_on(50))
        for _ in range(4):
            began = time.monotonic()
            reading = await plc.poll()
            assert {name: reading[name] for name in ("p0", "p100")} == good(0, 100)
            assert time.monotonic() - began < 0.9
        device.behave()


async def test_a_silent_register_that_speaks_again_is_good_when_it_has_rested(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(learning, "_FIRST_REST", 0.2)
    monkeypatch.setattr("actors.endpoints.protocols.modbus.poll._TIMES_RESTED", 1)
    async with rude_device(silent_on(50)) as device, polling(device, *FAR_APART, retryAttempts=0) as plc:
        await plc.polls(3)
        device.behave()
        await plc.until_good()


async def test_a_dead_device_behind_a_gateway_costs_the_others_nothing():
    async with (
        rude_device(when(lambda asked: asked.unit == 9, exception=11)) as device,
        polling(device, *FAR_APART, unitId=1) as plc,
        polling(device, *FAR_APART, unitId=9) as dead,
    ):
        for _ in range(3):
            assert {code for _, code in (await dead.poll()).values()} == {"DEVICE_OFFLINE"}
            assert await plc.poll() == good(*FAR_APART)


# Replies that do not arrive whole


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("serial", [False, True])
async def test_lost_and_damaged_replies_are_asked_for_again(damaged: bool, serial: bool):
    behaviour = loses(0.12, damaged=damaged)
    where = rude_serial(behaviour) if serial else rude_device(behaviour, framing="rtu")
    kind = {} if serial else RTU
    async with where as device, polling(device, *FAR_APART, retryAttempts=3, timeout=100, **kind) as plc:
        readings = await plc.polls(25)
        never_wrong(readings)
        assert [reading for reading in readings if reading != good(*FAR_APART)] == []


async def test_without_attempts_a_lost_reply_is_a_bad_poll():
    async with rude_device(silent_on(0)) as device, polling(device, 0, retryAttempts=0) as plc:
        assert await plc.poll() == {"p0": (None, "TIMEOUT")}
        assert len(device.log) == 1


async def test_attempts_end_with_the_interval():
    async with rude_device() as device, polling(device, 0, retryAttempts=10, within=0.5) as plc:
        assert await plc.poll() == good(0)
        device.behave(when(always, silent=True))
        began = time.monotonic()
        assert await plc.poll() == {"p0": (None, "TIMEOUT")}
        assert time.monotonic() - began < 1.2


async def test_a_write_whose_reply_is_lost_is_sent_again():
    async with rude_device() as device, polling(device, 0) as plc:
        assert await plc.poll() == good(0)
        device.behave(when(the(len(device.log)), silent=True))
        assert await plc.write("p0", 5) == 5
        assert device.registers[0] == 5


# Replies with more in them than was asked for


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_surplus_bytes_in_a_reply_mean_nothing(framing: str):
    kind = RTU if framing == "rtu" else {}
    async with (
        rude_device(when(always, surplus=b"\0\0\7"), framing=framing) as device,
        polling(device, *FAR_APART, **kind) as plc,
    ):
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)


@pytest.mark.parametrize("table", ["coil", "discrete"])
async def test_bits_may_be_padded(table: str):
    async with rude_device() as device:
        true_answer = device.answer
        device.answer = lambda asked: _padded(true_answer(asked))  # type: ignore[method-assign]
        async with polling(device, f"{table}:1", f"{table}:2") as plc:
            assert await plc.poll() == {f"{table}:1": (True, None), f"{table}:2": (False, None)}


def _padded(pdu: bytes) -> bytes:
    return bytes((pdu[0], pdu[1] + 1)) + pdu[2:] + b"\0"


@pytest.mark.parametrize("glued", [b"\x99\x98", b"\0" * 12])
async def test_bytes_behind_a_reply_are_not_taken_for_the_next_one(glued: bytes):
    async with rude_device(when(always, after=glued)) as device, polling(device, *FAR_APART) as plc:
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)


async def test_a_reply_that_is_sent_twice_is_taken_once():
    async with (
        rude_device(when(always, copies=2), framing="rtu") as device,
        polling(device, *FAR_APART, **RTU) as plc,
    ):
        never_wrong(await plc.polls(5))
        await plc.until_good()


# Trouble that passes


@pytest.mark.parametrize("exception", [1, 2, 3, 4, 6, 7, 10, 11])
async def test_after_exceptions_on_everything_all_is_good_within_two_polls(exception: int):
    registers = [*range(12), 50, 51, 100]
    async with rude_device() as device, polling(device, *registers, timeout=100) as plc:
        assert await plc.poll() == good(*registers)
        device.behave(when(always, exception=exception))
        for reading in await plc.polls(4):
            assert {value for value, _ in reading.values()} == {None}
            assert None not in {code for _, code in reading.values()}
        before = len(device.log)
        await plc.polls(4)
        assert len(device.log) - before <= 4 * 5, "a device that gives nothing is asked for everything"
        device.behave()
        assert await plc.until_good() <= 2
        before = len(device.log)
        assert await plc.poll() == good(*registers)
        assert len(device.log) - before == 3, "what was read together before is read together again"


async def test_a_device_that_starts_while_it_has_nothing_to_say_is_good_within_two_polls_when_it_has():
    registers = range(12)
    async with rude_device(when(always, exception=2)) as device, polling(device, *registers) as plc:
        await plc.polls(5)
        device.behave()
        assert await plc.until_good() <= 2


async def test_a_group_that_was_refused_for_a_while_is_woken_by_one_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learning, "_CALL", 0.1)
    registers = [0, *range(50, 60)]
    async with rude_device() as device, polling(device, *registers) as plc:
        assert await plc.poll() == good(*registers)
        device.behave(when(lambda asked: asked.address >= 50, exception=2))
        await plc.polls(3)
        device.behave()
        await asyncio.sleep(0.1)
        assert await plc.until_good() <= 2


@pytest.mark.parametrize("exception", [5, 6])
async def test_a_moment_of_busyness_changes_nothing_for_good(exception: int):
    registers = range(12)
    async with rude_device() as device, polling(device, *registers) as plc:
        assert await plc.poll() == good(*registers)
        began = time.monotonic()
        device.behave(when(lambda asked: time.monotonic() - began < 0.2, exception=exception))
        await plc.polls(3)
        before = len(device.log)
        for reading in await plc.polls(3):
            assert reading == good(*registers)
        assert len(device.log) - before == 3


async def test_a_limit_that_a_device_had_once_is_doubted_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(learning, "_FIRST_DOUBT", 0.1)
    registers = range(12)
    async with rude_device(when(larger_than(6), exception=3)) as device, polling(device, *registers) as plc:
        assert await plc.poll() == good(*registers)
        device.behave()
        await asyncio.sleep(0.1)
        await plc.polls(2)
        before = len(device.log)
        assert await plc.poll() == good(*registers)
        assert len(device.log) - before == 1


async def test_after_silence_on_everything_all_is_good_within_two_polls():
    registers = [*range(12), 50]
    async with rude_device() as device, polling(device, *registers, timeout=100, retryAttempts=0) as plc:
        assert await plc.poll() == good(*registers)
        device.behave(when(always, silent=True))
        await plc.polls(5)
        device.behave()
        assert await plc.until_good() <= 2


# Pace


async def test_a_device_that_ignores_hurried_requests_is_read_at_its_own_pace():
    async with (
        rude_device(deaf_after_reply(0.1)) as device,
        polling(device, *FAR_APART, timeout=100, within=1.0) as plc,
    ):
        await plc.until_good()
        before = len(device.log)
        for reading in await plc.polls(2):
            assert reading == good(*FAR_APART)
        assert len(device.log) - before <= 8


async def test_the_pause_between_requests_can_be_told():
    async with (
        rude_device(deaf_after_reply(0.05)) as device,
        polling(device, *FAR_APART, delayBetweenRequests=80, retryAttempts=0) as plc,
    ):
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)


@pytest.mark.parametrize("close", [False, True])
async def test_the_pause_after_connecting_can_be_told(close: bool):
    async with (
        rude_device(deaf_after_connect(0.3, close=close)) as device,
        polling(device, 0, delayAfterConnect=350, retryAttempts=0) as plc,
    ):
        assert await plc.poll() == good(0)


@pytest.mark.parametrize("close", [False, True])
async def test_a_device_that_is_deaf_after_connecting_is_found_out(close: bool):
    async with (
        rude_device(deaf_after_connect(1.0, close=close)) as device,
        polling(device, 0, retryAttempts=0) as plc,
    ):
        await plc.until_good(seconds=9)


# What adapters add


@pytest.mark.parametrize(
    ("before", "after"), [(b"\0", b""), (b"\xff\0", b"\0"), (b"", b"\xff"), (b"\x01\x03", b"\x01\x03")]
)
async def test_stray_bytes_around_a_frame_mean_nothing(before: bytes, after: bytes):
    async with (
        rude_serial(when(always, before=before, after=after)) as device,
        polling(device, *FAR_APART) as plc,
    ):
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)


@pytest.mark.parametrize("echo", [None, True])
@pytest.mark.parametrize("apart", [0.0, 0.05])
async def test_an_adapter_that_hears_itself_is_found_out(apart: float, echo: bool | None):
    async with rude_serial(echoes(apart=apart)) as device, polling(device, *FAR_APART, echo=echo) as plc:
        for reading in await plc.polls(3):
            assert reading == good(*FAR_APART)
        assert await plc.write("p0", 5) == 5
        device.behave(echoes(), when(always, silent=True))
        with pytest.raises(Exception, match="no reply"):
            await plc.write("p0", 6)


async def test_an_adapter_of_an_ascii_line_that_hears_itself_is_found_out():
    async with (
        rude_serial(echoes(), framing="ascii") as device,
        polling(device, *FAR_APART, type="ascii") as plc,
    ):
        assert await plc.poll() == good(*FAR_APART)


# Lines


async def test_a_serial_port_by_two_names_is_one_port(tmp_path: Any):
    link = tmp_path / "by-id"
    async with rude_serial() as device:
        link.symlink_to(device.path)
        async with (
            polling(device, 0, unitId=1) as one,
            polling(device, 1, unitId=2, serialPort=str(link)) as other,
        ):
            assert await one.poll() == good(0)
            assert await other.poll() == good(1)
            assert await one.poll() == good(0)


async def test_a_file_is_not_opened_as_a_serial_port(tmp_path: Any):
    file = tmp_path / "file"
    file.write_text("kept")
    device = RudeDevice(())
    device.path = str(file)
    async with polling(device, 0) as plc:
        assert await plc.poll() == {"p0": (None, "PORT_NOT_OPEN")}
    assert file.read_text() == "kept"


async def test_what_is_known_of_a_line_is_forgotten_with_it():
    """A thousand hosts that came and went leave nothing behind."""
    async with rude_device() as device:
        for _ in range(3):
            async with polling(device, 0) as plc:
                assert await plc.poll() == good(0)
        known = line._lines[asyncio.get_running_loop()]
        assert len(known) <= 1


async def test_a_thousand_connections_leave_nothing():
    async with rude_device() as device, polling(device, 0) as plc:
        assert await plc.poll() == good(0)
        before = _what_there_is()
        for _ in range(1000):
            device.hang_up()
            assert await plc.poll() == good(0)
        assert device.connections == 1001
        assert _what_there_is() == before


def _what_there_is() -> tuple[int, int, int]:
    """Connections, tasks and open files."""
    gc.collect()
    wires = sum(isinstance(one, Wire) for one in gc.get_objects())
    return wires, len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
