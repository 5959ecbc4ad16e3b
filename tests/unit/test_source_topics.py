import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing_system import source_of

from actors.mqtt.topics import unpublishable
from actors.readings.filters import check_filter, spelled
from actors.readings.interest import Interest, indices, select
from actors.readings.source_topics import endings, level, prefixes
from conf.topic_filters import matches

NAMES = st.text(st.characters(codec=None), max_size=40)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("press-4", "press-4"),
        ("press 4", "press 4"),
        ("Ölpresse ✓", "Ölpresse ✓"),
        ("line/1", "line_1"),
        ("Temperature +1", "Temperature _1"),
        ("SHSW-1#11490B#1", "SHSW-1_11490B_1"),
        ("pump\t7", "pump_7"),
        (" a ", "_a_"),
        ("\u3000a\u00a0b\u00a0", "_a\u00a0b_"),
        ("a\ud800\ufdd0\U0001ffffb\u2028", "a___b_"),
        ("", "_"),
        ("   ", "___"),
        ("$SYS", "$SYS"),
    ],
)
def test_a_name_is_one_level(name: str, expected: str) -> None:
    assert level(name) == expected
    assert level(expected) == expected


@given(NAMES)
def test_any_name_is_one_level_that_brokers_take(name: str) -> None:
    found = level(name)
    assert unpublishable(f"a/{found}") is None
    assert "/" not in found
    assert found == found.strip() != ""
    assert level(found) == found


def test_the_topics_of_a_source_have_a_level_for_each_name() -> None:
    assert prefixes("modbus", "press 4", "a+b") == ("modbus/press 4/a_b/", "sensors/press 4/")
    assert prefixes("modbus", "hall/1", "x") == (
        "modbus/hall_1/x/",
        "sensors/hall_1/",
        "modbus/hall/1/x/",
        "sensors/hall/1/",
    )
    assert prefixes("modbus", "x", "/y") == ("modbus/x/_y/", "sensors/x/", "modbus/x/_/y/")


def selects(topic_filter: str, endpoint: str, *metrics: str) -> object:
    """Indices of the points selected, as a subscription with that filter has them."""
    wanted = Interest(topics=(spelled(check_filter(topic_filter, "topics[0]")),))
    return select(wanted, source_of(endpoint, *metrics))


@pytest.mark.parametrize(
    "endpoint", ["line 1", "line/1", "line+1", "line#1", "a/b/c", "/", "", " x", "#", "+"]
)
def test_a_wildcard_stands_for_a_name_whatever_is_in_it(endpoint: str) -> None:
    for topic_filter in ("modbus/+/+/m0", "sensors/+/m0"):
        assert selects(topic_filter, endpoint, "m0", "m1") == (0,)
    assert selects("sensors/+/+", endpoint, "m/0", "m#1") is None


@pytest.mark.parametrize(
    ("topic_filter", "endpoint"),
    [
        ("sensors/press 4/#", "press 4"),
        ("modbus/line/1/line/1/m0", "line/1"),
        ("modbus/line/#", "line/1"),
        ("sensors/line/1/m0", "line/1"),
        ("sensors/hall 1/+/m0", "hall 1/press"),
        ("sensors//x/m0", "/x"),
        ("sensors/ x/m0", " x"),
        ("sensors/line_1/m0", "line/1"),
        ("sensors/line_1/m0", "line+1"),
        ("modbus/line_1/line_1/#", "line/1"),
    ],
)
def test_filters_select_a_name_as_it_is_and_as_it_is_spelled(topic_filter: str, endpoint: str) -> None:
    assert selects(topic_filter, endpoint, "m0") is None


def test_metrics_with_slashes_are_one_level_and_several() -> None:
    for topic_filter in ("sensors/a/in_pressure", "sensors/a/in/pressure", "sensors/a/+", "sensors/a/in/+"):
        assert selects(topic_filter, "a", "in/pressure", "out/x/y") in (None, (0,), (0, 1))
        assert 0 in (selects(topic_filter, "a", "in/pressure", "none/x/y") or (0,))
    assert selects("teleinfo/+/PJOURF_1", "a", "PJOURF+1") == ()
    assert selects("sensors/+/PJOURF_1", "a", "PJOURF+1", "PJOURF") == (0,)


@given(NAMES, NAMES)
def test_what_a_filter_with_the_raw_names_selected_before_it_still_selects(
    endpoint: str, metric: str
) -> None:
    raw = f"sensors/{endpoint}/{metric}"
    if not {"+", "#"}.intersection(raw.split("/")):
        assert select(Interest(topics=(spelled(raw),)), source_of(endpoint, metric)) is None


WORDS = st.sampled_from(["a", "b", "a/b", "a+b", " a", "", "/", "m", "modbus", "sensors", "#"])
FILTERS = st.lists(
    st.sampled_from(["+", "a", "b", "a_b", "modbus", "sensors", "m", "", " a"]), min_size=1, max_size=6
)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=4, unique=True), FILTERS, st.booleans())
def test_points_are_selected_by_their_topics(
    endpoint: str, metrics: list[str], levels: list[str], below: bool
) -> None:
    topic_filter = spelled("/".join([*levels, "#"] if below else levels))
    source = source_of(endpoint, *metrics)
    selected = [
        index
        for index, metric in enumerate(metrics)
        if any(
            matches(topic_filter, prefix + "/".join(ending))
            for prefix in source.prefixes
            for ending in endings(metric)
        )
        or matches(topic_filter, "modbus")
    ]
    found = select(Interest(topics=(topic_filter,)), source)
    assert list(indices(found, source)) == selected
