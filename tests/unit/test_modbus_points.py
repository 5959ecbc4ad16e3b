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
    [("int16", 1), ("boolean", 1), ("float32", 2), ("uint32", 2), ("int64", 4), ("float64", 4)],
)
def test_the_number_of_registers_follows_from_the_type(kind: str, count: int):
    assert point(register="holding:0", type=kind).count == count
    assert point(register="holding:0", type=kind, count=count).count == count


def test_a_string_takes_as_many_registers_as_it_says():
    text = point(register="holding:10:string", count=8, encoding="utf-8")
    assert (text.count, text.end, text.encoding) == (8, 18, "utf-8")


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ({}, "ABCD"),
        ({"byteOrder": "cdab"}, "CDAB"),
        ({"endianness": "big"}, "ABCD"),
        ({"endianness": "little"}, "CDAB"),
        ({"endianness": "little", "byteOrder": "DCBA"}, "DCBA"),
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
        ({"register": "holding:1", "byteOrder": "ABDC"}, "byteOrder"),
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
