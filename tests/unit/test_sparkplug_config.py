"""Which destinations and subscriptions can have payload format `sparkplug`, and what is refused."""

from typing import Any

import pytest
from publishing_system import limits
from test_schema_contracts import DESTINATIONS

from actors.publish import starts
from actors.publish.destinations import TYPES, mqtt_config
from actors.publish.formats.compression import COMPRESSIONS
from actors.publish.rows import DestinationBody, SubscriptionBody
from actors.publish.subscription import RunSubscription
from actors.publish.topics import fill
from actors.system.failure import Refusal

NODE = {"groupId": "plant", "edgeNodeId": "gateway-1"}
NOBODY: Any = None
TERMS = starts.Terms(NOBODY, NOBODY, "agent-uuid", limits(), 100, compression="msgpack")


def start(type: str = "mqtt", config_json: dict[str, Any] | None = None, **fields: Any) -> RunSubscription:
    config = {"host": "broker", "sparkplug": NODE} if config_json is None else config_json
    owner = starts.owner(1, DestinationBody(type, config, True), TERMS)
    body: dict[str, Any] = {
        "topics": [],
        "route_json": None,
        "payload_format": "sparkplug",
        "compression": None,
        "enabled": True,
    }
    return starts.subscription(2, SubscriptionBody(**(body | fields)), owner, TERMS)


def refused(**fields: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refusal:
        start(**fields)
    assert refusal.value.kind == "invalid"
    return refusal.value.message, refusal.value.field


def test_every_device_has_a_topic_of_its_own() -> None:
    target = start().target
    assert fill(target, "modbus", "line 1", "press/4") == "spBv1.0/plant/DDATA/gateway-1/press_4"


@pytest.mark.parametrize("type", [type for type in TYPES if type != "mqtt"])
def test_other_destinations_refuse_the_format(type: str) -> None:
    message, field = refused(type=type, config_json=DESTINATIONS[type], route_json={"topic": "a"})
    assert message == f"payload_format sparkplug is not for destinations of type {type}"
    assert field == "payload_format"


def test_a_broker_where_the_destination_is_no_node_refuses_it_too() -> None:
    message, field = refused(config_json={"host": "broker"})
    assert message == "payload_format sparkplug needs config_json.sparkplug of the destination"
    assert field == "payload_format"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"route_json": {"topic": "plant"}}, "route_json.topic"),
        ({"topics": ["modbus", "events/drift/#"]}, "topics[1]"),
    ]
    + [({"compression": one}, "compression") for one in COMPRESSIONS if one != "json"],
)
def test_what_has_no_effect_is_refused(fields: dict[str, Any], field: str) -> None:
    assert refused(**fields)[1] == field


@pytest.mark.parametrize("compression", [None, "json"])
def test_nothing_is_compressed(compression: str | None) -> None:
    assert start(compression=compression).route.compression == "json"


def test_other_subscriptions_of_such_a_destination_are_what_they_are_elsewhere() -> None:
    run = start(payload_format="tags", route_json={"topic": "plant"})
    assert (run.target.topic, run.route.compression) == ("plant", "msgpack")


@pytest.mark.parametrize("key", ["groupId", "edgeNodeId"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a/b", "must not hold /"),
        ("a+", "must not hold +"),
        ("#", "must not hold #"),
        ("{device}", "must not hold {"),
        ("a\tb", "must not hold line ends or other control characters"),
        ("x" * 201, "is longer than 200 characters"),
        (" ", "is required"),
        (None, "is required"),
    ],
)
def test_names_that_cannot_be_levels_of_a_topic_are_refused(key: str, value: Any, words: str) -> None:
    with pytest.raises(Refusal) as refusal:
        mqtt_config.check({"host": "broker", "sparkplug": NODE | {key: value}})
    assert refusal.value.field == f"config_json.sparkplug.{key}"
    assert refusal.value.message.endswith(words)
