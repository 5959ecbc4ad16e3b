"""What users of other products have reported of their Modbus devices, gateways and adapters: each rebuilt
with a fake, with the link of the report."""

import asyncio
import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from servers.black_hole import black_hole
from servers.names import named
from servers.polling import good, never_wrong, polling
from servers.rude_device import (
    Asked,
    always,
    crc,
    reframed,
    renumbers,
    rude_datagrams,
    rude_device,
    rude_serial,
    the,
    when,
)

FAR_APART = (0, 50, 100)
"""Registers that are read by requests of their own, of equal shape."""
RTU = {"type": "rtu-over-tcp"}
REFUSED = "does not fit"


def mbap(number: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", number, 0, len(pdu) + 1, unit) + pdu


# Frames that are not as they should be


@pytest.mark.parametrize("framing", ["mbap", "rtu", "ascii"])
@pytest.mark.parametrize("piece", [1, 10])
async def test_a_reply_may_come_in_pieces(framing: str, piece: int):
    """https://github.com/pymodbus-dev/pymodbus/issues/1922 (an inverter sends the last byte by itself),
    https://github.com/pymodbus-dev/pymodbus/issues/28 (a media converter)"""
    dribbles = when(always, piece=piece, apart=0.002)
    async with contextlib.AsyncExitStack() as stack:
        if framing == "ascii":
            device = await stack.enter_async_context(rude_serial(dribbles, framing="ascii"))
        else:
            device = await stack.enter_async_context(rude_device(dribbles, framing=framing))
        kind = {"ascii": {"type": "ascii"}, "rtu": RTU, "mbap": {}}[framing]
        plc = await stack.enter_async_context(polling(device, *FAR_APART, **kind))
        assert await plc.polls(2) == 2 * [good(*FAR_APART)]


@pytest.mark.parametrize("off", [1, -1, 40])
async def test_a_gateway_may_miscount_the_length(off: int):
    """https://github.com/pymodbus-dev/pymodbus/issues/2303 (one too many),
    https://github.com/steveohara/j2mod/issues/157 (one too few)"""

    def miscount(frame: bytes) -> bytes:
        return frame[:4] + (int.from_bytes(frame[4:6], "big") + off).to_bytes(2, "big") + frame[6:]

    async with rude_device(reframed(miscount)) as device, polling(device, *FAR_APART) as plc:
        assert await plc.polls(2) == 2 * [good(*FAR_APART)]
        assert await plc.write("p50", 7) == 7
        device.behave(reframed(miscount), when(always, exception=2))
        assert await plc.poll() == dict.fromkeys(plc.names, (None, "ILLEGAL_ADDRESS"))


async def test_a_device_may_swap_the_bytes_of_the_number():
    """https://github.com/pymodbus-dev/pymodbus/issues/2709"""
    swapped = reframed(lambda frame: frame[1::-1] + frame[2:])
    async with rude_device(swapped) as device, polling(device, *FAR_APART, retryAttempts=0) as plc:
        assert await plc.polls(2) == 2 * [good(*FAR_APART)]


async def test_a_charger_begins_its_replies_in_ascii_with_another_sign():
    """https://github.com/evcc-io/evcc/issues/32436 (ABL: `>` in place of the colon)"""
    sign = reframed(lambda frame: b">" + frame[1:])
    async with rude_serial(sign, framing="ascii") as device, polling(device, *FAR_APART, type="ascii") as plc:
        assert await plc.poll() == good(*FAR_APART)


async def test_a_device_may_greet_whoever_connects():
    """https://github.com/sourceperl/pyModbusTCP/issues/70"""
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        device.greeting = b"Welcome"
        assert await plc.poll() == good(*FAR_APART)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda frame: mbap(frame[1], 1, b"\3\4\0\1\0\2"), id="more-than-asked-for"),
        pytest.param(lambda frame: mbap(frame[1], 1, b"\3\0"), id="nothing"),
        pytest.param(lambda frame: mbap(frame[1], 1, b"\3\2\0"), id="cut-short"),
        pytest.param(lambda frame: mbap(frame[1], 1, b"\3\2"), id="exception-without-its-bit"),
        pytest.param(lambda frame: mbap(frame[1], 1, b"\4\2\0\7"), id="another-function"),
    ],
)
async def test_a_reply_that_does_not_fit_is_no_value(wrong: Callable[[bytes], bytes]):
    """https://github.com/home-assistant/core/issues/119649, https://github.com/kellerza/sunsynk/pull/658,
    https://github.com/stephane/libmodbus/issues/695, https://github.com/stephane/libmodbus/issues/845"""
    async with (
        rude_device(reframed(wrong)) as device,
        polling(device, *FAR_APART, retryAttempts=0, timeout=100) as plc,
    ):
        assert set((await plc.poll()).values()) <= {(None, "READ_ERROR"), (None, "TIMEOUT")}


async def test_a_reply_without_the_last_byte_of_its_checksum_is_asked_for_again():
    """https://github.com/stephane/libmodbus/issues/735 (a gateway that drops it when it is 0)"""
    cut = when(the(1, 4), reframe=lambda frame: frame[:-1])
    async with rude_device(cut, framing="rtu") as device, polling(device, *FAR_APART, **RTU) as plc:
        assert await plc.polls(3) == 3 * [good(*FAR_APART)]


# Replies that are somebody else's


async def test_replies_to_another_master_are_nobodys():
    """https://github.com/0xAHA/Growatt_ModbusTCP/issues/351 (a gateway that passes replies of other units and
    with other numbers on)"""

    def cross_talk(asked: Asked) -> None:
        other = b"\3\2\0\7"
        asked.before = mbap(asked.transaction + 5, asked.unit, other) + mbap(asked.transaction + 3, 2, other)

    async with rude_device(cross_talk) as device, polling(device, *FAR_APART, retryAttempts=0) as plc:
        assert await plc.polls(2) == 2 * [good(*FAR_APART)]


async def test_exceptions_of_unit_0_cost_no_value():
    """https://github.com/pymodbus-dev/pymodbus/issues/2762"""
    odd = when(lambda asked: asked.number % 4 == 1, exception=11, reply_unit=0)
    async with rude_device(odd) as device, polling(device, *FAR_APART, retryAttempts=1) as plc:
        assert await plc.polls(3) == 3 * [good(*FAR_APART)]


async def test_another_units_reply_before_the_right_one_is_passed_over():
    """https://github.com/simonvetter/modbus/issues/40"""

    def interferes(asked: Asked) -> None:
        frame = b"\x09\3\2\0\5"
        asked.before, asked.apart = frame + crc(frame).to_bytes(2, "little"), 0.01

    async with (
        rude_device(interferes, framing="rtu") as device,
        polling(device, *FAR_APART, retryAttempts=0, **RTU) as plc,
    ):
        assert await plc.polls(2) == 2 * [good(*FAR_APART)]


async def test_a_number_proves_nothing_even_if_it_has_been_right_for_late_replies():
    """https://github.com/home-assistant/core/issues/130791, https://github.com/home-assistant/core/issues/138077
    (the right number and another request's value): a gateway that asks one after the other answers late with
    the right number, until it gives up; what comes after that has the number of the next."""

    async with (
        rude_device(when(the(1), delay=0.3)) as device,
        polling(device, *FAR_APART, retryAttempts=0) as plc,
    ):
        await plc.poll()
        await plc.until_good()
        late = len(device.log)
        behind = when(lambda asked: asked.number > late, delay=0.15)
        device.behave(renumbers(), when(the(late), delay=0.3), behind)
        never_wrong(await plc.polls(3))
        device.behave()
        await plc.until_good()


async def test_datagrams_that_come_twice_are_taken_once():
    """https://github.com/pymodbus-dev/pymodbus/issues/1468"""
    async with (
        rude_datagrams(when(always, copies=2)) as device,
        polling(device, *FAR_APART, type="udp") as plc,
    ):
        assert await plc.polls(3) == 3 * [good(*FAR_APART)]


# Writes


@pytest.mark.parametrize(
    ("odd", "done"),
    [
        pytest.param(lambda frame: frame[:5] + b"\7" + frame[6:] + b"\6", True, id="a-byte-more"),
        pytest.param(lambda frame: frame[:-2] + b"\0\1", False, id="another-value"),
        pytest.param(lambda frame: frame[:8] + b"\0\0" + frame[10:], False, id="another-address"),
        pytest.param(lambda frame: frame[:5] + b"\4" + frame[6:8] + frame[10:], False, id="no-address"),
    ],
)
async def test_a_write_that_is_confirmed_oddly_is_sent_once(odd: Callable[[bytes], bytes], done: bool):
    """https://github.com/IndustrialShields/arduino-Tools40/issues/7,
    https://github.com/ClassicDIY/ModbusTool/issues/5, https://github.com/NModbus/NModbus/issues/89,
    https://github.com/dalathegreat/Battery-Emulator/pull/2898"""
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        assert await plc.poll() == good(*FAR_APART)
        device.behave(reframed(odd))
        before = len(device.log)
        with contextlib.nullcontext() if done else pytest.raises(Exception, match=REFUSED):
            assert await plc.write("p50", 77) == 77
        assert len(device.log) == before + 1
        device.behave()
        await plc.write("p50", 150)
        assert await plc.poll() == good(*FAR_APART)


async def test_a_write_of_several_that_is_confirmed_with_all_of_it_is_no_echo():
    """https://github.com/eModbus/eModbus/issues/62"""
    async with rude_device(framing="rtu") as device:
        true_answer = device.answer
        device.answer = lambda asked: (  # type: ignore[method-assign]
            (true_answer(asked), asked.pdu)[1] if asked.function == 16 else true_answer(asked)
        )
        point = {"name": "wide", "register": "holding:10:uint32"}
        async with polling(device, point, **RTU) as plc:
            assert await plc.write("wide", 77) == 77
            assert len(device.log) == 1
            assert await plc.poll() == {"wide": (77, None)}


async def test_a_write_does_not_wait_for_the_whole_poll():
    """https://github.com/BiancoRoyal/node-red-contrib-modbus/issues/525,
    https://github.com/home-assistant/core/issues/69244"""
    registers = range(0, 600, 30)
    asked = asyncio.Event()
    async with (
        rude_device(when(always, delay=0.01), lambda _: asked.set()) as device,
        polling(device, *registers, within=5.0) as plc,
    ):
        poll = asyncio.ensure_future(plc.poll())
        await asked.wait()
        await plc.write("p0", 100)
        assert (1, 6, 0, 1) in device.log[:3]
        assert await poll == good(*registers)


# Connections


async def test_who_drops_every_connection_is_not_stormed():
    """https://github.com/grid-x/modbus/issues/134"""
    async with rude_device(when(always, close="instead")) as device, polling(device, 0) as plc:
        assert await plc.poll() == {"p0": (None, "CONNECTION_RESET")}
        assert device.connections <= 2


async def test_who_takes_no_connection_is_not_stormed():
    """https://github.com/ploxc/modbux/issues/1"""
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        device.most_lines = 0
        assert {code for _, code in (await plc.poll()).values()} == {"CONNECTION_RESET"}
        assert device.connections <= 5


async def test_two_clients_of_a_device_that_takes_one_are_both_served():
    """https://github.com/wlcrs/huawei_solar/issues/13,
    https://github.com/brainelectronics/micropython-modbus/issues/11 (a new connection ends the old one)"""
    async with rude_device() as device, polling(device, *FAR_APART) as plc:
        for _ in range(5):
            assert await plc.poll() == good(*FAR_APART)
            device.hang_up()
            _, other = await asyncio.open_connection("127.0.0.1", device.port)
            other.close()
        assert device.connections <= 2 * 5


async def test_units_of_a_gateway_share_one_connection():
    """https://github.com/openhab/openhab1-addons/issues/658,
    https://github.com/edgexfoundry/device-modbus-go/issues/356,
    https://github.com/thingsboard/thingsboard-gateway/issues/1279"""
    async with rude_device() as device, contextlib.AsyncExitStack() as stack:
        device.most_lines = 1
        plcs = [await stack.enter_async_context(polling(device, 0, unitId=unit)) for unit in range(1, 61)]
        assert await asyncio.gather(*(plc.poll() for plc in plcs)) == 60 * [good(0)]
        assert device.connections == 1


async def test_a_silent_unit_does_not_take_the_others_connection():
    """https://industrialmonitordirect.com/blogs/knowledgebase/fixing-ignition-modbus-rtu-over-tcp-per-slave-timeout-disconnects,
    https://github.com/influxdata/telegraf/issues/11782, https://github.com/home-assistant/core/issues/115982"""
    silent = when(lambda asked: asked.unit == 9, silent=True)
    async with (
        rude_device(silent, framing="rtu") as device,
        polling(device, *FAR_APART, unitId=9, retryAttempts=0, timeout=100, **RTU) as dead,
        polling(device, *FAR_APART, retryAttempts=0, **RTU) as plc,
    ):
        for _ in range(3):
            found, _ = await asyncio.gather(plc.poll(), dead.poll())
            assert found == good(*FAR_APART)
        assert device.connections == 1


async def test_a_connection_that_leads_nowhere_is_ended_so_that_the_device_forgets_it():
    """https://github.com/ViperRNMC/marstek_venus_modbus/pull/286 (only a reset makes it let go),
    https://github.com/frangoteam/FUXA/issues/1104, https://github.com/BlackZork/mqmgateway/issues/39"""
    async with rude_device() as device, polling(device, *FAR_APART, retryAttempts=0) as plc:
        assert await plc.poll() == good(*FAR_APART)
        [dead] = device.lines
        device.behave(when(lambda asked: asked.line is dead, silent=True))
        assert await plc.until_good() <= 3
        assert isinstance(dead.ended_by, ConnectionResetError)


async def test_a_host_that_has_moved_is_found(monkeypatch: pytest.MonkeyPatch):
    """https://github.com/openhab/openhab-addons/issues/10071"""
    async with rude_device() as device, polling(device, *FAR_APART, host="plc.test") as plc:
        named(monkeypatch, {"plc.test": ["127.0.0.9"]})
        assert {code for _, code in (await plc.poll()).values()} == {"CONNECTION_REFUSED"}
        named(monkeypatch, {"plc.test": ["127.0.0.1"]})
        assert await plc.poll() == good(*FAR_APART)


async def test_an_address_that_leads_nowhere_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch):
    """https://github.com/favalex/modbus-cli/pull/29 (of a name's addresses only some are the device's)"""
    async with rude_device() as device, polling(device, *FAR_APART, host="plc.test", timeout=400) as plc:
        named(monkeypatch, {"plc.test": ["127.0.0.9", "127.0.0.1"]})
        assert await plc.poll() == good(*FAR_APART)
        device.hang_up()
        with black_hole("127.0.0.8", device.port):
            named(monkeypatch, {"plc.test": ["127.0.0.8", "127.0.0.1"]})
            assert await plc.poll() == good(*FAR_APART)


async def test_a_clock_that_jumps_stops_nothing(monkeypatch: pytest.MonkeyPatch):
    """https://github.com/pyhys/minimalmodbus/issues/68"""
    async with rude_device() as device, polling(device, *FAR_APART, delayBetweenRequests=5) as plc:
        for jump in (86400.0, -86400.0):
            monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
            assert await plc.poll() == good(*FAR_APART)


# Serial ports


async def test_an_adapter_that_is_plugged_in_anew_has_another_name(tmp_path: Any):
    """https://github.com/nymea/nymea/issues/491, https://github.com/nathanmarlor/foxess_modbus/issues/925,
    https://github.com/BlackZork/mqmgateway/issues/9 (a port that is kept open makes the system choose it)"""
    link = tmp_path / "by-id"
    async with rude_serial() as new:
        async with rude_serial() as old, contextlib.AsyncExitStack() as stack:
            link.symlink_to(old.path)
            plc = await stack.enter_async_context(polling(old, *FAR_APART, serialPort=str(link)))
            assert await plc.poll() == good(*FAR_APART)
            kept = stack.pop_all()
        async with kept:
            await plc.poll()
            assert old.path not in _open_files()
            link.unlink()
            link.symlink_to(new.path)
            await plc.until_good()
            async with polling(new, *FAR_APART, serialPort=new.path, unitId=2) as other:
                assert await other.poll() == good(*FAR_APART)


async def test_a_port_that_another_process_holds_is_used_when_it_is_free():
    """https://github.com/modbus2mqtt/modbus2mqtt/pull/248"""
    async with rude_serial() as device, polling(device, *FAR_APART) as plc:
        holder = os.open(device.path, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert {code for _, code in (await plc.poll()).values()} == {"PORT_NOT_OPEN"}
        finally:
            os.close(holder)
        assert await plc.poll() == good(*FAR_APART)


@pytest.mark.parametrize("steps", range(1, 8))
async def test_an_attempt_that_is_given_up_leaves_no_port_locked(steps: int):
    """https://github.com/yaacov/node-modbus-serial/issues/547"""
    async with rude_serial() as device:
        async with polling(device, *FAR_APART) as plc:
            attempt = asyncio.ensure_future(plc.poll())
            for _ in range(steps):
                await asyncio.sleep(0)
            attempt.cancel()
            await asyncio.wait([attempt])
            assert await plc.poll() == good(*FAR_APART)
        assert _open_files().count(device.path) == 1, "the fake's own"


def _open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


# Trouble that passes


@pytest.mark.parametrize("change", [{"exception": 2}, {"exception": 4}, {"close": "instead"}])
async def test_a_moment_of_trouble_does_not_cut_requests_for_good(change: dict[str, Any]):
    """https://github.com/wlcrs/huawei_solar/issues/167 (exception 2 when it is busy)"""
    registers = range(12)
    async with rude_device() as device, polling(device, *registers, retryAttempts=0) as plc:
        assert await plc.poll() == good(*registers)
        device.behave(when(the(len(device.log)), **change))
        assert await plc.polls(3)
        before = len(device.log)
        assert await plc.poll() == good(*registers)
        assert len(device.log) - before == 1


async def test_replies_that_get_lost_make_no_silent_register():
    """https://github.com/ioBroker/ioBroker.modbus/issues/36 (a time-out now and then is no reason to stop)"""
    async with rude_device() as device, polling(device, *FAR_APART, timeout=100, retryAttempts=0) as plc:
        assert await plc.poll() == good(*FAR_APART)
        device.behave(when(lambda asked: asked.touches((50,)), silent=True))
        for reading in await plc.polls(2):
            assert reading == {**good(*FAR_APART), "p50": (None, "TIMEOUT")}
        device.behave()
        assert await plc.poll() == good(*FAR_APART)
