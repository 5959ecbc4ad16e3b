"""The data points of OPC UA endpoints."""

from typing import Any

import pytest

from actors.endpoints.protocols.opcua.nodes import BrowsePath, NodeRef
from actors.endpoints.protocols.opcua.points import DataPoint, read_points
from actors.system.failure import Refusal


def one(**given: Any) -> DataPoint:
    [point] = read_points([{"name": "a", "nodeId": "ns=2;s=a", **given}]).own
    return point


def test_a_point_has_defaults() -> None:
    assert one() == DataPoint("a", NodeRef(2, "a"))
    assert one().address_text == "ns=2;s=a"


def test_everything_that_a_point_can_say() -> None:
    point = one(
        indexRange="1:3",
        unit="bar",
        dataType="number",
        scalingFactor=0.1,
        offset=-5,
        writable=True,
        writeDataType="int16",
        samplingInterval=100,
        queueSize=10,
        deadband=2,
        deadbandType="Percent",
        semantic="metric",
    )
    assert (point.index_range, point.unit, point.shown) == ("1:3", "bar", "number")
    assert (point.scale, point.offset, point.scaled) == (0.1, -5, True)
    assert (point.writable, point.write_type) == (True, "Int16")
    assert (point.sampling_interval, point.queue_size) == (100, 10)
    assert (point.deadband, point.percent) == (2, True)


def test_a_path_takes_the_place_of_a_node_id() -> None:
    for given in ({"browsePath": "/2:Plant"}, {"nodeId": "/2:Plant"}):
        [point] = read_points([{"name": "a", **given}]).own
        assert isinstance(point.place, BrowsePath)


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"nodeId": "nonsense"}, "nodeId"),
        ({"nodeId": None}, "nodeId"),
        ({"browsePath": "/2:Plant"}, "browsePath"),
        ({"nodeId": None, "browsePath": "Plant"}, "browsePath"),
        ({"indexRange": "3:1"}, "indexRange"),
        ({"indexRange": "a"}, "indexRange"),
        ({"indexRange": "1:1"}, "indexRange"),
        ({"scalingFactor": 0}, "scalingFactor"),
        ({"scalingFactor": 2, "dataType": "string"}, "scalingFactor"),
        ({"offset": 2, "dataType": "boolean"}, "offset"),
        ({"dataType": "complex"}, "dataType"),
        ({"writeDataType": "Int12"}, "writeDataType"),
        ({"deadbandType": "percent"}, "deadband"),
        ({"deadband": 101, "deadbandType": "percent"}, "deadband"),
        ({"deadband": -1}, "deadband"),
        ({"device_uuid": "a\nb"}, "device_uuid"),
        ({"name": ""}, "name"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(given: dict[str, Any], key: str) -> None:
    with pytest.raises(Refusal) as refusal:
        one(**given)
    assert refusal.value.field == f"data_points[0].{key}"


def test_points_of_other_devices_are_theirs() -> None:
    found = read_points(
        [
            {"name": "a", "nodeId": "i=1"},
            {"name": "a", "nodeId": "i=2", "device_uuid": "u-1", "device_name": "Pump"},
            {"name": "b", "nodeId": "i=3", "device_uuid": "u-1"},
            {"name": "a", "nodeId": "i=4", "device_name": "Fan"},
        ]
    )
    assert [point.name for point in found.own] == ["a"]
    shown = [(one.identifier, one.name, one.uuid, [p.name for p in one.points]) for one in found.devices]
    assert shown == [("u-1", "Pump", "u-1", ["a", "b"]), ("Fan", "Fan", None, ["a"])]


def test_names_are_unique_in_a_device_and_a_device_has_one_name() -> None:
    twice = [{"name": "a", "nodeId": "i=1"}, {"name": "a", "nodeId": "i=2"}]
    with pytest.raises(Refusal) as refusal:
        read_points(twice)
    assert refusal.value.field == "data_points[1].name"
    names = [
        {"name": name, "nodeId": "i=1", "device_uuid": "u", "device_name": name} for name in ("one", "two")
    ]
    with pytest.raises(Refusal) as refusal:
        read_points(names)
    assert refusal.value.field == "data_points[1].device_name"
