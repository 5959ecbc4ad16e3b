import pytest

from actors.publish.topics import Target, check_topic, fill
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
