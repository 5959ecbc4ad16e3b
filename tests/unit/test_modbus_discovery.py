"""What a search for Modbus devices is asked for."""

from typing import Any

import pytest
from probing import SETTINGS

from actors.endpoints.discovering import Configured, Known
from actors.endpoints.protocols.modbus import PROTOCOL
from actors.endpoints.protocols.modbus.discovery import Place, Search
from actors.system.checking import refuse_unknown
from actors.system.failure import Refusal
from conf.settings import load

USUAL = (1, 255, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10)
DISCOVERY = PROTOCOL.discovery
assert DISCOVERY is not None


SETTINGS_HERE = {
    "MODBUS_TCP_HOST": "10.0.0.9",
    "MODBUS_TCP_PORT": "1502",
    "MODBUS_SERIAL_PORT": "/dev/ttyS1",
    "MODBUS_BAUD_RATE": "19200",
    "MODBUS_SLAVE_RANGE_START": "3",
    "MODBUS_SLAVE_RANGE_END": "4",
    "MODBUS_TIMEOUT": "700",
}


def planned(options: dict[str, Any], *configured: Configured) -> Search:
    found = plan(options, *configured)
    assert found is not None
    return found


def plan(options: dict[str, Any], *configured: Configured) -> Search | None:
    assert DISCOVERY is not None
    found = DISCOVERY.plan(options, Known(SETTINGS, configured), "overrides.modbus")
    assert found is None or isinstance(found, Search)
    return found


def where(place: Place) -> str:
    return place.connection.place


def test_a_network_is_all_its_hosts():
    search = planned({"network": "10.0.1.0/24", "timeout": 500})
    assert search.probes == len(search.places) == 254
    assert where(search.places[0]) == "modbus:tcp:10.0.1.1:502"
    assert {place.units for place in search.places} == {USUAL}
    assert {place.connection.timeout for place in search.places} == {0.5}
    assert search.within == 4 * 0.5 + 14 * 0.5
    assert not any(place.expected for place in search.places)


def test_hosts_and_ports_may_be_several():
    search = planned({"host": "plc-1, 10.0.0.7-9", "hosts": ["10.0.0.9"], "ports": [502, 1502]})
    hosts = ["plc-1", "10.0.0.7", "10.0.0.8", "10.0.0.9"]
    assert [(p.connection.host, p.connection.port) for p in search.places] == [
        (host, port) for host in hosts for port in (502, 1502)
    ]
    assert {p.connection.host for p in search.places if p.expected} == {"plc-1", "10.0.0.9"}
    assert {p.connection.timeout for p in search.places} == {2.0}


@pytest.mark.parametrize("key", ["unitId", "slaveId"])
def test_one_unit_is_asked_for(key: str):
    assert planned({"host": "plc", key: 7}).places[0].units == (7,)


@pytest.mark.parametrize("key", ["slaveRange", "units"])
def test_units_come_in_the_order_of_their_likelihood(key: str):
    assert planned({"host": "plc", key: {"start": 0, "end": 3}}).places[0].units == (1, 0, 2, 3)
    assert planned({"host": "plc", key: {"start": 3, "end": 5}}).places[0].units == (3, 4, 5)


def test_of_a_serial_line_the_settings_are_tried():
    search = planned({"serialPort": "/dev/ttyUSB0", "baudRate": [9600, 19200], "parity": "even"})
    assert [place.connection.baud_rate for place in search.places] == [9600, 19200]
    assert {(p.units, p.connection.parity, p.connection.timeout) for p in search.places} == {
        (tuple(range(1, 11)), "E", 5.0)
    }
    assert search.within == 2 * 12 * 5.0


def test_units_of_a_serial_line_behind_a_host_are_those_of_a_line():
    assert planned({"host": "plc", "type": "RTUoverTCP"}).places[0].units == tuple(range(1, 11))


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"network": "10.0.0.0/8"}, "network", "1024"),
        ({"network": "everything"}, None, None),
        ({"network": "10.0.1.0/33"}, "network", "is not a network"),
        ({"host": "255.255.255.255"}, "host", "not the address of a host"),
        ({"hosts": ["http://plc"]}, "hosts", "http"),
        ({"host": ""}, None, None),
        ({"host": "plc", "port": 0}, "port", None),
        ({"host": "plc", "ports": list(range(1, 20))}, "ports", None),
        ({"host": "plc", "unitId": 256}, "unitId", None),
        ({"host": "plc", "units": {"start": 9, "end": 3}}, "units.end", "units ends before it starts"),
        ({"host": "plc", "slaveRange": {"start": 9, "end": 300}}, "slaveRange.end", None),
        ({"serialPort": "/dev/ttyS0", "slaveRange": {"start": 0, "end": 3}}, "slaveRange.start", "1 to 247"),
        ({"serialPort": "/dev/ttyS0", "slaveId": 0}, "slaveId", "slaveId must be an integer from 1 to 247"),
        ({"serialPort": "socket://10.0.0.1:7"}, "serialPort", "path of a serial port"),
        ({"serialPort": "/dev/ttyS0", "baudRate": [9600, 1]}, "baudRate", None),
        ({"serialPort": "/dev/ttyS0", "type": "tcp"}, "serialPort", "does not go with tcp"),
        ({"host": "plc", "type": "rtu"}, "host", "does not go with rtu"),
        ({"type": "rtu"}, "serialPort", "needs a serialPort"),
        ({"host": "plc", "timeout": 99}, "timeout", None),
        ({"host": "plc", "ca": "x"}, "ca", "means nothing without the type tls"),
        ({"port": 1502}, "port", "needs a network"),
        ({"host": "plc", "type": "pigeon"}, "type", None),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(
    options: dict[str, Any], field: str | None, message: str | None
):
    if field is None:
        plan(options)
        return
    with pytest.raises(Refusal, match=message) as refused:
        plan(options)
    assert refused.value.field is not None
    assert refused.value.field.startswith(f"overrides.modbus.{field}")


def test_what_is_not_known_is_refused():
    assert DISCOVERY is not None
    with pytest.raises(Refusal, match="netwrok is not known"):
        refuse_unknown({"netwrok": "10.0.0.0/24"}, DISCOVERY.options, "overrides.modbus")


def test_without_anything_the_configured_endpoints_are_looked_for():
    line = {"serialPort": "/dev/ttyS0", "slaveRange": {"start": 2, "end": 4}}
    search = planned(
        {},
        Configured("line", True, line),
        Configured("meter", True, {"serialPort": "/dev/ttyS0", "slaveId": 7}),
        Configured("plc", False, {"host": "10.0.0.5", "port": 1502, "unitId": 3}),
        Configured("broken", True, {}),
    )
    assert [(where(place), place.units) for place in search.places] == [
        ("modbus:rtu:/dev/ttyS0", (2, 3, 4, 7)),
        ("modbus:tcp:10.0.0.5:1502", (3,)),
    ]
    assert [(place.asked, place.connection.timeout) for place in search.places] == [(True, 5.0), (False, 2.0)]
    assert search.probes == 5
    assert [polled.name for polled in search.polled] == ["line", "meter", "plc"]


def test_nothing_asked_for_and_nothing_configured_is_no_search():
    assert plan({}) is None


def test_the_settings_say_where_to_look_when_nobody_does():
    assert DISCOVERY is not None
    known = Known(load(None, SETTINGS_HERE))
    search = DISCOVERY.plan({}, known, "overrides")
    assert isinstance(search, Search)
    assert [(where(place), place.units, place.connection.timeout) for place in search.places] == [
        ("modbus:tcp:10.0.0.9:1502", (3, 4), 0.7),
        ("modbus:rtu:/dev/ttyS1", (3, 4), 0.7),
    ]
    assert search.places[1].connection.baud_rate == 19200
    search = DISCOVERY.plan({"host": "plc"}, known, "overrides")
    assert isinstance(search, Search)
    assert [where(place) for place in search.places] == ["modbus:tcp:plc:502"]
