from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from actors.publish import formats
from actors.publish.destinations.line_fields import kind_of, name_of, series_of, take_apart
from actors.publish.formats import MessageIds
from actors.readings.batch import Batch, Point, Source

IDS = MessageIds("agent")
NAMES = st.one_of(st.text(st.sampled_from("a_\\,= \"\n\r\t#'é"), max_size=8), st.text(max_size=8))
VALUES = st.one_of(
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.sampled_from('\\",= \nx'), max_size=12),
    st.lists(st.integers(0, 9), max_size=3),
)


def encoded(device: str, readings: list[tuple[str, Any]]) -> bytes | None:
    points = tuple(Point(name) for name, _ in readings)
    batch = Batch(Source("e", "line", "modbus", "d", device, points, ()), 5, [value for _, value in readings])
    return formats.encode("line-protocol", "json", [(batch, None)], IDS)


@given(NAMES, st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=6))
def test_what_is_taken_apart_is_what_was_put_together(device: str, readings: list[tuple[str, Any]]) -> None:
    payload = encoded(device, readings)
    assert payload is not None
    taken = take_apart(payload)
    assert taken is not None
    assert taken.payload() == payload
    assert (taken.time, series_of(payload)) == (b"5", taken.tags)
    fields = parse_line(f"m,{payload.decode()}")["fields"]
    kinds = {float: "float", str: "string", bool: "boolean"}
    told = {name: kinds[type(value)] for name, value in fields.items()}
    assert {name_of(name): kind_of(value) for name, value in taken.fields.items()} == told


@given(st.lists(st.tuples(NAMES, VALUES), min_size=2, max_size=6))
def test_a_part_of_the_fields_is_a_payload_too(readings: list[tuple[str, Any]]) -> None:
    payload = encoded("d", readings)
    assert payload is not None
    taken = take_apart(payload)
    assert taken is not None
    whole = parse_line(f"m,{payload.decode()}")["fields"]
    for name, value in taken.fields.items():
        point = parse_line(f"m,{taken.payload({name: value}).decode()}")
        assert (point["time"], point["fields"].items() <= whole.items()) == (5, True)


def test_a_point_without_tags_is_taken_apart() -> None:
    taken = take_apart(b" a=1,b=2i 5")
    assert taken is not None
    assert (taken.tags, taken.fields) == (b"", {b"a": b"1", b"b": b"2i"})
    assert kind_of(b"2i") == "integer"
    assert taken.payload() == b" a=1,b=2i 5"


def test_what_is_something_else_is_not_taken_apart() -> None:
    for payload in (
        b"",
        b"x",
        b"d=1 5",
        b'{"timestamp":1,"a": 17}',
        b"d=1  5",
        b'd=1 a="x 5',
        b"\x81\xa1a\x05",
    ):
        assert take_apart(payload) is None
