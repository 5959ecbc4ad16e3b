"""What data points make of values."""

from typing import Any

import pytest

from actors.endpoints.listener import Nobody
from actors.endpoints.protocols.opcua import quality
from actors.endpoints.protocols.opcua.delivery import Delivery, fields_of
from actors.endpoints.protocols.opcua.nodes import NodeRef
from actors.endpoints.protocols.opcua.points import DataPoint
from actors.endpoints.protocols.opcua.shaping import shape, within
from actors.endpoints.protocols.opcua.structures import Structures

WRONG = (None, "BadTypeMismatch")


def point(**given: Any) -> DataPoint:
    return DataPoint("p", NodeRef(2, "p"), **given)


@pytest.mark.parametrize(
    ("given", "value", "wanted"),
    [
        ({"scale": 0.1}, 3, (0.3, None)),
        ({"scale": 2, "offset": 1}, 3, (7, None)),
        ({"scale": 2}, [1, [2, 3]], ([2, [4, 6]], None)),
        ({"scale": 2}, "3", WRONG),
        ({"scale": 2}, True, WRONG),
        ({"scale": 1e308}, 1e308, WRONG),
        ({"shown": "number"}, "3.5", (3.5, None)),
        ({"shown": "number"}, " 12 ", (12, None)),
        ({"shown": "number"}, True, (1, None)),
        ({"shown": "number"}, "1_000", WRONG),
        ({"shown": "number"}, "nan", WRONG),
        ({"shown": "number"}, "\uff19", WRONG),
        ({"shown": "number"}, {"a": 1}, WRONG),
        ({"shown": "boolean"}, 0, (False, None)),
        ({"shown": "boolean"}, "On", (True, None)),
        ({"shown": "boolean"}, "maybe", WRONG),
        ({"shown": "string"}, 1.5, ("1.5", None)),
        ({"shown": "string"}, True, ("true", None)),
        ({"shown": "string"}, [1, "a"], (["1", "a"], None)),
        ({"shown": "object"}, {"a": 1}, ({"a": 1}, None)),
        ({"scale": 2, "shown": "number"}, None, (None, None)),
    ],
)
def test_values_are_what_the_point_says(given: dict[str, Any], value: Any, wanted: Any) -> None:
    assert shape(point(**given), value, None) == wanted


def test_an_uncertain_value_stays_uncertain() -> None:
    assert shape(point(scale=2), 3, "UncertainLastUsableValue") == (6, "UncertainLastUsableValue")


@pytest.mark.parametrize(
    ("index_range", "value", "wanted"),
    [
        ("1", [5], 5),
        ("1", [4, 5, 6], 5),
        ("0:1", [4, 5], [4, 5]),
        ("1:2", [4, 5, 6, 7], [5, 6]),
        ("1:9", [5, 6], [5, 6]),
        ("0,1", [[1, 2], [3, 4]], 2),
        ("0:1,1", [[1, 2, 3], [4, 5, 6]], [[2], [5]]),
        ("1:2", "text", "text"),
    ],
)
def test_a_range_is_cut_out_where_the_server_has_not(index_range: str, value: Any, wanted: Any) -> None:
    assert within(index_range, value) == wanted


def test_an_array_that_ends_before_the_range_has_no_value() -> None:
    assert shape(point(index_range="9"), [1, 2, 3], None) == WRONG


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (0, None),
        (0x0030_0000, None),
        (quality.OVERFLOW, None),
        (0x4090_0000, "UncertainLastUsableValue"),
        (0x4090_0400, "UncertainLastUsableValue"),
        (0x8034_0000, "BadNodeIdUnknown"),
        (0xC000_0000, "Bad_0xC0000000"),
        (0x8FFF_0000, "Bad_0x8FFF0000"),
        (0x4FFF_0000, "Uncertain_0x4FFF0000"),
    ],
)
def test_status_codes_are_quality_codes(status: int, code: str | None) -> None:
    assert quality.code_of(status) == code


class Told(Nobody):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def changed(self, device: Any, indices: Any, values: Any, codes: Any = None, times: Any = None) -> None:
        self.calls.append((device, list(indices), values, codes, times))


def test_values_of_one_item_are_told_one_after_the_other() -> None:
    told = Told()
    delivery = Delivery(fields_of((point(), point()), ()), told, Structures())
    delivery.tell([0, 1, 0, 0], [1, 10, 2, 3], None, [1, 2, 3, 4])
    assert [(call[1], call[2], call[4]) for call in told.calls] == [
        ([0, 1], [1, 10], [1, 2]),
        ([0], [2], [3]),
        ([0], [3], [4]),
    ]


def test_a_bad_value_has_none_and_a_good_one_without_any_is_no_data() -> None:
    told = Told()
    delivery = Delivery(fields_of((point(), point()), ()), told, Structures())
    delivery.tell([0, 1], [5, None], [0x8034_0000, 0], [None, None])
    assert told.calls == [("", [0, 1], [None, None], ["BadNodeIdUnknown", "BadNoData"], [None, None])]


def test_a_handle_that_is_none_of_ours_is_nobodys() -> None:
    told = Told()
    delivery = Delivery(fields_of((point(),), ()), told, Structures())
    delivery.tell([0, 7], [1, 2], None, [None, None])
    assert [call[1] for call in told.calls] == [[0]]


@pytest.mark.parametrize(
    ("index_range", "value", "wanted"),
    [
        ("1", [7], WRONG),
        ("0", [7], (7, None)),
        ("1:2", [1, 2], ([2], None)),
        ("2:3", [1, 2], WRONG),
        ("1,0", [[1], [2]], (2, None)),
        ("0", 7, WRONG),
        ("0", "text", WRONG),
    ],
)
def test_of_a_whole_array_the_range_is_always_cut_out(index_range: str, value: Any, wanted: Any) -> None:
    assert shape(point(index_range=index_range), value, None, whole=True) == wanted
