"""What the bytes of one reply mean for the points that share it: tables made by hand."""

from typing import Any

from modbus_bytes import decode_all


def test_one_request_of_many_types_with_gaps_overlaps_and_odd_registers():
    reply = "0001 fffe 41aa6666 dead 666641aa 4142 0102030405060708 1234 beef 00ff 8000"
    points = {
        "holding:1:uint16": 1,
        "holding:2:int16": -2,
        "holding:3:float32": 21.3,
        "holding:2.15": True,
        "holding:2.0": False,
        "holding:9:uint64": 72623859790382856,
        "holding:10:uint16": 0x0304,
        "holding:11:uint32": 0x05060708,
        "holding:13:bcd": 1234,
        "holding:15:uint8": 255,
        "holding:16:int16": -32768,
    }
    more: list[tuple[dict[str, Any], Any]] = [
        ({"register": "holding:6:float32", "byteOrder": "CDAB"}, 21.3),
        ({"register": "holding:8:string", "count": 1}, "AB"),
        ({"register": "holding:9:int48", "byteOrder": "CDABEF"}, 0x030401020506),
        ({"register": "holding:8", "type": "uint16", "byteOrder": "BADC", "length": 2}, [0x4241, 0x0201]),
        ({"register": "holding:15", "mask": "0x00f0", "byteOrder": "DCBA"}, 0),
    ]
    given = [{"register": register} for register in points] + [point for point, _ in more]
    expected = [*points.values(), *(value for _, value in more)]
    for order in (1, -1):  # clients list points in any order
        values, codes = decode_all(reply.replace(" ", ""), *given[::order])
        assert values == expected[::order]
        assert codes is None


def test_codes_are_of_the_points_that_they_are_of():
    values, codes = decode_all(
        "ffff 7fc00000 0005 12ab 0001".replace(" ", ""),
        {"register": "holding:0:uint16", "noValue": "sunspec"},
        {"register": "holding:1:float32"},
        {"register": "holding:3:uint16", "max": 4},
        {"register": "holding:4:bcd"},
        {"register": "holding:5:uint16", "values": {"2": "two"}},
        {"register": "holding:5:uint16"},
    )
    assert values == [None, None, 5, None, 1, 1]
    assert codes == {0: "NO_VALUE", 1: "READ_ERROR", 2: "OUT_OF_RANGE", 3: "READ_ERROR", 4: "UNKNOWN_VALUE"}


def test_125_registers_from_the_last_addresses():
    reply = b"".join(register.to_bytes(2, "big") for register in range(1000, 1125))
    given = [{"register": f"holding:{65411 + index}:uint16"} for index in range(125)]
    values, codes = decode_all(reply, *given, {"register": "holding:65411", "type": "uint16", "length": 125})
    assert values[:125] == list(range(1000, 1125))
    assert values[125] == list(range(1000, 1125))
    assert codes is None


def test_2000_coils_each_and_as_a_list():
    bits = [index % 3 == 0 or index % 7 == 0 for index in range(2000)]
    reply = bytes(sum(bits[at + bit] << bit for bit in range(8)) for at in range(0, 2000, 8))
    values, codes = decode_all(reply, {"register": "coil:63536", "length": 2000})
    assert (values, codes) == ([bits], None)
    single = [{"register": f"discrete:{index}"} for index in range(2000)]
    assert decode_all(reply, *single) == (bits, None)


def test_bits_and_lists_of_bits_span_bytes():
    values, codes = decode_all(
        "80ff01",
        {"register": "coil:100", "length": 7},
        {"register": "coil:107"},
        {"register": "coil:106", "length": 4},
        {"register": "coil:110", "length": 6},
        {"register": "coil:116"},
        {"register": "coil:117"},
    )
    assert values == [[False] * 7, True, [False, True, True, True], [True] * 6, True, False]
    assert codes is None
