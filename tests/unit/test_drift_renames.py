import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.outputs.renames import Renamed, distance, find


def by_table(a: str, b: str) -> int:
    """The textbook's way."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


TEXTS = st.text("abc_é", max_size=80)


@given(TEXTS, TEXTS)
def test_the_distance_is_the_textbooks(a: str, b: str) -> None:
    assert distance(a, b) == by_table(a, b)


@pytest.mark.parametrize(("a", "b", "expected"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3)])
def test_distances(a: str, b: str, expected: int) -> None:
    assert distance(a, b) == expected


def test_the_most_similar_names_are_paired_each_once() -> None:
    old = ["reading:motor_speed", "reading:motor_speed_2"]
    new = ["reading:motor_speed_3", "reading:motor_speed_22", "reading:load"]
    assert [(pair.old, pair.new) for pair in find(old, new, 20, 64)] == [
        ("reading:motor_speed_2", "reading:motor_speed_22"),
        ("reading:motor_speed", "reading:motor_speed_3"),
    ]


@pytest.mark.parametrize(("new", "found"), [("abcdefgh__", False), ("abcdefgh_", True)])
def test_names_are_similar_from_72_percent(new: str, found: bool) -> None:
    assert bool(find(["reading:abcdefg"], [f"reading:{new}"], 20, 64)) == found


def test_the_prefix_does_not_count() -> None:
    assert find(["reading:a"], ["reading:b"], 20, 64) == []
    assert find(["reading:speed"], ["key:speed"], 20, 64) == []


def test_bounds() -> None:
    old, new = ["reading:speed"], ["reading:speed1", "reading:speed2"]
    assert find(old, new, 0, 64) == []
    assert find(old, new, 20, 5) == []
    assert find(old, new, 1, 6) == [
        Renamed("reading:speed", "reading:speed1", pytest.approx(0.8333, abs=1e-4))
    ]
