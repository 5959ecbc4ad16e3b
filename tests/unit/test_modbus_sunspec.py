"""Devices that describe themselves, rightly and less so."""

import random
from typing import Any

import pytest
from servers.sunspec_device import Reading, common, device, inverter, meter_of_floats, mppt

from actors.endpoints.protocols.modbus import PROTOCOL
from actors.endpoints.protocols.modbus.points import Table
from actors.endpoints.protocols.modbus.sunspec import Chain, Described, describe, walk
from actors.endpoints.protocols.modbus.sunspec_models import NAMES, model
from actors.endpoints.protocols.modbus.validating import _values


async def chain_of(registers: dict[int, int]) -> Chain:
    found = await walk(Reading(registers))
    assert found is not None
    return found


async def described(registers: dict[int, int]) -> tuple[Described, dict[str, Any]]:
    found = describe(await chain_of(registers), registers)
    return found, _values(found.data_points, {Table.holding: registers})


def ids(chain: Chain) -> list[int]:
    return [place.number for place in chain.places]


@pytest.mark.parametrize(
    ("number", "size", "each"),
    [
        (101, 50, 0),
        (111, 60, 0),
        (120, 26, 0),
        (121, 30, 0),
        (122, 44, 0),
        (123, 24, 0),
        (124, 24, 0),
        (160, 8, 20),
        (201, 105, 0),
        (211, 124, 0),
        (701, 153, 0),
        (713, 7, 0),
        (714, 18, 25),
    ],
)
def test_models_have_the_length_that_the_documents_say(number: int, size: int, each: int):
    found = model(number)
    assert found is not None
    assert (found.size, found.each) == (size, each)
    assert number in NAMES
    powers = {item.name for item in found.items if item.kind == "s"}
    assert {item.power for item in (*found.items, *found.repeated)} - {None} <= powers


@pytest.mark.parametrize("base", [40000, 0, 50000])
async def test_the_models_are_followed(base: int):
    chain = await chain_of(device(common(), inverter(), mppt(), base=base))
    assert (chain.base, ids(chain), chain.broken) == (base, [1, 103, 160], "")


async def test_without_a_marker_there_is_none():
    reading = Reading({40000: 1, 40001: 2})
    assert await walk(reading) is None
    assert len(reading.asked) == 3


async def test_values_are_scaled_by_the_device():
    found, values = await described(device(common(), inverter()))
    assert found.about == {
        "vendor": "Sunny Works",
        "model": "SW 10k",
        "revision": "1.4.2",
        "serial": "SN-0042",
    }
    assert values["inverter_A"] == 8.72
    assert values["inverter_PhVphA"] == 230.4
    assert values["inverter_W"] == 2010.0
    assert values["inverter_Hz"] == 49.99
    assert values["inverter_WH"] == 12_345_678.0
    assert values["inverter_St"] == "mppt"
    units = {point["name"]: point.get("unit") for point in found.data_points}
    assert units["inverter_A"] == "A"
    assert all(point["writable"] is False for point in found.data_points)


async def test_what_is_not_there_is_not_proposed():
    """But for what is missing by night alone: its power of ten is there."""
    found, values = await described(device(common(), inverter()))
    names = {point["name"] for point in found.data_points}
    assert (
        names & {"inverter_VA", "inverter_PF", "inverter_TmpCab", "inverter_DCV", "inverter_StVnd"} == set()
    )
    assert {"inverter_DCA", "inverter_DCW"} <= names
    assert "inverter_DCA" not in values


async def test_what_repeats_is_counted():
    _, values = await described(device(common(), inverter(), mppt(2)))
    assert (values["mppt_1_DCA"], values["mppt_2_DCA"]) == (5.0, 5.01)
    assert (values["mppt_1_DCV"], values["mppt_2_IDStr"]) == (650.0, "String 2")
    assert values["mppt_2_DCWH"] == 1_000_001.0


async def test_where_one_request_does_not_reach_the_power_of_ten_it_is_that_of_the_moment():
    found, values = await described(device(common(), mppt(9)))
    assert (values["mppt_1_DCA"], values["mppt_9_DCA"]) == (5.0, 5.08)
    points = {point["name"]: point for point in found.data_points}
    assert "scaleRegister" in points["mppt_1_DCA"]
    assert points["mppt_9_DCA"]["scale"] == 0.01
    assert "-2 when it was found" in points["mppt_9_DCA"]["description"]


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_a_device_says_what_is_proposed_is_accepted(seed: int):
    """Chains of models of any id and length, filled with anything."""
    chance = random.Random(seed)
    words = [0, 1, 0xFFFF, 0x8000, 0x7FC0, 0xFFFE, 3, 2010]
    models = []
    for _ in range(chance.randrange(1, 12)):
        number = chance.choice(
            [1, 101, 103, 111, 120, 122, 124, 160, 160, 203, 213, 701, 713, 714, 802, 64001]
        )
        length = chance.choice([7, 24, 50, 66, 124, 153, 208, 655])
        models.append([number, length, *(chance.choice(words) for _ in range(length))])
    base = chance.choice([40000, 0, 50000])
    registers = device(*models, base=base)
    for address in chance.sample(sorted(registers), 20):
        if address > base + 80:
            del registers[address]
    chain = await walk(Reading(registers))
    if chain is None:
        return
    found = describe(chain, registers)
    PROTOCOL.accept({"host": "plc"}, found.data_points)
    assert set(_values(found.data_points, {Table.holding: registers})) <= {
        p["name"] for p in found.data_points
    }


async def test_floats_and_a_second_model_of_a_kind():
    found, values = await described(device(common(), meter_of_floats(), meter_of_floats()))
    assert (values["meter_A"], values["meter_W"], values["meter2_TotWhImp"]) == (12.5, -2830.0, 77_123.5)
    assert "meter_PF" not in {point["name"] for point in found.data_points}


async def test_a_power_of_ten_that_is_none_is_not_believed():
    _, values = await described(device(common(), inverter(_13=0x8000)))
    assert "inverter_W" not in values
    _, values = await described(device(common(), inverter(_13=77)))
    assert "inverter_W" not in values


# Chains that do not end as they should


@pytest.mark.parametrize("end", [[], [0], [0, 0], [0xFFFF], [0xFFFF, 0xFFFF]])
async def test_other_ends(end: list[int]):
    """https://github.com/sunspec/models/issues/44 (a single 0), https://github.com/bikeshedder/sunspec/pull/20
    (nothing at all)"""
    chain = await chain_of(device(common(), inverter(), end=end))
    assert (ids(chain), chain.broken) == ([1, 103], "")


async def test_a_common_model_of_65_registers():
    """https://github.com/sunspec/models/issues/22"""
    assert ids(await chain_of(device(common(length=65), inverter()))) == [1, 103]


async def test_a_length_that_counts_the_header():
    """https://github.com/matfroh/sax_battery_ha/issues/128"""
    first = common()
    first[1] += 2
    chain = await chain_of(device(first, inverter()))
    assert (ids(chain), chain.broken) == ([1, 103], "")


@pytest.mark.parametrize("head", [[103, 0], [103, 0xFFFF], [5000, 60000], [103, 3000]])
async def test_a_broken_chain_ends(head: list[int]):
    reading = Reading(device(common(), head, 40 * [7]))
    chain = await walk(reading)
    assert chain is not None
    assert ids(chain) == [1]
    assert "there is no model" in chain.broken
    assert len(reading.asked) < 10


async def test_a_chain_without_end_ends():
    """A device that answers any address with a model of one register."""

    class Endless(Reading):
        async def __call__(self, address: int, count: int) -> tuple[int, ...] | None:
            self.asked.append((address, count))
            return (0x5375, 0x6E53) if address == 40000 else (700, 1)[:count]

    reading = Endless({})
    chain = await walk(reading)
    assert chain is not None
    assert len(chain.places) == 64
    assert "more than 64" in chain.broken
    assert len(reading.asked) <= 130


async def test_a_model_that_is_shorter_than_it_should_be_has_fewer_points():
    short = [103, 20, *inverter()[2:22]]
    found, values = await described(device(common(), short))
    assert values["inverter_Hz"] == 49.99
    assert not any(point["name"] == "inverter_WH" for point in found.data_points)


async def test_a_count_that_is_not_true_is_not_followed():
    """The length says how often a group repeats, whatever the device says in N."""
    model_160 = mppt(1)
    model_160[8] = 40
    _, values = await described(device(common(), model_160))
    assert "mppt_1_DCA" in values
    assert "mppt_2_DCA" not in values


async def test_a_model_that_nobody_knows_is_passed_over():
    """https://github.com/sunspec/models/issues/226 (placeholders that makers put between)"""
    chain = await chain_of(device(common(), [64900, 4, 1, 2, 3, 4], inverter()))
    assert ids(chain) == [1, 64900, 103]


async def test_texts_from_outside_are_one_line():
    found, _ = await described(device(common(maker="Evil\n\x1b[31m", name="x\0y"), inverter()))
    assert found.about["vendor"] == "Evil[31m"
    assert found.about["model"] == "x"
