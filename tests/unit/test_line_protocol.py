import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from actors.publish import formats
from actors.publish.formats import MessageIds
from actors.publish.formats.line_protocol import measurement
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Points

POLLED = 1741083325004
IDS = MessageIds("7f3e9a1b-1111-4222-8333-444455556666")


def make_source(
    *names: str, device: str = "press-4", endpoint: str = "line1", protocol: str = "modbus"
) -> Source:
    points = tuple(Point(name) for name in names)
    return Source("e", endpoint, protocol, "d", device, points, ())


def encoded(batch: Batch, points: Points = None) -> bytes | None:
    return formats.encode("line-protocol", "json", [(batch, points)], IDS)


def line(source: Source, *values: Any, name: str = "m") -> bytes:
    payload = encoded(Batch(source, POLLED, list(values)))
    assert payload is not None
    assert b"\n" not in payload
    return measurement(name) + b"," + payload


def parsed(source: Source, *values: Any, name: str = "m") -> Any:
    return parse_line(line(source, *values, name=name).decode())


def test_a_poll_is_one_line_without_its_measurement() -> None:
    source = make_source("oil_temp", "running", "parts", "recipe")
    batch = Batch(source, POLLED, [61.4, True, 412, "A7"])
    assert encoded(batch) == (
        b"device=press-4,endpoint=line1,protocol=modbus "
        b'oil_temp=61.4,running=true,parts=412,recipe="A7" 1741083325004'
    )


def test_only_the_chosen_points_are_told() -> None:
    batch = Batch(make_source("a", "b", "c"), POLLED, [1.5, 2.5, 3.5])
    assert (
        encoded(batch, (0, 2)) == b"device=press-4,endpoint=line1,protocol=modbus a=1.5,c=3.5 1741083325004"
    )


def test_every_number_is_a_float() -> None:
    fields = parsed(make_source("a", "b", "c", "d"), 412, -7, 1e22, 1e-7)["fields"]
    assert fields == {"a": 412.0, "b": -7.0, "c": 1e22, "d": 1e-7}
    assert {type(value) for value in fields.values()} == {float}


def test_what_has_no_value_is_left_out() -> None:
    source = make_source("bad", "nan", "infinite", "uncertain", "good")
    values = [None, math.nan, math.inf, 5.5, False]
    batch = Batch(source, POLLED, values, ["DEVICE_OFFLINE", None, None, "STALE", None])
    assert encoded(batch) == (
        b"device=press-4,endpoint=line1,protocol=modbus uncertain=5.5,good=false 1741083325004"
    )


def test_a_poll_without_any_value_is_no_line() -> None:
    source = make_source("a", "b")
    assert encoded(Batch(source, POLLED, [None, math.nan], ["TIMEOUT", None])) is None
    assert encoded(Batch(make_source(), POLLED, [])) is None


def test_of_equal_names_the_last_value_wins() -> None:
    assert line(make_source("a", "b", "a"), 1.5, 2.5, 3.5).endswith(b" a=3.5,b=2.5 1741083325004")
    assert line(make_source("a", "a"), 1.5, None).endswith(b" a=1.5 1741083325004")


def test_empty_tags_are_left_out() -> None:
    assert encoded(Batch(make_source("a", endpoint=""), POLLED, [1.5])) == (
        b"device=press-4,protocol=modbus a=1.5 1741083325004"
    )
    nameless = make_source("a", device="", endpoint="", protocol="")
    assert encoded(Batch(nameless, POLLED, [1.5])) == b" a=1.5 1741083325004"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("time", "metric_time"),
        ("_field", "metric_field"),
        ("__x", "metric_x"),
        ("", "metric"),
        ("Time", "Time"),
        ("a_time", "a_time"),
    ],
)
def test_field_names_that_influxdb_reserves_get_a_prefix(name: str, key: str) -> None:
    assert parsed(make_source(name), 1.5)["fields"] == {key: 1.5}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("oil temp", "oil temp"),
        ("a,b=c", "a,b=c"),
        ("°C/µm", "°C/µm"),
        ('"quoted"', '"quoted"'),
        ("two\nlines\r\n", "two lines  "),
        ("\t", " "),
        (r"plc\north", r"plc\north"),
        ("ends\\", "ends/"),
        (r"a\ b", "a/ b"),
        (r"a\\b", r"a/\b"),
        (r"a\,b\=c", "a/,b/=c"),
    ],
)
def test_names_are_escaped_so_that_every_parser_reads_the_same(name: str, told: str) -> None:
    point = parsed(make_source(name, device=name, endpoint=name, protocol=name), 1.5)
    assert point["tags"] == {"device": told, "endpoint": told, "protocol": told}
    assert point["fields"] == {told: 1.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ('say "no"', 'say "no"'),
        ("C:\\new\\", "C:\\new\\"),
        ("a,b=c d", "a,b=c d"),
        ("é°\u2028", "é°\u2028"),
        ("two\nlines\r\tand\x00more\x1f", "two lines  and more "),
        ("\\n", "\\n"),
    ],
)
def test_strings_are_quoted_and_stay_on_one_line(text: str, told: str) -> None:
    assert parsed(make_source("a", "b"), text, 1.5)["fields"] == {"a": told, "b": 1.5}


def test_arrays_and_objects_are_told_as_json() -> None:
    fields = parsed(make_source("a", "b"), [1, 'x"\n'], {"k": "\\"})["fields"]
    assert fields == {"a": '[1,"x\\"\\n"]', "b": '{"k":"\\\\"}'}


def test_the_measurement_is_escaped() -> None:
    assert measurement("hall 1,line=2") == rb"hall\ 1\,line=2"
    assert parsed(make_source("a"), 1.5, name="hall 1,line=2")["measurement"] == "hall 1,line=2"


NAMES = st.one_of(
    st.text(st.sampled_from("a_\\,= \"\n\r\t#'{}[]é"), max_size=8),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
STRINGS = st.one_of(st.text(st.sampled_from('\\",= \n\tn'), max_size=8), st.text(max_size=20))
# The parser, unlike InfluxDB, takes no subnormal numbers.
NUMBERS = st.one_of(st.floats(allow_subnormal=False), st.integers(-(2**63), 2**64 - 1))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS.filter(str.isprintable))


@given(NAMES, NAMES, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.integers(0, 2**40))
def test_any_line_says_what_went_into_it(
    device: str, endpoint: str, readings: list[tuple[str, Any]], time: int
) -> None:
    source = make_source(*(name for name, _ in readings), device=device, endpoint=endpoint)
    values = [value for _, value in readings]
    payload = encoded(Batch(source, time, values))
    present = [value for value in values if _has_value(value)]
    if not present:
        assert payload is None
        return
    assert payload is not None
    assert not set(payload) & set(b"\n\r\t\0")
    point = parse_line(f"m,{payload.decode()}")
    assert point["time"] == time
    assert point["tags"].keys() - {"device", "endpoint"} == {"protocol"}
    assert ("device" in point["tags"]) == bool(device)
    assert not any(key == "time" or key.startswith("_") for key in point["fields"])
    assert all(any(_same(told, value) for value in present) for told in point["fields"].values())
    if len({name for name, _ in readings}) == 1:
        assert [_same(told, present[-1]) for told in point["fields"].values()] == [True]


def _has_value(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _same(told: Any, value: Any) -> bool:
    """Whether a field tells that value; InfluxDB's numbers are floats."""
    return bool(told == float(value)) if type(value) is int else type(told) is type(value) and told == value
