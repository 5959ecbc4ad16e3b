from pathlib import Path
from typing import Any

import pytest

from actors.endpoints.protocols import find
from actors.endpoints.protocols.modbus import PROTOCOL, wire
from actors.endpoints.protocols.modbus.connection import Connection, Tls, read_connection
from actors.system.failure import Refusal


def test_the_example_of_the_api_reference_is_a_tcp_connection():
    connection = read_connection({"host": "10.0.1.100", "port": 502, "unitId": 1})
    assert connection == Connection(transport="tcp", unit=1, host="10.0.1.100", port=502)
    assert connection.address == "modbus:tcp:10.0.1.100:502:slave:1"


def test_what_is_not_given_has_the_documented_defaults():
    connection = read_connection({"host": "plc"})
    assert (connection.port, connection.unit, connection.timeout) == (502, 1, 5.0)
    assert connection.retry_delay is None


def test_the_delay_before_the_first_reconnect_is_the_endpoints_own_if_given():
    checked = PROTOCOL.check({"host": "plc", "retryDelay": 250}, [])
    assert checked.retry_ms == 250


def test_a_serial_connection_has_line_settings():
    connection = read_connection(
        {
            "type": "rtu",
            "serialPort": "/dev/ttyUSB0",
            "baudRate": 19200,
            "dataBits": 7,
            "stopBits": 2,
            "parity": "even",
            "slaveId": 17,
        }
    )
    assert connection.address == "modbus:rtu:/dev/ttyUSB0:slave:17"
    assert (connection.baud_rate, connection.data_bits, connection.stop_bits) == (19200, 7, 2)
    assert connection.parity == "E"


def test_a_serial_port_alone_means_rtu_with_9600_8n1():
    connection = read_connection({"serialPort": "/dev/ttyS0"})
    assert connection.transport == "rtu"
    assert (connection.baud_rate, connection.data_bits, connection.parity, connection.stop_bits) == (
        9600,
        8,
        "N",
        1,
    )


def test_ascii_is_a_transport_of_its_own():
    assert read_connection({"type": "ascii", "serialPort": "/dev/ttyS0"}).transport == "ascii"


@pytest.mark.parametrize("given", [{"slaveId": 9}, {"unitId": 9}, {"slaveId": 9, "unitId": 9}])
def test_slave_id_and_unit_id_mean_the_same(given: dict[str, Any]):
    assert read_connection({"host": "h", **given}).unit == 9


def test_an_endpoint_with_a_slave_range_is_not_polled():
    endpoint = find("modbus").check({"host": "h", "slaveRange": {"start": 1, "end": 10}}, [])
    assert endpoint.mode == "idle"
    assert endpoint.identifier == "1-10"


def test_an_endpoint_is_told_apart_by_its_unit():
    endpoint = find("modbus").check({"host": "h", "unitId": 3}, [])
    assert endpoint.mode == "polled"
    assert endpoint.identifier == "3"
    assert endpoint.address == "modbus:tcp:h:502:slave:3"


@pytest.mark.parametrize("unit", [0, 248, 255])
def test_a_network_has_units_that_a_serial_line_has_not(unit: int):
    for kind in ("tcp", "udp", "tls", "rtu-over-tcp"):
        assert read_connection({"type": kind, "host": "h", "unitId": unit}).unit == unit


@pytest.mark.parametrize("spelled", ["RTUoverTCP", "rtu_over_tcp", "rtu over tcp", " rtu-over-tcp "])
def test_rtu_over_tcp_has_many_spellings(spelled: str):
    assert read_connection({"type": spelled, "host": "h"}).transport == "rtu-over-tcp"


def test_tls_has_a_port_of_its_own():
    assert read_connection({"type": "tls", "host": "h"}).port == 802
    assert read_connection({"type": "tls", "host": "h", "port": 502}).port == 502


def test_devices_of_one_line_are_known_however_it_is_spelled(tmp_path: Path):
    (tmp_path / "by-id").symlink_to("/dev/null")
    line = read_connection({"serialPort": str(tmp_path / "by-id")}).line
    assert line == read_connection({"serialPort": "/dev/null", "unitId": 2}).line
    assert read_connection({"host": "PLC.local."}).line == read_connection({"host": "plc.local"}).line
    assert read_connection({"host": "plc"}).line != read_connection({"host": "plc", "type": "udp"}).line


def test_the_manners_of_a_device_can_be_told():
    connection = read_connection(
        {
            "host": "h",
            "delayAfterConnect": 1500,
            "delayBetweenRequests": 100,
            "closeAfterPoll": True,
            "retryAttempts": 1,
            "maxRegisters": 16,
            "maxGap": 0,
        }
    )
    assert (connection.delay_after_connect, connection.delay_between_requests) == (1.5, 0.1)
    assert (connection.close_after_poll, connection.retry_attempts) == (True, 1)
    assert (connection.max_registers, connection.max_gap) == (16, 0)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "connection.host"),
        ({"host": ""}, "connection.host"),
        ({"host": 5}, "connection.host"),
        ({"type": "serial", "host": "h"}, "connection.type"),
        ({"type": "udp"}, "connection.host"),
        ({"host": "10.0.0.1:502"}, "connection.host"),
        ({"host": "[::1]"}, "connection.host"),
        ({"host": "tcp://10.0.0.1"}, "connection.host"),
        ({"host": "10.0.0.300"}, "connection.host"),
        ({"serialPort": "spy:///dev/ttyS0?file=/tmp/x"}, "connection.serialPort"),
        ({"serialPort": "socket://10.0.0.1:502"}, "connection.serialPort"),
        ({"serialPort": "/dev/x://y"}, "connection.serialPort"),
        ({"serialPort": "ttyS0"}, "connection.serialPort"),
        ({"host": "h", "echo": True}, "connection.echo"),
        ({"host": "h", "delayAfterConnect": -1}, "connection.delayAfterConnect"),
        ({"host": "h", "maxRegisters": 126}, "connection.maxRegisters"),
        ({"host": "h", "maxGap": 125}, "connection.maxGap"),
        ({"type": "tls", "host": "h", "ca": "x"}, "connection.ca"),
        ({"type": "tls", "host": "h", "cert": "x"}, "connection.key"),
        ({"host": "h", "ca": "x"}, "connection.ca"),
        ({"type": 3, "host": "h"}, "connection.type"),
        ({"type": "tcp", "serialPort": "/dev/ttyS0"}, "connection.host"),
        ({"type": "rtu", "host": "h"}, "connection.serialPort"),
        ({"host": "h", "port": 0}, "connection.port"),
        ({"host": "h", "port": 65536}, "connection.port"),
        ({"host": "h", "port": "502"}, "connection.port"),
        ({"host": "h", "port": True}, "connection.port"),
        ({"host": "h", "unitId": -1}, "connection.unitId"),
        ({"host": "h", "slaveId": 256}, "connection.slaveId"),
        ({"serialPort": "/dev/x", "unitId": 0}, "connection.unitId"),
        ({"serialPort": "/dev/x", "slaveId": 248}, "connection.slaveId"),
        ({"serialPort": "/dev/x", "slaveRange": {"start": 0, "end": 2}}, "connection.slaveRange.start"),
        ({"host": "h", "slaveId": 1, "unitId": 2}, "connection.unitId"),
        ({"host": "h", "timeout": 99}, "connection.timeout"),
        ({"host": "h", "timeout": 30001}, "connection.timeout"),
        ({"host": "h", "retryAttempts": 11}, "connection.retryAttempts"),
        ({"host": "h", "retryDelay": 99}, "connection.retryDelay"),
        ({"serialPort": "/dev/x", "dataBits": 9}, "connection.dataBits"),
        ({"serialPort": "/dev/x", "stopBits": 0}, "connection.stopBits"),
        ({"serialPort": "/dev/x", "parity": "mark"}, "connection.parity"),
        ({"serialPort": "/dev/x", "baudRate": "fast"}, "connection.baudRate"),
        ({"host": "h", "slaveRange": [1, 2]}, "connection.slaveRange"),
        ({"host": "h", "slaveRange": {"start": 1}}, "connection.slaveRange.end"),
        ({"host": "h", "slaveRange": {"start": -1, "end": 2}}, "connection.slaveRange.start"),
        ({"host": "h", "slaveRange": {"start": 5, "end": 2}}, "connection.slaveRange.end"),
    ],
)
def test_a_bad_connection_is_refused_naming_the_field(given: dict[str, Any], field: str):
    with pytest.raises(Refusal) as refusal:
        read_connection(given)
    assert refusal.value.field == field
    assert refusal.value.kind == "invalid"


def test_authorities_of_the_system_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may trust others while the agent runs."""
    now = 1e6
    monkeypatch.setattr(wire, "monotonic", lambda: now)
    first = wire._context_now(Tls())
    assert wire._context_now(Tls()) is first
    now += wire.AUTHORITIES_FRESH
    assert wire._context_now(Tls()) is not first
