import pytest

from actors.readings.filters import below, check_filter
from actors.system.failure import Refusal
from conf.topic_filters import fit, matches


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


@pytest.mark.parametrize("prefix", ["a/", "a/b/", "a/+/", "$sys/a/", "a//", "/"])
@pytest.mark.parametrize("name", ["x", "x/y", "", "$x", "a"])
@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+/#",
        "a/#",
        "a/b/#",
        "a/b/x",
        "a/b/+",
        "a/+/+",
        "+/+/+",
        "a/x",
        "a",
        "a/+",
        "a/x/y",
        "+",
        "$sys/#",
    ],
)
def test_what_a_filter_asks_of_names_below_a_prefix_is_what_it_asks_of_whole_topics(
    topic_filter, prefix, name
):
    levels = below(topic_filter, prefix)
    found = levels is not None and fit(levels, name.split("/"))
    assert found == matches(topic_filter, prefix + name)
