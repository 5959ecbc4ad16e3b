import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing_system import source_of

from actors.publish.filter_reasons import why_nothing
from actors.readings.filters import check_filter, spelled
from actors.readings.interest import Interest, select
from actors.system.failure import Refusal

SOURCES = [source_of(name, "oil_temp", "Running") for name in ("press-1", "press-2", "hall/saw", "kiln")]


@pytest.mark.parametrize(
    ("topic_filter", "reason"),
    [
        ("modbus/press-1", "modbus/press-1 has 2 levels, but the topics that begin so have 4 "),
        (
            "sensors",
            "sensors has one level, but the topics that begin so have 3 (sensors/press-1/oil_temp); ",
        ),
        ("sensors/+/+/+/+", "sensors/+/+/+/+ has 5 levels, but the topics that begin so have "),
        (
            "sensors/press-1/oil_temp/x",
            "sensors/press-1/oil_temp/x has 4 levels, but the topics that begin so ",
        ),
        ("opcua/#", "there is no opcua (level 1 of opcua/#), but modbus, sensors"),
        ("Modbus/#", "there is no Modbus (level 1 of Modbus/#), but modbus: upper and lower case differ"),
        ("/sensors/#", "level 1 of /sensors/# is empty: there is a slash too many"),
        (
            "sensors/press-9/oil_temp",
            "there is no press-9 below sensors (level 2 of sensors/press-9/oil_temp), but press-2, press-1, ",
        ),
        (
            "sensors/+/running",
            "there is no running below sensors/+ (level 3 of sensors/+/running), but Running: upper",
        ),
    ],
)
def test_the_reason_names_the_level_at_which_a_filter_parts_from_the_topics(
    topic_filter: str, reason: str
) -> None:
    assert why_nothing(topic_filter, SOURCES).startswith(reason)


def test_a_filter_that_is_too_short_is_told_how_to_go_on() -> None:
    assert why_nothing("modbus/press-1", SOURCES).endswith("modbus/press-1/# selects all below")


def test_an_endpoint_without_points_has_no_topics_below_its_name() -> None:
    pointless = msgspec.structs.replace(SOURCES[0], points=())
    reason = "sensors/press-1/m has 3 levels, but the topics that begin so have 2 (sensors/press-1)"
    assert why_nothing("sensors/press-1/m", [pointless]) == reason


PARTS = st.sampled_from(["+", "modbus", "sensors", "press-1", "oil_temp", "hall", "saw", "", "x", " ", "$x"])


@given(st.lists(PARTS, min_size=1, max_size=6).map("/".join), st.booleans())
def test_every_filter_that_selects_nothing_has_a_reason(topic_filter: str, below: bool) -> None:
    whole = f"{topic_filter}/#" if below else topic_filter
    try:
        interest = Interest(topics=(spelled(check_filter(whole, "topics[0]")),))
    except Refusal:
        return
    if all(select(interest, source) == () for source in SOURCES):
        assert topic_filter in why_nothing(whole, SOURCES)
