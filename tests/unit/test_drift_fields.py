from typing import Any

import pytest

from actors.outputs.fields import (
    ARRAY,
    BOOLEAN,
    ELEMENTS,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    FieldReader,
    normalised,
)
from actors.readings.batch import Batch, Point, Source


def source(*names: str) -> Source:
    return Source("e", "line-1", "modbus", "d", "press", tuple(Point(name) for name in names), ())


def batch(values: dict[str, Any], **codes: str) -> Batch:
    qualities = [codes.get(name) for name in values] if codes else None
    return Batch(source(*values), 1, list(values.values()), qualities)


def read(values: dict[str, Any], limit: int = 500, depth: int = 5, **codes: str) -> dict[str, int]:
    return FieldReader(limit, depth).read(batch(values, **codes))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("speed", "speed"),
        ("motorSpeed", "motor_speed"),
        ("MotorSpeed", "motor_speed"),
        ("Motor Speed", "motor_speed"),
        ("motor - speed", "motor_speed"),
        ("motor-speed", "motor_speed"),
        ("HTTPServer2Load", "http_server2_load"),
        ("speed (m/s)", "speed_ms"),
        ("line1.temp", "line1temp"),
        ("Température", "température"),
        ("温度", "温度"),
        ("%%", "%%"),
        ("", ""),
    ],
)
def test_names_are_normalised(name: str, expected: str) -> None:
    assert normalised(name) == expected


def test_each_value_has_a_type() -> None:
    values = {"a": 1, "b": 1.5, "c": "x", "d": True, "e": {}, "f": [], "g": None}
    assert read(values) == {
        "reading:a": NUMBER,
        "reading:b": NUMBER,
        "reading:c": STRING,
        "reading:d": BOOLEAN,
        "reading:e": OBJECT,
        "reading:f": ARRAY,
        "reading:g": NULL,
    }


def test_a_bad_reading_is_no_field_and_an_uncertain_one_is() -> None:
    assert read({"a": None, "b": 1}, a="TIMEOUT", b="STALE") == {"reading:b": NUMBER}


def test_values_are_looked_into() -> None:
    value = {"innerMost": {"deep": 1}, "list": [{"x": 1}, 5, {"y": "z"}], "timestamp": 5, "deviceName": "d"}
    assert read({"a": value}) == {
        "reading:a": OBJECT,
        "key:a.inner_most": OBJECT,
        "key:a.inner_most.deep": NUMBER,
        "key:a.list": ARRAY,
        "key:a.list.x": NUMBER,
        "key:a.list.y": STRING,
    }


def test_a_reading_may_be_called_what_a_key_may_not() -> None:
    assert read({"status": 1, "a": {"status": 1}}) == {"reading:status": NUMBER, "reading:a": OBJECT}


@pytest.mark.parametrize(
    ("depth", "deepest"), [(0, "reading:a"), (1, "key:a.b"), (2, "key:a.b.c"), (5, "key:a.b.c.d")]
)
def test_values_are_looked_into_down_to_a_depth(depth: int, deepest: str) -> None:
    assert list(read({"a": {"b": {"c": {"d": 1}}}}, depth=depth))[-1] == deepest


def test_readings_come_before_keys_where_there_are_too_many() -> None:
    assert list(read({"a": {"x": 1, "y": 1}, "b": 1}, limit=3)) == ["reading:a", "reading:b", "key:a.x"]


def test_the_first_elements_of_an_array_are_looked_into() -> None:
    value = [1] * (ELEMENTS - 1) + [{"x": 1}, {"y": 1}]
    assert set(read({"a": value})) == {"reading:a", "key:a.x"}


def test_batches_of_one_shape_yield_the_same_dictionary() -> None:
    reader = FieldReader(500, 5)
    shared = source("a", "b")
    first = reader.read(Batch(shared, 1, [1, "x"]))
    assert reader.read(Batch(shared, 2, [2, "y"])) is first
    assert reader.read(Batch(shared, 3, [2.5, "z"])) is first
    assert reader.read(Batch(shared, 4, [True, "z"])) == {"reading:a": BOOLEAN, "reading:b": STRING}
    assert reader.read(Batch(shared, 5, [None, "z"], ["TIMEOUT", None])) == {"reading:b": STRING}
    assert reader.read(Batch(shared, 6, [None, "z"])) == {"reading:a": NULL, "reading:b": STRING}
    assert reader.read(Batch(source("c", "b"), 7, [None, "z"])) == {"reading:c": NULL, "reading:b": STRING}


def test_what_is_inside_values_is_looked_at_in_every_batch() -> None:
    reader = FieldReader(500, 5)
    shared = source("a")
    assert "key:a.x" in reader.read(Batch(shared, 1, [{"x": 1}]))
    assert "key:a.y" in reader.read(Batch(shared, 2, [{"y": 1}]))
