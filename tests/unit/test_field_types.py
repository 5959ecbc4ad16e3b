import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from actors.publish.destinations.field_types import FieldTypes, fitted

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "kind", "fitting"),
    [
        (b"412", "integer", b"412i"),
        (b"412.0", "integer", b"412i"),
        (b"-7", "integer", b"-7i"),
        (b"-0.0", "integer", b"0i"),
        (b"1e3", "integer", b"1000i"),
        (b"412.5", "integer", None),
        (b"1e22", "integer", None),
        (b"9223372036854775807", "integer", b"9223372036854775807i"),
        (b"9223372036854775808", "integer", None),
        (b"-9223372036854775808", "integer", b"-9223372036854775808i"),
        (b"9007199254740993", "integer", b"9007199254740993i"),
        (b"true", "integer", b"1i"),
        (b"false", "integer", b"0i"),
        (b'"5"', "integer", None),
        (b"412", "float", b"412"),
        (b"true", "float", b"1"),
        (b'"5"', "float", None),
        (b"1", "boolean", b"true"),
        (b"0.0", "boolean", b"false"),
        (b"2", "boolean", None),
        (b"true", "boolean", b"true"),
        (b'"true"', "boolean", None),
        (b"61.4", "string", b'"61.4"'),
        (b"true", "string", b'"true"'),
        (b'"a b"', "string", b'"a b"'),
    ],
)
def test_a_value_becomes_one_of_the_type_or_does_not_fit(
    value: bytes, kind: str, fitting: bytes | None
) -> None:
    assert fitted(value, kind) == fitting


@given(st.one_of(st.integers(-(2**64), 2**64), st.floats(allow_nan=False, allow_infinity=False)))
def test_an_integer_is_the_same_number(number: float) -> None:
    fitting = fitted(repr(number).encode(), "integer")
    if number == int(number) and -LARGEST - 1 <= int(number) <= LARGEST:
        assert fitting is not None
        assert parse_line(f"m f={fitting.decode()} 1")["fields"] == {"f": int(number)}
    else:
        assert fitting is None


def test_a_name_comes_before_patterns_and_they_count_in_order() -> None:
    types = FieldTypes({"a*": "integer", "a?c": "string", "abc": "boolean", "x[0]*": "float"})
    expected = {
        b"abc": "boolean",
        b"adc": "integer",
        b"a": "integer",
        b"b": None,
        b"x[0]y": "float",
        b"x0y": None,
    }
    for _ in range(2):
        assert {name: types.of(name) for name in expected} == expected


def test_names_are_those_without_escapes() -> None:
    types = FieldTypes({"oil temp,=": "integer", "*e": "string"})
    assert types.of(rb"oil\ temp\,\=") == "integer"
    assert types.of("é".encode()) is None
    assert not FieldTypes({})


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert FieldTypes({"*a" * 200 + "*": "integer"}).of(b"a" * 190 + b"b" * 800) is None
