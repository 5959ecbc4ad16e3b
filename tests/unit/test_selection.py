from typing import Any

import pytest

from actors.publish.selection import messages
from actors.publish.subscription_route import SubscriptionRoute
from actors.readings.batch import Batch, Point, Source
from actors.readings.interest import Choice, Points

ROUTE = SubscriptionRoute(topics=(), topic="plant/out", payload_format="custom", compression=None)


def source(*names: str) -> Source:
    return Source(
        endpoint_uuid="e-1",
        endpoint="line-1",
        protocol="modbus",
        device_uuid="d-1",
        device="press-4",
        points=tuple(Point(name) for name in names),
        prefixes=("modbus/line-1/press-4/", "sensors/line-1/"),
    )


def route(**parts: Any) -> SubscriptionRoute:
    return SubscriptionRoute(
        topics=parts.pop("topics", ()), topic="out", payload_format="tags", compression=None, **parts
    )


PLAIN = source("oil_temp", "running", "parts", "recipe")


# Messages


def poll(number: int = 0, of: Source = PLAIN, codes: list[str | None] | None = None) -> Batch:
    """Its readings are numbers, but that those of the code TIMEOUT have none."""
    codes_or_none = codes or [None] * len(of.points)
    values = [None if code == "TIMEOUT" else number for code in codes_or_none]
    return Batch(of, 1000 * number, values, codes)


def made(
    route: SubscriptionRoute, *polls: Batch, selected: Points = None, per_poll: bool = False
) -> list[list[tuple[int, Points]]]:
    """Messages, a piece as the time of its poll in seconds and its points."""
    return [
        [(batch.timestamp // 1000, points) for batch, points in message]
        for message in messages(route, Choice(selected), polls, per_poll)
    ]


def test_polls_make_one_message_or_one_each() -> None:
    assert made(ROUTE, poll(1), poll(2)) == [[(1, None), (2, None)]]
    assert made(ROUTE, poll(1), poll(2), per_poll=True) == [[(1, None)], [(2, None)]]
    assert made(ROUTE, poll(1), selected=(1, 2)) == [[(1, (1, 2))]]


@pytest.mark.parametrize("per_poll", [True, False])
@pytest.mark.parametrize("parts", [{}, {"qualities": ("GOOD",)}, {"max_points_per_message": 2}])
def test_no_point_or_no_poll_makes_no_message(per_poll: bool, parts: dict[str, Any]) -> None:
    assert made(route(**parts), poll(1), poll(2), selected=(), per_poll=per_poll) == []
    assert made(route(**parts), per_poll=per_poll) == []


MIXED = poll(7, codes=[None, "TIMEOUT", "STALE", None])


@pytest.mark.parametrize(
    ("qualities", "passing"),
    [
        ((), None),
        (("GOOD", "BAD", "UNCERTAIN"), None),
        (("GOOD",), (0, 3)),
        (("BAD",), (1,)),
        (("UNCERTAIN",), (2,)),
        (("BAD", "UNCERTAIN"), (1, 2)),
        (("GOOD", "GOOD", "BAD"), (0, 1, 3)),
    ],
)
@pytest.mark.parametrize("per_poll", [True, False])
def test_only_readings_of_a_wanted_quality_pass(
    qualities: tuple[str, ...], passing: Points, per_poll: bool
) -> None:
    assert made(route(qualities=qualities), MIXED, per_poll=per_poll) == [[(7, passing)]]


def test_qualities_are_those_of_the_selected_points() -> None:
    assert made(route(qualities=("GOOD",)), MIXED, selected=(1, 2, 3)) == [[(7, (3,))]]
    assert made(route(qualities=("GOOD",)), MIXED, selected=(0, 3)) == [[(7, (0, 3))]]


def test_a_poll_that_is_all_good_passes_whole_or_not_at_all() -> None:
    assert made(route(qualities=("GOOD",)), poll(1)) == [[(1, None)]]
    assert made(route(qualities=("BAD", "UNCERTAIN")), poll(1)) == []


def test_a_poll_of_which_nothing_passes_is_not_in_the_message() -> None:
    bad = poll(2, codes=["TIMEOUT"] * 4)
    assert made(route(qualities=("GOOD",)), poll(1), bad, poll(3)) == [[(1, None), (3, None)]]
    assert made(route(qualities=("GOOD",)), bad, bad) == []
    assert made(route(qualities=("GOOD",)), poll(1), bad, per_poll=True) == [[(1, None)]]


@pytest.mark.parametrize("per_poll", [True, False])
def test_a_poll_with_more_points_than_a_message_may_have_is_divided(per_poll: bool) -> None:
    ten = source(*(f"p{number}" for number in range(10)))
    assert made(route(max_points_per_message=4), poll(1, ten), per_poll=per_poll) == [
        [(1, (0, 1, 2, 3))],
        [(1, (4, 5, 6, 7))],
        [(1, (8, 9))],
    ]
    assert made(route(max_points_per_message=10), poll(1, ten), per_poll=per_poll) == [[(1, None)]]
    assert made(route(max_points_per_message=2), poll(1, ten), selected=(1, 5, 9)) == [
        [(1, (1, 5))],
        [(1, (9,))],
    ]


def test_points_of_several_polls_count_together() -> None:
    capped = route(max_points_per_message=8)
    assert made(capped, poll(1), poll(2), poll(3)) == [[(1, None), (2, None)], [(3, None)]]


def test_a_poll_that_fits_into_a_message_is_not_divided() -> None:
    capped = route(max_points_per_message=6)
    assert made(capped, poll(1), poll(2)) == [[(1, None)], [(2, None)]]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 29, 30, 31, 1000])
def test_no_point_is_lost_or_doubled_whatever_the_limit(limit: int) -> None:
    polls = [
        poll(1, source(*"abcdefg")),
        poll(2, source("a")),
        *(poll(number, PLAIN) for number in (3, 4, 5)),
    ]
    told = messages(route(max_points_per_message=limit), Choice(None), polls, False)
    points = [
        (batch.timestamp, index)
        for message in told
        for batch, chosen in message
        for index in (range(len(batch.values)) if chosen is None else chosen)
    ]
    assert points == [(one.timestamp, index) for one in polls for index in range(len(one.values))]
    assert all(
        sum(len(batch.values if chosen is None else chosen) for batch, chosen in message) <= limit
        for message in told
    )


def test_the_limit_counts_readings_that_have_passed() -> None:
    capped = route(max_points_per_message=2, qualities=("GOOD", "UNCERTAIN"))
    assert made(capped, MIXED) == [[(7, (0, 2))], [(7, (3,))]]


# Batches of some points


def changes(*readings: tuple[int, int], codes: list[str | None] | None = None) -> Batch:
    """Of these points, each with its own time."""
    indices, times = [index for index, _ in readings], [time for _, time in readings]
    return Batch(PLAIN, 9, list(indices), codes, indices=indices, times=times)


def test_of_some_points_those_that_are_wanted_are_chosen_by_position() -> None:
    batch = changes((3, 1), (1, 1), (0, 1))
    assert Choice((0, 3)).positions(batch) == (0, 2)
    assert Choice((0, 1, 3)).positions(batch) is None
    assert Choice((2,)).positions(batch) == ()
    assert Choice(()).positions(batch) == ()
    assert Choice(None).positions(batch) is None
    assert messages(ROUTE, Choice((2,)), [batch], False) == []


def test_qualities_of_some_points_are_those_at_their_positions() -> None:
    batch = changes((3, 1), (1, 1), (0, 1), codes=["STALE", None, "STALE"])
    assert messages(route(qualities=("UNCERTAIN",)), Choice((0, 1)), [batch], False) == [((batch, (2,)),)]
    assert messages(route(qualities=("UNCERTAIN",)), Choice(None), [batch], False) == [((batch, (0, 2)),)]
    assert messages(route(qualities=("BAD",)), Choice(None), [batch], False) == []


def test_some_points_are_divided_by_their_number() -> None:
    batch = changes((3, 1), (1, 1), (0, 1))
    capped = route(max_points_per_message=2)
    assert messages(capped, Choice(None), [batch], False) == [((batch, (0, 1)),), ((batch, (2,)),)]


def test_what_can_tell_one_time_gets_a_piece_for_each_time_in_order() -> None:
    batch = changes((3, 7), (1, 5), (0, 7), (2, 6))
    assert messages(route(), Choice(None), [batch], True, True) == [
        ((batch, (1,)),),
        ((batch, (3,)),),
        ((batch, (0, 2)),),
    ]
    assert messages(route(), Choice((0, 3)), [batch], True, True) == [((batch, (0, 2)),)]
    assert messages(route(), Choice(None), [batch], True, False) == [((batch, None),)]
    same = changes((3, 7), (1, 7))
    assert messages(route(), Choice(None), [same], True, True) == [((same, None),)]
