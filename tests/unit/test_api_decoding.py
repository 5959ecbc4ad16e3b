from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType
from multidict import MultiDict

from actors.system.failure import Refusal
from api.decoding import decode_body, decode_number, decode_query
from api.errors import ApiError
from conf.annotations import says

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


class Example(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    interval: int = 5000
    enabled: bool | UnsetType = UNSET
    connection: dict[str, Any] | None = None
    topics: list[str] = []
    points: list[dict[str, Any]] | None = None
    value: Any = None
    special: Annotated[str, says("special is special")] = ""


class Empty(msgspec.Struct, frozen=True):
    limit: int = 7


def _json(text, schema=Example):
    raw = text if isinstance(text, bytes) else text.encode()
    return decode_body(raw, JSON, None, schema)


def _form(fields):
    return decode_body(urlencode(fields).encode(), FORM, None, Example)


def _refusal(decode, *arguments):
    with pytest.raises(Refusal) as caught:
        decode(*arguments)
    return caught.value


@pytest.mark.parametrize("raw", [b"", b"  \r\n"])
@pytest.mark.parametrize("media_type", [JSON, FORM, "application/octet-stream", "text/plain"])
def test_no_body_is_the_empty_object(raw, media_type):
    assert decode_body(raw, media_type, None, Empty) == Empty()


def test_unknown_fields_are_ignored():
    assert _json('{"name": "a", "colour": "red"}') == Example("a")
    assert _form([("name", "a"), ("colour", "red")]) == Example("a")


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("intervall", "interval"),
        ("Interval", "interval"),
        ("interval_", "interval"),
        ("enable", "enabled"),
        ("topic", "topics"),
    ],
)
def test_a_name_that_is_all_but_that_of_a_field_that_is_not_there_is_refused(slip, meant):
    for refusal in (
        _refusal(_json, f'{{"name": "a", "{slip}": 1}}'),
        _refusal(_form, [("name", "a"), (slip, "1")]),
    ):
        assert (refusal.field, refusal.message) == (slip, f"{slip} is not known; did you mean {meant}?")
    assert _json(f'{{"name": "a", "{slip}": null}}') == Example("a")


def test_a_field_that_is_there_may_have_others_of_like_names_beside_it():
    assert _json('{"name": "a", "interval": 7, "Interval": 8}') == Example("a", 7)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ("{}", "name", "name is required"),
        ('{"name": 5}', "name", "name must be a string that is not empty"),
        ('{"name": ""}', "name", "name must be a string that is not empty"),
        ('{"name": "a", "interval": "5"}', "interval", "interval must be an integer"),
        ('{"name": "a", "interval": true}', "interval", "interval must be an integer"),
        ('{"name": "a", "interval": null}', "interval", "interval must be an integer"),
        ('{"name": "a", "enabled": "yes"}', "enabled", "enabled must be true or false"),
        ('{"name": "a", "topics": ["b", 3]}', "topics[1]", "topics[1] must be a string"),
        ('{"name": "a", "special": 3}', "special", "special is special"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wrong(body, field, message):
    refusal = _refusal(_json, body)
    assert (refusal.field, refusal.message) == (field, message)


@pytest.mark.parametrize("body", ["[]", "3", '"text"', "null", "true"])
def test_a_body_that_is_no_object_is_refused(body):
    assert _refusal(_json, body).message == "The body must be a JSON object"


@pytest.mark.parametrize(
    "body",
    [
        "{",
        '{"name": }',
        "name=a",
        '{"name": NaN}',
        '{"name": "\\ud800"}',
        '{"name": "\\udc00\\ud800"}',
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        '{"name": 1e999}',
        "[" * 200_000,
        '{"a":' * 200_000,
        "9" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(body):
    assert _refusal(_json, body).message.startswith("The body ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"name": "a\\u0000b"}', "name"),
        ('{"name": "a", "connection": {"port": 9223372036854775808}}', "connection.port"),
        ('{"name": "a", "interval": -9223372036854775809}', "interval"),
        ('{"name": "a", "points": [{}, {"x": "\\u0000"}]}', "points[1].x"),
        ('{"name": "a", "connection": {"k\\u0000": 1}}', "connection"),
        ('{"name": "a", "connection": ' + '{"a":' * 70 + "1" + "}" * 70 + "}", "connection"),
    ],
)
def test_what_nothing_could_store_is_refused(body, field):
    assert _refusal(_json, body).field == field


def test_the_widest_integers_pass():
    assert _json('{"name": "a", "value": [9223372036854775807, -9223372036854775808]}').value == [
        2**63 - 1,
        -(2**63),
    ]


def test_other_charsets_are_decoded_or_refused():
    latin = decode_body('{"name": "Öl"}'.encode("latin-1"), JSON, "ISO-8859-1", Example)
    assert latin.name == "Öl"
    with pytest.raises(ApiError) as caught:
        decode_body(b'{"name": "a"}', JSON, "klingon", Example)
    assert caught.value.status == 415
    assert _refusal(decode_body, b'{"name": "\xff"}', JSON, "us-ascii", Example).field is None


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "application/xml"])
def test_other_media_types_are_refused(media_type):
    with pytest.raises(ApiError) as caught:
        decode_body(b'{"name": "a"}', media_type, None, Example)
    assert caught.value.status == 415


def test_json_needs_no_content_type_and_may_have_a_suffix():
    for media_type in ("application/octet-stream", "application/merge-patch+json"):
        assert decode_body(b'{"name": "a"}', media_type, None, Example) == Example("a")


def test_a_forms_texts_are_converted():
    sent = {"name": "5", "interval": "100", "enabled": "false", "value": "1.5", "colour": "red"}
    assert _form(sent) == Example("5", 100, False, value=1.5)


def test_a_forms_nested_fields_are_json_text():
    decoded = _form(
        {"name": "a", "connection": '{"host": "x"}', "points": '[{"name": "p"}]', "topics": '["t", "u"]'}
    )
    assert decoded == Example("a", connection={"host": "x"}, points=[{"name": "p"}], topics=["t", "u"])


def test_a_forms_repeated_field_is_a_list():
    assert _form([("name", "a"), ("topics", "t"), ("topics", "u")]).topics == ["t", "u"]


def test_a_forms_free_value_that_is_no_json_stays_text():
    assert _form({"name": "a", "value": "on"}).value == "on"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"interval": "5"}, "name"),
        ({"name": "a", "interval": "soon"}, "interval"),
        ({"name": "a", "enabled": "perhaps"}, "enabled"),
        ({"name": "a", "connection": "[1]"}, "connection"),
        ({"name": "a\0"}, "name"),
        ({"name": "a", "value": "9" * 30}, "value"),
    ],
)
def test_a_forms_wrong_field_is_named(fields, field):
    assert _refusal(_form, fields).field == field


@pytest.mark.parametrize(
    "raw", [b"name=%ff", b"name=\xff", b"name=a&connection=%7B", b"&".join(b"a=1" for _ in range(1100))]
)
def test_a_form_that_cannot_be_read_is_refused(raw):
    _refusal(decode_body, raw, FORM, None, Example)


def test_a_query_is_converted_and_checked():
    assert decode_query({"limit": "3", "other": "x"}, Empty) == Empty(3)
    assert _refusal(decode_query, {"limit": "x"}, Empty).field == "limit"
    assert _refusal(decode_query, {"limit": "\0"}, Empty).field == "limit"


@pytest.mark.parametrize(
    "text", ["", "abc", "1.5", "1e3", "0x1", "12abc", "\u0661", " 1", "9223372036854775808", "9" * 50]
)
def test_a_path_number_that_does_not_parse_is_refused(text):
    refusal = _refusal(decode_number, text, "Invalid destination id", "id")
    assert (refusal.message, refusal.field) == ("Invalid destination id", "id")


def test_path_numbers():
    assert decode_number("12", "", "id") == 12
    assert decode_number("-1", "", "id") == -1


class Chosen(msgspec.Struct, frozen=True):
    name: str = ""
    metric: tuple[str, ...] = ()
    limits: list[int] = []
    colour: Annotated[tuple[Literal["red", "blue"], ...], says("colour must be red or blue")] = ()


def test_a_list_in_a_query_is_repeated_or_separated_by_commas():
    pairs = [("metric", "a"), ("name", "x,y"), ("metric", "b,,c"), ("name", "z"), ("limits", "1,2")]
    assert decode_query(MultiDict(pairs), Chosen) == Chosen("x,y", ("a", "b", "c"), [1, 2])
    assert decode_query(MultiDict([("metric", "")]), Chosen) == Chosen()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("colour", "red,green", "colour must be red or blue"),
        ("limits", "1,x", "limits[1] must be an integer"),
        ("metric", "a,b\0", "metric[1]: NUL characters are not allowed"),
    ],
)
def test_a_wrong_item_of_a_list_in_a_query_is_refused_with_the_parameters_name(name, value, message):
    refusal = _refusal(decode_query, MultiDict([(name, value)]), Chosen)
    assert (refusal.message, refusal.field) == (message, name)
