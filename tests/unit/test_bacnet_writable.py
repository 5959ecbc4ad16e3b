"""What a write to a BACnet object means, as far as it can be said without the device."""

from typing import Any

import pytest

from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols.bacnet import PROTOCOL
from actors.endpoints.protocols.bacnet.writable import Writing
from actors.system.failure import Refusal

POINTS = [
    {"name": "setpoint", "object": "av:1", "writable": True, "writePriority": 10},
    {"name": "fan", "object": "bo:1", "writable": True},
    {"name": "mode", "object": "msv:2", "writable": True, "stateText": True},
    {"name": "outdoor", "object": "ai:1", "writable": True},
    {"name": "locked", "object": "av:2"},
    {"name": "count", "object": "piv:1", "writable": True},
    {"name": "offset", "object": "iv:1", "writable": True},
    {"name": "large", "object": "lav:1", "writable": True},
    {"name": "label", "object": "csv:1", "writable": True},
    {"name": "oos", "object": "av:1:out-of-service", "writable": True},
    {"name": "vendor", "object": "av:1:9000", "writable": True},
]
ENDPOINT = PROTOCOL.check({"host": "10.0.0.5"}, POINTS)


def prepared(register: str, value: Any, **more: Any) -> Writing:
    assert PROTOCOL.prepare is not None
    found = PROTOCOL.prepare(ENDPOINT, WriteRequest("", register, value, **more))
    assert isinstance(found, Writing)
    return found


@pytest.mark.parametrize(
    ("register", "value", "written", "kind"),
    [
        ("setpoint", 21, 21.0, "real"),
        ("setpoint", "21.5", 21.5, "real"),
        ("fan", True, 1, "enumerated"),
        ("fan", "inactive", 0, "enumerated"),
        ("fan", 1.0, 1, "enumerated"),
        ("mode", 2, 2, "unsigned"),
        ("count", 2**32 - 1, 2**32 - 1, "unsigned"),
        ("offset", -5, -5, "integer"),
        ("large", 1e300, 1e300, "double"),
        ("label", "a", "a", "string"),
        ("oos", "on", True, "boolean"),
        ("analog-value:7", 3, 3.0, "real"),
        ("av:7:cov-increment", 0.5, 0.5, "real"),
        ("av:7:description", "x", "x", "string"),
    ],
)
def test_a_value_becomes_what_the_object_holds(register: str, value: Any, written: Any, kind: str) -> None:
    found = prepared(register, value)
    assert (found.value, type(found.value), found.kind) == (written, type(written), kind)


def test_a_type_that_is_said_is_taken_even_where_it_is_odd() -> None:
    """What the device thinks of it, it says itself."""
    assert prepared("msv:9", "x", data_type="string").value == "x"


@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("setpoint", float("nan")),
        ("setpoint", float("inf")),
        ("setpoint", 1e39),
        ("setpoint", 10**400),
        ("setpoint", "warm"),
        ("setpoint", True),
        ("setpoint", [1]),
        ("large", 10**400),
        ("fan", 2),
        ("fan", "maybe"),
        ("fan", 0.5),
        ("mode", 0),
        ("mode", -1),
        ("mode", 1.5),
        ("count", -1),
        ("count", 2**32),
        ("offset", 2**31),
        ("label", "x" * 1025),
        ("oos", 2),
    ],
)
def test_a_value_that_does_not_fit_is_refused(register: str, value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        prepared(register, value)
    assert caught.value.field == "value"


def test_the_priority_is_the_request_s_else_the_point_s_else_8() -> None:
    assert prepared("setpoint", 1, priority=3).priority == 3
    assert prepared("setpoint", 1).priority == 10
    assert prepared("analog-value:7", 1).priority == 8
    assert prepared("outdoor", 1).priority is None
    assert prepared("oos", True).priority is None


@pytest.mark.parametrize(
    ("register", "value", "priority"), [("outdoor", 1, 8), ("oos", True, 8), ("setpoint", 1, 6)]
)
def test_a_priority_that_means_nothing_is_refused(register: str, value: Any, priority: int) -> None:
    with pytest.raises(Refusal) as caught:
        prepared(register, value, priority=priority)
    assert caught.value.field == "priority"


def test_null_releases_what_was_commanded() -> None:
    found = prepared("setpoint", None)
    assert (found.releases, found.priority) == (True, 10)
    assert prepared("setpoint", None, priority=16).priority == 16
    for register in ("outdoor", "oos"):
        with pytest.raises(Refusal) as caught:
            prepared(register, None)
        assert caught.value.field == "value"


def test_a_state_may_be_given_by_its_text_where_it_is_shown_so() -> None:
    found = prepared("mode", "Heating")
    assert (found.text, found.value, found.releases) == ("Heating", None, False)


@pytest.mark.parametrize("register", ["locked", "analog-value:2", "AV,2", "av:2:out-of-service"])
def test_what_is_not_writable_is_not_written_however_it_is_spelled(register: str) -> None:
    with pytest.raises(Refusal) as caught:
        prepared(register, 1)
    assert (caught.value.field, caught.value.kind) == ("register", "read_only")


def test_what_nobody_knows_is_not_found() -> None:
    with pytest.raises(Refusal) as caught:
        prepared("nothing", 1)
    assert (caught.value.field, caught.value.kind) == ("register", "not_found")


def test_a_type_is_said_where_the_standard_does_not() -> None:
    with pytest.raises(Refusal) as caught:
        prepared("vendor", 1)
    assert caught.value.field == "type"
    assert prepared("vendor", 1, data_type="Unsigned").kind == "unsigned"
    assert prepared("setpoint", 1, data_type="double").kind == "double"
    with pytest.raises(Refusal) as caught:
        prepared("vendor", 1, data_type="thing")
    assert caught.value.field == "type"
