from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from conf.annotations import allowed, also, missing, reads, says, spelled
from conf.faults import explain, words
from conf.fields import NUMERAL, Flag, Number, Pem, Strings, Text, lower, trimmed
from conf.schema import Invalid, Nothing, convert


def _even(value: Any) -> Any:
    if isinstance(value, int) and value % 2:
        raise ValueError("must be even")
    return value


class Login(msgspec.Struct, frozen=True, rename="camel"):
    user_name: Annotated[Text, missing("Who are you?")]
    kind: Annotated[Literal["key", "word"], reads(trimmed, lower)] = "key"
    retries: Annotated[int, Meta(ge=0, le=9), NUMERAL] = 3


class Example(msgspec.Struct, frozen=True, rename="camel"):
    broker_url: Annotated[Text, also("url", "host")] | None = None
    login: Login | None = None
    tags: Strings = ()
    colours: list[Literal["red", "blue"]] = []
    limits: dict[str, int] = {}
    pairs: Annotated[list[list[int]], says("pairs are pairs")] = []
    even: Annotated[int, reads(_even)] = 0
    ratio: Annotated[float, Meta(ge=0, le=0.5)] = 0
    factor: Number = 1
    ca: Pem | None = None
    flag: Flag = False


class Needing(msgspec.Struct, frozen=True):
    first: Text
    login: Login
    last: int


def fault(given: Any, schema: Any = Example, path: str = "config_json") -> tuple[str, str]:
    with pytest.raises(Invalid) as invalid:
        convert(given, schema, path)
    return invalid.value.field, invalid.value.message


def test_what_is_not_given_has_its_default() -> None:
    assert convert({}, Example) == Example()
    assert convert({"unknown": object(), "BROKERURL": 5}, Example) == Example()
    assert convert({"anything": 1}, Nothing) == Nothing()


def test_leniencies_are_those_declared() -> None:
    given = {
        "brokerUrl": " a ",
        "login": {"userName": "u", "kind": " WORD", "retries": "7"},
        "ca": "a\\nb",
        "flag": "",
        "even": 4.0,
        "tags": None,
    }
    assert convert(given, Example) == Example("a", Login("u", "word", 7), ca="a\nb", even=4)


@pytest.mark.parametrize(
    ("given", "expected", "key"),
    [
        ({"url": "b"}, "b", "url"),
        ({"host": "c", "url": "b"}, "b", "url"),
        ({"host": "c", "url": "b", "brokerUrl": "a"}, "a", "brokerUrl"),
        ({"host": "c", "url": " ", "brokerUrl": None}, "c", "host"),
        ({}, None, "brokerUrl"),
    ],
)
def test_of_several_names_the_first_with_a_value_counts(
    given: dict[str, Any], expected: str | None, key: str
) -> None:
    assert convert(given, Example).broker_url == expected
    assert spelled(given, Example, "brokerUrl") == key


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"brokerUrl": 5}, "brokerUrl", "brokerUrl must be a string"),
        ({"url": 5}, "url", "url must be a string"),
        ({"url": "a\0b"}, "url", "url must not hold NUL characters or half surrogate pairs"),
        ({"tags": ["\ud800"]}, "tags", "tags must not hold NUL characters or half surrogate pairs"),
        ({"login": "me"}, "login", "login must be an object"),
        ({"login": {}}, "login.userName", "Who are you?"),
        ({"login": {"userName": 5}}, "login.userName", "login.userName must be a string"),
        (
            {"login": {"userName": "u", "retries": 10}},
            "login.retries",
            "login.retries must be an integer from 0 to 9",
        ),
        (
            {"login": {"userName": "u", "retries": "9" * 5000}},
            "login.retries",
            "login.retries must be an integer from 0 to 9",
        ),
        ({"login": {"userName": "u", "kind": "x"}}, "login.kind", "login.kind must be one of key, word"),
        ({"tags": ["a", 5]}, "tags", "tags must be an array of strings"),
        ({"colours": 5}, "colours", "colours must be an array of red, blue"),
        ({"colours": ["red", "green"]}, "colours[1]", "colours[1] must be one of red, blue"),
        ({"limits": {"a": "x"}}, "limits.a", "limits.a must be an integer"),
        ({"pairs": [[1], [2, "x"]]}, "pairs", "pairs are pairs"),
        ({"even": 3}, "even", "even must be even"),
        ({"ratio": 1}, "ratio", "ratio must be a number from 0 to 0.5"),
        ({"factor": float("nan")}, "factor", "factor must be a number"),
        ({"factor": 10**400}, "factor", "factor must be a number"),
        ({"flag": "yes"}, "flag", "flag must be true or false"),
    ],
)
def test_a_fault_is_told_with_the_field_as_it_was_spelled_and_what_is_allowed(
    given: dict[str, Any], field: str, message: str
) -> None:
    assert fault(given) == (f"config_json.{field}", message)


@pytest.mark.parametrize("given", [None, 5, "x", [], [{}]])
def test_what_is_no_mapping_is_refused_by_its_path(given: Any) -> None:
    assert fault(given) == ("config_json", "config_json must be an object")


def test_the_first_that_is_missing_is_named_also_in_a_section_that_is_missing() -> None:
    assert fault({}, Needing) == ("config_json.first", "first is required")
    assert fault({"first": "a"}, Needing) == ("config_json.login.userName", "Who are you?")
    assert fault({"first": "a", "login": {"userName": "u"}}, Needing) == (
        "config_json.last",
        "last is required",
    )
    assert fault({"first": " "}, Needing, "") == ("first", "first is required")


def test_a_null_that_a_schema_takes_is_mentioned_where_null_is_a_value() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({"login": 5}, Example)
    assert explain(error.value, Example, null=True) == ("login", "login must be an object or null")


def test_a_text_of_the_client_cannot_pass_for_the_place_of_a_fault() -> None:
    for trick in ("' - at `$.flag`", "Object missing required field `x`", "a\n - at `$.ratio`"):
        assert fault({"colours": [trick]})[0] == "config_json.colours[0]"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Annotated[int, Meta(ge=1)], "an integer of at least 1"),
        (Annotated[float, Meta(le=5)], "a number of at most 5"),
        (Annotated[str, Meta(min_length=1)], "a string that is not empty"),
        (Literal["only"], "only"),
        (int | str | None, "an integer or a string"),
        (tuple[int, ...], "an array of integers"),
        (list[Login], "an array of objects"),
        (Annotated[dict[str, int], allowed("a map")], "a map"),
    ],
)
def test_types_in_words(annotation: Any, expected: str) -> None:
    assert words(annotation) == expected
