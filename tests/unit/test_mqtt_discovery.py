"""What a search over MQTT comes to, and which topics are of one device."""

from typing import Any

import pytest

from actors.endpoints.discovering import Configured, Known
from actors.endpoints.protocols.mqtt import grouping, proposing, sampling
from actors.endpoints.protocols.mqtt.discovery import Search, plan
from actors.system.failure import Refusal
from conf.settings import load

BROKER = {"MQTT_BROKER_URL": "mqtt://broker.example", "MQTT_USERNAME": "u", "MQTT_PASSWORD": "p"}


def planned(options: dict[str, Any], *configured: Configured, **environment: str) -> Search | None:
    return plan(options, Known(load(None, environment), configured), "overrides.mqtt")


def test_where_no_topics_are_named_nothing_is_listened_to():
    assert planned({}) is None
    assert planned({}, **BROKER) is None
    assert planned({}, MQTT_DISCOVERY_ROOTS="plant/#") is None


def test_topics_of_the_environment_are_listened_to_at_its_broker():
    found = planned(
        {}, **BROKER, MQTT_DISCOVERY_ROOTS="plant/#, hall/+/state", MQTT_DISCOVERY_DURATION_MS="2500"
    )
    assert found is not None
    assert found.sample is not None
    assert found.sample.filters == ("plant/#", "hall/+/state")
    assert found.sample.seconds == 2.5
    assert found.sample.connection.address == "mqtt://broker.example:1883"
    assert (found.sample.connection.username, found.sample.connection.password) == ("u", "p")
    assert found.sample.given == {}


def test_what_the_environment_holds_goes_to_no_other_broker():
    found = planned({"brokerUrl": "mqtt://other.example"}, **BROKER)
    assert found is not None
    assert found.sample is not None
    assert found.sample.connection.username is None
    assert found.sample.filters == ("#",)
    assert found.sample.given == {"brokerUrl": "mqtt://other.example"}
    assert found.sample.foreign


def test_the_broker_of_the_environment_is_the_same_by_its_url():
    found = planned({"brokerUrl": "mqtt://broker.example:1883"}, **BROKER)
    assert found is not None
    assert found.sample is not None
    assert not found.sample.foreign


def test_brokers_are_looked_for_without_listening():
    found = planned(
        {"network": "10.0.0.0/30", "ports": [1883, 8883]}, **BROKER, MQTT_DISCOVERY_ROOTS="plant/#"
    )
    assert found is not None
    assert found.sample is None
    assert [str(place.at) for place in found.places] == [
        "10.0.0.1:1883",
        "10.0.0.1:8883",
        "10.0.0.2:1883",
        "10.0.0.2:8883",
    ]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"topics": "a/#"}, "brokerUrl"),
        ({"url": "ftp://x"}, "url"),
        ({"brokerUrl": "mqtt://b", "topics": "a/#/b"}, "topics"),
        ({"brokerUrl": "mqtt://b", "topics": "$SYS/#"}, "topics"),
        ({"brokerUrl": "mqtt://b", "duration": 5}, "duration"),
        ({"brokerUrl": "mqtt://b", "qos": 3}, "qos"),
        ({"brokerUrl": "mqtt://b", "maxTopics": 1_000_000}, "maxTopics"),
        ({"brokerUrl": "mqtt://b", "password": "x"}, "username"),
        ({"duration": 500}, "topics"),
        ({"network": "10.0.0.0/8"}, "network"),
        ({"port": 1883}, "port"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(options: dict[str, Any], field: str):
    with pytest.raises(Refusal) as refused:
        planned(options)
    assert (refused.value.field or "").split("[")[0] == f"overrides.mqtt.{field}"


def grouped(**messages: bytes) -> dict[str, list[str]]:
    looks = [
        proposing.look(sampling.Topic(topic.replace("__", "/"), 1, 1, False, [payload]))
        for topic, payload in messages.items()
    ]
    return {one.base: [look.topic.name for look in one.looks] for one in grouping.groups(looks)}


@pytest.mark.parametrize(
    ("messages", "bases"),
    [
        ({"speed": b"1"}, ["speed"]),
        ({"a__speed": b"1", "a__temp": b"2"}, ["a"]),
        ({"sensors__t1": b'{"t": 1}', "sensors__t2": b'{"t": 1}'}, ["sensors/t1", "sensors/t2"]),
        ({"plant__p__state": b'{"t": 1}', "plant__q__state": b'{"t": 1}'}, ["plant/p", "plant/q"]),
        ({"plant__p__extra": b'{"t": 1}', "plant__p__speed": b"1"}, ["plant/p"]),
        ({"state": b'{"t": 1}'}, ["state"]),
    ],
)
def test_topics_are_grouped_by_what_they_hold(messages: dict[str, bytes], bases: list[str]):
    assert sorted(grouped(**messages)) == bases


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"21.5", "number"),
        (b"true", "boolean"),
        (b"on", "text"),
        (b"{}", "object"),
        (b"[1]", "array"),
        (b"\xff\x00", "binary"),
        (b"", "empty"),
        (b'{"a": ', "binary"),
        (b"[" * 10_000, "binary"),
        (b"null", "empty"),
    ],
)
def test_kinds_of_payloads(payload: bytes, kind: str):
    assert proposing.look(sampling.Topic("t", 1, 1, False, [payload])).kind == kind


def test_fields_that_change_their_type_have_none():
    seen = proposing.look(
        sampling.Topic("t", 2, 2, False, [b'{"a": 1, "b": 1}', b'{"a": "x", "b": 2.5, "c": true}'])
    )
    assert {one.name: one.type for one in proposing.fields(seen)} == {
        "a": None,
        "b": "number",
        "c": "boolean",
    }


def test_odd_keys_are_found_again_or_left_out():
    fields = [
        proposing.Field("t", path, ".".join(map(str, path)), None)
        for path in (("a.b",), ("x", "y z"), ('"',))
    ]
    points = proposing.data_points(fields, "t")
    assert [one["field"] for one in points[0]["metrics"]] == ['["a.b"]', "x.y z", '["\\""]']
