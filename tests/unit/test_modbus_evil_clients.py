"""Any data point that anybody sends is refused by name, or is read and written without harm."""

import re
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modbus_bytes import write

from actors.endpoints.protocols.modbus.decode import Decoder
from actors.endpoints.protocols.modbus.encode import Writing, encode
from actors.endpoints.protocols.modbus.kinds import ORDERS, REGISTERS
from actors.endpoints.protocols.modbus.points import DataPoint, Given, read_points
from actors.endpoints.protocols.modbus.single import part_of
from actors.endpoints.protocols.modbus.writable import point_to_write
from actors.system.failure import Refusal

KEYS = {field.encode_name for field in msgspec.structs.fields(Given)}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 130),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        ["", " ", "1", "0x1", "-0x8000", "1_0", "٣", "nan", "sunspec", "a\0b", "\ud800", "9" * 400]
    ),
    st.text(max_size=5),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers()), max_size=2),
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["p", "holding:0", "é\n"]),
    "register": st.builds(
        "{}:{}{}{}".format,
        st.sampled_from(["holding", "coil", "input", "discrete"]),
        st.sampled_from(["0", "7", "0x10", "65534", "65535", "٣", "-1"]),
        st.sampled_from(["", "", "", ".0", ".15", ".40", ".99"]),
        st.sampled_from(["", "", *(f":{kind}" for kind in sorted(REGISTERS))]),
    ),
    "address": st.sampled_from([0, 7, 65535, 65536]),
    "functionCode": st.integers(0, 5),
    "type": st.sampled_from([*sorted(REGISTERS), "holding", "coil", "BOOL"]),
    "dataType": st.sampled_from(sorted(REGISTERS)),
    "count": st.integers(0, 126),
    "byteOrder": st.sampled_from([*sorted(ORDERS), "abcd", "ACBD"]),
    "endianness": st.sampled_from(["big", "little", "middle"]),
    "scale": st.sampled_from([1, 0, -1, 0.1, 10, 1e308, 5e-324, -1e300, 2**64]),
    "offset": st.sampled_from([0, -40, 0.5, 1e308, -273.15, 2**63]),
    "encoding": st.sampled_from(["ascii", "latin-1", "utf-8", "utf-16-le", "utf-7", "idna", "rot13", "hz"]),
    "bit": st.integers(0, 64),
    "byte": st.sampled_from(["high", "low", "LOW", "middle"]),
    "mask": st.sampled_from([0, 1, 0x0FF0, "0x0FF0", "0xFF0000", 2**64 - 1, 2**64, -1]),
    "shift": st.integers(0, 20),
    "length": st.sampled_from([1, 2, 3, 62, 125, 126, 2000, 2001]),
    "values": st.sampled_from([{"0": "a", "1": "b"}, {"0x1": "a", "1": "b"}, {"-1": "x"}, {}, {"x": "y"}]),
    "min": st.sampled_from([0, -1, 5, 0.1, 2**63]),
    "max": st.sampled_from([0, 5, 70000, 1e308, -(2**63)]),
    "noValue": st.sampled_from(["sunspec", "nan", -1, 65535, "0xFFFF", [0, "0x8000"], 1e30, 0.1, "12"]),
    "writeFunction": st.sampled_from(["auto", "single", "multiple", "both"]),
}


@st.composite
def points(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly a data point that makes sense, with a few options, of which some do not."""
    point = {"name": "p", "register": draw(SENSIBLE["register"])}
    for key in draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=4, unique=True)):
        point[key] = draw(ODD if key not in SENSIBLE or draw(st.integers(0, 5)) == 0 else SENSIBLE[key])
    return point


def decoded(point: DataPoint, reply: bytes) -> tuple[Any, str | None]:
    values: list[Any] = [None]
    codes = Decoder([(0, point)], point.address, point.count).fill(values, reply)
    return values[0], (codes or {}).get(0)


def refused_field(writing: Callable[[], Writing]) -> str | None:
    """The field on which a write is refused; None when it is not, and what it says can be answered."""
    try:
        msgspec.json.encode(writing().value)
    except Refusal as refusal:
        return refusal.field
    return None


def reply_of(point: DataPoint, data: st.DataObject) -> bytes:
    size = (point.count + 7) // 8 if point.table.is_bits else 2 * point.count
    seed = data.draw(st.binary(min_size=1, max_size=min(size, 24)))
    return (seed * size)[:size]


def after(point: DataPoint, writing: Writing, before: bytes) -> bytes:
    """What a device that held `before` in the point's registers or coils holds after a write."""
    function, body = writing.function, writing.body
    if (part := writing.part) is not None and not function:
        start = 2 * (part.address - point.address)
        function, body = part.merge(before[start : start + 2 * part.count])
    (address,) = struct.unpack_from(">H", body)
    at = 2 * (address - point.address)
    match function:
        case 5:
            return bytes([body[2] & 1])
        case 15:
            return body[5:]
        case 6:
            new = body[2:]
        case 16:
            new = body[5:]
        case 22:
            kept, bits = body[2:4], body[4:6]
            held = before[at : at + 2]
            new = bytes(h & k | b & ~k & 0xFF for h, k, b in zip(held, kept, bits, strict=True))
    return before[:at] + new + before[at + len(new) :]


@given(point=points(), data=st.data())
@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_data_point_is_refused_by_the_name_of_a_field_or_readable(
    point: dict[str, Any], data: st.DataObject
):
    refusal = None
    try:
        [checked] = read_points([point])
    except Refusal as refused:
        refusal = refused
    if refusal is not None:
        field = re.fullmatch(r"data_points\[0\]\.(\w+)(\[\d+\]|\..*)?", refusal.field or "")
        assert field is not None, refusal.field
        assert field[1] in KEYS
        assert refusal.message
        return
    value, code = decoded(checked, reply_of(checked, data))
    assert code is not None or value is not None
    msgspec.json.encode(value)
    msgspec.msgpack.encode(value)


@given(point=points(), value=ODD)
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_value_is_written_or_refused(point: dict[str, Any], value: Any):
    try:
        checked = read_points([point])
    except Refusal:
        return
    field = refused_field(lambda: encode(point_to_write(checked, checked[0].name), value))
    assert field in (None, "value", "register")


@given(register=st.one_of(st.text(max_size=12), SENSIBLE["register"]), value=ODD)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_is_a_register_to_write_or_refused(register: str, value: Any):
    there = read_points(
        [{"name": "p", "register": "holding:0.3"}, {"name": "q", "register": "holding:0:uint8"}]
    )
    field = refused_field(lambda: encode(point_to_write(there, register), value))
    assert field in (None, "value", "register")


PRECISE: dict[str, st.SearchStrategy[Any]] = SENSIBLE | {
    "scale": st.sampled_from([-1, 0.1, 10, 0.001]),
    "offset": st.sampled_from([-40, 0.5, -273.15]),
    "encoding": st.sampled_from(["ascii", "latin-1", "utf-8", "utf-16-le"]),
}
"""So that a value stands for one pattern of bits; only that of 64 bits has too many digits to be scaled."""


KEPT = ("name", "register", "address", "functionCode", "type", "dataType", "count")


@pytest.mark.parametrize("kind", sorted(REGISTERS))
@given(data=st.data())
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_read_can_be_written_back_and_changes_nothing_else(kind: str, data: st.DataObject):
    point: dict[str, Any] = {"name": "p", "register": "holding:100", "type": kind}
    if kind == "string":
        point["count"] = data.draw(st.integers(1, 6))
    for key in data.draw(st.lists(st.sampled_from(sorted(PRECISE)), max_size=3, unique=True)):
        if key not in KEPT and not (key in ("scale", "offset") and kind.endswith("64")):
            point[key] = data.draw(PRECISE[key])
    try:
        [checked] = read_points([point])
    except Refusal:
        return
    held = reply_of(checked, data)
    value, code = decoded(checked, held)
    if code is not None or checked.count > 123 or value == "":  # SunSpec's text that there is none
        return
    other = reply_of(checked, data)
    writing = encode(checked, value)
    assert writing.value == value
    result = after(checked, writing, other)
    if not checked.extra.no_value:  # other bits of a register may make it one that says "no value"
        assert decoded(checked, result) == (value, None)
    if part_of(checked) is None:
        assert encode(checked, value).body[-2 * checked.count :] == result
    else:
        changed = int.from_bytes(bytes(a ^ b for a, b in zip(other, result, strict=True)), "big")
        assert changed.bit_count() <= (part_of(checked) or 0).bit_count()


@pytest.mark.parametrize(
    "text", ["1_000", "٣", "0x10", "nan", "inf", "1e999", "", " ", "--1", "1,5", "9" * 5000]
)
def test_texts_that_are_no_plain_numbers_are_not_written(text: str):
    for kind in ("int16", "float32", "bcd"):
        with pytest.raises(Refusal) as refusal:
            write(text, register="holding:0", type=kind)
        assert refusal.value.field == "value"


@pytest.mark.parametrize(
    ("key", "given_point"),
    [
        ("scale", {"type": "int16", "scale": 1e308}),
        ("scale", {"type": "uint64", "scale": 1e300, "offset": 0.5}),
        ("noValue", {"type": "float32", "noValue": "-9999"}),
        ("noValue", {"type": "float32", "noValue": "65536"}),
        ("noValue", {"type": "float16", "noValue": 65535}),
        ("noValue", {"type": "float16", "noValue": 1e6}),
        ("noValue", {"type": "float32", "noValue": 10**300}),
        ("noValue", {"type": "int16", "noValue": True}),
        ("noValue", {"type": "int16", "noValue": "٣"}),
        ("values", {"type": "int16", "values": {"٣": "three"}}),
        ("values", {"type": "int16", "values": {"1": "a", "0x1": "b"}}),
        ("register", {"register": "holding:٣"}),
        ("register", {"register": "holding:1_0"}),
        ("bit", {"register": "holding:0", "type": "int16", "bit": True}),
        ("mask", {"type": "int16", "mask": True}),
        ("length", {"type": "int16", "length": True}),
        ("min", {"type": "int16", "min": float("nan")}),
    ],
)
def test_nonsense_is_refused_by_its_field(key: str, given_point: dict[str, Any]):
    with pytest.raises(Refusal) as refusal:
        read_points([{"name": "p", "register": "holding:0", **given_point}])
    assert refusal.value.field == f"data_points[0].{key}"
