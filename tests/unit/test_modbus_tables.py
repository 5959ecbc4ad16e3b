"""What bytes on the wire mean: tables made by hand, with `struct` and from other products' figures."""

import struct
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from modbus_bytes import expect, read, write

Rows = list[tuple[dict[str, Any], str, Any]]
"""A point's options, the reply in hex and the value, which is GOOD."""


LETTERS = "ABCDEFGH"
NAMED = {
    "ABCD": ("AB", "ABCD", "ABCDEF", "ABCDEFGH"),
    "CDAB": ("AB", "CDAB", "EFCDAB", "GHEFCDAB"),
    "BADC": ("BA", "BADC", "BADCFE", "BADCFEHG"),
    "DCBA": ("BA", "DCBA", "FEDCBA", "HGFEDCBA"),
}
"""The four orders, of 2, 4, 6 and 8 bytes: letter by letter as they come on the wire."""


def orders_of(size: int) -> dict[str, str]:
    """The letters on the wire by the name of every order that goes with values of `size` bytes."""
    orders = {name: letters[size // 2 - 1] for name, letters in NAMED.items()}
    if size > 4:
        registers = [LETTERS[at : at + 2] for at in range(0, size, 2)]
        swapped = [register[::-1] for register in registers]
        orders |= {
            "".join(each): "".join(each) for pairs in (registers, swapped) for each in permutations(pairs)
        }
    return orders


def test_there_are_12_orders_of_six_bytes_and_48_of_eight_in_letters():
    assert [len(orders_of(size)) for size in (2, 4, 6, 8)] == [4, 4, 4 + 12, 4 + 48]


def packed(form: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(">" + form, value)


def integer(size: int, signed: bool) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(size, "big", signed=signed)


def digits(registers: int) -> Callable[[int], bytes]:
    return lambda value: bytes.fromhex(f"{value:0{4 * registers}d}")


def base_10000(registers: int) -> Callable[[int], bytes]:
    def data(value: int) -> bytes:
        text = f"{value:0{4 * registers}d}"
        return b"".join(struct.pack(">H", int(text[at : at + 4])) for at in range(0, len(text), 4))

    return data


TYPES: list[tuple[str, int | None, Callable[[Any], bytes], list[Any]]] = [
    ("int16", None, packed("h"), [0, 1, -1, 258, -257, 32767, -32768]),
    ("uint16", None, packed("H"), [0, 1, 258, 65534, 65535]),
    ("boolean", None, packed("H"), [True, False]),
    ("int32", None, packed("i"), [0, -1, 16909060, -16909061, 2**31 - 1, -(2**31)]),
    ("uint32", None, packed("I"), [0, 1, 16909060, 2**32 - 1]),
    ("int48", None, integer(6, True), [0, -1, 0x010203040506, -0x010203040507, 2**47 - 1, -(2**47)]),
    ("uint48", None, integer(6, False), [0, 1, 0x010203040506, 2**48 - 1]),
    ("int64", None, packed("q"), [0, -1, 0x0102030405060708, -(2**53) - 1, 2**63 - 1, -(2**63)]),
    ("uint64", None, packed("Q"), [0, 1, 0x0102030405060708, 2**53 + 1, 2**64 - 1]),
    ("float16", None, packed("e"), [0.0, 1.0, -2.5, 2050.0, 32832.0, 65504.0, -65504.0]),
    ("float32", None, packed("f"), [0.0, 21.3, -0.1, 47920248.0, 1.1754944e-38, -16777216.0]),
    ("float64", None, packed("d"), [0.0, 21.3, -0.1, 5e-324, 1.7976931348623157e308]),
    ("bcd", 1, digits(1), [0, 1, 1234, 9999]),
    ("bcd", 2, digits(2), [0, 1, 12345678, 99999999]),
    ("bcd", 3, digits(3), [0, 1, 123456789012, 999999999999]),
    ("bcd", 4, digits(4), [0, 1, 1234567890123456, 9999999999999999]),
    ("mod10k", 2, base_10000(2), [0, 1, 1230456, 99999999]),
    ("mod10k", 3, base_10000(3), [0, 1, 123045600789, 999999999999]),
    ("mod10k", 4, base_10000(4), [0, 1, 1230045678901234, 9999999999999999]),
]


@pytest.mark.parametrize(("kind", "count", "data", "values"), TYPES, ids=[f"{t[0]}-{t[1]}" for t in TYPES])
def test_every_number_in_every_order_is_read_and_written(
    kind: str, count: int | None, data: Callable[[Any], bytes], values: list[Any]
):
    for name, letters in orders_of(len(data(values[0]))).items():
        point: dict[str, Any] = {"register": "holding:16", "type": kind, "byteOrder": name}
        if count is not None:
            point["count"] = count
        for value in values:
            wire = bytes(data(value)[LETTERS.index(letter)] for letter in letters)
            expect(point, wire, value)
            registers = len(wire) // 2
            body = f"0010{registers:04x}{2 * registers:02x}" if registers > 1 else "0010"
            assert write(value, **point) == (16 if registers > 1 else 6, body + wire.hex(), value)


BY_HAND: list[tuple[str, str, str, Any]] = [
    ("int16 uint16", "ABCD CDAB", "0102", 258),
    ("int16 uint16", "BADC DCBA", "0102", 513),
    ("int32 uint32", "ABCD", "01020304", 16909060),
    ("int32 uint32", "CDAB", "01020304", 50594050),
    ("int32 uint32", "BADC", "01020304", 33620995),
    ("int32 uint32", "DCBA", "01020304", 67305985),
    ("int48 uint48", "ABCD ABCDEF", "010203040506", 0x010203040506),
    ("int48 uint48", "CDAB EFCDAB", "010203040506", 0x050603040102),
    ("int48 uint48", "BADC BADCFE", "010203040506", 0x020104030605),
    ("int48 uint48", "DCBA FEDCBA", "010203040506", 0x060504030201),
    ("int48 uint48", "CDABEF", "010203040506", 0x030401020506),
    ("int48 uint48", "CDEFAB", "010203040506", 0x050601020304),
    ("int48 uint48", "DCFEBA", "010203040506", 0x060502010403),
    ("int64 uint64", "ABCD ABCDEFGH", "0102030405060708", 72623859790382856),
    ("int64 uint64", "CDAB GHEFCDAB", "0102030405060708", 0x0708050603040102),
    ("int64 uint64", "BADC BADCFEHG", "0102030405060708", 0x0201040306050807),
    ("int64 uint64", "DCBA HGFEDCBA", "0102030405060708", 578437695752307201),
    ("int64 uint64", "CDABGHEF", "0304010207080506", 0x0102030405060708),
    ("int64 uint64", "EFGHABCD", "0506070801020304", 0x0102030405060708),
    ("int64 uint64", "FEHGBADC", "0605080702010403", 0x0102030405060708),
    ("int64 uint64", "CDEFGHAB", "0304050607080102", 0x0102030405060708),
    ("int64", "CDAB", "fffeffffffffffff", -2),
    ("float32", "CDAB", "666641aa", 21.3),
    ("float32", "BADC", "aa416666", 21.3),
    ("float64", "EFGHABCD", "1a9fbe77405edd2f", 123.456),
    ("float16", "ABCD CDAB", "4d52", 21.28),
    ("float16", "BADC DCBA", "524d", 21.28),
    ("boolean", "ABCD CDAB BADC DCBA", "0100", True),
    ("bcd", "BADC DCBA", "3412", 1234),
    ("int8 uint8", "ABCD CDAB", "1234", 0x34),
    ("int8 uint8", "BADC DCBA", "1234", 0x12),
    ("unix_time", "ABCD", "663235c8", "2024-05-01T12:30:00Z"),
    ("unix_time", "CDAB", "35c86632", "2024-05-01T12:30:00Z"),
    ("unix_time", "BADC", "3266c835", "2024-05-01T12:30:00Z"),
    ("sunspec_time", "DCBA", "48f2c42d", "2024-05-01T12:30:00Z"),
    ("s7_dt", "ABCD CDAB", "2405011230002504", "2024-05-01T12:30:00.250Z"),
    ("s7_dt", "BADC DCBA", "0524120100300425", "2024-05-01T12:30:00.250Z"),
    ("s7_dtl", "BADC DCBA", "e80701050c04001ee60e80b2", "2024-05-01T12:30:00.250Z"),
]


@pytest.mark.parametrize(("kinds", "orders", "reply", "value"), BY_HAND)
def test_bytes_that_differ_in_every_order_worked_out_by_hand(kinds: str, orders: str, reply: str, value: Any):
    for kind in kinds.split():
        for order in orders.split():
            expect({"type": kind, "byteOrder": order}, reply, value)


def u(kind: str, order: str = "ABCD", **more: Any) -> dict[str, Any]:
    return {"type": kind, "byteOrder": order, **more}


TELEGRAF: Rows = [
    (u("uint8"), "180d", 13),
    (u("uint8", byte="high"), "180d", 24),
    (u("int8"), "988d", -115),
    (u("int8", byte="high"), "988d", -104),
    ({"register": "holding:5.3"}, "180d", True),
    ({"register": "holding:5.14"}, "180d", False),
    (u("uint16"), "abcd", 43981),
    (u("uint16", "DCBA"), "abcd", 52651),
    (u("int16"), "abcd", -21555),
    (u("int16", "DCBA"), "abcd", -12885),
    (u("int16", scale=0.1), "ffd6", -4.2),
    (u("uint16", "DCBA", scale=0.1), "d8ff", 6549.6),
    (u("int32", scale=0.1), "ffffffd6", -4.2),
    (u("uint32", "DCBA", scale=0.001), "d8ffffff", 4294967.256),
    (u("int64", scale=0.000001), "ffffffffffffffd6", -0.000042),
    (u("uint64", "HGFEDCBA", scale=1e-9), "8899aabbccddeeff", 18441921395.520346504),
    (u("int32", scale=10), "0000abcd", 439810),
    (u("int64", scale=10), "000001000000abcd", 10995116717570),
    (u("int32"), "aabbccdd", -1430532899),
    (u("int32", "DCBA"), "aabbccdd", -573785174),
    (u("int32", "BADC"), "aabbccdd", -1146430004),
    (u("int32", "CDAB"), "aabbccdd", -857888069),
    (u("uint32", "DCBA"), "aabbccdd", 3721182122),
    (u("uint32", "BADC"), "aabbccdd", 3148537292),
    (u("uint32", "CDAB"), "aabbccdd", 3437079227),
    (u("float32"), "aabbccdd", -3.3360025e-13),
    (u("float32", scale=10), "aabbccdd", -3.3360025e-12),
    (u("int64", "HGFEDCBA"), "84f645f9bcfeffff", -1387387292028),
    (u("int64", "BADCFEHG"), "ffffbcfe45f984f6", -1387387292028),
    (u("int64", "GHEFCDAB"), "f684f945febcffff", -1387387292028),
    (u("uint64", "GHEFCDAB"), "f684f945febcffff", 18446742686322259588),
    (u("float64"), "bf9c6a40c3478f55", -0.02774907295123737),
    (u("float64", scale=0.1), "bf9c6a40c3478f55", -0.002774907295123737),
    (u("float64", "BADCFEHG"), "9cbf406a47c3558f", -0.02774907295123737),
    (u("float64", "GHEFCDAB"), "8f55c3476a40bf9c", -0.02774907295123737),
    (u("string", count=7), "4d6f6462757320537472696e6700", "Modbus String"),
    (u("string", "DCBA", count=7), "6f4d62647375532072746e690067", "Modbus String"),
]
HOME_ASSISTANT: Rows = [
    (u("int16", "BADC"), "0201", 0x0102),
    (u("int32", "BADC"), "01020304", 0x02010403),
    (u("int32", "CDAB"), "01020304", 0x03040102),
    (u("int32", "DCBA"), "01020304", 0x04030201),
    (u("uint64", "CDAB"), "0102030405060708", 0x0708050603040102),
    (u("uint16", "BADC", length=4), "0102030405060708", [0x0201, 0x0403, 0x0605, 0x0807]),
    (u("uint32", "CDAB", length=2), "0102030405060708", [0x03040102, 0x07080506]),
    (
        u("uint64", "CDAB", length=2),
        "01020304050607080901090209030904",
        [0x0708050603040102, 0x0904090309020901],
    ),
    (u("string", count=8), "30372d30352d323032302031343a3335", "07-05-2020 14:35"),
]
PYMODBUS: Rows = [
    (u("int16", length=2), "960d69f3", [-27123, 27123]),
    (u("uint32", "CDAB", length=2), "69f30000810e01ea", [27123, 32145678]),
    (u("int32"), "fe157ef2", -32145678),
    (u("uint64"), "112210f47de98115", 1234567890123456789),
    (u("int64", "CDAB"), "7eeb8216ef0beedd", -1234567890123456789),
    (u("float32", length=3), "46d3e70040490fd8c0490fd8", [27123.5, 3.141592, -3.141592]),
    (u("float64"), "400921fb54442d11", 3.14159265358979),
    (u("string", count=3, encoding="utf-8"), "61626364c387", "abcdÇ"),
    (u("string", count=3, encoding="cp437"), "616263648000", "abcdÇ"),
]
OTHERS: Rows = [
    # libmodbus: 123456.0 in each of its four float functions
    (u("float32"), "47f12000", 123456.0),
    (u("float32", "DCBA"), "0020f147", 123456.0),
    (u("float32", "BADC"), "f1470020", 123456.0),
    (u("float32", "CDAB"), "200047f1", 123456.0),
    # AVEVA's S7 driver
    (u("s7_dt"), "9912130706058880", "1999-12-13T07:06:05.888Z"),
    # IEEE 754: the smallest subnormal, the largest and the smallest normal, a third, 1 plus one step
    (u("float16"), "0001", 5.96e-08),
    (u("float16"), "7bff", 65504.0),
    (u("float16"), "0400", 6.104e-05),
    (u("float16"), "3555", 0.3333),
    (u("float16"), "3c01", 1.001),
    (u("float32"), "3eaaaaab", 0.33333334),
    (u("float32"), "3f800001", 1.0000001),
    (u("float32"), "00800000", 1.1754944e-38),
    (u("float32"), "3dcccccd", 0.1),
    (u("float64"), "3ff0000000000001", 1.0000000000000002),
    (u("float64"), "000fffffffffffff", 2.225073858507201e-308),
]


@pytest.mark.parametrize(("point", "reply", "value"), TELEGRAF + HOME_ASSISTANT + PYMODBUS + OTHERS)
def test_figures_that_others_publish(point: dict[str, Any], reply: str, value: Any):
    expect(point, reply, value)


WHOLE: Rows = [
    (u("float32"), "4c36cd1e", 47920248.0),
    (u("float32", "CDAB"), "cd1e4c36", 47920248.0),
    (u("float32"), "4b800001", 16777218.0),
    (u("float32"), "cb800001", -16777218.0),
    (u("float32"), "51ba43b7", 99999997952.0),
    (u("float32"), "60ad78ec", 100000002004087734272.0),
    (u("float32"), "7f7fffff", float(2**128 - 2**104)),
    (u("float32"), "ff7fffff", -float(2**128 - 2**104)),
    (u("float32", scale=10), "53000001", 5497558794240.0),
    (u("float32", offset=1), "53000001", 549755879425.0),
    (u("float32", scale=0.1), "4c36cd1e", 4792024.8),
    (u("float32", offset=2), "4c36cd1e", 47920250.0),
    (u("float32", length=2), "4c36cd1e41aa6666", [47920248.0, 21.3]),
    (u("float32", noValue=0), "4c36cd1e", 47920248.0),
    (u("float32", min=47920248, max=47920248), "4c36cd1e", 47920248.0),
    (u("float16"), "6801", 2050.0),
    (u("float16"), "7802", 32832.0),
    (u("float16"), "7bfe", 65472.0),
    (u("float16"), "fbfe", -65472.0),
    (u("float16", scale=0.5), "7802", 16416.0),
    (u("float32"), "41aa6666", 21.3),
    (u("float32", scale=10), "41aa6666", 213.0),
    (u("float32", scale=0.1, offset=-5), "41aa6666", -2.87),
    (u("float16"), "4d53", 21.3),
]


@pytest.mark.parametrize(("point", "reply", "value"), WHOLE)
def test_floats_that_are_whole_numbers_are_exact_and_others_the_shortest_decimal(
    point: dict[str, Any], reply: str, value: Any
):
    got = read(reply, **point)
    assert got == (value, None)


TEXTS: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({}, "50554d5020310058", "PUMP 1", None),
    ({}, "50554d5020312020", "PUMP 1", None),
    ({}, "20554d5020312000", " UMP 1", None),
    ({}, "0000000000000000", "", None),
    ({}, "2020202020202020", "", None),
    ({}, "00554d5020310058", "", None),
    ({}, "4100ffffffffffff", "A", None),
    ({}, "4142e44400000000", "AB\ufffdD", "UNDECODABLE"),
    ({"byteOrder": "BADC"}, "5550504d31205800", "PUMP 1", None),
    ({"byteOrder": "DCBA"}, "5550504d31205800", "PUMP 1", None),
    ({"byteOrder": "CDAB"}, "50554d5020310058", "PUMP 1", None),
    ({"endianness": "little"}, "50554d5020310058", "PUMP 1", None),
    ({"encoding": "latin-1"}, "4be46c746520b043", "Kälte °C", None),
    ({"encoding": "latin-1", "byteOrder": "BADC"}, "e44b746c206543b0", "Kälte °C", None),
    ({"encoding": "utf-8"}, "4bc3a46c74650000", "Kälte", None),
    ({"encoding": "utf-8"}, "414243444546e282", "ABCDEF\ufffd", "UNDECODABLE"),
    ({"encoding": "utf-16-le"}, "4b00e4006c000000", "Käl", None),
    ({"encoding": "utf-16-le"}, "00010002ac200000", "\u0100\u0200€", None),
    ({"encoding": "utf-16-le"}, "4100000042004300", "A", None),
    ({"encoding": "utf-16-le", "byteOrder": "BADC"}, "004b00e4006c0000", "Käl", None),
    ({"encoding": "utf-16-be"}, "004b00e420ac0020", "Kä€", None),
]


@pytest.mark.parametrize(("given", "reply", "value", "code"), TEXTS)
def test_texts(given: dict[str, Any], reply: str, value: str, code: str | None):
    expect({"type": "string", "count": 4, **given}, reply, value, code)


TIMES: list[tuple[str, str, str | None]] = [
    ("unix_time", "00000000", "1970-01-01T00:00:00Z"),
    ("unix_time", "65e11a7f", "2024-02-29T23:59:59Z"),
    ("unix_time", "80000000", "2038-01-19T03:14:08Z"),
    ("unix_time", "ffffffff", "2106-02-07T06:28:15Z"),
    ("sunspec_time", "00000000", "2000-01-01T00:00:00Z"),
    ("sunspec_time", "2d73d6ff", "2024-02-29T23:59:59Z"),
    ("sunspec_time", "ffffffff", "2136-02-07T06:28:15Z"),
    ("s7_dt", "9001010000000002", "1990-01-01T00:00:00Z"),
    ("s7_dt", "8912312359599997", "2089-12-31T23:59:59.999Z"),
    ("s7_dt", "0001010000000017", "2000-01-01T00:00:00.001Z"),
    ("s7_dt", "240229120000000f", "2024-02-29T12:00:00Z"),
    ("s7_dt", "2302291200000004", None),
    ("s7_dt", "2400011200000004", None),
    ("s7_dt", "2413011200000004", None),
    ("s7_dt", "2401001200000004", None),
    ("s7_dt", "2401012400000004", None),
    ("s7_dt", "2401011260000004", None),
    ("s7_dt", "2401011200600004", None),
    ("s7_dt", "24010112000000a4", None),
    ("s7_dt", "a401011200000004", None),
    ("s7_dt", "240a011200000004", None),
    ("s7_dt", "0000000000000000", None),
    ("s7_dt", "ffffffffffffffff", None),
    ("s7_dtl", "07b201010500000000000000", "1970-01-01T00:00:00Z"),
    ("s7_dtl", "07e80501040c1e0000000001", "2024-05-01T12:30:00.000000001Z"),
    ("s7_dtl", "07e80501040c1e003b9ac9ff", "2024-05-01T12:30:00.999999999Z"),
    ("s7_dtl", "07e80501040c1e00000f4240", "2024-05-01T12:30:00.001Z"),
    ("s7_dtl", "07e80501ff0c1e0000000000", "2024-05-01T12:30:00Z"),
    ("s7_dtl", "07e80501040c1e003b9aca00", None),
    ("s7_dtl", "07e7021d040c1e0000000000", None),
    ("s7_dtl", "07e80d01040c1e0000000000", None),
    ("s7_dtl", "07e8050104181e0000000000", None),
    ("s7_dtl", "07e80501040c3c0000000000", None),
    ("s7_dtl", "07e80501040c1e3c00000000", None),
    ("s7_dtl", "00000501040c1e0000000000", None),
    ("s7_dtl", "27100501040c1e0000000000", None),
    ("s7_dtl", "ffffffffffffffffffffffff", None),
]


@pytest.mark.parametrize(("kind", "reply", "value"), TIMES)
def test_times_and_what_is_none(kind: str, reply: str, value: str | None):
    expect({"type": kind}, reply, value, None if value else "READ_ERROR")
