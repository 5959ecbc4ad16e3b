from typing import Any

import pytest

from actors.endpoints.protocols.modbus.encode import encode
from actors.endpoints.protocols.modbus.points import read_points
from actors.system.failure import Refusal


def write(value: Any, **point: Any) -> tuple[int, str, Any]:
    """Function code, body in hex and the value afterwards."""
    [checked] = read_points([{"name": "p", **point}])
    writing = encode(checked, value)
    return writing.function, writing.body.hex(), writing.value


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "1", "on", "ON", " yes "])
def test_a_coil_is_switched_on_by_function_5(value: Any):
    assert write(value, register="coil:10") == (5, "000aff00", True)


@pytest.mark.parametrize("value", [False, 0, "false", "0", "off", "no"])
def test_a_coil_is_switched_off_by_function_5(value: Any):
    assert write(value, register="coil:10") == (5, "000a0000", False)


@pytest.mark.parametrize("value", ["maybe", 2, -1, 0.5, None, [], ""])
@pytest.mark.parametrize("register", ["coil:0", "holding:0:boolean"])
def test_what_is_no_boolean_is_refused(value: Any, register: str):
    with pytest.raises(Refusal, match="Invalid boolean") as refusal:
        write(value, register=register)
    assert refusal.value.field == "value"


def test_a_boolean_may_live_in_a_holding_register():
    assert write("on", register="holding:1:boolean") == (6, "00010001", True)


@pytest.mark.parametrize(
    ("kind", "value", "body"),
    [
        ("uint16", 1500, "000a05dc"),
        ("uint16", "1500", "000a05dc"),
        ("uint16", 65535, "000affff"),
        ("int16", -1, "000affff"),
        ("int16", -32768, "000a8000"),
    ],
)
def test_one_register_is_written_by_function_6(kind: str, value: Any, body: str):
    function, written, after = write(value, register="holding:10", type=kind)
    assert (function, written) == (6, body)
    assert after == int(value)


@pytest.mark.parametrize(
    ("kind", "value", "body"),
    [
        ("uint32", 0x12345678, "000a00020412345678"),
        ("int32", -2, "000a000204fffffffe"),
        ("float32", 123.456, "000a00020442f6e979"),
        ("uint64", 2**64 - 1, "000a000408" + "ff" * 8),
        ("float64", 1.5, "000a0004083ff8000000000000"),
    ],
)
def test_several_registers_are_written_by_function_16(kind: str, value: Any, body: str):
    assert write(value, register="holding:10", type=kind) == (16, body, value)


@pytest.mark.parametrize(
    ("order", "registers"),
    [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")],
)
def test_values_are_written_in_the_point_s_byte_order(order: str, registers: str):
    _, body, after = write(0x12345678, register="holding:0:uint32", byteOrder=order)
    assert body == "0000000204" + registers
    assert after == 0x12345678


@pytest.mark.parametrize(
    ("value", "scale", "offset", "raw", "after"),
    [
        (21.3, 0.1, 0, 213, 21.3),
        (0.3, 0.1, 0, 3, 0.3),
        (12.34, 0.1, 0, 123, 12.3),
        (0.15, 0.1, 0, 2, 0.2),
        (30, 0.1, -40, 700, 30),
        (2.5, 1, 0, 3, 3),
        (1e3, 10, 0, 100, 1000),
    ],
)
def test_the_raw_value_is_unscaled_and_rounded(
    value: float, scale: float, offset: float, raw: int, after: float
):
    _, body, written = write(value, register="holding:0:uint16", scale=scale, offset=offset)
    assert body == f"0000{raw:04x}"
    assert written == after


def test_negative_halves_round_away_from_zero():
    assert write(-2.5, register="holding:0:int16") == (6, "0000fffd", -3)


def test_a_text_is_filled_up_with_nul():
    assert write("PUMP1", register="holding:4:string", count=4) == (
        16,
        "00040004085" + "0554d5031000000",
        "PUMP1",
    )


def test_a_text_of_one_register_is_written_by_function_6():
    assert write("A", register="holding:4:string", count=1) == (6, "00044100", "A")


@pytest.mark.parametrize(
    ("value", "point"),
    [
        (65536, {"type": "uint16"}),
        (-1, {"type": "uint16"}),
        (32768, {"type": "int16"}),
        (6553.6, {"type": "uint16", "scale": 0.1}),
        (2**32, {"type": "uint32"}),
        (1e39, {"type": "float32"}),
        ("1e999999999", {"type": "float32"}),
        (10**400, {"type": "float64"}),
        ("warm", {"type": "uint16"}),
        (True, {"type": "uint16"}),
        (None, {"type": "uint16"}),
        ([1], {"type": "uint16"}),
        (float("nan"), {"type": "float32"}),
        ("nan", {"type": "float32"}),
        ("far too long", {"type": "string", "count": 2}),
        ("Maß", {"type": "string", "count": 4}),
        (5, {"type": "string", "count": 4}),
        ("x", {"type": "string", "count": 124}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: Any, point: dict[str, Any]):
    with pytest.raises(Refusal) as refusal:
        write(value, register="holding:0", **point)
    assert (refusal.value.field, refusal.value.kind) == ("value", "invalid")


def test_the_refusal_of_a_value_out_of_range_says_what_fits():
    with pytest.raises(Refusal, match=r"uint16 \(0 to 6553\.5\)"):
        write(7000, register="holding:0:uint16", scale=0.1)
