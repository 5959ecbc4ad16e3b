import math
import struct
from typing import Any

import msgspec
import pytest

from actors.endpoints.protocols.modbus.decode import Decoder
from actors.endpoints.protocols.modbus.plan import plan
from actors.endpoints.protocols.modbus.points import read_points


def decode(reply: str | bytes, *points: dict[str, Any]) -> list[Any]:
    """Values of points that one request covers, from the reply's bytes (hex)."""
    checked = read_points([{"name": f"p{index}", **point} for index, point in enumerate(points)])
    [span] = plan(enumerate(checked))
    decoder = Decoder(span.points, span.address, span.count)
    values: list[Any] = [None] * len(points)
    data = bytes.fromhex(reply) if isinstance(reply, str) else reply
    assert decoder.size == len(data)
    decoder.fill(values, data)
    return values


@pytest.mark.parametrize(
    ("kind", "reply", "value"),
    [
        ("uint16", "ffff", 65535),
        ("uint16", "0102", 258),
        ("int16", "ffff", -1),
        ("int16", "8000", -32768),
        ("boolean", "0000", False),
        ("boolean", "0001", True),
        ("boolean", "8000", True),
        ("uint32", "00010002", 65538),
        ("uint32", "ffffffff", 4294967295),
        ("int32", "ffffffff", -1),
        ("int32", "12345678", 0x12345678),
        ("float32", "42c80000", 100.0),
        ("float32", "c0490fdb", -3.1415927),
        ("uint64", "0123456789abcdef", 0x0123456789ABCDEF),
        ("int64", "fffffffffffffffe", -2),
        ("float64", "400921fb54442d18", math.pi),
    ],
)
def test_each_type_is_decoded_from_its_bytes(kind: str, reply: str, value: Any):
    [decoded] = decode(reply, {"register": "holding:0", "type": kind})
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize(
    ("order", "reply"),
    [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")],
)
def test_byte_orders_are_the_order_of_the_four_bytes_on_the_wire(order: str, reply: str):
    [value] = decode(reply, {"register": "holding:0:uint32", "byteOrder": order})
    assert value == 0x12345678


@pytest.mark.parametrize(
    ("order", "reply"),
    [("ABCD", "42f6e979"), ("CDAB", "e97942f6"), ("BADC", "f64279e9"), ("DCBA", "79e9f642")],
)
def test_byte_orders_apply_to_floats(order: str, reply: str):
    [value] = decode(reply, {"register": "holding:0:float32", "byteOrder": order})
    assert value == 123.456


@pytest.mark.parametrize(
    ("order", "reply"),
    [
        ("ABCD", "0102030405060708"),
        ("CDAB", "0708050603040102"),
        ("BADC", "0201040306050807"),
        ("DCBA", "0807060504030201"),
    ],
)
def test_byte_orders_extend_to_eight_bytes(order: str, reply: str):
    [value] = decode(reply, {"register": "holding:0:uint64", "byteOrder": order})
    assert value == 0x0102030405060708


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
def test_a_single_register_is_big_endian_in_every_order(order: str):
    assert decode("0102", {"register": "holding:0:uint16", "byteOrder": order}) == [258]


def test_points_of_all_kinds_share_a_reply():
    values = decode(
        "0001 fffe 3fc00000 0000 00020001 4142 4300 000a",
        {"register": "holding:9:uint16"},
        {"register": "holding:0:uint16"},
        {"register": "holding:1:int16"},
        {"register": "holding:2:float32"},
        {"register": "holding:5:uint32", "byteOrder": "CDAB"},
        {"register": "holding:7:string", "count": 2},
        {"register": "holding:0:boolean"},
        {"register": "holding:9:uint16", "scale": 0.1},
    )
    assert values == [10, 1, -2, 1.5, 65538, "ABC", True, 1.0]


def test_points_that_overlap_are_each_decoded():
    values = decode(
        "00010002",
        {"register": "holding:0:uint32"},
        {"register": "holding:0:uint16"},
        {"register": "holding:1:uint16"},
    )
    assert values == [65538, 1, 2]


def test_bits_come_lowest_first():
    values = decode("4502", *({"register": f"coil:{20 + n}"} for n in (0, 1, 2, 3, 6, 8, 9, 10)))
    assert values == [True, False, True, False, True, False, True, False]


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "value"),
    [
        (3, 0.1, 0, 0.3),
        (213, 0.1, 0, 21.3),
        (65535, 0.01, 0, 655.35),
        (1, 0.1, 0.2, 0.3),
        (700, 0.1, -40, 30.0),
        (29, 0.0001, 0, 0.0029),
        (7, 1.1, 0, 7.7),
        (9, 5, -3, 42),
        (9, 1.0, 0, 9),
        (2, 2.5, 0.5, 5.5),
    ],
)
def test_scaling_leaves_no_float_noise(raw: int, scale: float, offset: float, value: float):
    point = {"register": "holding:0:uint16", "scale": scale, "offset": offset}
    [decoded] = decode(struct.pack(">H", raw), point)
    assert repr(decoded) == repr(value)


def test_different_scales_share_a_reply():
    points = [{"register": f"holding:{n}:uint16", "scale": s} for n, s in enumerate((0.1, 0.01, 1, 0.5, 10))]
    assert decode("0007" * 5, *points) == [0.7, 0.07, 7, 3.5, 70]


@pytest.mark.parametrize(
    "text",
    [
        "21.3",
        "0.1",
        "-0.3",
        "999999.9",
        "1e-05",
        "3.4028235e+38",
        "16777216.0",
        "1e+20",
        "0.0",
    ],
)
def test_a_float32_is_its_shortest_decimal_number(text: str):
    [value] = decode(struct.pack(">f", float(text)), {"register": "holding:0:float32"})
    assert repr(value) == text


def test_a_float32_that_needs_all_its_digits_is_still_the_same_float32():
    floats = [struct.unpack(">f", struct.pack(">I", 0x3F800000 + 7919 * n))[0] for n in range(60)]
    values = decode(
        struct.pack(">60f", *floats), *({"register": f"holding:{2 * n}:float32"} for n in range(60))
    )
    assert struct.pack(">60f", *values) == struct.pack(">60f", *floats)
    assert max(len(repr(value)) for value in values) <= 10


def test_a_scaled_float_has_no_noise():
    points = [{"register": "holding:0:float32", "scale": 0.1}, {"register": "holding:2:float32", "scale": 10}]
    assert decode(struct.pack(">ff", 21.3, 0.07), *points) == [2.13, 0.7]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1, 0.1])
def test_what_is_not_a_finite_number_is_none_and_harms_no_neighbour(kind: str, scale: float):
    code = ">4f" if kind == "float32" else ">4d"
    size = 2 if kind == "float32" else 4
    points = [{"register": f"holding:{size * n}", "type": kind, "scale": scale} for n in range(4)]
    values = decode(struct.pack(code, math.nan, 1.5, math.inf, -math.inf), *points)
    assert values == [None, 1.5 if scale == 1 else 0.15, None, None]
    assert msgspec.json.encode(values)


def test_a_float64_scaled_past_the_largest_number_is_none():
    assert decode(struct.pack(">d", 1e308), {"register": "holding:0:float64", "scale": 100}) == [None]


@pytest.mark.parametrize(
    ("reply", "given", "text"),
    [
        ("50554d5020310000", {}, "PUMP 1"),
        ("5550504d3120", {"byteOrder": "BADC"}, "PUMP 1"),
        ("4b4cc3a400000000", {"encoding": "utf-8"}, "KLä"),
        ("e400", {"encoding": "latin1"}, "ä"),
        ("41004200", {"encoding": "utf16le"}, "AB"),
        ("ff41", {}, "\ufffdA"),
        ("0000", {}, ""),
    ],
)
def test_strings_are_trimmed_of_nul(reply: str, given: dict[str, Any], text: str):
    point = {"register": "holding:0:string", "count": len(reply) // 4, **given}
    assert decode(reply, point) == [text]
