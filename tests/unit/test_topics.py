import pytest

from actors.batch import Point, Source
from actors.failure import Refusal
from actors.publish.topics import check_filter, check_topic, matches, select


def source(*names: str) -> Source:
    return Source(
        endpoint_uuid="e-1",
        endpoint="line-1",
        protocol="modbus",
        device_uuid="d-1",
        device="press-4",
        points=tuple(Point(name) for name in names),
        topics=tuple((f"modbus/line-1/press-4/{name}", f"sensors/line-1/{name}") for name in names),
    )


@pytest.mark.parametrize("good", ["#", "+", "a", "/", "a/#", "+/+", "a/+/b", "/a", "a//b", "$SYS/#", "é/b"])
def test_a_valid_filter_is_returned_as_it_is(good: str) -> None:
    assert check_filter(good, "topics[0]") == good


@pytest.mark.parametrize(
    "bad", ["", "#/a", "a/#/b", "a#", "a/b#", "##", "a+", "+a/b", "a/++", "a\0b", "é" * 32_768]
)
def test_an_invalid_filter_is_refused_with_its_field(bad: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_filter(bad, "topics[3]")
    assert refused.value.field == "topics[3]"
    assert refused.value.kind == "invalid"


def test_the_longest_allowed_filter_is_accepted() -> None:
    assert check_filter("a" * 65_535, "topics[0]")


def test_a_topic_to_publish_to_is_trimmed() -> None:
    assert check_topic("  plant/line 1\n", "route_json.topic") == "plant/line 1"


@pytest.mark.parametrize("bad", ["", "  ", "a/+", "#", "a#b", "a\0", "x" * 65_536])
def test_a_topic_that_cannot_be_published_to_is_refused(bad: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_topic(bad, "route_json.topic")
    assert refused.value.field == "route_json.topic"


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a/#", "a"),
        ("a/#", "a/b"),
        ("a/#", "a/b/c"),
        ("a/#", "a/"),
        ("#", "a/b"),
        ("+", "a"),
        ("+/b", "a/b"),
        ("a/+", "a/"),
        ("a/+/c", "a/b/c"),
        ("+/+", "/a"),
        ("/+", "/a"),
        ("+/#", "a"),
        ("$SYS/#", "$SYS/uptime"),
        ("$SYS/+", "$SYS/uptime"),
    ],
)
def test_a_filter_matches(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "topic"),
    [
        ("a", "A"),
        ("a", "a/b"),
        ("a", "ab"),
        ("a/b", "a"),
        ("a/#", "ab"),
        ("a/+", "a"),
        ("a/+", "a/b/c"),
        ("+", "a/b"),
        ("+", "/a"),
        ("a/+/c", "a/b/d"),
        ("a/b/#", "a"),
        ("#", "$SYS/uptime"),
        ("+/uptime", "$SYS/uptime"),
        ("a/", "a"),
    ],
)
def test_a_filter_does_not_match(topic_filter: str, topic: str) -> None:
    assert not matches(topic_filter, topic)


@pytest.mark.parametrize(
    "filters",
    [[], ["modbus"], ["#"], ["+"], ["modbus/#"], ["modbus/line-1/#"], ["other", "sensors/#"]],
)
def test_everything_is_selected_as_none(filters: list[str]) -> None:
    assert select(filters, source("oil_temp", "running")) is None


def test_only_points_with_a_matching_topic_are_selected() -> None:
    chosen = source("oil_temp", "running", "parts")
    assert select(["sensors/+/running"], chosen) == (1,)
    assert select(["sensors/+/parts", "modbus/line-1/press-4/oil_temp"], chosen) == (0, 2)


@pytest.mark.parametrize("filters", [["opcua"], ["sensors/line-2/#"], ["line-1"], ["$SYS/#"]])
def test_a_subscription_to_something_else_selects_nothing(filters: list[str]) -> None:
    assert select(filters, source("oil_temp")) == ()
