from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.mqtt.topics import Room, check_topic, refuse_slips, unpublishable
from actors.publish.topics import Target, fill
from actors.system.failure import Refusal


def test_a_topic_to_publish_to_is_trimmed() -> None:
    assert check_topic("  plant/line 1\n", "route_json.topic") == "plant/line 1"


@pytest.mark.parametrize("bad", ["", "  ", "a/+", "#", "a#b", "a\0", "x" * 65_536])
def test_a_topic_that_cannot_be_published_to_is_refused(bad: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_topic(bad, "route_json.topic")
    assert refused.value.field == "route_json.topic"


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


# What brokers take


@pytest.mark.parametrize(
    "topic",
    ["$SYS/broker", "$share/g/a", "$CONTROL", "a\tb", "a\x9f", "a\ud800", "a\ufdd0", "/" * 201, "é" * 32_768],
)
def test_a_topic_that_brokers_close_over_or_lose_is_refused(topic: str) -> None:
    assert unpublishable(topic) is not None
    with pytest.raises(Refusal) as refused:
        check_topic(topic, "route_json.topic")
    assert refused.value.field == "route_json.topic"


@pytest.mark.parametrize(
    "topic",
    [
        "/sys/key/post",
        "$aws/rules/r/plant",
        "$oc/devices/d",
        "/" * 200,
        "Living Room/x",
        "x" * 65_535,
        "$SYS1",
    ],
)
def test_other_topics_are_taken_as_they_are(topic: str) -> None:
    assert check_topic(topic, "route_json.topic") == topic


@pytest.mark.parametrize("topic", ["a//b", "a/", "a /b", "a/ b", "//a"])
def test_a_topic_that_is_hardly_meant_is_refused_to_clients_alone(topic: str) -> None:
    assert check_topic(topic, "f") == topic
    with pytest.raises(Refusal) as refused:
        refuse_slips(topic, "f")
    assert refused.value.field == "f"
    refuse_slips(" /plant/line 1/x\n", "f")


# Filling

NAMES = st.text(st.characters(codec=None), max_size=300)


@given(NAMES, NAMES, st.sampled_from([64, 256, 65_535]))
def test_any_names_make_a_topic_of_the_same_levels_that_brokers_take(
    endpoint: str, device: str, room: int
) -> None:
    target = Target("{name}/plant/{device}/{protocol}-x", template=True, max_bytes=room)
    topic = fill(target, "modbus", endpoint, device)
    assert unpublishable(topic, Room(room)) is None
    assert topic.count("/") == 3
    assert not topic.startswith("$")
    refuse_slips(topic, "f")
    assert fill(target, "modbus", endpoint, device) == topic


def test_a_name_cannot_make_a_topic_the_brokers_own() -> None:
    assert fill(Target("{name}/x", template=True), "modbus", "$SYS", "d") == "_SYS/x"
    assert fill(Target("x/{name}", template=True), "modbus", "$SYS", "d") == "x/$SYS"
    assert fill(Target("$aws/rules/r/{name}", template=True), "modbus", "a") == "$aws/rules/r/a"


def test_long_names_are_shortened_and_stay_different() -> None:
    target = Target("plant/{name}/{device}/data", template=True, max_bytes=256)
    long = ["x" * 300 + end for end in ("a", "b", "/c", "+c")]
    topics = [fill(target, "modbus", name, "press") for name in long]
    digest = sha256(long[0].encode()).hexdigest()[:10]
    assert topics[0] == f"plant/{'x' * 111}~{digest}/press/data"
    assert len(set(topics)) == 4
    assert all(len(topic.encode()) <= 256 for topic in topics)
    assert fill(target, "modbus", "y" * 200, "press") == f"plant/{'y' * 200}/press/data"


def test_a_template_that_leaves_no_room_is_cut_itself() -> None:
    target = Target("p" * 252 + "/{name}", template=True, max_bytes=256)
    assert fill(target, "modbus", "abc") == "p" * 252 + "/abc"
    first, second = fill(target, "modbus", "abcd"), fill(target, "modbus", "abce")
    assert first != second
    assert len(first) == len(second) == 256


def test_an_event_has_no_endpoint() -> None:
    assert fill(Target("{protocol}/{name}", template=True), "modbus") == "modbus/_"
