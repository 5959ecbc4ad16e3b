from fractions import Fraction
from typing import Any

import pytest

from actors.endpoints.protocols.modbus.points import DataPoint, Table, read_points
from actors.system.failure import Refusal


def point(**given: Any) -> DataPoint:
    return read_points([{"name": "p", **given}])[0]


def test_the_example_of_the_api_reference_is_understood():
    speed, temperature = read_points(
        [
            {"name": "conveyor_speed", "register": "holding:0", "type": "uint16", "scale": 0.1},
            {"name": "motor_temp", "register": "holding:1", "type": "int16", "scale": 0.1, "unit": "°C"},
        ]
    )
    assert (speed.name, speed.table, speed.address, speed.kind) == (
        "conveyor_speed",
        Table.holding,
        0,
        "uint16",
    )
    assert speed.scale == Fraction(1, 10)
    assert (temperature.kind, temperature.unit, temperature.address_text) == ("int16", "°C", "holding:1")


@pytest.mark.parametrize(
    ("given", "table", "address", "kind"),
    [
        ({"register": "holding:7:int32"}, Table.holding, 7, "int32"),
        ({"register": "input:0x1F:uint16"}, Table.input, 31, "uint16"),
        ({"register": "holding:65535:bool"}, Table.holding, 65535, "boolean"),
        ({"register": "coil:3"}, Table.coil, 3, "boolean"),
        ({"register": "discrete:3"}, Table.discrete, 3, "boolean"),
        ({"register": "holding:3"}, Table.holding, 3, "float32"),
        ({"register": "holding:3", "type": "bool"}, Table.holding, 3, "boolean"),
        ({"register": "holding:3", "type": "holding", "dataType": "uint16"}, Table.holding, 3, "uint16"),
        (
            {"register": "holding:3:uint16", "type": "uint16", "address": 3, "functionCode": 3},
            Table.holding,
            3,
            "uint16",
        ),
        ({"address": 4, "functionCode": 3, "dataType": "uint32"}, Table.holding, 4, "uint32"),
        ({"address": 4, "functionCode": 4}, Table.input, 4, "float32"),
        ({"address": 4, "functionCode": 1}, Table.coil, 4, "boolean"),
        ({"address": 4, "functionCode": 2}, Table.discrete, 4, "boolean"),
        ({"address": 4, "type": "input", "dataType": "int16"}, Table.input, 4, "int16"),
        ({"address": 4, "functionCode": 3, "type": "int16"}, Table.holding, 4, "int16"),
        ({"address": 4, "functionCode": 3, "type": "holding"}, Table.holding, 4, "float32"),
    ],
)
def test_both_spellings_of_location_and_type_are_understood(
    given: dict[str, Any], table: Table, address: int, kind: str
):
    read = point(**given)
    assert (read.table, read.address, read.kind) == (table, address, kind)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("uint8", 1),
        ("uint48", 3),
        ("float16", 1),
        ("s7_dt", 4),
        ("s7_dtl", 6),
        ("unix_time", 2),
        ("int16", 1),
        ("boolean", 1),
        ("float32", 2),
        ("uint32", 2),
        ("int64", 4),
        ("float64", 4),
    ],
)
def test_the_number_of_registers_follows_from_the_type(kind: str, count: int):
    assert point(register="holding:0", type=kind).count == count
    assert point(register="holding:0", type=kind, count=count).count == count


def test_a_string_takes_as_many_registers_as_it_says():
    text = point(register="holding:10:string", count=8, encoding="utf-8")
    assert (text.count, text.end, text.encoding) == (8, 18, "utf-8")


@pytest.mark.parametrize(
    ("given", "kind", "count"),
    [
        ({"type": "bcd"}, "bcd", 1),
        ({"type": "bcd", "count": 4}, "bcd", 4),
        ({"type": "mod10k"}, "mod10k", 2),
        ({"type": "mod10k", "count": 3}, "mod10k", 3),
        ({"bit": 3}, "boolean", 1),
        ({"bit": 31, "type": "uint32"}, "uint32", 2),
        ({"byte": "HIGH"}, "uint8", 1),
        ({"mask": 3}, "uint16", 1),
        ({"type": "uint32", "length": 5}, "uint32", 10),
        ({"type": "uint32", "length": 5, "count": 2}, "uint32", 10),
        ({"type": "uint32", "length": 5, "count": 10}, "uint32", 10),
        ({"type": "bcd", "length": 5, "count": 3}, "bcd", 15),
        ({"length": 62}, "float32", 124),
    ],
)
def test_type_and_registers_follow_from_the_options(given: dict[str, Any], kind: str, count: int):
    read = point(register="holding:0", **given)
    assert (read.kind, read.count) == (kind, count)


def test_a_list_of_coils_counts_coils():
    assert point(register="coil:5", length=2000).end == 2005


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"register": "holding:91.2"}, "holding:91.2"),
        ({"register": "holding:0x5B.02"}, "holding:91.2"),
        ({"register": "holding:91", "bit": 2}, "holding:91.2"),
        ({"register": "holding:91.2", "bit": 2}, "holding:91.2"),
        ({"register": "holding:91.20:uint32"}, "holding:91.20"),
        ({"address": 91, "functionCode": 3, "bit": 0}, "holding:91.0"),
        ({"register": "holding:91", "mask": 6}, "holding:91"),
        ({"register": "holding:91", "byte": "high"}, "holding:91"),
    ],
)
def test_the_address_of_a_bit_names_the_bit(given: dict[str, Any], text: str):
    assert point(**given).address_text == text


def test_points_without_options_share_theirs_and_so_do_equal_ones():
    plain, other, limited, same = read_points(
        [
            {"name": "a", "register": "holding:0"},
            {"name": "b", "register": "coil:0"},
            {"name": "c", "register": "holding:0", "max": 5, "values": None, "noValue": "nan"},
            {"name": "d", "register": "holding:2", "max": 5, "noValue": ["nan"]},
        ]
    )
    assert plain.extra is other.extra
    assert limited.extra is same.extra


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ({}, "ABCD"),
        ({"byteOrder": "cdab"}, "CDAB"),
        ({"endianness": "big"}, "ABCD"),
        ({"endianness": "little"}, "CDAB"),
        ({"endianness": "little", "byteOrder": "DCBA"}, "DCBA"),
        ({"type": "uint64", "byteOrder": "cdabghef"}, "CDABGHEF"),
        ({"type": "uint48", "byteOrder": "DCBAFE"}, "DCBAFE"),
        ({"type": "uint64", "byteOrder": "GHEFCDAB"}, "CDAB"),
        ({"type": "float64", "byteOrder": "ABCDEFGH"}, "ABCD"),
        ({"type": "bcd", "count": 3, "byteOrder": "BADCFE"}, "BADC"),
    ],
)
def test_byte_order_has_a_legacy_spelling(given: dict[str, Any], order: str):
    assert point(register="holding:0", **given).order == order


def test_whether_a_point_is_writable_may_be_left_open():
    assert point(register="holding:0").writable is None
    assert point(register="holding:0", writable=False).writable is False
    assert point(register="holding:0", noBatch=True).alone


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({}, "register"),
        ({"register": 7}, "register"),
        ({"register": "holding"}, "register"),
        ({"register": "holding:"}, "register"),
        ({"register": "holding:-1"}, "register"),
        ({"register": "holding:1_0"}, "register"),
        ({"register": "holding:0x"}, "register"),
        ({"register": "holding:65536"}, "register"),
        ({"register": "holding:1:uint16:2"}, "register"),
        ({"register": "holding:1:uint17"}, "register"),
        ({"register": "shelf:1"}, "register"),
        ({"register": "coil:1:uint16"}, "register"),
        ({"register": "holding:65535:float32"}, "register"),
        ({"register": "holding:1", "address": 2}, "address"),
        ({"register": "holding:1", "functionCode": 4}, "functionCode"),
        ({"register": "holding:1", "type": "input"}, "type"),
        ({"register": "holding:1:uint16", "type": "int16"}, "type"),
        ({"register": "holding:1", "type": "uint16", "dataType": "int16"}, "type"),
        ({"register": "holding:1", "type": "word"}, "type"),
        ({"register": "holding:1", "type": 3}, "type"),
        ({"register": "holding:1", "dataType": "word"}, "dataType"),
        ({"register": "coil:1", "dataType": "float32"}, "dataType"),
        ({"address": 1}, "functionCode"),
        ({"address": 1, "functionCode": 5}, "functionCode"),
        ({"address": 1, "functionCode": "3"}, "functionCode"),
        ({"address": 1, "functionCode": 3, "type": "input"}, "type"),
        ({"address": -1, "functionCode": 3}, "address"),
        ({"address": 65536, "functionCode": 3}, "address"),
        ({"address": True, "functionCode": 3}, "address"),
        ({"address": 65535, "functionCode": 3, "dataType": "int32"}, "address"),
        ({"register": "holding:1", "type": "int32", "count": 1}, "count"),
        ({"register": "holding:1", "type": "int16", "count": 2}, "count"),
        ({"register": "holding:1", "type": "string"}, "count"),
        ({"register": "holding:1", "type": "string", "count": 0}, "count"),
        ({"register": "holding:1", "type": "string", "count": 126}, "count"),
        ({"register": "holding:1:bcd", "count": 5}, "count"),
        ({"register": "holding:1:mod10k", "count": 1}, "count"),
        ({"register": "holding:1:uint16", "length": 2, "count": 3}, "count"),
        ({"register": "holding:1", "byteOrder": "ABDC"}, "byteOrder"),
        ({"register": "holding:1", "byteOrder": "AB"}, "byteOrder"),
        ({"register": "holding:1:uint64", "byteOrder": "ACBDEFGH"}, "byteOrder"),
        ({"register": "holding:1:uint64", "byteOrder": "BACDEFGH"}, "byteOrder"),
        ({"register": "holding:1:uint64", "byteOrder": "ABCDEF"}, "byteOrder"),
        ({"register": "holding:1:uint48", "byteOrder": "ABCDEFGH"}, "byteOrder"),
        ({"register": "holding:1:s7_dt", "byteOrder": "CDABGHEF"}, "byteOrder"),
        ({"register": "holding:1:string", "count": 4, "byteOrder": "CDABGHEF"}, "byteOrder"),
        ({"register": "holding:1", "endianness": "middle"}, "endianness"),
        ({"register": "holding:1", "scale": "0.1"}, "scale"),
        ({"register": "holding:1", "scale": 0}, "scale"),
        ({"register": "holding:1", "scale": True}, "scale"),
        ({"register": "holding:1", "offset": float("inf")}, "offset"),
        ({"register": "holding:1", "unit": 5}, "unit"),
        ({"register": "holding:1", "writable": "yes"}, "writable"),
        ({"register": "holding:1", "noBatch": 1}, "noBatch"),
        ({"register": "holding:1", "encoding": "klingon"}, "encoding"),
        ({"register": "holding:1", "encoding": "hex"}, "encoding"),
        ({"register": "holding:1", "encoding": 8}, "encoding"),
        ({"register": "holding:1", "encoding": "punycode"}, "encoding"),
        ({"register": "holding:1", "encoding": "unicode-escape"}, "encoding"),
        ({"register": "holding:1:string", "count": 2, "scale": 0.1}, "scale"),
        ({"register": "holding:1:unix_time", "offset": 1}, "offset"),
        ({"register": "holding:1:boolean", "scale": 2}, "scale"),
        ({"register": "holding:1.3", "offset": 2}, "offset"),
        ({"register": "holding:1:uint16", "values": {"1": "on"}, "scale": 2}, "scale"),
        ({"register": "holding:1.16"}, "register"),
        ({"register": "holding:1.a"}, "register"),
        ({"register": "holding:1."}, "register"),
        ({"register": "holding:1.2:float32"}, "register"),
        ({"register": "coil:1.2"}, "register"),
        ({"register": "holding:1.2", "bit": 3}, "bit"),
        ({"register": "holding:1", "bit": 16}, "bit"),
        ({"register": "holding:1", "bit": 64}, "bit"),
        ({"register": "holding:1", "bit": "2"}, "bit"),
        ({"register": "holding:1:float32", "bit": 2}, "bit"),
        ({"register": "holding:1:uint8", "bit": 2}, "bit"),
        ({"register": "holding:1:bcd", "bit": 2}, "bit"),
        ({"register": "coil:1", "bit": 0}, "bit"),
        ({"register": "holding:1", "bit": 1, "mask": 3}, "mask"),
        ({"register": "holding:1", "byte": "middle"}, "byte"),
        ({"register": "holding:1:uint16", "byte": "low"}, "byte"),
        ({"register": "holding:1:string", "count": 1, "mask": 3}, "mask"),
        ({"register": "holding:1:uint16", "mask": 0}, "mask"),
        ({"register": "holding:1:uint16", "mask": -1}, "mask"),
        ({"register": "holding:1:uint16", "mask": 65536}, "mask"),
        ({"register": "holding:1:uint16", "mask": "15"}, "mask"),
        ({"register": "holding:1:uint16", "mask": "0x"}, "mask"),
        ({"register": "holding:1:boolean", "mask": 3}, "mask"),
        ({"register": "holding:1:uint16", "mask": 8, "shift": 4}, "shift"),
        ({"register": "holding:1:uint16", "shift": 4}, "shift"),
        ({"register": "holding:1:uint16", "length": 0}, "length"),
        ({"register": "holding:1:uint16", "length": 126}, "length"),
        ({"register": "holding:1:uint32", "length": 63}, "length"),
        ({"register": "holding:65534:uint16", "length": 3}, "register"),
        ({"register": "coil:1", "length": 2001}, "length"),
        ({"register": "holding:1:string", "count": 2, "length": 2}, "length"),
        ({"register": "holding:1:uint8", "length": 2}, "length"),
        ({"register": "holding:1", "bit": 1, "length": 2}, "length"),
        ({"register": "holding:1", "mask": 1, "length": 2}, "length"),
        ({"register": "holding:1", "values": {"1": "on"}}, "values"),
        ({"register": "holding:1:string", "count": 1, "values": {"1": "on"}}, "values"),
        ({"register": "holding:1:uint16", "values": {}}, "values"),
        ({"register": "holding:1:uint16", "values": ["on"]}, "values"),
        ({"register": "holding:1:uint16", "values": {"one": "on"}}, "values"),
        ({"register": "holding:1:uint16", "values": {"1.5": "on"}}, "values"),
        ({"register": "holding:1:uint16", "values": {"1": ""}}, "values"),
        ({"register": "holding:1:uint16", "values": {"1": "\ud800"}}, "values"),
        ({"register": "holding:1:uint16", "values": {"65536": "on"}}, "values"),
        ({"register": "holding:1:uint16", "values": {"1": "on", "0x1": "off"}}, "values"),
        ({"register": "holding:1:uint16", "values": {"1": "on", "2": "on"}}, "values"),
        ({"register": "holding:1", "mask": 3, "values": {"4": "on"}}, "values"),
        ({"register": "holding:1", "bit": 3, "values": {"2": "on"}}, "values"),
        ({"register": "holding:1", "min": 2, "max": 1}, "min"),
        ({"register": "holding:1", "min": "2"}, "min"),
        ({"register": "holding:1:string", "count": 1, "max": 1}, "max"),
        ({"register": "holding:1:boolean", "max": 1}, "max"),
        ({"register": "holding:1", "bit": 1, "max": 1, "type": "uint16"}, "max"),
        ({"register": "holding:1:uint16", "values": {"1": "on"}, "min": 0}, "min"),
        ({"register": "coil:1", "noValue": 1}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": 65536}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": -32769}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": 1.5}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": "none"}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": "nan"}, "noValue"),
        ({"register": "holding:1:uint16", "noValue": True}, "noValue"),
        ({"register": "holding:1:bcd", "noValue": "sunspec"}, "noValue"),
        ({"register": "holding:1:string", "count": 1, "noValue": 0}, "noValue"),
        ({"register": "holding:1", "noValue": 1e39}, "noValue"),
        ({"register": "holding:1", "noValue": "0x1ffffffff"}, "noValue"),
        ({"register": "holding:1", "writeFunction": "both"}, "writeFunction"),
        ({"register": "holding:1", "writeFunction": "single"}, "writeFunction"),
        ({"register": "coil:1", "writeFunction": "single", "length": 2}, "writeFunction"),
    ],
)
def test_a_bad_data_point_is_refused_naming_the_field(given: dict[str, Any], key: str):
    good = {"name": "good", "register": "holding:0"}
    with pytest.raises(Refusal) as refusal:
        read_points([good, good | {"name": "other"}, {"name": "bad", **given}])
    assert refusal.value.field == f"data_points[2].{key}"
    assert refusal.value.kind == "invalid"


def test_a_name_used_twice_is_refused():
    with pytest.raises(Refusal, match="twice") as refusal:
        read_points([{"name": "a", "register": "holding:0"}, {"name": "a", "register": "holding:2"}])
    assert refusal.value.field == "data_points[1].name"


def test_a_data_point_that_is_no_object_is_refused():
    with pytest.raises(Refusal) as refusal:
        read_points(["holding:0"])  # type: ignore[list-item]
    assert refusal.value.field == "data_points[0]"
