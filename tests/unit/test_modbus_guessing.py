"""How often the types of registers are guessed right, and that what is not known is not said."""

import random
import struct
from collections import Counter

import msgspec
import pytest
from servers.modbus_maps import MAPS, SAMPLES, Map, Score, random_map, samples, score

from actors.endpoints.protocols.modbus import PROTOCOL
from actors.endpoints.protocols.modbus.guessing import Guess, guess
from actors.endpoints.protocols.modbus.points import Table
from actors.endpoints.protocols.modbus.validating import _proposed


def guesses(*words: list[int] | int, start: int = 0) -> dict[int, Guess]:
    """Of registers in a row, each the same or over the samples."""
    columns = [word if isinstance(word, list) else [word] for word in words]
    made = [
        {start + at: column[sample % len(column)] for at, column in enumerate(columns)}
        for sample in range(SAMPLES)
    ]
    return {one.address: one for one in guess(made)}


def floats(*values: float, order: str = "ABCD") -> list[int]:
    words: list[int] = []
    for value in values:
        pair = struct.unpack(">HH", struct.pack(">f", value))
        words += pair if order == "ABCD" else pair[::-1]
    return words


@pytest.mark.parametrize("found", MAPS, ids=lambda found: found.name)
def test_maps_of_devices(found: Map):
    """No other number is said to be there; most types are right."""
    result = score(found, guess(samples(found)))
    assert (result.wrong, result.sure) == (0, 0)
    assert result.right + result.harmless >= 0.85 * len(found.truths)


def test_the_table_as_a_whole():
    """What `docs/modbus.rst` says."""
    total = sum((score(found, guess(samples(found))) for found in MAPS), Score())
    assert total[:4] == (191, 37, 2, 0)


def test_registers_of_no_device():
    """As `docs/modbus.rst` says it of maps made at random."""
    totals: Counter[str] = Counter()
    for seed in range(5000, 5100):
        found = random_map(seed)
        for field, number in zip(Score._fields, score(found, guess(samples(found))), strict=True):
            totals[field] += number
    values = totals["right"] + totals["harmless"] + totals["parts"] + totals["wrong"]
    assert totals["right"] + totals["harmless"] > 0.90 * values
    assert totals["wrong"] < 0.03 * values
    assert totals["sure"] < 0.005 * values


def test_nothing_to_guess_is_no_guess():
    assert guess([]) == []
    assert guess([{}]) == []


@pytest.mark.parametrize("filler", [0, 0xFFFF, 0x8000, 0x7FFF])
def test_what_holds_nothing_is_not_proposed(filler: int):
    assert guesses(*20 * [filler]) == {}
    assert set(guesses(*10 * [filler], 1234, *10 * [filler])) == {10}


def test_a_register_alone_is_what_it_is():
    found = guesses(17, 1200, 0, 3)
    assert {(one.kind, one.confidence) for one in found.values()} == {("uint16", "low")}


@pytest.mark.parametrize("order", ["ABCD", "CDAB"])
def test_round_floats_in_a_row_are_floats(order: str):
    found = guesses(*floats(230.1, 49.9, 12.3, -4.7, order=order))
    assert [(one.address, one.text) for one in found.values()] == [
        (at, f"float32 {order}") for at in (0, 2, 4, 6)
    ]


def test_one_register_that_looks_like_half_a_float_is_none():
    assert {one.kind for one in guesses(3, 16800, 0, 12, 7).values()} == {"uint16"}
    assert {one.kind for one in guesses(3, [16800, 16830, 16790], 200, 12, 7).values()} == {"uint16"}


def test_negative_numbers():
    assert guesses([0xFFFE, 1, 3, 0xFFFF], 500)[0].kind == "int16"
    assert guesses(0xFF06, 500)[0].kind == "int16"
    assert guesses(12, 7, [0xFFFF, 0, 0xFFFF], [0xFFF0, 5, 0xFF00], 12, 7)[2].text == "int32 ABCD"
    assert guesses(12, 7, [0xFFF0, 5, 0xFF00], [0xFFFF, 0, 0xFFFF], 12, 7)[2].text == "int32 CDAB"


def test_counters_that_carry():
    low = [65_500, 65_520, 65_535, 14, 30, 50]
    high = [4, 4, 4, 5, 5, 5]
    assert guesses(1, high, low, 3)[1].text == "uint32 ABCD"
    assert guesses(1, low, high, 3)[1].text == "uint32 CDAB"


def test_texts():
    words = [0x5343, 0x4855, 0x4E4B, 0x2050, 0x4D37, 0]
    found = guesses(5, *words, 7)
    assert (found[1].kind, found[1].size, found[1].confidence) == ("string", 6, "high")
    assert found[7].kind == "uint16"
    # Numbers that happen to be letters.
    assert {one.kind for one in guesses(0x4142, 0x3031, 12).values()} <= {"uint16", "float32"}


def test_a_text_that_changes_is_none():
    assert all(
        one.kind != "string" for one in guesses([0x4142, 0x4143], [0x4445, 0x4446], [0x4748, 0x474A]).values()
    )


@pytest.mark.parametrize("seed", range(40))
def test_whatever_registers_hold_what_is_proposed_is_accepted(seed: int):
    chance = random.Random(seed)
    odd = (0, 0xFFFF, 0x8000, 0x7FFF, 0x7F80, 0xFF80, 0x7FC0, 0x4142, 0x2020, 0x4366, 1)
    addresses = [at for at in range(chance.choice((0, 65_400)), 65_536) if chance.random() < 0.9][:120]
    constant = {at: chance.choice((*odd, chance.randrange(0x10000))) for at in addresses}
    made = [
        {at: word if chance.random() < 0.7 else chance.randrange(0x10000) for at, word in constant.items()}
        for _ in range(SAMPLES)
    ]
    found = guess(made)
    held = {Table.holding: made}
    points, about = _proposed({Table.holding: found}, {Table.coil: [True, False]}, held)
    PROTOCOL.accept({"host": "plc"}, points)
    assert about["dataPoints"].keys() == {point["name"] for point in points}
    msgspec.json.encode(about)
    ends = [one.address + one.size for one in found]
    assert all(end <= one.address for end, one in zip(ends, found[1:], strict=False))


@pytest.mark.parametrize("words", [(455, 14), (84, 838), (32003, 48770), (16672, 1), (0x4120, 0)])
def test_two_registers_by_themselves_that_stay_as_they_are_may_be_two_numbers(words: tuple[int, int]) -> None:
    samples = [{10: 7, 11: words[0], 12: words[1], 13: 3}] * 6
    for one in guess(samples):
        assert one.confidence != "high"
        assert one.kind != "float32" or "uint16, uint16" in one.alternatives
