from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from msgspec import Meta

from actors.endpoints import protocols
from conf.annotations import allowed, also, plan
from conf.fields import Unused
from conf.json_schema import json_schema
from conf.schema import Nothing


class Inner(msgspec.Struct, frozen=True, rename="camel"):
    max_age: int = 3


class Needing(msgspec.Struct, frozen=True):
    user: str


class Given(msgspec.Struct, frozen=True, rename="camel"):
    """Two
    lines."""

    name: str
    may_lack: Inner
    may_not_lack: Needing
    password: str | None = None
    many: tuple[Inner, ...] = ()
    port: Annotated[int, Meta(ge=1, le=9), also("tcpPort")] = 5
    either: int | str | None = None
    word: Annotated[Literal["a", "b"], allowed("a or b")] = "a"
    ignored: Unused = None


SCHEMA = json_schema(Given)


def test_a_form_can_be_made_of_it():
    assert SCHEMA["description"] == "Two lines."
    assert SCHEMA["required"] == ["name", "mayNotLack"]
    assert SCHEMA["properties"]["port"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
        "default": 5,
        "x-also": ["tcpPort"],
    }
    assert SCHEMA["properties"]["password"] == {"type": "string", "format": "password", "writeOnly": True}
    assert SCHEMA["properties"]["word"] == {"enum": ["a", "b"], "default": "a", "description": "a or b"}
    assert SCHEMA["properties"]["either"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert "ignored" not in SCHEMA["properties"]


def test_a_schema_of_schemas_has_nothing_to_say_against_it():
    assert jsonschema_rs.meta.is_valid(SCHEMA)


@pytest.mark.parametrize("given", [{"nam": "x"}, {"password": 5}, {"many": [{"age": 1}]}, {"port": 10}])
def test_it_refuses_what_is_refused(given: dict[str, Any]):
    good = {"name": "n", "mayNotLack": {"user": "u"}}
    assert jsonschema_rs.is_valid(SCHEMA, good)
    assert not jsonschema_rs.is_valid(SCHEMA, good | given)


def test_of_what_nothing_is_known_everything_goes():
    assert jsonschema_rs.is_valid(json_schema(Nothing), {"a": 1})


@pytest.mark.parametrize("name", protocols.built_in())
def test_every_protocol_has_schemas_that_its_example_is_valid_by(name: str):
    protocol = protocols.find(name)
    example = protocol.example
    assert example.data_points
    connection, point = json_schema(protocol.connection), json_schema(protocol.data_point)
    for schema in (connection, point):
        assert jsonschema_rs.meta.is_valid(schema)
    jsonschema_rs.validate(connection, example.connection)
    for one in example.data_points:
        jsonschema_rs.validate(point, one)
    protocol.accept(dict(example.connection), example.data_points)
    assert set(connection["properties"]) <= set(plan(protocol.connection))
    assert protocol.title
    assert protocol.description
