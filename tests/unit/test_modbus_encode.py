from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_bytes import write

from actors.endpoints.protocols.modbus.encode import Writing, encode
from actors.endpoints.protocols.modbus.kinds import BYTES, NUMBERS, ORDERS, REGISTERS, arrangement, limits_of
from actors.endpoints.protocols.modbus.points import DataPoint, read_points
from actors.system.failure import Refusal


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


@pytest.mark.parametrize(
    ("value", "given", "function", "body", "after"),
    [
        (-2, {"type": "int48"}, 16, "0000000306fffffffffffe", -2),
        (21.28, {"type": "float16"}, 6, "00004d52", 21.28),
        (1234, {"type": "bcd"}, 6, "00001234", 1234),
        (12.3, {"type": "bcd", "count": 2, "scale": 0.1}, 16, "000000020400000123", 12.3),
        (1230456, {"type": "mod10k"}, 16, "0000000204007b01c8", 1230456),
        (4560123, {"type": "mod10k", "byteOrder": "CDAB"}, 16, "0000000204007b01c8", 4560123),
        (0x0102, {"type": "uint16", "byteOrder": "DCBA"}, 6, "00000201", 0x0102),
        (
            0x0102030405060708,
            {"type": "int64", "byteOrder": "CDABGHEF"},
            16,
            "00000004080304010207080506",
            0x0102030405060708,
        ),
        ("2024-05-01T12:30:00Z", {"type": "unix_time"}, 16, "0000000204663235c8", "2024-05-01T12:30:00Z"),
        (
            "2024-05-01T14:30+02:00",
            {"type": "sunspec_time"},
            16,
            "00000002042dc4f248",
            "2024-05-01T12:30:00Z",
        ),
        (
            "2024-05-01T12:30:00.25",
            {"type": "s7_dt"},
            16,
            "00000004082405011230002504",
            "2024-05-01T12:30:00.250Z",
        ),
        (
            "1999-12-13T07:06:05.888",
            {"type": "s7_dt"},
            16,
            "00000004089912130706058882",
            "1999-12-13T07:06:05.888Z",
        ),
        (
            "2024-05-01T12:30:00.25",
            {"type": "s7_dtl"},
            16,
            "000000060c07e80501040c1e000ee6b280",
            "2024-05-01T12:30:00.250Z",
        ),
        ("running", {"type": "uint16", "values": {"0": "idle", "1": "running"}}, 6, "00000001", "running"),
        (1, {"type": "uint16", "values": {"0": "idle", "1": "running"}}, 6, "00000001", "running"),
        ("1", {"type": "uint16", "values": {"0": "idle", "1": "running"}}, 6, "00000001", "running"),
        ([1, -1], {"type": "int16", "length": 2}, 16, "00000002040001ffff", [1, -1]),
        ([1.5], {"length": 1}, 16, "00000002043fc00000", [1.5]),
        (
            ["on", 0],
            {"type": "uint16", "length": 2, "values": {"0": "off", "1": "on"}},
            16,
            "000000020400010000",
            ["on", "off"],
        ),
        ("AB ", {"type": "string", "count": 2}, 16, "000000020441422000", "AB"),
        (10, {"type": "uint16", "scale": 0.1, "max": 10}, 6, "00000064", 10.0),
        (0.3, {"type": "uint16", "scale": 0.1, "max": 0.3}, 6, "00000003", 0.3),
        (5, {"type": "uint16", "writeFunction": "multiple"}, 16, "00000001020005", 5),
    ],
)
def test_every_type_is_written_as_it_is_read(
    value: Any, given: dict[str, Any], function: int, body: str, after: Any
):
    assert write(value, register="holding:0", **given) == (function, body, after)


@pytest.mark.parametrize(
    ("value", "given", "function", "body", "after"),
    [
        (True, {"writeFunction": "multiple"}, 15, "000300010101", True),
        (False, {"writeFunction": "multiple"}, 15, "000300010100", False),
        (True, {"writeFunction": "single"}, 5, "0003ff00", True),
        ("open", {"values": {"0": "shut", "1": "open"}}, 5, "0003ff00", "open"),
        ([True, "off", 1], {"length": 3}, 15, "000300030105", [True, False, True]),
        (
            [1, 0, 1, 0, 0, 0, 1, 0, 0, 1],
            {"length": 10},
            15,
            "0003000a024502",
            [True, False, True, False, False, False, True, False, False, True],
        ),
        ([1], {"length": 1}, 5, "0003ff00", [True]),
    ],
)
def test_coils_are_written_one_or_several_at_once(
    value: Any, given: dict[str, Any], function: int, body: str, after: Any
):
    assert write(value, register="coil:3", **given) == (function, body, after)


def writing(value: Any, **point: Any) -> Writing:
    [checked] = read_points([{"name": "p", **point}])
    return encode(checked, value)


@pytest.mark.parametrize(
    ("value", "given", "otherwise"),
    [
        (5, {"register": "holding:10:uint16"}, (16, "000a0001020005")),
        (True, {"register": "coil:10"}, (15, "000a00010101")),
        (5, {"register": "holding:10:uint32"}, None),
        ([1, 0], {"register": "coil:10", "length": 2}, None),
        (5, {"register": "holding:10:uint16", "writeFunction": "single"}, None),
        (5, {"register": "holding:10:uint16", "writeFunction": "multiple"}, None),
    ],
)
def test_what_one_function_writes_the_other_may(value: Any, given: dict[str, Any], otherwise: Any):
    other = writing(value, **given).otherwise
    assert (other and (other[0], other[1].hex())) == otherwise


@pytest.mark.parametrize(
    ("value", "given", "body", "old", "merged", "after"),
    [
        (True, {"bit": 2}, "0007fffb0004", "f0f0", "0007f0f4", True),
        ("off", {"bit": 2}, "0007fffb0000", "ffff", "0007fffb", False),
        (True, {"bit": 2, "byteOrder": "BADC"}, "0007fbff0400", "0000", "00070400", True),
        (True, {"bit": 17, "type": "uint32"}, "0007fffd0002", "0000", "00070002", True),
        (True, {"bit": 17, "type": "uint32", "byteOrder": "CDAB"}, "0008fffd0002", "0000", "00080002", True),
        (5, {"mask": 0xF0}, "0007ff0f0050", "ffff", "0007ff5f", 5),
        (0.5, {"mask": 0xF0, "scale": 0.1}, "0007ff0f0050", "ffff", "0007ff5f", 0.5),
        ("auto", {"mask": 0xF0, "values": {"3": "auto"}}, "0007ff0f0030", "0000", "00070030", "auto"),
        (3, {"mask": 0x00F0_0000, "type": "uint32"}, "0007ff0f0030", "0000", "00070030", 3),
        (-2, {"type": "int8"}, "0007ff0000fe", "1234", "000712fe", -2),
        (-2, {"type": "int8", "byte": "high"}, "000700fffe00", "1234", "0007fe34", -2),
        (0, {"mask": 0xF, "noValue": 0}, "0007fff00000", "1234", "00071230", 0),
    ],
)
def test_part_of_a_register_is_written_by_function_22_or_merged(
    value: Any, given: dict[str, Any], body: str, old: str, merged: str, after: Any
):
    written = writing(value, register="holding:7", **given)
    assert (written.function, written.body.hex(), written.value) == (22, body, after)
    part = written.part
    assert part is not None
    assert (part.address, part.count) == (int(body[:4], 16), 1)
    function, whole = part.merge(bytes.fromhex(old))
    assert (function, whole.hex()) == (6, merged)
    other = part.merge_otherwise(bytes.fromhex(old))
    assert other is not None
    assert (other[0], other[1].hex()) == (16, f"{merged[:4]}000102{merged[4:]}")


def test_a_part_of_several_registers_is_always_merged():
    written = writing(0xABC, register="holding:7", type="uint32", mask=0x000F_FF00)
    assert (written.function, written.body, written.value) == (0, b"", 0xABC)
    assert written.part is not None
    assert (written.part.address, written.part.count) == (7, 2)
    function, body = written.part.merge(bytes.fromhex("12345678"))
    assert (function, body.hex()) == (16, "0007000204" + "123abc78")
    assert written.part.merge_otherwise(bytes(4)) is None


@pytest.mark.parametrize(("choice", "function"), [("single", 6), ("multiple", 16)])
def test_a_part_is_merged_and_written_by_the_function_that_was_chosen(choice: str, function: int):
    written = writing(True, register="holding:7.1", writeFunction=choice)
    assert written.function == 0
    assert written.part is not None
    assert written.part.merge(bytes(2))[0] == function
    assert written.part.merge_otherwise(bytes(2)) is None


@pytest.mark.parametrize(
    ("value", "point"),
    [
        (128, {"type": "int8"}),
        (-1, {"type": "uint8"}),
        (2**47, {"type": "int48"}),
        (2**48, {"type": "uint48"}),
        (70000, {"type": "float16"}),
        (10_000, {"type": "bcd"}),
        (-1, {"type": "bcd"}),
        (10**8, {"type": "mod10k"}),
        (16, {"mask": 0xF0}),
        (2, {"mask": 0b101}),
        (-1, {"mask": 0xF0, "type": "int16"}),
        ("maybe", {"bit": 3}),
        (2, {"bit": 3}),
        (10.1, {"type": "uint16", "max": 10}),
        (-0.1, {"type": "float32", "min": 0}),
        (0.25, {"type": "uint16", "scale": 0.5, "max": 0.25}),
        (65535, {"type": "uint16", "noValue": "sunspec"}),
        ("stopped", {"type": "uint16", "values": {"0": "idle"}}),
        (1, {"type": "uint16", "values": {"0": "idle"}}),
        (True, {"type": "uint16", "values": {"1": "idle"}}),
        ("noon", {"type": "unix_time"}),
        (5, {"type": "unix_time"}),
        ("1969-12-31T23:59:59Z", {"type": "unix_time"}),
        ("2106-02-07T06:28:16Z", {"type": "unix_time"}),
        ("1989-12-31", {"type": "s7_dt"}),
        ("2555-01-01", {"type": "s7_dtl"}),
        ("0001-01-01T00:00+05:00", {"type": "s7_dtl"}),
        ([1], {"type": "uint16", "length": 2}),
        ([1, 2, 3], {"type": "uint16", "length": 2}),
        ([1, "x"], {"type": "uint16", "length": 2}),
        (1, {"type": "uint16", "length": 2}),
        ("12", {"type": "uint16", "length": 2}),
        ([1, 70000], {"type": "uint16", "length": 2}),
        ([0] * 124, {"type": "uint16", "length": 124}),
    ],
)
def test_what_does_not_fit_its_options_is_refused(value: Any, point: dict[str, Any]):
    with pytest.raises(Refusal) as refusal:
        write(value, register="holding:0", **point)
    assert (refusal.value.field, refusal.value.kind) == ("value", "invalid")


def test_more_coils_than_a_request_takes_are_refused():
    with pytest.raises(Refusal, match="1968"):
        write([0] * 1969, register="coil:0", length=1969)


PRECISION = {"float16": 1e-3, "float32": 1e-7}
NUMERIC = [kind for kind in REGISTERS if kind in NUMBERS]


@pytest.mark.parametrize("kind", NUMERIC)
@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_written_is_read_again_in_every_order(kind: str, data: st.DataObject):
    count = data.draw(st.integers(*REGISTERS[kind]))
    order = data.draw(st.sampled_from([order for order in sorted(ORDERS) if len(order) in (4, 2 * count)]))
    spelled = {"name": "p", "register": "holding:0", "type": kind, "count": count, "byteOrder": order}
    [point] = read_points([spelled])
    value = data.draw(VALUES[kind] if kind in VALUES else st.integers(*limits_of(kind, count)))
    written = encode(point, value)
    assert written.value == pytest.approx(value, rel=PRECISION.get(kind, 1e-14))
    if kind not in BYTES:
        registers = written.body[2:] if count == 1 else written.body[5:]
        places = arrangement(order, 2 * count)
        assert registers == bytes(
            byte
            for _, byte in sorted(zip(places, encode(plain(point), value).body[-2 * count :], strict=True))
        )


VALUES = {
    "float16": st.floats(-60000, 60000, width=16, allow_subnormal=False),
    "float32": st.floats(-(2.0**99), 2.0**99, width=32),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
}


def plain(point: DataPoint) -> DataPoint:
    return msgspec.structs.replace(point, order="ABCD")
