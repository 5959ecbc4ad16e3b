from typing import Any

import pytest

from actors.endpoints.protocols.modbus.points import DataPoint, read_points
from actors.endpoints.protocols.modbus.writable import point_to_write
from actors.system.failure import Refusal

POINTS = read_points(
    [
        {"name": "speed", "register": "holding:0:uint16", "scale": 0.1},
        {"name": "level", "register": "input:0:uint16"},
        {"name": "door", "register": "coil:0"},
        {"name": "serial", "register": "holding:10:uint32", "writable": False},
        {"name": "open", "register": "holding:20.1"},
        {"name": "locked", "register": "holding:20.2", "writable": False},
        {"name": "mode", "register": "holding:21", "mask": 7},
        {"name": "gear", "register": "holding:22", "byte": "high"},
        {"name": "lamp", "register": "holding:22", "byte": "low", "writable": False},
        {"name": "table", "register": "holding:30:int16", "length": 4},
        # Bit 1 of its first register.
        {"name": "far", "register": "holding:41.17:uint32", "writable": False},
        {"name": "coil:7", "register": "holding:50:uint16"},
    ]
)


def found(register: str) -> DataPoint:
    return point_to_write(POINTS, register)


@pytest.mark.parametrize(
    ("register", "name"),
    [
        ("speed", "speed"),
        ("holding:0", "speed"),
        ("HOLDING:0x0", "speed"),
        ("holding:0:uint16", "speed"),
        ("coil:0", "door"),
        ("holding:20.1", "open"),
        ("holding:20.1:boolean", "open"),
        ("holding:21", "mode"),
        ("gear", "gear"),
        ("holding:30", "table"),
        ("coil:7", "coil:7"),
    ],
)
def test_a_point_is_found_by_name_or_address(register: str, name: str):
    assert found(register).name == name


@pytest.mark.parametrize(
    ("register", "kind", "count", "bit"),
    [
        ("holding:5", "uint16", 1, None),
        ("holding:0:int16", "int16", 1, None),
        ("holding:60:float32", "float32", 2, None),
        ("holding:60:bcd", "bcd", 1, None),
        ("holding:0.3", "boolean", 1, 3),
        ("holding:20.3", "boolean", 1, 3),
        ("holding:41.16:uint32", "uint32", 2, 16),
        ("holding:42.2", "boolean", 1, 2),
        ("coil:9", "boolean", 1, None),
    ],
)
def test_an_address_needs_no_data_point(register: str, kind: str, count: int, bit: int | None):
    point = found(register)
    assert (point.name, point.kind, point.count, point.extra.bit) == (register, kind, count, bit)


@pytest.mark.parametrize(
    "register",
    [
        "level",
        "input:0",
        "discrete:3",
        "serial",
        "holding:10",
        "holding:11",
        "holding:9:uint32",
        "locked",
        "holding:20.2",
        "holding:20",
        "lamp",
        "holding:41",
        "holding:41.1:uint16",
    ],
)
def test_what_cannot_be_written_is_refused(register: str):
    with pytest.raises(Refusal) as refusal:
        found(register)
    assert (refusal.value.field, refusal.value.kind) == ("register", "read_only")


@pytest.mark.parametrize(
    "register", ["pressure", "holding:", "holding:70000", "coil:1.2", "", "holding:1:word"]
)
def test_what_is_neither_name_nor_address_is_not_found(register: str):
    with pytest.raises(Refusal) as refusal:
        found(register)
    assert (refusal.value.field, refusal.value.kind) == ("register", "not_found")


@pytest.mark.parametrize(
    "register",
    ["holding:5:string", "holding:65535:uint32", "holding:5.16", "holding:5.1:float32", "holding:22"],
)
def test_an_address_that_says_too_little_or_too_much_is_refused(register: str):
    with pytest.raises(Refusal) as refusal:
        found(register)
    assert (refusal.value.field, refusal.value.kind) == ("register", "invalid")


def test_the_write_of_an_endpoint_without_points_is_checked_too():
    given: list[dict[str, Any]] = []
    assert point_to_write(read_points(given), "holding:3").address == 3
