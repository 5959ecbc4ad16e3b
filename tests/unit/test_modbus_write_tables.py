"""What a value written becomes on the wire: function codes and bodies worked out by hand."""

from typing import Any

import pytest
from modbus_bytes import write

from actors.endpoints.protocols.modbus.encode import Writing, encode
from actors.endpoints.protocols.modbus.points import read_points
from actors.endpoints.protocols.modbus.writable import point_to_write
from actors.system.failure import Refusal


def writing(value: Any, **point: Any) -> Writing:
    [checked] = read_points([{"name": "p", "register": "holding:16", **point}])
    return encode(checked, value)


ONE_REGISTER: list[tuple[dict[str, Any], Any, str, Any]] = [
    ({"type": "uint16"}, 258, "0102", 258),
    ({"type": "uint16", "byteOrder": "BADC"}, 258, "0201", 258),
    ({"type": "int16"}, -2, "fffe", -2),
    ({"type": "int16"}, 2.5, "0003", 3),
    ({"type": "int16"}, -2.5, "fffd", -3),
    ({"type": "int16"}, -32768, "8000", -32768),
    ({"type": "boolean"}, True, "0001", True),
    ({"type": "boolean", "byteOrder": "DCBA"}, True, "0100", True),
    ({"type": "boolean"}, "off", "0000", False),
    ({"type": "float16"}, 21.28, "4d52", 21.28),
    ({"type": "float16"}, 65504, "7bff", 65504.0),
    ({"type": "float16"}, 2050, "6801", 2050.0),
    ({"type": "bcd"}, 1234, "1234", 1234),
    ({"type": "bcd", "byteOrder": "BADC"}, 1234, "3412", 1234),
    ({"type": "uint16", "scale": 0.1}, 21.3, "00d5", 21.3),
    ({"type": "int16", "scale": 0.1, "offset": -40}, -44.2, "ffd6", -44.2),
    ({"type": "int16", "scale": -0.5}, 3, "fffa", 3.0),
    ({"type": "bcd", "scale": 0.01}, 12.34, "1234", 12.34),
    ({"type": "uint16", "values": {"0x1": "running"}}, "running", "0001", "running"),
    ({"type": "uint16", "values": {"1": "running"}}, 1, "0001", "running"),
    ({"type": "int16", "values": {"-1": "error"}}, "error", "ffff", "error"),
    ({"type": "uint16", "min": 1, "max": 5}, 5, "0005", 5),
    ({"type": "string", "count": 1}, "AB", "4142", "AB"),
    ({"type": "string", "count": 1}, "A", "4100", "A"),
    ({"type": "string", "count": 1}, "", "0000", ""),
]


@pytest.mark.parametrize(("point", "value", "wire", "after"), ONE_REGISTER)
def test_one_register_is_written_by_function_6_else_16(
    point: dict[str, Any], value: Any, wire: str, after: Any
):
    found = writing(value, **point)
    assert (found.function, found.body.hex(), found.value) == (6, "0010" + wire, after)
    assert found.otherwise == (16, bytes.fromhex("0010000102" + wire))
    only = writing(value, **point, writeFunction="single")
    assert (only.function, only.body.hex(), only.otherwise) == (6, "0010" + wire, None)
    only = writing(value, **point, writeFunction="multiple")
    assert (only.function, only.body.hex(), only.otherwise) == (16, "0010000102" + wire, None)


SEVERAL: list[tuple[dict[str, Any], Any, str, Any]] = [
    ({"type": "uint32"}, 16909060, "000204 01020304", 16909060),
    ({"type": "int32", "byteOrder": "CDAB"}, -2, "000204 fffeffff", -2),
    ({"type": "float32"}, 21.3, "000204 41aa6666", 21.3),
    ({"type": "float32", "byteOrder": "BADC"}, 21.3, "000204 aa416666", 21.3),
    ({"type": "float32"}, 47920248, "000204 4c36cd1e", 47920248.0),
    ({"type": "float32"}, 47920250, "000204 4c36cd1e", 47920248.0),
    ({"type": "float32", "scale": 0.5}, 1.5, "000204 40400000", 1.5),
    ({"type": "float64"}, 123.456, "000408 405edd2f1a9fbe77", 123.456),
    ({"type": "int48", "byteOrder": "DCFEBA"}, 0x060502010403, "000306 010203040506", 0x060502010403),
    (
        {"type": "uint64", "byteOrder": "CDABGHEF"},
        0x0102030405060708,
        "000408 0304010207080506",
        0x0102030405060708,
    ),
    ({"type": "mod10k"}, 1230456, "000204 007b01c8", 1230456),
    ({"type": "mod10k", "byteOrder": "CDAB"}, 4560123, "000204 007b01c8", 4560123),
    ({"type": "bcd", "count": 2}, 42, "000204 00000042", 42),
    ({"type": "string", "count": 4}, "PUMP 1", "000408 50554d5020310000", "PUMP 1"),
    ({"type": "string", "count": 4, "byteOrder": "BADC"}, "PUMP 1", "000408 5550504d31200000", "PUMP 1"),
    ({"type": "string", "count": 2, "encoding": "latin-1"}, "20°C", "000204 3230b043", "20°C"),
    ({"type": "string", "count": 2, "encoding": "utf-8"}, "€", "000204 e282ac00", "€"),
    ({"type": "string", "count": 2, "encoding": "utf-16-le"}, "Kä", "000204 4b00e400", "Kä"),
    ({"type": "unix_time"}, "2024-05-01T12:30:00Z", "000204 663235c8", "2024-05-01T12:30:00Z"),
    ({"type": "unix_time"}, "2024-05-01T12:30:00", "000204 663235c8", "2024-05-01T12:30:00Z"),
    ({"type": "unix_time"}, "2024-05-01T14:30:00+02:00", "000204 663235c8", "2024-05-01T12:30:00Z"),
    (
        {"type": "unix_time", "byteOrder": "CDAB"},
        "1970-01-01T00:00:01Z",
        "000204 00010000",
        "1970-01-01T00:00:01Z",
    ),
    ({"type": "unix_time"}, "2106-02-07T06:28:15Z", "000204 ffffffff", "2106-02-07T06:28:15Z"),
    ({"type": "sunspec_time"}, "2024-05-01T12:30:00Z", "000204 2dc4f248", "2024-05-01T12:30:00Z"),
    ({"type": "s7_dt"}, "2024-05-01T12:30:00.250Z", "000408 2405011230002504", "2024-05-01T12:30:00.250Z"),
    ({"type": "s7_dt"}, "1999-12-13T07:06:05.888Z", "000408 9912130706058882", "1999-12-13T07:06:05.888Z"),
    (
        {"type": "s7_dt", "byteOrder": "DCBA"},
        "2024-05-01T12:30:00.250Z",
        "000408 0524120100300425",
        "2024-05-01T12:30:00.250Z",
    ),
    (
        {"type": "s7_dtl"},
        "2024-05-01T12:30:00.250Z",
        "00060c 07e80501040c1e000ee6b280",
        "2024-05-01T12:30:00.250Z",
    ),
    (
        {"type": "s7_dtl"},
        "2024-02-29T23:59:59.000000001Z",
        "00060c 07e8021d05173b3b00000001",
        "2024-02-29T23:59:59.000000001Z",
    ),
    ({"type": "int16", "length": 2}, [1, -1], "000204 0001ffff", [1, -1]),
    ({"type": "int32", "length": 2, "byteOrder": "CDAB"}, [1, -2], "000408 00010000fffeffff", [1, -2]),
    ({"type": "boolean", "length": 2}, [True, False], "000204 00010000", [True, False]),
    ({"type": "int16", "length": 2, "scale": 0.1}, [0.1, -0.3], "000204 0001fffd", [0.1, -0.3]),
    (
        {"type": "uint16", "length": 2, "values": {"1": "a", "2": "b"}},
        ["b", 1],
        "000204 00020001",
        ["b", "a"],
    ),
]


@pytest.mark.parametrize(("point", "value", "body", "after"), SEVERAL)
def test_several_registers_are_written_by_function_16_alone(
    point: dict[str, Any], value: Any, body: str, after: Any
):
    for function in ("auto", "multiple"):
        found = writing(value, **point, writeFunction=function)
        wire = "0010" + body.replace(" ", "")
        assert (found.function, found.body.hex(), found.value) == (16, wire, after)
        assert (found.otherwise, found.part) == (None, None)


COILS: list[tuple[dict[str, Any], Any, int, str, tuple[int, str] | None]] = [
    ({}, True, 5, "0007ff00", (15, "0007000101 01")),
    ({}, "off", 5, "00070000", (15, "0007000101 00")),
    ({"writeFunction": "single"}, 1, 5, "0007ff00", None),
    ({"writeFunction": "multiple"}, 1, 15, "0007000101 01", None),
    ({"values": {"0": "shut", "1": "open"}}, "open", 5, "0007ff00", (15, "0007000101 01")),
    ({"length": 2}, [True, False], 15, "0007000201 01", None),
    ({"length": 8}, [0, 1, 0, 0, 0, 0, 0, 1], 15, "0007000801 82", None),
    (
        {"length": 10},
        [1, 0, 1, 1, 0, 0, 1, 1, 1, 0],
        15,
        "0007000a02 cd01",
        None,
    ),  # the Modbus specification's
    ({"length": 9, "writeFunction": "multiple"}, [True] * 9, 15, "0007000902 ff01", None),
]


@pytest.mark.parametrize(("point", "value", "function", "body", "otherwise"), COILS)
def test_coils(
    point: dict[str, Any], value: Any, function: int, body: str, otherwise: tuple[int, str] | None
):
    found = writing(value, **{**point, "register": "coil:7"})
    assert (found.function, found.body.hex()) == (function, body.replace(" ", ""))
    other = otherwise and (otherwise[0], bytes.fromhex(otherwise[1]))
    assert found.otherwise == other


MASKED: list[tuple[dict[str, Any], Any, str]] = [
    ({"register": "holding:16.0"}, True, "0010 fffe 0001"),
    ({"register": "holding:16.0"}, False, "0010 fffe 0000"),
    ({"register": "holding:16.15"}, True, "0010 7fff 8000"),
    ({"register": "holding:16.8", "byteOrder": "BADC"}, True, "0010 fffe 0001"),
    ({"register": "holding:16.0", "byteOrder": "DCBA"}, True, "0010 feff 0100"),
    ({"register": "holding:16.17:uint32"}, True, "0010 fffd 0002"),
    ({"register": "holding:16.1:uint32"}, True, "0011 fffd 0002"),
    ({"register": "holding:16.17:uint32", "byteOrder": "CDAB"}, True, "0011 fffd 0002"),
    ({"register": "holding:16.63:uint64", "byteOrder": "DCBA"}, True, "0013 ff7f 0080"),
    ({"mask": "0x0FF0"}, 0x23, "0010 f00f 0230"),
    ({"mask": "0x0FF0", "byteOrder": "BADC"}, 0x41, "0010 0ff0 1004"),
    ({"mask": "0x0FF0", "shift": 0}, 0x230, "0010 f00f 0230"),
    ({"mask": "0x00F0", "scale": 0.5}, 3.5, "0010 ff0f 0070"),
    ({"mask": "0x0003", "values": {"2": "two"}}, "two", "0010 fffc 0002"),
    ({"mask": "0x00FF0000", "type": "uint32"}, 0xAB, "0010 ff00 00ab"),
    ({"type": "uint8"}, 254, "0010 ff00 00fe"),
    ({"type": "int8"}, -2, "0010 ff00 00fe"),
    ({"type": "uint8", "byte": "high"}, 18, "0010 00ff 1200"),
    ({"type": "int8", "byte": "high", "byteOrder": "BADC"}, -128, "0010 ff00 0080"),
]


@pytest.mark.parametrize(("point", "value", "body"), MASKED)
def test_a_part_of_a_register_is_written_by_function_22(point: dict[str, Any], value: Any, body: str):
    found = writing(value, **point)
    assert (found.function, found.body.hex(), found.value) == (22, body.replace(" ", ""), value)
    assert found.part is not None  # for a device that does not know function 22


MERGED: list[tuple[dict[str, Any], Any, str, str, int, str]] = [
    ({"register": "holding:16.2"}, True, "auto", "1230", 6, "0010 1234"),
    ({"register": "holding:16.2"}, False, "auto", "1234", 6, "0010 1230"),
    ({"register": "holding:16.2"}, True, "single", "1230", 6, "0010 1234"),
    ({"register": "holding:16.2"}, True, "multiple", "1230", 16, "0010 0001 02 1234"),
    ({"type": "uint8", "byte": "high"}, 0xAB, "single", "1234", 6, "0010 ab34"),
    ({"mask": "0x0FF0"}, 0x5A, "multiple", "1234", 16, "0010 0001 02 15a4"),
    ({"mask": "0x00FFFF00", "type": "uint32"}, 0xABCD, "auto", "12345678", 16, "0010 0002 04 12abcd78"),
    (
        {"mask": "0x00FFFF00", "type": "uint32", "byteOrder": "CDAB"},
        0xABCD,
        "auto",
        "56781234",
        16,
        "0010 0002 04 cd7812ab",
    ),
]


@pytest.mark.parametrize(("point", "value", "how", "old", "function", "body"), MERGED)
def test_a_part_that_is_read_changed_and_written(
    point: dict[str, Any], value: Any, how: str, old: str, function: int, body: str
):
    found = writing(value, **point, writeFunction=how)
    assert found.part is not None
    one_register = len(old) == 4
    assert found.function == (22 if how == "auto" and one_register else 0)
    merged, frame = found.part.merge(bytes.fromhex(old))
    assert (merged, frame.hex()) == (function, body.replace(" ", ""))


def test_the_mask_that_the_modbus_specification_works_through():
    found = writing(0x5, mask="0x000D", shift=0)
    assert found.body.hex() == "0010fff20005"
    current, and_mask, or_mask = 0x12, 0xFFF2, 0x0005
    assert (current & and_mask) | (or_mask & ~and_mask) == 0x17


REFUSED: list[tuple[dict[str, Any], list[Any]]] = [
    ({"type": "int16"}, [32768, -32769, 1e9, "x", None, [1], {}, float("nan"), float("inf")]),
    ({"type": "uint16"}, [-1, 65536, -0.6, 65535.5]),
    ({"type": "int8"}, [128, -129]),
    ({"type": "uint8"}, [256, -1]),
    ({"type": "int32"}, [2**31, -(2**31) - 1]),
    ({"type": "uint32"}, [2**32, -1]),
    ({"type": "int48"}, [2**47, -(2**47) - 1]),
    ({"type": "uint48"}, [2**48, -1]),
    ({"type": "int64"}, [2**63, -(2**63) - 1, 1e300]),
    ({"type": "uint64"}, [2**64, -1, 10**400]),
    ({"type": "float16"}, [65520, -65520, 1e10, float("nan"), float("inf"), 10**400]),
    ({"type": "float32"}, [3.5e38, float("nan"), float("-inf"), 10**400]),
    ({"type": "float64"}, [float("nan"), float("inf"), 10**400]),
    ({"type": "bcd"}, [-1, 10000]),
    ({"type": "bcd", "count": 4}, [10**16]),
    ({"type": "mod10k"}, [-1, 10**8]),
    ({"type": "mod10k", "count": 4}, [10**16]),
    ({"type": "uint16", "scale": 0.1}, [-0.1, 6553.6]),
    ({"type": "int16", "min": -5, "max": 5}, [-6, 6]),
    ({"type": "int16", "scale": 0.1, "max": 0.3}, [0.4]),
    ({"type": "uint16", "noValue": "sunspec"}, [65535]),
    ({"type": "int16", "noValue": 65535}, [-1]),
    ({"type": "float32", "noValue": -9999}, [-9999]),
    ({"type": "uint16", "values": {"1": "on"}}, [2, "off", 0]),
    ({"mask": "0x0FF0"}, [256, -1]),
    ({"register": "holding:16.2"}, [2, "x", None]),
    ({"type": "string", "count": 2}, ["ABCDE", "ä", 5, None, True]),
    ({"type": "string", "count": 2, "encoding": "utf-16-le"}, ["abc"]),
    ({"type": "string", "count": 2, "noValue": "sunspec"}, [""]),
    ({"type": "unix_time"}, ["1969-12-31T23:59:59Z", "2106-02-07T06:28:16Z", "noon", 5, None, ""]),
    ({"type": "sunspec_time"}, ["1999-12-31T23:59:59Z", "2136-02-07T06:28:16Z"]),
    ({"type": "sunspec_time", "noValue": "sunspec"}, ["2136-02-07T06:28:15Z"]),
    ({"type": "s7_dt"}, ["1989-12-31T23:59:59Z", "2090-01-01T00:00:00Z", "2023-02-29T00:00:00Z"]),
    ({"type": "s7_dtl"}, ["x", "0000-01-01T00:00:00Z"]),
    ({"type": "int16", "length": 2}, [[1], [1, 2, 3], 1, "12", [1, None], [1, 40000], {"0": 1, "1": 2}]),
    ({"register": "coil:16", "length": 2}, [[True], [True, 2], True]),
]


@pytest.mark.parametrize(("point", "values"), REFUSED)
def test_what_does_not_fit_or_would_be_read_as_bad_is_refused(point: dict[str, Any], values: list[Any]):
    for value in values:
        with pytest.raises(Refusal) as refusal:
            writing(value, **point)
        assert refusal.value.field == "value"


def test_the_most_that_one_request_can_write():
    assert write([7] * 123, register="holding:0", type="uint16", length=123)[1] == "0000007bf6" + "0007" * 123
    assert write([1] * 1968, register="coil:0", length=1968)[1] == "000007b0f6" + "ff" * 246
    for value, point in (
        ([7] * 124, {"register": "holding:0", "type": "uint16", "length": 124}),
        ([1] * 1969, {"register": "coil:0", "length": 1969}),
    ):
        with pytest.raises(Refusal):
            write(value, **point)


TO_WRITE: list[tuple[str, Any, int, str]] = [
    ("speed", 21.3, 6, "000a00d5"),
    ("holding:10", 21.3, 6, "000a00d5"),
    ("holding:0x0A", 21.3, 6, "000a00d5"),
    ("holding:10:float32", 21.3, 16, "000a00020441aa6666"),
    ("holding:11", 213, 6, "000b00d5"),
    ("holding:11:int16", -1, 6, "000bffff"),
    ("holding:91.2", True, 22, "005bfffb0004"),
    ("coil:3", "on", 5, "0003ff00"),
    ("flag", True, 22, "0014feff0100"),
    ("holding:20.8", True, 22, "0014feff0100"),
]


@pytest.mark.parametrize(("register", "value", "function", "body"), TO_WRITE)
def test_what_a_write_names(register: str, value: Any, function: int, body: str):
    points = read_points(
        [
            {"name": "speed", "register": "holding:10", "type": "uint16", "scale": 0.1},
            {"name": "flag", "register": "holding:20.8"},
        ]
    )
    found = encode(point_to_write(points, register), value)
    assert (found.function, found.body.hex()) == (function, body)
