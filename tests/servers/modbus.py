"""Modbus devices that share no code with the agent's reader, and serial lines to reach them by."""

import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from servers.mosquitto import free_port

_SOURCE = Path(__file__).with_name("libmodbus_device.c")
_SIZE = 50
UNIT = 7
BAUD_RATE = 19200


@contextlib.contextmanager
def libmodbus_tcp(directory: Path) -> Iterator[int]:
    """libmodbus's server on TCP; yields its port."""
    port = free_port()
    with _process([str(_compiled(directory)), "tcp", str(port)]):
        yield port


@contextlib.contextmanager
def libmodbus_rtu(directory: Path) -> Iterator[str]:
    """libmodbus's server on a serial line; yields the path of the line's other end."""
    with serial_line(directory) as (near, far), _process([str(_compiled(directory)), "rtu", far, str(UNIT)]):
        yield near


@contextlib.asynccontextmanager
async def pymodbus_tcp() -> AsyncIterator[int]:
    """pymodbus's server on TCP; yields its port."""
    port = free_port()
    server = ModbusTcpServer(_device(), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def pymodbus_serial(directory: Path, framing: str) -> AsyncIterator[str]:
    """pymodbus's server on a serial line, `framing` rtu or ascii; yields the line's other end."""
    with serial_line(directory) as (near, far):
        server = ModbusSerialServer(
            _device(), framer=FramerType(framing), port=far, baudrate=BAUD_RATE, ignore_missing_devices=True
        )
        await server.serve_forever(background=True)
        try:
            yield near
        finally:
            await server.shutdown()


@contextlib.contextmanager
def serial_line(directory: Path) -> Iterator[tuple[str, str]]:
    """Two pseudo-terminals joined by socat: what is written into one is read from the other."""
    ends = (str(directory / "near"), str(directory / "far"))
    process = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)])
    try:
        deadline = time.monotonic() + 5
        while not all(Path(end).exists() for end in ends):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("socat did not make a serial line")
            time.sleep(0.005)
        yield ends
    finally:
        process.terminate()
        process.wait()


def _compiled(directory: Path) -> Path:
    binary = directory / "libmodbus_device"
    subprocess.run(
        ["cc", "-o", binary, _SOURCE, "-I/usr/include/modbus", "-lmodbus"], check=True, capture_output=True
    )
    return binary


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{command[0]} did not start")
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _device() -> SimDevice:
    """The same memory as in `libmodbus_device.c`."""
    return SimDevice(
        UNIT,
        simdata=(
            [SimData(0, values=[n % 2 == 0 for n in range(_SIZE)], datatype=DataType.BITS)],
            [SimData(0, values=[n % 3 == 0 for n in range(_SIZE)], datatype=DataType.BITS)],
            [SimData(0, values=list(range(_SIZE)), datatype=DataType.REGISTERS)],
            [SimData(0, values=[100 + n for n in range(_SIZE)], datatype=DataType.REGISTERS)],
        ),
    )
