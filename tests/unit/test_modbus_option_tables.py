"""What the options of a data point make of bytes: tables made without the decoder, by hand."""

from typing import Any

import pytest
from modbus_bytes import expect, read

from actors.system.failure import Refusal

BITS: list[tuple[str, str, str, bool]] = [
    ("holding:0.0", "ABCD", "0001", True),
    ("holding:0.0", "ABCD", "fffe", False),
    ("holding:0.7", "ABCD", "0080", True),
    ("holding:0.8", "ABCD", "0100", True),
    ("holding:0.15", "ABCD", "8000", True),
    ("holding:0.15", "ABCD", "7fff", False),
    ("holding:0.8", "BADC", "0001", True),
    ("holding:0.0", "DCBA", "0100", True),
    ("holding:0.0", "CDAB", "0001", True),
    ("holding:0.15:int16", "ABCD", "8000", True),
    ("holding:0.17:uint32", "ABCD", "00020000", True),
    ("holding:0.17:uint32", "CDAB", "00000002", True),
    ("holding:0.17:uint32", "BADC", "02000000", True),
    ("holding:0.17:uint32", "DCBA", "00000200", True),
    ("holding:0.31:int32", "ABCD", "80000000", True),
    ("holding:0.31:int32", "ABCD", "7fffffff", False),
    ("holding:0.47:int48", "ABCD", "800000000000", True),
    ("holding:0.40:uint48", "CDABEF", "000001000000", True),
    ("holding:0.63:uint64", "ABCD", "8000000000000000", True),
    ("holding:0.63:int64", "DCBA", "0000000000000080", True),
    ("holding:0.32:uint64", "EFGHABCD", "0000000000000001", True),
    ("input:0.3", "ABCD", "0008", True),
]


@pytest.mark.parametrize(("register", "order", "reply", "value"), BITS)
def test_bits_count_from_the_least_significant_of_the_ordered_number(
    register: str, order: str, reply: str, value: bool
):
    expect({"register": register, "byteOrder": order}, reply, value)


MASKS: list[tuple[dict[str, Any], str, Any]] = [
    ({"mask": "0x0FF0"}, "1234", 0x23),
    ({"mask": 0x0FF0}, "1234", 0x23),
    ({"mask": "0xF000"}, "f234", 15),
    ({"mask": "0x0FF0", "shift": 0}, "1234", 0x230),
    ({"mask": "0x0FF0", "shift": 2}, "1234", 0x8C),
    ({"mask": "0x0FF0", "byteOrder": "BADC"}, "1234", 0x41),
    ({"mask": "0x8001"}, "8001", 0x8001),
    ({"mask": "0x8001"}, "7ffe", 0),
    ({"mask": "0xFFFF", "type": "int16"}, "ffff", 65535),
    ({"mask": "0xFF00", "type": "int16"}, "8012", 128),
    ({"mask": "0x000FF000", "type": "uint32"}, "12345678", 0x45),
    ({"mask": "0x000FF000", "type": "uint32", "byteOrder": "CDAB"}, "56781234", 0x45),
    ({"mask": "0xFF0000000000", "type": "uint48"}, "ab0000000000", 0xAB),
    ({"mask": "0xF000000000000000", "type": "int64"}, "f000000000000000", 15),
    ({"mask": "0x0FF0", "scale": 0.1}, "1234", 3.5),
    ({"mask": "0x0FF0", "scale": -1, "offset": 5}, "1234", -30),
    ({"mask": "0x0003", "values": {"0x2": "two"}}, "fffe", "two"),
]


@pytest.mark.parametrize(("given", "reply", "value"), MASKS)
def test_masks_take_bits_of_the_ordered_number_as_if_it_were_unsigned(
    given: dict[str, Any], reply: str, value: Any
):
    expect(given, reply, value)


BYTES: list[tuple[str, dict[str, Any], str, int]] = [
    ("uint8", {}, "12fe", 254),
    ("int8", {}, "12fe", -2),
    ("uint8", {"byte": "low"}, "12fe", 254),
    ("uint8", {"byte": "high"}, "12fe", 18),
    ("int8", {"byte": "high"}, "80fe", -128),
    ("int8", {"byte": "high"}, "7ffe", 127),
    ("uint8", {"byte": "high", "byteOrder": "BADC"}, "12fe", 254),
    ("uint8", {"byte": "low", "byteOrder": "DCBA"}, "12fe", 18),
    ("uint8", {"byte": "low", "byteOrder": "CDAB"}, "12fe", 254),
]


@pytest.mark.parametrize(("kind", "given", "reply", "value"), BYTES)
def test_8_bit_types_are_one_byte_of_a_register(kind: str, given: dict[str, Any], reply: str, value: int):
    expect({"type": kind, **given}, reply, value)


BAD = [
    ("bcd", {}, "123a"),
    ("bcd", {}, "a234"),
    ("bcd", {"count": 2}, "12345f78"),
    ("bcd", {"count": 4, "byteOrder": "DCBA"}, "00000000000000b0"),
    ("mod10k", {}, "00002710"),
    ("mod10k", {}, "27100000"),
    ("mod10k", {"count": 3}, "0000ffff0000"),
    ("float16", {}, "7c00"),
    ("float16", {}, "fc00"),
    ("float16", {}, "7e00"),
    ("float32", {}, "7f800000"),
    ("float32", {}, "ff800000"),
    ("float32", {}, "7fc00000"),
    ("float32", {}, "7f800001"),
    ("float32", {"byteOrder": "CDAB"}, "0000ffc0"),
    ("float32", {"scale": 2, "offset": 1}, "7fc00000"),
    ("float64", {}, "7ff0000000000000"),
    ("float64", {}, "fff8000000000000"),
    ("float64", {"scale": 10}, "7fefffffffffffff"),
]


@pytest.mark.parametrize(("kind", "given", "reply"), BAD)
def test_what_is_no_number_is_bad(kind: str, given: dict[str, Any], reply: str):
    expect({"type": kind, **given}, reply, None, "READ_ERROR")


SCALED: list[tuple[dict[str, Any], str, Any]] = [
    ({"type": "uint16", "scale": 0.1}, "00d5", 21.3),
    ({"type": "uint16", "scale": 0.1}, "0003", 0.3),
    ({"type": "uint16", "scale": 0.01, "offset": -273.15}, "6ab3", 0.0),
    ({"type": "int16", "scale": -0.1, "offset": 100}, "fff6", 101.0),
    ({"type": "int16", "scale": 2}, "8000", -65536),
    ({"type": "int16", "offset": -40}, "0000", -40),
    ({"type": "uint8", "byte": "high", "scale": 0.5}, "0300", 1.5),
    ({"type": "uint48", "scale": 0.001}, "00000000ffff", 65.535),
    ({"type": "int64", "scale": 10}, "000001000000abcd", 10995116717570),
    ({"type": "int64", "scale": 0.1}, "0020000000000001", 900719925474099.3),
    ({"type": "uint64", "scale": 0.001}, "ffffffffffffffff", 18446744073709551.615),
    ({"type": "uint64", "scale": 10}, "0fffffffffffffff", 11529215046068469750),
    ({"type": "uint64", "scale": 10}, "ffffffffffffffff", 1.8446744073709552e20),
    ({"type": "int64", "scale": 2}, "8000000000000000", -1.8446744073709552e19),
    (
        {"type": "uint48", "scale": 1000000, "length": 2},
        "000000000001ffffffffffff",
        [1000000, 281474976710655e6],
    ),
    ({"type": "bcd", "scale": 0.01}, "1234", 12.34),
    ({"type": "mod10k", "scale": 0.001}, "007b01c8", 1230.456),
    ({"type": "float32", "scale": 1000}, "3dcccccd", 100.0),
    ({"type": "float64", "scale": 3}, "3fb999999999999a", 0.3),
    ({"type": "float16", "scale": 100}, "4d52", 2128.0),
    ({"type": "float64", "offset": -273.15}, "4071133333333333", 0.05),
    ({"type": "float64", "scale": 0.1}, "41d26580b487e6b7", 123456789.01234567),
    ({"type": "float32", "offset": -273.15}, "43889312", -0.001),
    ({"type": "float32", "offset": -273.15}, "43889354", 0.001),
    ({"type": "int16", "scale": 0.1, "length": 3}, "0001ffff0003", [0.1, -0.1, 0.3]),
]


@pytest.mark.parametrize(("given", "reply", "value"), SCALED)
def test_scale_and_offset_leave_no_noise(given: dict[str, Any], reply: str, value: Any):
    assert read(reply, **given) == (value, None)


LIMITS: list[tuple[dict[str, Any], str, Any, str | None]] = [
    ({"type": "uint16", "max": 100}, "0064", 100, None),
    ({"type": "uint16", "max": 100}, "0065", 101, "OUT_OF_RANGE"),
    ({"type": "int16", "min": -5}, "fffb", -5, None),
    ({"type": "int16", "min": -5}, "fffa", -6, "OUT_OF_RANGE"),
    ({"type": "uint16", "scale": 0.1, "max": 0.3}, "0003", 0.3, None),
    ({"type": "uint16", "scale": 0.1, "max": 0.3}, "0004", 0.4, "OUT_OF_RANGE"),
    ({"type": "int16", "scale": -1, "min": 0}, "0001", -1, "OUT_OF_RANGE"),
    ({"type": "float32", "max": 21.3}, "41aa6666", 21.3, None),
    ({"type": "float32", "max": 21.2}, "41aa6666", 21.3, "OUT_OF_RANGE"),
    ({"type": "int64", "max": 2**53}, "0020000000000001", 2**53 + 1, "OUT_OF_RANGE"),
    ({"type": "uint64", "max": 2**64 - 2}, "ffffffffffffffff", 2**64 - 1, "OUT_OF_RANGE"),
    ({"mask": "0x00f0", "max": 4}, "0050", 5, "OUT_OF_RANGE"),
    ({"type": "uint16", "noValue": 101, "max": 100}, "0065", None, "NO_VALUE"),
]


@pytest.mark.parametrize(("given", "reply", "value", "code"), LIMITS)
def test_limits_are_of_the_scaled_value(given: dict[str, Any], reply: str, value: Any, code: str | None):
    expect(given, reply, value, code)


STATES = {"0": "idle", "0x1": "running", "-1": "error"}
TEXTS: list[tuple[dict[str, Any], str, Any, str | None]] = [
    ({"type": "int16", "values": STATES}, "0000", "idle", None),
    ({"type": "int16", "values": STATES}, "0001", "running", None),
    ({"type": "int16", "values": STATES}, "ffff", "error", None),
    ({"type": "int16", "values": STATES}, "0002", 2, "UNKNOWN_VALUE"),
    ({"type": "int8", "byte": "high", "values": STATES}, "ff00", "error", None),
    ({"type": "uint32", "byteOrder": "CDAB", "values": {"65536": "big"}}, "00000001", "big", None),
    ({"type": "int64", "values": {"-9223372036854775808": "least"}}, "8000000000000000", "least", None),
    ({"type": "bcd", "values": {"12": "twelve"}}, "0012", "twelve", None),
    ({"type": "mod10k", "values": {"10000": "ten thousand"}}, "00010000", "ten thousand", None),
    ({"type": "boolean", "values": {"0": "off", "1": "on"}}, "8000", "on", None),
    ({"register": "holding:0.4", "values": {"0": "off", "1": "on"}}, "0010", "on", None),
    ({"register": "holding:0.4", "values": {"1": "on"}}, "0000", 0, "UNKNOWN_VALUE"),
    ({"register": "coil:0", "values": {"0": "shut", "1": "open"}}, "01", "open", None),
    ({"register": "discrete:0", "values": {"0": "shut", "1": "open"}}, "00", "shut", None),
    ({"type": "int16", "length": 2, "values": STATES}, "00010000", ["running", "idle"], None),
    ({"type": "int16", "length": 2, "values": STATES}, "00010007", ["running", 7], "UNKNOWN_VALUE"),
    ({"register": "coil:0", "length": 3, "values": {"0": "a", "1": "b"}}, "05", ["b", "a", "b"], None),
]


@pytest.mark.parametrize(("given", "reply", "value", "code"), TEXTS)
def test_texts_for_numbers(given: dict[str, Any], reply: str, value: Any, code: str | None):
    expect(given, reply, value, code)


SUNSPEC = [
    ("int16", "8000", "7fff"),
    ("uint16", "ffff", "8000"),
    ("boolean", "ffff", "0001"),
    ("int32", "80000000", "ffffffff"),
    ("uint32", "ffffffff", "80000000"),
    ("sunspec_time", "ffffffff", "00000000"),
    ("int64", "8000000000000000", "ffffffffffffffff"),
    ("uint64", "ffffffffffffffff", "8000000000000000"),
    ("float32", "7fc00000", "00000000"),
    ("float32", "ffc00000", "80000000"),
    ("float32", "7fbfff80", "7f7fffff"),
    ("float64", "7ff8000000000000", "0000000000000000"),
    ("string", "00000000", "41000000"),
]


@pytest.mark.parametrize(("kind", "nothing", "something"), SUNSPEC)
def test_what_sunspec_calls_not_implemented(kind: str, nothing: str, something: str):
    point = {"type": kind, "noValue": "sunspec"} | ({"count": 2} if kind == "string" else {})
    expect(point, nothing, None, "NO_VALUE")
    assert read(something, **point)[1] is None
    reversed_bytes = bytes.fromhex(nothing)[::-1].hex()
    if kind != "string":
        expect({**point, "byteOrder": "DCBA"}, reversed_bytes, None, "NO_VALUE")


@pytest.mark.parametrize(
    "kind", ["int8", "uint8", "int48", "uint48", "float16", "bcd", "mod10k", "unix_time", "s7_dt", "s7_dtl"]
)
def test_sunspec_has_no_such_type(kind: str):
    with pytest.raises(Refusal) as refusal:
        read("", type=kind, noValue="sunspec")
    assert refusal.value.field == "data_points[0].noValue"


NO_VALUE: list[tuple[dict[str, Any], str, bool]] = [
    ({"type": "int16", "noValue": -1}, "ffff", True),
    ({"type": "int16", "noValue": 65535}, "ffff", True),
    ({"type": "int16", "noValue": "0xFFFF"}, "ffff", True),
    ({"type": "uint16", "noValue": -1}, "ffff", True),
    ({"type": "uint16", "noValue": [1, "0xfffe", -1]}, "fffe", True),
    ({"type": "uint16", "noValue": [1, "0xfffe", -1]}, "0002", False),
    ({"type": "uint16", "noValue": "0x1234", "byteOrder": "BADC"}, "3412", True),
    ({"type": "uint8", "noValue": 255}, "00ff", True),
    ({"type": "uint8", "noValue": 255, "byte": "high"}, "00ff", False),
    ({"type": "int8", "noValue": "0xff", "byte": "high"}, "ff00", True),
    ({"type": "int32", "noValue": -2147483648, "byteOrder": "CDAB"}, "00008000", True),
    ({"type": "int48", "noValue": "0x800000000000"}, "800000000000", True),
    ({"type": "uint48", "noValue": -1}, "ffffffffffff", True),
    ({"type": "uint64", "noValue": "0xFFFFFFFFFFFFFFFF"}, "f" * 16, True),
    ({"type": "uint64", "noValue": 18446744073709551615}, "f" * 16, True),
    ({"type": "bcd", "noValue": "0xFFFF"}, "ffff", True),
    ({"type": "mod10k", "noValue": "0xFFFFFFFF"}, "ffffffff", True),
    ({"type": "unix_time", "noValue": 0}, "00000000", True),
    ({"type": "float32", "noValue": -9999}, "c61c3c00", True),
    ({"type": "float32", "noValue": 21.3}, "41aa6666", True),
    ({"type": "float32", "noValue": "0x7f7fffff"}, "7f7fffff", True),
    ({"type": "float32", "noValue": "nan"}, "7fc00001", True),
    ({"type": "float32", "noValue": "nan"}, "ffffffff", True),
    ({"type": "float32", "noValue": [0, "nan"], "byteOrder": "CDAB"}, "00000000", True),
    ({"type": "float64", "noValue": 1e30}, "46293e5939a08cea", True),
    ({"type": "float16", "noValue": 65504}, "7bff", True),
    ({"type": "float16", "noValue": "nan"}, "7e00", True),
    ({"register": "holding:0.3", "noValue": "sunspec"}, "ffff", True),
    ({"register": "holding:0.3", "noValue": "0x0008"}, "0008", True),
    ({"register": "holding:0.3", "noValue": "0x0008"}, "0009", False),
    ({"mask": "0x00f0", "noValue": "sunspec"}, "ffff", True),
    ({"mask": "0x00f0", "noValue": "sunspec"}, "00f0", False),
    ({"register": "holding:0.20:uint32", "noValue": "sunspec"}, "ffffffff", True),
    ({"type": "uint16", "noValue": 7, "values": {"7": "seven"}}, "0007", True),
    ({"type": "uint16", "noValue": 7, "scale": 0.5}, "0007", True),
    ({"type": "uint16", "noValue": 7, "scale": 0.5}, "000e", False),
]


@pytest.mark.parametrize(("given", "reply", "none"), NO_VALUE)
def test_no_value_is_told_by_the_bits_of_the_ordered_number(given: dict[str, Any], reply: str, none: bool):
    value, code = read(reply, **given)
    assert (value is None, code) == (none, "NO_VALUE" if none else None)


LISTS: list[tuple[dict[str, Any], str, Any, str | None]] = [
    ({"type": "int16", "length": 2}, "0001ffff", [1, -1], None),
    ({"type": "int16", "length": 1}, "ffff", [-1], None),
    ({"type": "uint16", "length": 2, "count": 2}, "00010002", [1, 2], None),
    ({"type": "int32", "length": 2, "count": 4}, "0000000100000002", [1, 2], None),
    ({"type": "uint32", "byteOrder": "CDAB", "length": 2}, "0001000200030004", [0x20001, 0x40003], None),
    (
        {"type": "uint48", "byteOrder": "EFCDAB", "length": 2},
        "00010002000300000000ffff",
        [0x300020001, 0xFFFF00000000],
        None,
    ),
    ({"type": "bcd", "count": 2, "length": 2}, "1234567800000042", [12345678, 42], None),
    ({"type": "bcd", "length": 2}, "00120a00", [12, None], "READ_ERROR"),
    ({"type": "mod10k", "length": 2}, "000100022710 0000".replace(" ", ""), [10002, None], "READ_ERROR"),
    ({"type": "float16", "length": 2}, "3c007c00", [1.0, None], "READ_ERROR"),
    ({"type": "float32", "length": 2}, "3fc000007fc00000", [1.5, None], "READ_ERROR"),
    ({"type": "float32", "length": 2}, "7f8000007fc00000", None, "READ_ERROR"),
    ({"type": "boolean", "length": 3}, "000100000100", [True, False, True], None),
    (
        {"type": "unix_time", "length": 2},
        "00000000663235c8",
        ["1970-01-01T00:00:00Z", "2024-05-01T12:30:00Z"],
        None,
    ),
    (
        {"type": "s7_dt", "length": 2},
        "2405011230002504ffffffffffffffff",
        ["2024-05-01T12:30:00.250Z", None],
        "READ_ERROR",
    ),
    ({"type": "uint16", "length": 3, "noValue": "sunspec"}, "0001ffff0003", [1, None, 3], "NO_VALUE"),
    ({"type": "uint16", "length": 2, "noValue": "sunspec"}, "ffffffff", None, "NO_VALUE"),
    ({"type": "uint16", "length": 3, "max": 5, "noValue": 0}, "000600000001", [6, None, 1], "OUT_OF_RANGE"),
    ({"type": "uint16", "length": 3, "max": 5, "noValue": 0}, "000000060001", [None, 6, 1], "NO_VALUE"),
    ({"type": "float32", "length": 2, "noValue": "nan"}, "7fc000007f800000", None, "NO_VALUE"),
    (
        {"register": "coil:0", "length": 9},
        "a501",
        [True, False, True, False, False, True, False, True, True],
        None,
    ),
    ({"register": "discrete:5", "length": 3}, "02", [False, True, False], None),
]


@pytest.mark.parametrize(("given", "reply", "value", "code"), LISTS)
def test_lists(given: dict[str, Any], reply: str, value: Any, code: str | None):
    expect(given, reply, value, code)
