from typing import Any

import pytest

from actors.publish.formats.compression import COMPRESSIONS
from actors.publish.subscription_route import SubscriptionRoute, check_subscription
from actors.system.failure import Refusal


def check(
    topics: Any = (),
    route_json: Any = None,
    payload_format: Any = "custom",
    compression: Any = None,
    **keys: Any,
) -> SubscriptionRoute:
    """A subscription that is valid unless a part of it is given."""
    route = {"topic": "plant/out", **keys} if route_json is None else route_json
    return check_subscription(topics, route, payload_format, compression)


def refusal(**parts: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refused:
        check(**parts)
    assert refused.value.kind == "invalid"
    return refused.value.message, refused.value.field


def test_a_plain_subscription_publishes_every_poll_at_once() -> None:
    assert check() == SubscriptionRoute(
        topics=(), topic="plant/out", payload_format="custom", compression=None
    )
    assert check().buffer_size == 1


def test_every_option_is_kept() -> None:
    route = check(
        topics=["modbus", "sensors/#"],
        payload_format="tags",
        compression="json",
        includeDevices=["a"],
        excludeDevices=["b"],
        includeMetrics=["c"],
        excludeMetrics=["d"],
        qualities=["GOOD", "BAD"],
        minIntervalMs=60_000,
        maxPointsPerMessage=1000,
        bufferSize=12,
        bufferTimeMs=0,
        qos=0,
        retain=True,
        somethingElse={"of": "the UI"},
    )
    assert route == SubscriptionRoute(
        topics=("modbus", "sensors/#"),
        topic="plant/out",
        payload_format="tags",
        compression="json",
        include_devices=("a",),
        exclude_devices=("b",),
        include_metrics=("c",),
        exclude_metrics=("d",),
        qualities=("GOOD", "BAD"),
        min_interval_ms=60_000,
        max_points_per_message=1000,
        buffer_size=12,
        buffer_time_ms=0,
        qos=0,
        retain=True,
    )


@pytest.mark.parametrize("name", ["custom", "tags", "ecp"])
def test_the_documented_formats_are_accepted(name: str) -> None:
    assert check(payload_format=name).payload_format == name


@pytest.mark.parametrize("name", ["xml", "", "Custom", None, 5])
def test_another_format_is_refused(name: Any) -> None:
    assert refusal(payload_format=name) == (f"Invalid payload_format: {name}", "payload_format")


def test_an_unhashable_format_or_compression_is_refused() -> None:
    assert refusal(payload_format=["tags"])[1] == "payload_format"
    assert refusal(compression={"a": 1})[1] == "compression"


@pytest.mark.parametrize("name", ["gzip", "", "JSON", 5])
def test_an_unknown_compression_is_refused_with_the_known_ones(name: Any) -> None:
    assert refusal(compression=name) == (
        f"Invalid compression: {name}. "
        "Supported: json, msgpack, json+deflate, msgpack+deflate, cbor, cbor+deflate",
        "compression",
    )


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_compression_is_accepted(name: str) -> None:
    assert check(compression=name).compression == name


def test_the_format_of_a_destination_type_cannot_be_asked_for() -> None:
    assert refusal(payload_format="line-protocol")[1] == "payload_format"


@pytest.mark.parametrize("route_json", [None, {}, {"topic": None}, {"topic": ""}, {"topic": " \t"}])
def test_whether_a_topic_is_needed_is_the_destinations_to_say(route_json: Any) -> None:
    assert check_subscription([], route_json, "custom", None).topic is None


def test_the_topic_is_trimmed() -> None:
    assert check(topic=" plant/a ").topic == "plant/a"


@pytest.mark.parametrize("topic", [5, ["a"], True])
def test_a_topic_must_be_a_string(topic: Any) -> None:
    assert refusal(topic=topic) == ("route_json.topic must be a string", "route_json.topic")


def test_a_bad_topic_filter_is_refused_by_its_position() -> None:
    assert refusal(topics=["modbus", "a/#/b"])[1] == "topics[1]"


@pytest.mark.parametrize("topics", ["modbus", None, 5, [1], {"a": 1}])
def test_topics_must_be_strings(topics: Any) -> None:
    assert refusal(topics=topics) == ("topics must be an array of strings", "topics")


@pytest.mark.parametrize("route_json", ["plant/out", ["plant/out"], 5, True])
def test_a_route_must_be_an_object(route_json: Any) -> None:
    assert refusal(route_json=route_json) == ("route_json must be an object", "route_json")


@pytest.mark.parametrize(
    "key", ["includeDevices", "excludeDevices", "includeMetrics", "excludeMetrics", "qualities"]
)
@pytest.mark.parametrize("value", ["GOOD", [1], {"a": 1}, True])
def test_lists_of_a_route_must_be_strings(key: str, value: Any) -> None:
    assert refusal(**{key: value}) == (f"route_json.{key} must be an array of strings", f"route_json.{key}")


def test_an_unknown_quality_is_refused_by_its_position() -> None:
    message, field = refusal(qualities=["GOOD", "good"])
    assert message == "route_json.qualities[1] must be one of GOOD, BAD, UNCERTAIN"
    assert field == "route_json.qualities[1]"


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [
        ("minIntervalMs", 0, 60_000),
        ("maxPointsPerMessage", 0, 1000),
        ("bufferSize", 1, 10_000),
        ("bufferTimeMs", 0, 60_000),
        ("qos", 0, 1),
    ],
)
def test_numbers_of_a_route_have_limits(key: str, lowest: int, highest: int) -> None:
    for good in (lowest, highest, float(highest), None):
        check(**{key: good})
    expected = (f"route_json.{key} must be an integer from {lowest} to {highest}", f"route_json.{key}")
    for bad in (lowest - 1, highest + 1, 1.5, "5", True, [1], float("inf"), float("nan")):
        assert refusal(**{key: bad}) == expected
