"""The reader against other people's Modbus: libmodbus, and pymodbus's server on TCP and serial lines."""

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.modbus import (
    BAUD_RATE,
    UNIT,
    libmodbus_rtu,
    libmodbus_tcp,
    pymodbus_serial,
    pymodbus_tcp,
    serial_line,
)

from actors.connections.connection import Permanent, Transient
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import PolledSession, PollResult, WriteRequest
from actors.endpoints.protocols import find
from actors.system.failure import Refusal

SERVERS = ("libmodbus tcp", "libmodbus rtu", "pymodbus tcp", "pymodbus rtu", "pymodbus ascii")


@pytest.fixture(params=SERVERS)
async def connection(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The connection of a device of 50 of each register, run by each server."""
    library, transport = request.param.split()
    async with contextlib.AsyncExitStack() as stack:
        if transport == "tcp":
            port = (
                stack.enter_context(libmodbus_tcp(tmp_path))
                if library == "libmodbus"
                else await stack.enter_async_context(pymodbus_tcp())
            )
            yield {"host": "127.0.0.1", "port": port, "unitId": UNIT}
        else:
            path = (
                stack.enter_context(libmodbus_rtu(tmp_path))
                if library == "libmodbus"
                else await stack.enter_async_context(pymodbus_serial(tmp_path, transport))
            )
            yield {"type": transport, **line(path)}


def line(path: str) -> dict[str, Any]:
    return {"serialPort": path, "baudRate": BAUD_RATE, "unitId": UNIT, "timeout": 2000, "retryAttempts": 0}


@contextlib.asynccontextmanager
async def connected(connection: dict[str, Any], *registers: str) -> AsyncIterator[PolledSession]:
    points = [{"name": register, "register": register} for register in registers]
    reader = make(connection, points)
    await reader.connect()
    try:
        yield reader
    finally:
        await reader.close()


def make(connection: dict[str, Any], points: list[dict[str, Any]]) -> PolledSession:
    protocol = find("modbus")
    return protocol.session(
        protocol.check({"type": None, **connection}, points), Nobody(), lines_of("modbus")
    )


async def write(reader: PolledSession, connection: dict[str, Any], register: str, value: Any) -> Any:
    checked = find("modbus").check(connection, [])
    return await reader.write(find("modbus").prepare(checked, WriteRequest("", register, value)))


async def test_every_table_is_read(connection: dict[str, Any]):
    registers = [f"{table}:{n}" for table in ("coil", "discrete") for n in range(40)]
    registers += [f"{table}:{n}:uint16" for table in ("holding", "input") for n in range(40)]
    async with connected(connection, *registers) as reader:
        reading = await reader.read(1.0)
    assert reading.qualities is None
    assert reading.values[:40] == [n % 2 == 0 for n in range(40)]
    assert reading.values[40:80] == [n % 3 == 0 for n in range(40)]
    assert reading.values[80:] == [*range(40), *range(100, 140)]


async def test_registers_past_the_end_are_bad_and_the_others_good(connection: dict[str, Any]):
    async with connected(connection, *(f"holding:{n}:uint16" for n in range(44, 54))) as reader:
        for _ in range(3):
            reading = await reader.read(1.0)
            assert reading.values == [44, 45, 46, 47, 48, 49, None, None, None, None]
            assert reading.qualities == [None] * 6 + ["ILLEGAL_ADDRESS"] * 4


async def test_what_is_written_is_read_back(connection: dict[str, Any]):
    registers = ("coil:1", "holding:2:int16", "holding:4:float32", "holding:6:uint32")
    async with connected(connection, *registers) as reader:
        for register, value in zip(registers, (True, -5, 21.3, 70_000), strict=True):
            assert await write(reader, connection, register, value) == value
        assert (await reader.read(1.0)).values == [True, -5, 21.3, 70_000]


async def test_a_write_past_the_end_is_refused(connection: dict[str, Any]):
    async with connected(connection) as reader:
        for register in ("holding:50", "coil:70", "holding:49:uint32"):
            with pytest.raises(Refusal, match="ILLEGAL_ADDRESS"):
                await write(reader, connection, register, 1)


# Serial lines


async def test_units_of_one_serial_port_share_it_and_a_silent_one_harms_nobody():
    with slow_device(lambda unit: 0.0 if unit == UNIT else None) as path:
        point = [{"name": "p", "register": "holding:9:uint16"}]
        silent_unit = {**line(path), "unitId": UNIT + 1, "timeout": 100}
        async with connected(line(path), "holding:9:uint16") as lively:
            silent = make(silent_unit, point)
            await silent.connect()
            for _ in range(2):
                outcomes = await asyncio.gather(lively.read(1.0), silent.read(1.0), return_exceptions=True)
                assert isinstance(outcomes[1], Transient)
                assert outcomes[1].code == "TIMEOUT"
                assert (await lively.read(1.0)).values == [9]
            await silent.close()


async def test_readers_of_one_serial_port_must_agree_on_its_settings(tmp_path: Path):
    with serial_line(tmp_path) as (near, _):
        first, second = make(line(near), []), make({**line(near), "baudRate": 9600}, [])
        await first.connect()
        with pytest.raises(Permanent):
            await second.connect()
        await first.close()
        await second.connect()
        await second.close()


async def test_a_serial_port_that_is_not_there_is_named_so(tmp_path: Path):
    reader = make(line(str(tmp_path / "ttyUSB9")), [])
    with pytest.raises(Transient) as missing:
        await reader.connect()
    assert missing.value.code == "PORT_NOT_FOUND"
    await reader.close()


async def test_a_serial_adapter_that_is_pulled_out_is_noticed_and_found_again(tmp_path: Path):
    point = [{"name": "p", "register": "holding:9:uint16"}]
    async with pymodbus_serial(tmp_path, "rtu") as path:
        reader = make(line(path), point)
        await reader.connect()
        assert (await reader.read(1.0)).values == [9]
    with pytest.raises(Transient):
        await reader.read(1.0)
    with pytest.raises(Transient):
        await reader.connect()
    async with pymodbus_serial(tmp_path, "rtu"):
        await reader.connect()
        assert (await reader.read(1.0)).values == [9]
    await reader.close()


async def test_a_late_serial_reply_is_not_taken_for_the_next_one_of_its_unit():
    """Serial frames are not numbered: only patience tells a late reply from the awaited one."""
    delays = [0.15, 0.08, 0.08]
    with slow_device(lambda unit: delays.pop(0)) as path:
        settings = {**line(path), "timeout": 100}
        async with (
            connected(settings, "holding:10:uint16") as first,
            connected(settings, "holding:11:uint16") as second,
        ):
            late, awaited = await asyncio.gather(first.read(1.0), second.read(1.0), return_exceptions=True)
            assert isinstance(late, Transient)
            assert awaited == PollResult([11])


async def test_a_cancelled_serial_read_leaves_the_line_in_order():
    delays = [0.05, 0.0, 0.0]
    with slow_device(lambda unit: delays.pop(0)) as path:
        settings = {**line(path), "timeout": 100}
        async with (
            connected(settings, "holding:10:uint16") as first,
            connected(settings, "holding:11:uint16") as second,
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await first.read(1.0)
            assert (await second.read(1.0)).values == [11]


async def test_a_serial_device_that_stood_still_for_a_while_is_read_right_afterwards():
    """Once a late reply is taken for the next one, that one's own is for the one after, and so on."""
    clock = asyncio.get_running_loop().time
    free_at = clock() + 2.15

    def busy(unit: int) -> float:
        nonlocal free_at
        free_at = max(free_at, clock()) + 0.02
        return free_at - clock()

    with slow_device(busy) as path:
        settings = {**line(path), "timeout": 200}
        async with connected(settings, "holding:10:uint16", "holding:50:uint16") as reader:
            readings: list[Any] = []
            while len(readings) < 3:
                with contextlib.suppress(Transient):
                    readings.append((await reader.read(1.0)).values)
            assert clock() > free_at - 0.1, "the device did not stand still"
            assert readings == [[10, 50]] * 3


async def test_a_reply_to_the_endpoint_before_is_not_taken_for_one_to_its_successor_on_the_port():
    delays = [0.3, 0.3, 0.3]
    with slow_device(lambda unit: delays.pop(0)) as path:
        async with connected(line(path), "holding:10:uint16") as removed:
            reading = asyncio.create_task(removed.read(1.0))
            await asyncio.sleep(0.05)
        reading.cancel()
        async with connected(line(path), "holding:11:uint16") as added:
            assert (await added.read(1.0)).values == [11]


async def test_a_serial_reply_that_nobody_waited_for_makes_the_next_one_be_asked_for_twice():
    asked = []
    with slow_device(lambda unit: asked.append(unit) or 0.0) as path:
        settings = {**line(path), "timeout": 100}
        async with connected(settings, "holding:10:uint16") as reader:
            await reader.read(1.0)
            stray = bytes([UNIT, 3, 2, 0, 99])
            os.write(path.device, stray + _crc(stray))
            await asyncio.sleep(0.05)
            assert (await reader.read(1.0)).values == [10]
            assert len(asked) == 3


class Port(str):
    """The path of a line's near end; `device` is the descriptor of the far one."""

    device: int


@contextlib.contextmanager
def slow_device(delay: Callable[[int], float | None]) -> Iterator[Port]:
    """A serial device whose registers hold their address; it answers after `delay(unit)` s or never."""
    device, line_end = os.openpty()
    tty.setraw(line_end)
    loop = asyncio.get_running_loop()

    def answer() -> None:
        request = os.read(device, 256)
        wait = delay(request[0])
        if wait is not None:
            frame = bytes([request[0], 3, 2]) + request[2:4]
            loop.call_later(wait, os.write, device, frame + _crc(frame))

    loop.add_reader(device, answer)
    try:
        port = Port(os.ttyname(line_end))
        port.device = device
        yield port
    finally:
        loop.remove_reader(device)
        os.close(device)
        os.close(line_end)


def _crc(frame: bytes) -> bytes:
    """CRC-16 of Modbus over serial line 1.02, section 6.2.2."""
    crc = 0xFFFF
    for byte in frame:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")
