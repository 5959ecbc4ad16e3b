import pytest

from actors.publish.topics import Target, fill
from actors.readings.filters import check_filter
from actors.state.names import NAME_LENGTH, check_name
from actors.system.failure import Refusal
from conf.texts import has_controls, is_broken_text, without_controls

CONTROLS = [*"\n\r\t\x1b\x7f\x85\x9f\u2028\u2029\ufdd0\ufffe\uffff\U0001fffe"]
SEEN = ["a", " ", "é", "\u00a0", "\u200b", "\u202f", "\u3000", "한", "\U0001f600", "\ufffd", "\U0010fffd"]


@pytest.mark.parametrize("one", CONTROLS)
def test_control_characters_are_refused_in_names_and_topics(one: str) -> None:
    assert has_controls(f"a{one}b")
    assert without_controls(f"a{one}b") == "a_b"
    for check in (check_name, lambda text: check_filter(text, "topics[0]")):
        with pytest.raises(Refusal, match="control characters"):
            check(f"a{one}b")


@pytest.mark.parametrize("one", SEEN)
def test_all_else_is_left_alone(one: str) -> None:
    text = f"a{one}b"
    assert not has_controls(text)
    assert without_controls(text) == text
    assert not is_broken_text(text)
    check_name(text)
    check_filter(text, "topics[0]")


def test_a_stored_name_with_control_characters_makes_a_topic_that_brokers_take() -> None:
    target = Target("plant/{name}/{device}", template=True)
    assert fill(target, "modbus", "press\n4/a", "x\x7f+") == "plant/press_4_a/x__"


def test_a_name_is_neither_blank_nor_long() -> None:
    for bad in ("", " ", "\u3000", "x" * (NAME_LENGTH + 1)):
        with pytest.raises(Refusal) as refused:
            check_name(bad)
        assert refused.value.field == "name"
    check_name("x" * NAME_LENGTH)
