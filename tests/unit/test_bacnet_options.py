"""What the connection and the data points of a BACnet endpoint mean (spec 03 section 4)."""

from typing import Any

import pytest

from actors.endpoints.protocols.bacnet import PROTOCOL, kinds, points, units
from actors.endpoints.protocols.bacnet.connection import read_connection
from actors.system.failure import Refusal


def refusal(connection: dict[str, Any] | None = None, *given: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        PROTOCOL.accept({"host": "10.0.0.5"} if connection is None else connection, given)
    return caught.value


def test_host_and_instance_have_the_names_that_clients_use() -> None:
    found = read_connection({"ipAddress": "10.0.0.5", "deviceId": 7})
    assert (found.host, found.port, found.instance) == ("10.0.0.5", 47808, 7)
    assert found.address == "bacnet:10.0.0.5:47808:device:7"
    assert PROTOCOL.check({"deviceInstance": 7}, ()).address == "bacnet:device:7"


@pytest.mark.parametrize(
    ("connection", "field"),
    [
        ({}, "connection.host"),
        ({"deviceInstance": 4_194_303}, "connection.deviceInstance"),
        ({"deviceInstance": 4_194_304}, "connection.deviceInstance"),
        ({"host": "fe80::1"}, "connection.host"),
        ({"network": 5, "mac": 5}, "connection.host"),
        ({"host": "10.0.0.5", "mac": 5}, "connection.network"),
        ({"host": "10.0.0.5", "network": 5}, "connection.mac"),
        ({"host": "10.0.0.5", "network": 5, "mac": 255}, "connection.mac"),
        ({"host": "10.0.0.5", "network": 5, "mac": "zz"}, "connection.mac"),
        ({"host": "10.0.0.5", "network": 65_535, "mac": 5}, "connection.network"),
        ({"host": "10.0.0.5", "bbmd": "10.0.0.1:0"}, "connection.bbmd"),
        ({"host": "10.0.0.5", "bbmd": "10.0.0.1:x"}, "connection.bbmd"),
        ({"host": "10.0.0.5", "localAddress": "eth0"}, "connection.localAddress"),
        ({"host": "10.0.0.5", "localAddress": "10.0.0.1/33"}, "connection.localAddress"),
        ({"host": "10.0.0.5", "broadcastAddress": "everybody"}, "connection.broadcastAddress"),
        ({"host": "10.0.0.5", "maxConcurrentReads": 11}, "connection.maxConcurrentReads"),
        ({"host": "10.0.0.5", "retryAttempts": 6}, "connection.retryAttempts"),
        ({"host": "10.0.0.5", "covLifetime": 0}, "connection.covLifetime"),
        ({"host": "10.0.0.5", "covLiftime": 60}, "connection.covLiftime"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_naming_the_field(
    connection: dict[str, Any], field: str
) -> None:
    assert refusal(connection).field == field


@pytest.mark.parametrize(
    ("mac", "meant"),
    [
        (12, b"\x0c"),
        ("12", b"\x0c"),
        ("0x0a", b"\x0a"),
        ("0a:0b", b"\x0a\x0b"),
        ("10.0.0.7:47808", b"\x0a\x00\x00\x07\xba\xc0"),
    ],
)
def test_an_address_on_another_network_is_a_number_hexadecimal_or_an_ip_address(
    mac: Any, meant: bytes
) -> None:
    assert read_connection({"host": "10.0.0.1", "network": 5, "mac": mac}).mac == meant


@pytest.mark.parametrize(
    "text", ["analog-input", "analogInput", "Analog Input", "analog_input", "AI", "0", 0]
)
def test_a_type_of_object_is_spelled_as_tools_spell_it(text: str | int) -> None:
    [point] = points.read_points([{"name": "a", "objectType": text, "objectInstance": 3}])
    assert point.address_text == "analog-input:3"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"object": "multi-state-value:2"}, "multi-state-value:2"),
        ({"object": "MSV,2"}, "multi-state-value:2"),
        ({"object": "av:1:priority-array[8]"}, "analog-value:1:priority-array[8]"),
        ({"object": "av:1", "propertyId": "priorityArray[8]"}, "analog-value:1:priority-array[8]"),
        ({"object": "av:1", "propertyId": 87, "arrayIndex": 8}, "analog-value:1:priority-array[8]"),
        ({"object": "av:1", "propertyId": "85"}, "analog-value:1"),
        ({"object": "200:1:9997"}, "200:1:9997"),
    ],
)
def test_a_data_point_is_one_property_of_one_object(given: dict[str, Any], address: str) -> None:
    [point] = points.read_points([{"name": "a", **given}])
    assert point.address_text == address
    [again] = points.read_points([{"name": "a", "object": address}])
    assert again == point


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "object"),
        ({"objectType": "ai"}, "objectInstance"),
        ({"objectType": "thermometer", "objectInstance": 1}, "objectType"),
        ({"object": "ai"}, "object"),
        ({"object": "ai:4194303"}, "object"),
        ({"object": "ai:1", "objectType": "ao"}, "objectType"),
        ({"object": "ai:1", "objectInstance": 2}, "objectInstance"),
        ({"object": "ai:1:units", "propertyId": 85 + 1}, "propertyId"),
        ({"object": "ai:1", "propertyId": "nonsense"}, "propertyId"),
        ({"object": "av:1:priority-array[8]", "arrayIndex": 9}, "arrayIndex"),
        ({"object": "ai:1", "stateText": True}, "stateText"),
        ({"object": "ai:1", "writePriority": 17}, "writePriority"),
        ({"object": "ai:1", "writePriority": 0}, "writePriority"),
        ({"object": "ao:1", "writePriority": 6}, "writePriority"),
        ({"object": "ai:1", "pollIntervalMs": 999}, "pollIntervalMs"),
        ({"object": "ai:1:units", "covIncrement": 1}, "covIncrement"),
        ({"object": "ai:1", "writeDataType": "thing"}, "writeDataType"),
    ],
)
def test_a_data_point_that_cannot_be_is_refused_naming_the_field(given: dict[str, Any], field: str) -> None:
    assert refusal(None, {"name": "a", **given}).field == f"data_points[0].{field}"


def test_two_points_of_one_name_or_one_place_are_refused() -> None:
    one = {"name": "a", "object": "ai:1"}
    assert refusal(None, one, {"name": "a", "object": "ai:2"}).field == "data_points[1].name"
    assert refusal(None, one, {"name": "b", "objectType": 0, "objectInstance": 1}).field == (
        "data_points[1].objectInstance"
    )
    assert len(points.read_points([one, {"name": "b", "object": "ai:1:units"}])) == 2


def test_a_point_that_is_not_enabled_is_left_out() -> None:
    given = [{"name": "a", "object": "ai:1", "enabled": False}, {"name": "b", "object": "ai:1"}]
    assert [point.name for point in points.read_points(given)] == ["b"]


def test_units_are_symbols() -> None:
    assert [units.symbol(code) for code in (62, 98, 29, 95, 105, 9999)] == [
        "°C",
        "%",
        "%RH",
        None,
        None,
        None,
    ]


def test_every_name_has_the_number_of_the_standard() -> None:
    from bacpypes3.basetypes import EngineeringUnits, ObjectType, PropertyIdentifier

    types = {kinds._plain(name): number for name, number in ObjectType._enum_map.items()}
    assert {kinds._plain(name): number for number, name in kinds.OBJECT_TYPES.items()} == types
    known = {kinds._plain(name): number for name, number in PropertyIdentifier._enum_map.items()}
    for number, name in kinds.properties().items():
        assert known[kinds._plain(name)] == number
    without = {"nounits"} | {f"currency{number}" for number in range(1, 11)}
    for name, code in EngineeringUnits._enum_map.items():
        assert (units.symbol(code) is None) is (kinds._plain(name) in without), name
