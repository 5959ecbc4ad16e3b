import math
import struct
from typing import Any

import msgspec
import pytest
from modbus_bytes import decode_all, read


def decode(reply: str | bytes, *points: dict[str, Any]) -> list[Any]:
    """Values of points that are all GOOD."""
    values, codes = decode_all(reply, *points)
    assert codes is None
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


@pytest.mark.parametrize(
    ("order", "value"), [("ABCD", 0x0102), ("CDAB", 0x0102), ("BADC", 0x0201), ("DCBA", 0x0201)]
)
def test_of_a_single_register_the_bytes_may_be_swapped(order: str, value: int):
    assert decode("0102", {"register": "holding:0:uint16", "byteOrder": order}) == [value]


@pytest.mark.parametrize(
    ("kind", "order", "reply"),
    [
        ("uint48", "ABCD", "010203040506"),
        ("uint48", "CDAB", "050603040102"),
        ("uint48", "BADC", "020104030605"),
        ("uint48", "DCBA", "060504030201"),
        ("uint48", "EFABCD", "050601020304"),
        ("uint48", "BAFEDC", "020106050403"),
        ("uint64", "CDABGHEF", "0304010207080506"),
        ("uint64", "EFGHABCD", "0506070801020304"),
        ("uint64", "fehgbadc", "0605080702010403"),
        ("uint64", "ABCDEFGH", "0102030405060708"),
        ("uint64", "GHEFCDAB", "0708050603040102"),
    ],
)
def test_values_of_six_and_eight_bytes_come_in_any_order_of_their_registers(
    kind: str, order: str, reply: str
):
    [value] = decode(reply, {"register": "holding:0", "type": kind, "byteOrder": order})
    assert value == int.from_bytes(bytes(range(1, 7 if kind == "uint48" else 9)), "big")


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
        "16777216.0",
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
    values, codes = decode_all(struct.pack(code, math.nan, 1.5, math.inf, -math.inf), *points)
    assert codes == dict.fromkeys((0, 2, 3), "READ_ERROR")
    assert values == [None, 1.5 if scale == 1 else 0.15, None, None]
    assert msgspec.json.encode(values)


def test_a_float64_scaled_past_the_largest_number_is_none():
    given = {"register": "holding:0:float64", "scale": 100}
    assert decode_all(struct.pack(">d", 1e308), given) == ([None], {0: "READ_ERROR"})


@pytest.mark.parametrize(
    ("reply", "given", "text"),
    [
        ("50554d5020310000", {}, "PUMP 1"),
        ("5550504d3120", {"byteOrder": "BADC"}, "PUMP 1"),
        ("4b4cc3a400000000", {"encoding": "utf-8"}, "KLä"),
        ("e400", {"encoding": "latin1"}, "ä"),
        ("41004200", {"encoding": "utf16le"}, "AB"),
        ("efbfbd41", {"encoding": "utf-8"}, "\ufffdA"),
        ("410042ff", {}, "A"),
        ("2041422020200000", {}, " AB"),
        ("0000", {}, ""),
        ("0041", {}, ""),
    ],
)
def test_a_string_ends_at_the_first_nul_and_has_no_trailing_blanks(
    reply: str, given: dict[str, Any], text: str
):
    assert read(reply, "holding:0:string", count=len(reply) // 4, **given) == (text, None)


@pytest.mark.parametrize(
    ("reply", "encoding", "text"),
    [("ff41", "ascii", "\ufffdA"), ("c3280000", "utf-8", "\ufffd("), ("00d8", "utf16le", "\ufffd")],
)
def test_bytes_that_are_no_text_leave_it_uncertain(reply: str, encoding: str, text: str):
    given = {"count": len(reply) // 4, "encoding": encoding}
    assert read(reply, "holding:0:string", **given) == (text, "UNDECODABLE")


def test_a_broken_text_harms_no_neighbour():
    texts = [{"register": f"holding:{n}:string", "count": 1} for n in range(3)]
    assert decode_all("4142ff414344", *texts) == (["AB", "\ufffdA", "CD"], {1: "UNDECODABLE"})


@pytest.mark.parametrize(
    ("reply", "given", "value"),
    [
        ("12fe", {"type": "int8"}, -2),
        ("12fe", {"type": "uint8"}, 254),
        ("12fe", {"type": "uint8", "byte": "high"}, 0x12),
        ("80fe", {"type": "int8", "byte": "high"}, -128),
        ("12fe", {"byte": "low"}, 254),
        ("12fe", {"type": "uint8", "byteOrder": "BADC"}, 0x12),
        ("12fe", {"type": "uint8", "scale": 0.5}, 127.0),
        ("fffffffffffe", {"type": "int48"}, -2),
        ("000100000002", {"type": "uint48"}, 4294967298),
        ("000000000015", {"type": "uint48", "scale": 0.1}, 2.1),
        ("4d52", {"type": "float16"}, 21.28),
        ("524d", {"type": "float16", "byteOrder": "BADC"}, 21.28),
        ("7bff", {"type": "float16"}, 65504.0),
        ("2e66", {"type": "float16"}, 0.1),
        ("0001", {"type": "float16"}, 5.96e-8),
        ("4d52", {"type": "float16", "scale": 0.1}, 2.128),
        ("1234", {"type": "bcd"}, 1234),
        ("12345678", {"type": "bcd", "count": 2}, 12345678),
        ("56781234", {"type": "bcd", "count": 2, "byteOrder": "CDAB"}, 12345678),
        ("341278560000", {"type": "bcd", "count": 3, "byteOrder": "BADC"}, 123456780000),
        ("9999999999999999", {"type": "bcd", "count": 4, "scale": 10}, 99999999999999990),
        ("007b01c8", {"type": "mod10k"}, 1230456),
        ("007b01c8", {"type": "mod10k", "byteOrder": "CDAB"}, 4560123),
        ("000000010002", {"type": "mod10k", "count": 3, "scale": 0.1}, 1000.2),
        ("270f270f270f270f", {"type": "mod10k", "count": 4}, 9999999999999999),
        ("663235c8", {"type": "unix_time"}, "2024-05-01T12:30:00Z"),
        ("2dc4f248", {"type": "sunspec_time"}, "2024-05-01T12:30:00Z"),
        ("f2482dc4", {"type": "sunspec_time", "byteOrder": "CDAB"}, "2024-05-01T12:30:00Z"),
        ("2405011230002504", {"type": "s7_dt"}, "2024-05-01T12:30:00.250Z"),
        ("9912130706058880", {"type": "s7_dt"}, "1999-12-13T07:06:05.888Z"),
        ("0524120100300425", {"type": "s7_dt", "byteOrder": "BADC"}, "2024-05-01T12:30:00.250Z"),
        ("07e80501040c1e000ee6b280", {"type": "s7_dtl"}, "2024-05-01T12:30:00.250Z"),
        ("07e80501000c1e0000000001", {"type": "s7_dtl"}, "2024-05-01T12:30:00.000000001Z"),
        ("0004", {"bit": 2}, True),
        ("fffb", {"bit": 2}, False),
        ("8000", {"bit": 15}, True),
        ("0400", {"bit": 2, "byteOrder": "BADC"}, True),
        ("00020000", {"bit": 17, "type": "uint32"}, True),
        ("00000002", {"bit": 17, "type": "uint32", "byteOrder": "CDAB"}, True),
        ("00000200", {"bit": 17, "type": "int32", "byteOrder": "DCBA"}, True),
        ("0002000000000000", {"bit": 49, "type": "uint64"}, True),
        ("1234", {"mask": "0x0ff0"}, 0x23),
        ("1234", {"mask": 0x0FF0, "shift": 0}, 0x230),
        ("1234", {"mask": "0xF000", "type": "int16"}, 1),
        ("f234", {"mask": "0xF000", "type": "int16"}, 15),
        ("3412", {"mask": 0xFF, "byteOrder": "DCBA"}, 0x34),
        ("12345678", {"mask": 0xFF000, "type": "uint32"}, 0x45),
        ("1234", {"mask": 0xF0, "scale": 0.1}, 0.3),
    ],
)
def test_types_and_parts_that_no_struct_knows(reply: str, given: dict[str, Any], value: Any):
    decoded, code = read(reply, **given)
    assert (repr(decoded), code) == (repr(value), None)


@pytest.mark.parametrize(
    ("reply", "given"),
    [
        ("12a4", {"type": "bcd"}),
        ("00002710", {"type": "mod10k"}),
        ("0000000000000000", {"type": "s7_dt"}),
        ("2413011230002504", {"type": "s7_dt"}),
        ("2405011230002504", {"type": "s7_dt", "byteOrder": "BADC"}),
        ("24050112300a2504", {"type": "s7_dt"}),
        ("000000000000000000000000", {"type": "s7_dtl"}),
        ("07b10501040c1e0000000000", {"type": "s7_dtl"}),
        ("07e80501040c1e003b9aca00", {"type": "s7_dtl"}),
        ("7e00", {"type": "float16"}),
        ("7fc00000", {"type": "float32", "noValue": 5}),
        ("7f800000", {"type": "float32", "noValue": "nan"}),
    ],
)
def test_what_is_no_value_of_its_type_is_bad(reply: str, given: dict[str, Any]):
    assert read(reply, **given) == (None, "READ_ERROR")


@pytest.mark.parametrize(
    ("reply", "given"),
    [
        ("ffff", {"type": "uint16", "noValue": 65535}),
        ("ffff", {"type": "uint16", "noValue": -1}),
        ("8000", {"type": "int16", "noValue": "0x8000"}),
        ("8000", {"type": "int16", "noValue": [7, -32768], "scale": 0.1}),
        ("ffff", {"type": "uint16", "noValue": "sunspec"}),
        ("8000", {"type": "int16", "noValue": "sunspec"}),
        ("0080", {"type": "int16", "noValue": "sunspec", "byteOrder": "BADC"}),
        ("80000000", {"type": "int32", "noValue": "sunspec"}),
        ("ffffffff", {"type": "uint32", "noValue": "sunspec"}),
        ("8000000000000000", {"type": "int64", "noValue": "sunspec"}),
        ("ffffffffffffffff", {"type": "uint64", "noValue": "sunspec"}),
        ("7fc00000", {"type": "float32", "noValue": "sunspec"}),
        ("ffc00001", {"type": "float32", "noValue": "nan", "scale": 2}),
        ("c61c3c00", {"type": "float32", "noValue": -9999}),
        ("7f800000", {"type": "float32", "noValue": ["nan", "0x7F800000"]}),
        ("7ff8000000000000", {"type": "float64", "noValue": "sunspec"}),
        ("00000000", {"type": "string", "count": 2, "noValue": "sunspec"}),
        ("ffffffff", {"type": "sunspec_time", "noValue": "sunspec"}),
        ("ffff", {"type": "bcd", "noValue": "0xFFFF"}),
        ("ffff", {"bit": 3, "noValue": "sunspec"}),
        ("ffff", {"mask": 3, "noValue": "sunspec"}),
        ("12ff", {"type": "int8", "noValue": -1}),
        ("ffff", {"type": "uint16", "noValue": 65535, "values": {"65535": "none"}}),
    ],
)
def test_a_value_that_says_that_there_is_none_is_bad(reply: str, given: dict[str, Any]):
    assert read(reply, **given) == (None, "NO_VALUE")


def test_the_sign_of_zero_is_no_value_of_its_own():
    assert read("80000000", type="float32", noValue=0) == (-0.0, None)


@pytest.mark.parametrize(
    ("reply", "given", "value", "code"),
    [
        ("0064", {"type": "uint16", "scale": 0.1, "max": 10}, 10.0, None),
        ("0065", {"type": "uint16", "scale": 0.1, "max": 10}, 10.1, "OUT_OF_RANGE"),
        ("fffe", {"type": "int16", "min": -1, "max": 5}, -2, "OUT_OF_RANGE"),
        ("3f800000", {"type": "float32", "min": 1.5}, 1.0, "OUT_OF_RANGE"),
        ("0009", {"type": "bcd", "max": 5}, 9, "OUT_OF_RANGE"),
        ("0030", {"mask": 0xF0, "max": 2}, 3, "OUT_OF_RANGE"),
        ("0001", {"type": "uint16", "values": {"0": "idle", "0x1": "running"}}, "running", None),
        ("0002", {"type": "uint16", "values": {"0": "idle", "1": "running"}}, 2, "UNKNOWN_VALUE"),
        ("ffff", {"type": "int16", "values": {"-1": "off"}}, "off", None),
        ("0004", {"bit": 2, "values": {"0": "closed", "1": "open"}}, "open", None),
        ("0030", {"mask": 0xF0, "values": {"3": "auto"}}, "auto", None),
        ("0007", {"type": "boolean", "values": {"1": "on"}}, "on", None),
        ("12fe", {"type": "int8", "values": {"-2": "low"}}, "low", None),
        ("0012", {"type": "bcd", "values": {"12": "dozen"}}, "dozen", None),
    ],
)
def test_limits_and_texts_for_numbers(reply: str, given: dict[str, Any], value: Any, code: str | None):
    assert read(reply, **given) == (value, code)


def test_a_coil_may_have_texts():
    coils = [{"register": f"coil:{n}", "values": {"0": "shut", "1": "open"}} for n in (3, 4)]
    assert decode("02", *coils, {"register": "coil:5"}) == ["shut", "open", False]


def test_limits_of_points_of_one_layer_are_each_their_own():
    points = [
        {"register": "holding:0:uint16", "noValue": 1},
        {"register": "holding:1:uint16", "max": 1},
        {"register": "holding:2:uint16"},
        {"register": "holding:3:uint16", "noValue": 2, "min": 1},
    ]
    assert decode_all("0001000200030000", *points) == (
        [None, 2, 3, 0],
        {0: "NO_VALUE", 1: "OUT_OF_RANGE", 3: "OUT_OF_RANGE"},
    )


def test_codes_name_places_of_points_that_are_not_sorted():
    points = [
        {"register": "holding:2:uint16", "noValue": 3},
        {"register": "holding:0:uint16", "noValue": 1},
        {"register": "holding:1:uint16"},
    ]
    assert decode_all("000100020003", *points) == ([None, None, 2], {0: "NO_VALUE", 1: "NO_VALUE"})


@pytest.mark.parametrize(
    ("reply", "given", "value", "code"),
    [
        ("0001ffff", {"type": "int16", "length": 2}, [1, -1], None),
        ("0001ffff", {"type": "int16", "length": 2, "count": 2, "scale": 0.1}, [0.1, -0.1], None),
        ("0001", {"type": "uint16", "length": 1}, [1], None),
        ("56781234" * 2, {"type": "uint32", "length": 2, "byteOrder": "CDAB"}, [0x12345678] * 2, None),
        ("3f8000007fc00000", {"length": 2}, [1.0, None], "READ_ERROR"),
        ("7fc000007fc00000", {"length": 2}, None, "READ_ERROR"),
        ("12345678", {"type": "bcd", "length": 2}, [1234, 5678], None),
        ("1234567812a4", {"type": "bcd", "length": 3}, [1234, 5678, None], "READ_ERROR"),
        ("000100000002000000030000", {"type": "uint48", "length": 2}, [0x100000002, 0x30000], None),
        ("00010005", {"type": "uint16", "length": 2, "values": {"1": "on"}}, ["on", 5], "UNKNOWN_VALUE"),
        ("ffff0005", {"type": "uint16", "length": 2, "noValue": "sunspec", "max": 4}, [None, 5], "NO_VALUE"),
        ("663235c8" * 2, {"type": "unix_time", "length": 2}, ["2024-05-01T12:30:00Z"] * 2, None),
    ],
)
def test_a_list_has_values_by_the_rules_of_one(
    reply: str, given: dict[str, Any], value: Any, code: str | None
):
    assert read(reply, **given) == (value, code)


def test_a_list_of_coils_may_begin_within_a_byte():
    coils = [{"register": "coil:10"}, {"register": "coil:12", "length": 3}, {"register": "coil:15"}]
    assert decode("35", *coils) == [True, [True, False, True], True]


def test_parts_share_a_reply_with_what_they_are_part_of():
    values = decode(
        "0005 1234 00000400",
        {"register": "holding:0.0"},
        {"register": "holding:0.1"},
        {"register": "holding:0:uint16"},
        {"register": "holding:1", "byte": "high"},
        {"register": "holding:1", "byte": "low"},
        {"register": "holding:2.10:uint32"},
    )
    assert values == [True, False, 5, 0x12, 0x34, True]
