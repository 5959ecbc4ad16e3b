from typing import Any

import pytest

from actors.endpoints.protocols.modbus.plan import plan
from actors.endpoints.protocols.modbus.points import read_points


def requests(*registers: str | dict[str, Any]) -> list[tuple[str, int, int]]:
    """The planned requests as (table, address, count)."""
    given = [{"register": r} if isinstance(r, str) else r for r in registers]
    points = read_points([{"name": f"p{index}", **raw} for index, raw in enumerate(given)])
    return [(span.table.name, span.address, span.count) for span in plan(enumerate(points))]


def test_no_points_need_no_requests():
    assert requests() == []


def test_neighbours_are_read_together_in_the_order_of_their_addresses():
    assert requests("holding:2:uint16", "holding:0:float32") == [("holding", 0, 3)]


@pytest.mark.parametrize(("gap", "together"), [(0, True), (2, True), (3, False)])
def test_a_gap_of_two_registers_is_read_over_and_a_wider_one_is_not(gap: int, together: bool):
    planned = requests("holding:0:float32", f"holding:{2 + gap}:uint16")
    assert planned == (
        [("holding", 0, 3 + gap)] if together else [("holding", 0, 2), ("holding", 2 + gap, 1)]
    )


def test_a_request_spans_at_most_125_registers():
    assert requests(*(f"holding:{n}:uint16" for n in range(130))) == [
        ("holding", 0, 125),
        ("holding", 125, 5),
    ]


def test_a_value_is_never_divided_between_requests():
    assert requests(*(f"holding:{n}:float32" for n in range(0, 128, 2))) == [
        ("holding", 0, 124),
        ("holding", 124, 4),
    ]


def test_coils_span_more_than_registers():
    assert requests(*(f"coil:{n}" for n in range(0, 600, 2))) == [("coil", 0, 599)]


def test_a_request_spans_at_most_2000_coils():
    assert requests(*(f"coil:{n}" for n in range(2001))) == [("coil", 0, 2000), ("coil", 2000, 1)]


def test_tables_are_never_mixed():
    assert requests("input:1:uint16", "holding:0:uint16", "coil:0", "discrete:1") == [
        ("coil", 0, 1),
        ("discrete", 1, 1),
        ("holding", 0, 1),
        ("input", 1, 1),
    ]


def test_a_point_that_wants_no_batch_is_read_alone():
    lonely = {"register": "holding:1:uint16", "noBatch": True}
    assert requests("holding:0:uint16", lonely, "holding:2:uint16") == [("holding", 0, 3), ("holding", 1, 1)]


def test_points_may_overlap():
    assert requests("holding:0:float64", "holding:1:uint16", "holding:5:uint16") == [("holding", 0, 6)]
