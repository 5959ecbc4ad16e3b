"""What users of other products have reported of looking for Modbus devices, of who they are and what their
registers hold: each rebuilt with a fake, with the link of the report. Those of SunSpec's chains are in
`test_modbus_sunspec.py`."""

import asyncio
import struct
from typing import Any

import pytest
from probing import Tried, search
from servers.polling import good, polling
from servers.rude_device import Asked, always, holds, reframed, rude_device, rude_serial, when
from servers.sunspec_device import common, device, inverter

from actors.endpoints.discovering import Configured
from actors.endpoints.lines import lines_of
from actors.endpoints.protocols.modbus import PROTOCOL, validating
from actors.endpoints.protocols.modbus.guessing import guess


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "_BETWEEN", 0.02)


async def found(place: Any, *configured: Configured, validate: bool = False, **options: Any) -> Tried:
    assert PROTOCOL.discovery is not None
    where = {"serialPort": place.path} if place.path else {"host": "127.0.0.1", "port": place.port}
    return await search(
        PROTOCOL.discovery,
        {"timeout": 100, **where, **options},
        *configured,
        lines=lines_of("modbus"),
        validate=validate,
    )


def units(tried: Tried) -> list[int]:
    return [one.connection["unitId"] for one in tried.devices.values()]


# Who is there


@pytest.mark.parametrize("exception", [4, 6, 10, 11])
async def test_units_that_a_gateway_only_has_in_its_table_are_not_there(exception: int):
    """https://github.com/sanny32/OpenModScan/issues/4 (units 1 to 10 are shown, 3 is there)"""
    mapped = when(lambda asked: asked.unit != 3 and asked.unit <= 10, exception=exception)
    async with rude_device(
        mapped, when(lambda asked: asked.unit > 10 or not asked.unit, silent=True)
    ) as gateway:
        assert units(await found(gateway)) == [3]


async def test_a_meter_that_does_not_answer_as_255():
    """https://github.com/stephane/libmodbus/issues/121 (Sentron PAC3200)"""
    async with rude_device(when(lambda asked: asked.unit == 255, silent=True)) as meter:
        assert units(await found(meter)) == [1]


async def test_where_nobody_is_is_told_apart_from_where_somebody_cannot_be_asked():
    async with rude_device(when(always, silent=True)) as mute:
        place = f"127.0.0.1:{mute.port}"
        there = await found(mute, unitId=1)
        assert ([where for where, _ in there.troubles], there.nobody) == ([place], [])
    gone = await found(mute, unitId=1)
    assert ([where for where, _ in gone.troubles], gone.nobody) == ([place], [place])


async def test_several_alike_on_one_line_are_all_found():
    """https://github.com/Timdebruijn/heliograph/issues/37 (only the one at the default address is)"""
    async with rude_serial(when(lambda asked: asked.unit not in (1, 2, 3), silent=True)) as line:
        assert units(await found(line, units={"start": 1, "end": 6})) == [1, 2, 3]


@pytest.mark.parametrize("exception", [1, 2, 3])
async def test_a_device_of_another_kind_answers_by_an_exception(exception: int):
    """https://github.com/gonium/gosdm630/issues/2, https://github.com/yaacov/node-modbus-serial/issues/364"""
    async with rude_serial(
        when(lambda asked: asked.unit != 4, silent=True), when(always, exception=exception)
    ) as line:
        assert units(await found(line, units={"start": 3, "end": 5})) == [4]


async def test_an_inverter_in_standby_is_slow():
    """https://github.com/OpenInverterGateway/OpenInverterGateway/pull/524 (250 ms were too few),
    https://github.com/temcocontrols/T3000_Building_Automation_System/issues/12 (60 ms)"""
    async with rude_device(when(always, delay=0.6)) as inverter_:
        assert units(await found(inverter_, unitId=1, timeout=2000)) == [1]


async def test_a_reply_of_another_unit_is_not_that_unit():
    """https://github.com/solakon-de/solakon-one-homeassistant/issues/15 (asked as 1, it answers as 127)"""
    async with rude_device(when(lambda asked: asked.unit != 127, reply_unit=127)) as logger:
        tried = await found(logger, units={"start": 1, "end": 2})
        assert not tried.devices
        assert any("answered as unit 127" in reason for _, reason in tried.troubles)
        assert units(await found(logger, unitId=127)) == [127]


async def test_an_empty_frame_is_nobody():
    """https://github.com/WillCodeForCats/solaredge-modbus-multi/issues/514 (of units that are not there)"""
    empty = when(lambda asked: asked.unit != 2, reframe=lambda frame: frame[:4] + b"\0\1" + frame[6:7])
    async with rude_device(empty) as leader:
        assert units(await found(leader, units={"start": 1, "end": 4})) == [2]


async def test_a_device_that_takes_one_connection_keeps_the_one_that_it_has():
    """https://github.com/edgexfoundry/device-modbus-go/issues/356, https://github.com/NModbus4/NModbus4/issues/152
    (the first connection is ended when a second one comes)"""
    async with rude_device() as plc, polling(plc, 0, 1) as polled:
        assert await polled.poll() == good(0, 1)
        plc.most_lines = 1
        there = Configured("plc", True, {"host": "127.0.0.1", "port": plc.port, "unitId": 1})
        tried = await found(plc, there, validate=True, unitId=1)
        assert units(tried) == [1]
        assert await polled.poll() == good(0, 1)
        assert plc.connections == 1


async def test_polling_goes_on_while_silent_units_are_looked_for():
    """https://github.com/home-assistant/core/issues/51326 (all stands still where devices are missing)"""
    alone = when(lambda asked: asked.unit != 1, silent=True)
    async with rude_device(alone) as line, polling(line, 0, timeout=1000) as polled:
        assert await polled.poll() == good(0)
        there = Configured("plc", True, {"host": "127.0.0.1", "port": line.port, "unitId": 1})
        looking = asyncio.create_task(found(line, there, units={"start": 1, "end": 8}))
        polls = 0
        while not looking.done():
            assert await polled.poll() == good(0)
            polls += 1
        assert units(await looking) == [1]
        assert polls >= 6
        assert line.connections == 1


# Who it is


@pytest.mark.parametrize("cut", [8, 9, 12, 15, 20])
async def test_an_identification_may_be_cut_short(cut: int):
    """https://github.com/rapid7/metasploit-framework/pull/16020 (its lengths are believed)"""

    def shorten(asked: Asked) -> None:
        if asked.function == 43:
            asked.reframe = lambda frame: frame[:4] + struct.pack(">H", cut - 6) + frame[6:cut]

    async with rude_device(shorten) as plc:
        plc.identification = {0: b"Acme", 1: b"X-1", 2: b"V2"}
        tried = await found(plc, unitId=1)
        assert units(tried) == [1]
        assert tried.only.metadata.get("vendor") in (None, "Acme")


@pytest.mark.parametrize("level", [0x00, 0x77, 0xFF])
async def test_a_conformity_level_that_nobody_knows(level: int):
    """https://github.com/wlcrs/tmodbus/pull/28"""
    unknown = when(
        lambda asked: asked.function == 43, reframe=lambda frame: frame[:10] + bytes((level,)) + frame[11:]
    )
    async with rude_device(unknown) as plc:
        plc.identification = {0: b"Acme", 1: b"X-1", 2: b"V2"}
        assert (await found(plc, unitId=1)).only.metadata["vendor"] == "Acme"


async def test_an_identification_that_never_ends():
    """More follows, says each reply, and where: at the same place, or at another one for ever."""
    for following in (0, 1, 0xFF):
        more = when(
            lambda asked: asked.function == 43,
            reframe=lambda frame, next_=following: frame[:11] + bytes((0xFF, next_)) + frame[13:],
        )
        async with rude_device(more) as plc:
            plc.identification = {0: b"Acme", 1: b"X-1", 2: b"V2"}
            assert (await found(plc, unitId=1)).only.metadata["vendor"] == "Acme"
            assert sum(function == 43 for _, function, _, _ in plc.log) <= 4


# What its registers hold


def guessed(*words: int) -> list[str]:
    return [one.text for one in guess(6 * [dict(enumerate(words))])]


def test_small_negative_numbers_with_the_lower_half_first():
    """https://github.com/kellerza/sunsynk/issues/398 (-2 W are 65535 kW)"""
    samples = [
        {0: 12, 1: low, 2: 0xFFFF, 3: other, 4: 0xFFFF, 5: 7}
        for low, other in ((0xFFFE, 0xFFF6), (0xFFF6, 0xFFF9), (0xFFF9, 0xFFF0), (0xFFFA, 0xFFF1))
    ]
    assert [one.text for one in guess(samples)][1:3] == ["int32 CDAB", "int32 CDAB"]


def test_floats_with_the_lower_half_first():
    """https://github.com/thingsboard/thingsboard-gateway/issues/614 (2.4e-41 in the place of 229.01),
    https://github.com/stephane/libmodbus/issues/358, https://github.com/influxdata/telegraf/issues/8855"""
    words: list[int] = []
    for value in (229.01, 238.45, 229.7, 50.01):
        high, low = struct.unpack(">HH", struct.pack(">f", value))
        words += [low, high]
    assert guessed(*words) == 4 * ["float32 CDAB"]


@pytest.mark.parametrize("before", [1, 2, 3])
def test_floats_that_begin_at_an_odd_register(before: int):
    """https://github.com/OpenEMS/openems/issues/86 (halves of two values were put together)"""
    words: list[int] = before * [12]
    for value in (229.01, 4.31, -12.7, 50.01):
        words += struct.unpack(">HH", struct.pack(">f", value))
    assert guessed(*words) == before * ["uint16"] + 4 * ["float32 ABCD"]


# SunSpec


async def test_a_short_reply_to_a_long_request_costs_no_more_than_itself():
    """https://github.com/CJNE/ha-sunspec/issues/203 (unpacking needs more bytes than came)"""

    def short(asked: Asked) -> None:
        if asked.function == 3 and asked.count > 40:
            asked.reframe = lambda frame: frame[:4] + b"\0\5" + frame[6:8] + b"\2" + frame[9:11]

    async with rude_device(holds(lambda: device(common(), inverter())), short) as plc:
        tried = await found(plc, validate=True, unitId=1)
        assert tried.only.metadata["dataPoints"]["inverter_W"]["value"] == 2010.0


async def test_a_value_is_scaled_by_the_power_of_ten_of_its_own_moment():
    """https://github.com/evcc-io/evcc/issues/2162 (the power changes at sunrise),
    https://github.com/CJNE/ha-sunspec/issues/14, https://github.com/CJNE/ha-sunspec/issues/40 (ten times too
    much for a moment)"""
    registers: dict[int, int] = {}
    asked = 0

    def moment() -> dict[int, int]:
        nonlocal asked, registers
        asked += 1
        registers = device(common(), inverter(power=(600, 6000)[asked % 2], factor=(0, -1)[asked % 2]))
        return registers

    async with rude_device(holds(moment)) as plc:
        tried = await found(plc, validate=True, unitId=1)
        [power] = [point for point in tried.only.data_points if point["name"] == "inverter_W"]
        async with polling(plc, power) as polled:
            assert await polled.polls(5) == 5 * [{"inverter_W": (600.0, None)}]


async def test_what_an_inverter_does_not_have_by_night_is_no_value():
    """https://github.com/tjko/sunspec-monitor/issues/16 (6553.5 V),
    https://github.com/WillCodeForCats/solaredge-modbus-multi/issues/969"""
    registers = device(common(), inverter())
    async with rude_device(holds(lambda: registers)) as plc:
        tried = await found(plc, validate=True, unitId=1)
        [current] = [point for point in tried.only.data_points if point["name"] == "inverter_DCA"]
        async with polling(plc, current) as polled:
            assert await polled.poll() == {"inverter_DCA": (None, "NO_VALUE")}
            registers[40000 + 2 + 68 + 2 + 25] = 412
            assert await polled.poll() == {"inverter_DCA": (4.12, None)}


async def test_something_that_answers_holding_but_is_swapped_in_its_frames():
    """https://github.com/pymodbus-dev/pymodbus/issues/2709 (the number's bytes are swapped)"""
    async with rude_device(reframed(lambda frame: frame[1::-1] + frame[2:])) as plc:
        assert units(await found(plc, unitId=1)) == [1]
