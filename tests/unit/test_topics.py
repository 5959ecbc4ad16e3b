import pytest

from actors.publish.topics import Target, check_filter, check_topic, fill, matches
from actors.system.failure import Refusal


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


PLAIN = Target("plant/{device}")
TEMPLATE = Target("i/{name}/{device}/{endpoint}-{protocol}", template=True)


def test_a_target_that_is_no_template_is_the_topic_itself() -> None:
    assert fill(PLAIN, "modbus", "line-1", "press-4") == "plant/{device}"


def test_a_template_is_filled_with_what_is_known_of_the_source() -> None:
    assert fill(TEMPLATE, "modbus", "line-1", "press-4") == "i/line-1/press-4/modbus-modbus"
    assert fill(Target("{other}/{device}", template=True), "modbus", "a", "b") == "{other}/b"


def test_a_name_cannot_add_levels_or_wildcards_or_placeholders_to_a_topic() -> None:
    filled = fill(TEMPLATE, "modbus", "a/b+c#d\0", "{protocol}")
    assert filled == "i/a_b_c_d_/{protocol}/modbus-modbus"
