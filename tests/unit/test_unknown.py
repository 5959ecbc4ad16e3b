import logging
from typing import Annotated, Any

import msgspec
import pytest

from actors.system.checking import tell_unknown
from conf.annotations import also
from conf.fields import Unused
from conf.schema import Invalid, Nothing, convert
from conf.unknown import refuse_unknown, unknown


class Login(msgspec.Struct, frozen=True, rename="camel"):
    user_name: str
    key: str = ""


class Tag(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    scale: float = 1
    byte_order: str = ""
    description: Unused = None


class Example(msgspec.Struct, frozen=True, rename="camel"):
    broker_url: Annotated[str, also("url")] = ""
    login: Login | None = None
    tags: list[Tag] = []
    pairs: tuple[Tag, ...] | None = None
    free: dict[str, Any] = {}


class Lone(msgspec.Struct, frozen=True):
    port: int = 0
    remark: Unused = None


def fault(given: Any, schema: Any = Example, path: str = "config_json") -> tuple[str, str]:
    with pytest.raises(Invalid) as invalid:
        refuse_unknown(given, schema, path)
    return invalid.value.field, invalid.value.message


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"brokerUrl": 5, "url": "b", "login": {"userName": None}, "tags": [{"description": [1]}, {}]},
        {"free": {"any": {"thing": 1}}, "login": "me", "tags": {"a": 1}, "pairs": [5, None]},
        {"colour": None, "login": {"colour": None}},
        None,
        5,
        [{"colour": 1}],
    ],
)
def test_known_keys_are_accepted_whatever_they_hold_and_absent_ones_do_not_count(given: Any) -> None:
    refuse_unknown(given, Example)


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"brokerURL": 1}, "brokerURL", "brokerURL is not known; did you mean brokerUrl?"),
        ({"broker_url": 1}, "broker_url", "broker_url is not known; did you mean brokerUrl?"),
        ({"ulr": 1}, "ulr", "ulr is not known; did you mean url?"),
        (
            {"login": {"usernme": 1}},
            "login.usernme",
            "login.usernme is not known; did you mean login.userName?",
        ),
        ({"username": 1}, "username", "username is not known; did you mean login.userName?"),
        (
            {"tags": [{}, {"scaling": 1}]},
            "tags[1].scaling",
            "tags[1].scaling is not known; did you mean tags[1].scale?",
        ),
        (
            {"pairs": [{"bytes": 1}]},
            "pairs[0].bytes",
            "pairs[0].bytes is not known; known are name, scale, byteOrder",
        ),
        (
            {"colour": 1},
            "colour",
            "colour is not known; known are brokerUrl, login, tags, pairs, free",
        ),
        ({"": 1}, "''", "'' is not known; known are brokerUrl, login, tags, pairs, free"),
        ({"a\nb": 1}, "'a\\nb'", r"'a\nb' is not known; known are brokerUrl, login, tags, pairs, free"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_that_is_known(
    given: Any, field: str, message: str
) -> None:
    assert fault(given) == (f"config_json.{field}", message)


def test_what_means_nothing_is_not_offered() -> None:
    assert fault({"speed": 1}, Lone, "")[1] == "speed is not known; known are port"


def test_a_long_key_is_not_repeated_whole() -> None:
    field, message = fault({"port" * 1_000_000: 1}, Lone)
    assert len(field) < 100
    assert len(message) < 150


def test_of_a_schema_that_is_not_known_nothing_is_refused() -> None:
    assert list(unknown({"anything": 1}, Nothing)) == []


def test_all_unknown_keys_of_a_stored_row_are_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    stored = {"login": {"userName": "u", "salt": 1}, "colour": "red"}
    assert convert(stored, Example).login == Login("u")
    points = ({"scaling": 0.1}, Tag, "data_points[2]")
    tell_unknown("endpoint plc", (stored, Example, "connection"), points)
    assert [record.getMessage() for record in caplog.records] == [
        "endpoint plc: these keys are not known and mean nothing: "
        "connection.login.salt, connection.colour, data_points[2].scaling"
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_many_unknown_keys_take_no_long_line(caplog: pytest.LogCaptureFixture) -> None:
    tell_unknown("row", ({f"a{number}": 1 for number in range(1000)}, Lone, ""))
    (record,) = caplog.records
    assert record.getMessage().endswith("a0, a1, a2, a3, a4 and more")


def test_a_row_without_unknown_keys_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    tell_unknown("row", ({"port": 1, "remark": "x"}, Lone, ""), ({}, Example, ""))
    assert not caplog.records
