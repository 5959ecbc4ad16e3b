"""Which endpoint reads a device that was found, however it is configured."""

from typing import Any

import pytest

from actors.discovery.matching import matched
from actors.discovery.probing import Sighted
from actors.endpoints.configured import where
from actors.endpoints.discovering import Configured, Found
from actors.endpoints.messages import ConfiguredEndpoint


def endpoint(protocol: str, connection: dict[str, Any]) -> ConfiguredEndpoint:
    said = where(protocol, connection)
    assert said is not None
    configured = Configured("mine", False, connection)
    return ConfiguredEndpoint(
        "u", protocol, configured, place=said.address, at=said.at, known_by=said.known_by
    )


async def owner(
    protocol: str, found: dict[str, Any], connection: dict[str, Any], names: dict[str, str] | None = None
) -> str | None:
    """Of the device that was found so, where an endpoint has that connection; `names` were looked up."""
    device = Found(identity="x", name="x", connection=found)
    said = await matched(
        protocol,
        [Sighted(device, 0)],
        [endpoint(protocol, connection)],
        True,
        lambda host: (names or {}).get(host, host),
    )
    return said[0].endpoint


BACNET = {"host": "10.0.0.5", "port": 47808, "deviceInstance": 7}
BEHIND = BACNET | {"network": 5, "mac": 3}
OPCUA = {"endpointUrl": "opc.tcp://10.0.0.5:4840"}
SNMP = {"host": "10.0.0.5", "port": 161, "version": "v2c"}
V3 = {"host": "10.0.0.5", "username": "u"}


@pytest.mark.parametrize(
    ("protocol", "found", "connection"),
    [
        ("bacnet", BACNET, BACNET),
        ("bacnet", BACNET, {"host": "10.0.0.5"}),
        ("bacnet", BACNET, {"deviceInstance": 7}),
        ("bacnet", BEHIND, {"deviceInstance": 7}),
        ("opcua", OPCUA, {"endpointUrl": "opc.tcp://10.0.0.5:4840/"}),
        ("opcua", OPCUA, {"endpointUrl": "opc.tcp://10.0.0.5/UA/Server"}),
        ("opcua", OPCUA, {"endpointUrls": ["opc.tcp://10.0.0.4:4840", "opc.tcp://10.0.0.5:4840"]}),
        ("snmp", SNMP, {"host": "10.0.0.5", "version": "v1"}),
        ("snmp", SNMP, V3),
        ("snmp", V3 | {"contextName": "a"}, V3 | {"contextName": "a"}),
        ("modbus", {"host": "10.0.0.5", "unitId": 1}, {"host": "10.0.0.5", "unitId": 1}),
    ],
)
async def test_a_device_is_known_however_its_endpoint_says_where_it_is(
    protocol: str, found: dict[str, Any], connection: dict[str, Any]
) -> None:
    assert await owner(protocol, found, connection) == "mine"


@pytest.mark.parametrize(
    ("protocol", "found", "connection"),
    [
        ("bacnet", BACNET, BACNET | {"deviceInstance": 8}),
        ("bacnet", BACNET, {"host": "10.0.0.6"}),
        ("bacnet", BACNET, {"host": "10.0.0.5", "port": 47809}),
        ("bacnet", BACNET, {"deviceInstance": 8}),
        ("bacnet", BEHIND, {"host": "10.0.0.5"}),
        ("opcua", OPCUA, {"endpointUrl": "opc.tcp://10.0.0.5:4841"}),
        ("snmp", SNMP, V3 | {"contextName": "a"}),
        ("snmp", SNMP, {"host": "10.0.0.5", "port": 1161}),
        ("modbus", {"host": "10.0.0.5", "unitId": 1}, {"host": "10.0.0.5", "unitId": 2}),
    ],
)
async def test_another_device_is_not(
    protocol: str, found: dict[str, Any], connection: dict[str, Any]
) -> None:
    assert await owner(protocol, found, connection) is None


async def test_names_are_known_by_their_addresses_on_either_side() -> None:
    names = {"plc.example": "127.0.0.1"}
    for protocol, found, connection in (
        ("modbus", {"host": "plc.example", "unitId": 1}, {"host": "127.0.0.1", "unitId": 1}),
        ("modbus", {"host": "127.0.0.1", "unitId": 1}, {"host": "localhost", "unitId": 1}),
        ("modbus", {"host": "plc.example", "unitId": 1}, {"host": "localhost", "unitId": 1}),
        (
            "opcua",
            {"endpointUrl": "opc.tcp://plc.example:4840"},
            {"endpointUrl": "opc.tcp://127.0.0.1:4840"},
        ),
        ("opcua", {"endpointUrl": "opc.tcp://127.0.0.1:4840"}, {"endpointUrl": "opc.tcp://localhost:4840/"}),
        ("snmp", {"host": "plc.example"}, {"host": "localhost", "version": "v1"}),
        ("bacnet", {"host": "127.0.0.1", "deviceInstance": 1}, {"host": "localhost"}),
        ("bacnet", {"host": "127.0.0.1", "deviceInstance": 1}, {"host": "localhost", "deviceInstance": 1}),
    ):
        assert await owner(protocol, found, connection, names) == "mine", (protocol, found, connection)
