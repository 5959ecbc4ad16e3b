"""Who is found, on networks and serial lines, and who is not."""

import asyncio
import contextlib
import errno
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from probing import SETTINGS, Tried, search, until
from servers.black_hole import black_hole
from servers.certificates import Authority
from servers.modbus import UNIT, libmodbus_rtu, libmodbus_tcp, pymodbus_tcp
from servers.mosquitto import free_port
from servers.polling import polling
from servers.rude_device import (
    Asked,
    Line,
    RudeDevice,
    always,
    echoes,
    reframed,
    rude_datagrams,
    rude_device,
    rude_serial,
    when,
)

from actors.discovery.pace import Pace
from actors.discovery.planning import plan
from actors.discovery.probing import Hosts, Probing
from actors.discovery.running import run_scan
from actors.endpoints.discovering import Configured, Known
from actors.endpoints.lines import Lines, lines_of
from actors.endpoints.protocols.modbus import PROTOCOL, wire

assert PROTOCOL.discovery is not None
IDENTITY = {0: b"Acme", 1: b"X-1", 2: b"V2.0"}


async def found(device: Any, *configured: Configured, **options: Any) -> Tried:
    """What is found where the device is."""
    assert PROTOCOL.discovery is not None
    place = {"host": "127.0.0.1", "port": getattr(device, "port", device)}
    return await search(PROTOCOL.discovery, {**place, "timeout": 100, **options}, *configured)


def units(tried: Tried) -> list[int]:
    return [device.connection["unitId"] for device in tried.devices.values()]


def only_unit(*numbers: int, **change: Any) -> Callable[[Asked], None]:
    """A line on which the other units are silent, unless `change` says what becomes of them."""
    return when(lambda asked: asked.unit not in numbers, **(change or {"silent": True}))


async def test_a_device_is_found_by_reading():
    async with rude_device(only_unit(1)) as device:
        tried = await found(device, units={"start": 1, "end": 3})
        place = f"127.0.0.1:{device.port}"
        assert tried.only.name == f"Modbus Device at {place}"
        assert tried.only.connection == {"type": "tcp", "host": "127.0.0.1", "port": device.port, "unitId": 1}
        assert tried.only.confidence == "low"
        assert tried.only.metadata == {
            "slaveId": 1,
            "deviceId": f"modbus:{place}:1",
            "discoveryMethod": "register_read",
            "connectionName": place,
        }
        assert tried.only.identity == f"modbus:{place}:1"
        PROTOCOL.accept(tried.only.connection, tried.only.data_points)
        assert device.connections == 1
        assert {function for _, function, _, _ in device.log} == {3, 43}
        assert tried.troubles == []


async def test_a_device_that_identifies_itself_has_a_name():
    async with rude_device(only_unit(3)) as device:
        device.identification = IDENTITY
        tried = await found(device, unitId=3)
        assert tried.only.name == "Acme X-1 at 127.0.0.1 unit 3"
        assert tried.only.metadata["discoveryMethod"] == "device_identification"
        assert (
            tried.only.metadata | {"vendor": "Acme", "model": "X-1", "revision": "V2.0"}
            == tried.only.metadata
        )


async def test_several_units_are_found_behind_a_gateway():
    async with rude_device(only_unit(2, 5, 9, exception=11)) as device:
        tried = await found(device)
        assert units(tried) == [2, 5, 9]
        assert device.connections == 1


async def test_a_silent_unit_is_asked_once():
    async with rude_device(only_unit(7)) as device:
        tried = await found(device, slaveRange={"start": 1, "end": 20})
        assert units(tried) == [7]
        assert device.connections == 1
        assert [unit for unit, *_ in device.log].count(5) == 1


@pytest.mark.parametrize("change", [{}, {"exception": 2}])
async def test_a_device_that_ignores_the_unit_is_one_device(change: dict[str, Any]):
    async with rude_device(*[when(always, **change)] if change else []) as device:
        tried = await found(device, slaveRange={"start": 1, "end": 247})
        assert units(tried) == [1]
        assert len(device.log) < 20 or change
        assert device.connections == 1


async def test_a_counter_at_register_0_makes_no_further_devices():
    def count(asked: Asked) -> None:
        asked.device.registers[0] += 1

    async with rude_device(count) as device:
        assert units(await found(device)) == [1]
    async with rude_device(count, only_unit(1, 255, 0)) as device:
        assert units(await found(device)) == [1]


@pytest.mark.parametrize("often", [2, 3, 5, 7])
async def test_a_register_that_changes_now_and_then_makes_no_further_devices(often: int):
    def change(asked: Asked) -> None:
        asked.device.registers[0] += not asked.number % often

    async with rude_device(change) as device:
        assert units(await found(device)) == [1]
    async with rude_device(change, only_unit(3, 255, 0)) as device:
        assert units(await found(device)) == [3]


async def test_a_device_that_ends_the_connection_for_other_units_is_found():
    async with rude_device(only_unit(1, 4, close="instead")) as device:
        tried = await found(device, units={"start": 1, "end": 30})
        assert units(tried) == [1, 4]
        assert len(tried.troubles) == 1
        assert device.connections < 40


async def test_a_device_that_ends_the_connection_after_each_reply_is_found_with_its_name():
    async with rude_device(
        only_unit(1, 4), when(lambda asked: asked.unit in (1, 4), close="after")
    ) as device:
        device.identification = IDENTITY
        tried = await found(device, units={"start": 1, "end": 5})
        assert units(tried) == [1, 4]
        assert {one.metadata["vendor"] for one in tried.devices.values()} == {"Acme"}


async def test_a_device_that_answers_as_itself_too_is_one_device():
    async with rude_device(only_unit(4, 0, 255)) as device:
        assert units(await found(device)) == [4]


async def test_a_gateway_with_registers_of_its_own_is_a_device_of_its_own():
    def registers(asked: Asked) -> None:
        asked.device.registers[0] = 7 if asked.unit == 255 else 100

    async with rude_device(registers, only_unit(2, 255)) as device:
        assert sorted(units(await found(device))) == [2, 255]


async def test_units_that_say_that_they_cannot_answer_may_not_be_there():
    async with rude_device(only_unit(3, exception=4)) as device:
        tried = await found(device, slaveRange={"start": 1, "end": 6})
        assert units(tried) == [3]


async def test_a_gateway_that_is_slower_than_the_time_out_loses_nobody():
    """Each request to a unit that is not there takes it longer than it is waited for."""
    free = 0.0

    def queue(asked: Asked) -> None:
        nonlocal free
        now = asyncio.get_running_loop().time()
        free = max(free, now) + (0.01 if asked.unit in (6, 9) else 0.15)
        asked.delay = free - now
        if asked.unit not in (6, 9):
            asked.exception = 11

    async with rude_device(queue) as device:
        assert units(await found(device, slaveRange={"start": 1, "end": 10})) == [6, 9]


# Nobody, or something else


async def test_where_nobody_listens_nobody_is_found():
    tried = await found(free_port())
    assert not tried.devices
    [(where, reason)] = tried.troubles
    assert "127.0.0.1:" in where
    assert "refused" in reason
    tried = await found(free_port(), host=None, network="127.0.0.1/32")
    assert not tried.devices
    assert tried.troubles == []


async def test_what_fails_here_is_not_taken_for_nobody(monkeypatch: pytest.MonkeyPatch):
    async def create(connection: Any, made: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(wire, "_create", create)
    for options in ({}, {"host": None, "network": "127.0.0.1/32"}):
        tried = await found(free_port(), **options)
        assert (len(tried.troubles), tried.nobody) == (1, [])


async def test_a_host_that_drops_everything_costs_its_time_out():
    port = free_port()
    with black_hole("127.0.0.1", port):
        began = asyncio.get_running_loop().time()
        tried = await found(port, timeout=300)
        assert asyncio.get_running_loop().time() - began < 1.0
    assert not tried.devices


@contextlib.asynccontextmanager
async def serving(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(12)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read(12)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\0" * 4096)
        await writer.drain()


async def endless_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\0\1\0\0\0\5\1\3\2\0\7" * 400)
        await writer.drain()


async def tarpit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(0.01)
        writer.write(b"2")
        await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


@pytest.mark.parametrize(
    ("kind", "serve"),
    [
        *(("tcp", serve) for serve in (http, ssh, endless, tarpit, silence, mirror, hangs_up)),
        *(("rtu-over-tcp", serve) for serve in (endless, tarpit, silence, mirror)),
    ],
)
async def test_what_is_not_modbus_is_no_device(serve: Any, kind: str):
    connections = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await serve(reader, writer)

    async with serving(counted) as port:
        tried = await found(port, type=kind)
        assert not tried.devices
        assert [where for where, _ in tried.troubles] == [f"127.0.0.1:{port}"]
        assert connections <= 16


async def test_frames_without_end_are_no_device():
    """Of one that has the unit, the function and the size that are asked for, but for the number."""
    async with serving(endless_frames) as port:
        tried = await found(port, unitId=1)
    assert not tried.devices
    assert len(tried.troubles) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(when(always, reply_transaction=lambda: 4711), id="another-number"),
        pytest.param(when(always, reply_unit=77), id="another-unit"),
        pytest.param(reframed(lambda frame: frame[:7] + b"\1" + frame[8:]), id="another-function"),
        pytest.param(
            reframed(lambda frame: frame[:4] + b"\0\7" + frame[6:8] + b"\4\0\1\0\2"), id="another-size"
        ),
    ],
)
async def test_a_reply_to_something_else_proves_nothing(change: Any):
    async with rude_device(change) as device:
        assert not (await found(device, unitId=5)).devices


# Serial lines


async def test_units_of_a_serial_line_are_found():
    async with rude_serial(only_unit(2, 5)) as device:
        tried = await found(device, host=None, port=None, serialPort=device.path)
        assert units(tried) == [2, 5]
        assert [one.name for one in tried.devices.values()] == [
            f"{device.path.rpartition('/')[2]}_slave_{unit}" for unit in (2, 5)
        ]
        assert 0 not in {unit for unit, *_ in device.log}
        assert tried.asked[device.path] == 10
        for one in tried.devices.values():
            PROTOCOL.accept(one.connection, one.data_points)


async def test_an_adapter_that_only_hears_itself_is_nobody():
    async with rude_serial(echoes(), when(always, silent=True)) as device:
        tried = await found(
            device, host=None, port=None, serialPort=device.path, units={"start": 1, "end": 3}
        )
        assert not tried.devices


async def test_an_adapter_that_hears_itself_hears_devices_too():
    async with rude_serial(echoes(), only_unit(3)) as device:
        tried = await found(
            device, host=None, port=None, serialPort=device.path, units={"start": 1, "end": 4}
        )
        assert units(tried) == [3]


async def test_ascii_and_udp_and_rtu_over_tcp():
    async with rude_serial(only_unit(2), framing="ascii") as device:
        options = {"serialPort": device.path, "type": "ascii", "units": {"start": 1, "end": 3}}
        assert units(await found(device, host=None, port=None, **options)) == [2]
    async with rude_datagrams(only_unit(2)) as device:
        assert units(await found(device, type="udp", units={"start": 1, "end": 3})) == [2]
    async with rude_device(only_unit(2), framing="rtu") as device:
        assert units(await found(device, type="rtu-over-tcp", units={"start": 1, "end": 3})) == [2]


async def test_tls_and_addresses_of_version_6():
    authority = Authority()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write("".join(authority.issue()))
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
    async with rude_device(tls=context) as device:
        tried = await found(device, type="tls", ca=authority.pem, unitId=1, timeout=1000)
        assert tried.only.connection["ca"] == authority.pem.strip()
        PROTOCOL.accept(tried.only.connection, [])
        assert not (await found(device, type="tls", unitId=1)).devices
    server = await asyncio.get_running_loop().create_server(lambda: Line(RudeDevice(()), "mbap"), "::1", 0)
    async with server:
        tried = await found(server.sockets[0].getsockname()[1], host="::1", unitId=1)
        assert tried.only.identity == f"modbus:[::1]:{server.sockets[0].getsockname()[1]}:1"
        PROTOCOL.accept(tried.only.connection, [])


async def test_a_line_without_a_port_is_told():
    tried = await found(None, host=None, port=None, serialPort="/dev/ttyNOWHERE")
    assert not tried.devices
    assert [where for where, _ in tried.troubles] == ["/dev/ttyNOWHERE"]


# Devices of others


async def test_libmodbus_and_pymodbus_are_found(tmp_path: Path):
    with libmodbus_tcp(tmp_path) as port:
        assert units(await found(port, timeout=1000)) == [1]
    async with pymodbus_tcp() as port:
        assert units(await found(port)) == [UNIT]


async def test_libmodbus_is_found_on_a_serial_line(tmp_path: Path):
    with libmodbus_rtu(tmp_path) as path:
        options = {
            "serialPort": path,
            "baudRate": [19200],
            "slaveRange": {"start": 6, "end": 7},
            "timeout": 1000,
        }
        assert units(await found(None, host=None, port=None, **options)) == [UNIT]


# Endpoints that poll


def configured(device: RudeDevice, **connection: Any) -> Configured:
    return Configured("plc", True, {"host": "127.0.0.1", "port": device.port, "unitId": 1, **connection})


async def test_a_device_that_is_polled_is_asked_over_the_same_connection():
    assert PROTOCOL.discovery is not None
    async with rude_device(only_unit(1)) as device, polling(device, 0, 1) as plc:
        device.most_lines = 1
        await plc.poll()
        tried = await search(
            PROTOCOL.discovery,
            {"network": "127.0.0.1/32", "port": device.port, "timeout": 200},
            configured(device),
            lines=lines_of("modbus"),
        )
        assert units(tried) == [1]
        assert tried.only.metadata["connectionName"] == "plc"
        assert device.connections == 1
        assert {unit for unit, *_ in device.log} == {1}
        await plc.poll()
        assert device.connections == 1


async def test_units_that_are_known_and_not_polled_are_asked_for_where_others_are_polled():
    """Else they would count as gone."""
    assert PROTOCOL.discovery is not None
    async with rude_device(only_unit(1, 2, 30)) as device, polling(device, 0) as plc:
        await plc.poll()
        place = {"host": "127.0.0.1", "port": device.port}
        tried = await search(
            PROTOCOL.discovery,
            {"network": "127.0.0.1/32", "port": device.port, "timeout": 200},
            configured(device),
            Configured("two", False, {**place, "unitId": 2}),
            Configured("thirty", False, {**place, "unitId": 30}),
            lines=lines_of("modbus"),
        )
        assert units(tried) == [1, 2, 30]
        assert {unit for unit, *_ in device.log} == {1, 2, 30, 249}


async def test_a_device_that_ignores_the_unit_is_found_as_the_one_that_it_is_known_by():
    async with rude_device() as device:
        known = Configured("plc", False, {"host": "127.0.0.1", "port": device.port, "unitId": 7})
        assert units(await found(device, known)) == [7]


async def test_an_endpoint_that_spells_the_host_otherwise_is_the_same():
    assert PROTOCOL.discovery is not None
    async with rude_device(only_unit(1)) as device, polling(device, 0, host="localhost") as plc:
        await plc.poll()
        tried = await search(
            PROTOCOL.discovery,
            {"network": "127.0.0.1/32", "port": device.port, "timeout": 200},
            configured(device, host="localhost"),
            lines=lines_of("modbus"),
            names={"localhost": "127.0.0.1"},
        )
        assert tried.only.identity == f"modbus:127.0.0.1:{device.port}:1"
        assert device.connections == 1


async def test_a_line_in_use_is_asked_with_the_settings_that_it_has():
    assert PROTOCOL.discovery is not None
    async with rude_serial(only_unit(1, 3)) as device, polling(device, 0, type="rtu") as plc:
        await plc.poll()
        tried = await search(
            PROTOCOL.discovery,
            {
                "serialPort": device.path,
                "baudRate": [19200, 38400],
                "timeout": 100,
                "units": {"start": 1, "end": 4},
            },
            Configured("plc", True, {"serialPort": device.path, "unitId": 1, "baudRate": 115200}),
            lines=lines_of("modbus"),
        )
        assert units(tried) == [1, 3]
        assert {one.connection["baudRate"] for one in tried.devices.values()} == {115200}
        assert tried.troubles == []


# The end of it


async def test_a_search_that_is_cancelled_leaves_nothing():
    assert PROTOCOL.discovery is not None
    async with rude_device(only_unit(9)) as device:
        options = {"host": "127.0.0.1", "port": device.port, "timeout": 5000, "units": {"start": 1, "end": 9}}
        probing = Tried()
        plan = PROTOCOL.discovery.plan(options, Known(SETTINGS), "overrides")
        task = asyncio.ensure_future(PROTOCOL.discovery.scanner()(plan, probing))
        await until(lambda: bool(device.log))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(probing.lines) == 0
        await until(lambda: not device.lines)


async def test_hosts_are_asked_side_by_side():
    began = asyncio.get_running_loop().time()
    port = free_port()
    with black_hole("127.0.0.1", port), black_hole("127.0.0.2", port), black_hole("127.0.0.3", port):
        async with rude_device() as device:
            tried = await found(
                device, port=[port, device.port], host=None, network="127.0.0.0/29", timeout=400
            )
            assert units(tried) == [1]
    assert asyncio.get_running_loop().time() - began < 2.5


async def test_settings_of_a_serial_line_are_tried_until_somebody_answers():
    async with rude_serial(only_unit(2)) as device:
        options = {
            "serialPort": device.path,
            "baudRate": [1200, 9600, 19200],
            "units": {"start": 1, "end": 2},
        }
        tried = await found(device, host=None, port=None, **options)
        assert tried.only.connection["baudRate"] == 1200
        assert tried.asked[device.path] == 2


async def test_a_host_that_is_named_twice_has_one_connection_at_a_time():
    now = most = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await reader.read()
        now -= 1
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        given = {"hosts": ["localhost", "127.0.0.1"], "port": port, "timeout": 100, "unitId": 1}
        planned = plan("modbus", given, Known(SETTINGS), "overrides.modbus")
        assert planned is not None
        probing = Probing("modbus", Pace(), Hosts(), Lines(), validate=False, planned=2)
        ran = await run_scan(planned, probing, 10.0)

    assert ran.error is None
    assert most == 1
