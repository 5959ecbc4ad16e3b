"""The simulated plant: three Modbus TCP devices on loopback whose registers are alive.

Nothing here is a stand-in for the agent's own Modbus side: the agent reads the plant over TCP, as it
would read any PLC.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from actors.simulation.physics import Boiler, Conveyor, Machines, Motor
from actors.simulation.registers import NotWritable, OutOfRange, RegisterMap, Table, Tag

if TYPE_CHECKING:
    from pymodbus.constants import ExcCodes
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import SimData, SimDevice

HOST = "127.0.0.1"
UNIT_ID = 1
TICK = 0.1
LONGEST_TICK = 1.0

TABLES: dict[int, Table] = {
    1: "coil",
    2: "discrete",
    3: "holding",
    4: "input",
    5: "coil",
    6: "holding",
    15: "coil",
    16: "holding",
    22: "holding",
    23: "holding",
}
"""Modbus function code to the table it works on."""


class PlantDevice(msgspec.Struct, frozen=True):
    """Where a device listens and what it offers, ready for `POST /v1/endpoints`."""

    name: str
    host: str
    port: int
    unit_id: int
    data_points: list[dict[str, Any]]


def _assign(target: object, attribute: str) -> Callable[[float], None]:
    return lambda value: setattr(target, attribute, value)


def conveyor_tags(conveyor: Conveyor) -> list[Tag]:
    return [
        Tag("conveyor_speed", "holding", 0, "uint16", lambda: conveyor.speed, "m/s", 0.01),
        Tag(
            name="speed_setpoint",
            table="holding",
            address=1,
            type="uint16",
            read=lambda: conveyor.setpoint,
            unit="m/s",
            scale=0.01,
            write=_assign(conveyor, "setpoint"),
            limits=(0.2, 1.6),
        ),
        Tag("item_count", "holding", 2, "uint32", lambda: int(conveyor.items), "items"),
        Tag("jam_count", "holding", 4, "uint16", lambda: conveyor.jams),
        Tag(
            name="belt_running",
            table="coil",
            address=0,
            type="boolean",
            read=lambda: conveyor.energised,
            write=_assign(conveyor, "commanded"),
        ),
        Tag("belt_jammed", "discrete", 0, "boolean", lambda: conveyor.jammed),
    ]


def motor_tags(motor: Motor) -> list[Tag]:
    return [
        Tag("motor_rpm", "input", 0, "uint16", lambda: motor.rpm, "rpm"),
        Tag("motor_current", "input", 1, "uint16", lambda: motor.current, "A", 0.01),
        Tag("winding_temp", "input", 2, "int16", lambda: motor.winding_temperature, "°C", 0.1),
        Tag("vibration", "input", 3, "float32", lambda: motor.vibration, "mm/s"),
        Tag("motor_starts", "input", 5, "uint32", lambda: motor.starts),
        Tag("motor_energised", "discrete", 0, "boolean", lambda: motor.energised),
    ]


def boiler_tags(boiler: Boiler) -> list[Tag]:
    return [
        Tag("water_temp", "input", 0, "float32", lambda: boiler.temperature, "°C"),
        Tag("pressure", "input", 2, "float32", lambda: boiler.pressure, "bar"),
        Tag("feed_level", "input", 4, "uint16", lambda: boiler.level, "%", 0.1),
        Tag("burner_state", "input", 5, "uint16", lambda: boiler.burner_state),
        Tag(
            name="boiler_setpoint",
            table="holding",
            address=10,
            type="int16",
            read=lambda: boiler.setpoint,
            unit="°C",
            scale=0.1,
            write=_assign(boiler, "setpoint"),
            limits=(40.0, 110.0),
        ),
        Tag("burner", "coil", 0, "boolean", lambda: boiler.burning),
        Tag("feed_pump", "discrete", 0, "boolean", lambda: boiler.pump_running),
    ]


class Plant:
    """The machines, their three servers and the task that moves time on, ten times a second.

    `speed` is simulated seconds per real second; `seed` makes the history repeatable.
    """

    def __init__(self, speed: float = 1.0, seed: int | None = None) -> None:
        self._speed = speed
        self._machines = Machines(random.Random(seed))
        self._servers: list[ModbusTcpServer] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> list[PlantDevice]:
        """Listen on a free port of 127.0.0.1 per device. Raises `OSError` when that fails."""
        machines = self._machines
        maps = {
            "conveyor": RegisterMap(conveyor_tags(machines.conveyor)),
            "motor": RegisterMap(motor_tags(machines.motor)),
            "boiler": RegisterMap(boiler_tags(machines.boiler)),
        }
        try:
            devices = [await self._serve(name, registers) for name, registers in maps.items()]
        except BaseException:
            await self.stop()
            raise
        self._task = asyncio.create_task(self._live(), name="simulated plant")
        return devices

    async def stop(self) -> None:
        """Stop time and hang up on every client."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for server in self._servers:
            await server.shutdown()  # type: ignore[no-untyped-call]
        self._servers.clear()

    async def _serve(self, name: str, registers: RegisterMap) -> PlantDevice:
        from pymodbus.server import ModbusTcpServer

        server = ModbusTcpServer(_sim_device(registers), address=(HOST, 0))
        try:
            await server.serve_forever(background=True)
        except RuntimeError as error:
            raise OSError(f"the simulated {name} cannot listen on {HOST}") from error
        self._servers.append(server)
        listener: Any = (
            server.transport
        )  # typed as a connection's transport; of a listener it is asyncio's Server
        port = listener.sockets[0].getsockname()[1]
        return PlantDevice(name, HOST, port, UNIT_ID, [tag.data_point() for tag in registers.tags])

    async def _live(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            # A suspended laptop must not make up for hours of simulated time in one go.
            self._machines.advance(min(now - before, LONGEST_TICK) * self._speed)
            before = now


def _sim_device(registers: RegisterMap) -> "SimDevice":
    """A pymodbus device of four separate tables that asks `registers` at every access."""
    from pymodbus.constants import ExcCodes
    from pymodbus.simulator import SimDevice

    async def access(
        function_code: int,
        start: int,
        address: int,
        _count: int,
        current: list[int],
        written: list[Any] | None,
    ) -> "ExcCodes | None":
        table = TABLES[function_code]
        if not registers.table(table):
            return ExcCodes.ILLEGAL_ADDRESS
        if written is not None:
            try:
                registers.write(table, address, written)
            except NotWritable:
                return ExcCodes.ILLEGAL_ADDRESS
            except OutOfRange:
                return ExcCodes.ILLEGAL_VALUE
        _refresh(registers.table(table), start, current)
        return None

    blocks = (
        _block(registers, "coil"),
        _block(registers, "discrete"),
        _block(registers, "holding"),
        _block(registers, "input"),
    )
    return SimDevice(UNIT_ID, simdata=blocks, action=access)


def _block(registers: RegisterMap, table: Table) -> "list[SimData]":
    from pymodbus.simulator import DataType, SimData

    bits = table in ("coil", "discrete")
    tags = registers.table(table)
    if not tags:  # pymodbus wants every table to exist; `access` refuses to touch this one
        return [SimData(0, values=[False] * 16, datatype=DataType.BITS)] if bits else [SimData(0)]
    if bits:
        return [SimData(0, values=[False] * (tags[-1].address + 1), datatype=DataType.BITS)]
    return [SimData(tag.address, count=tag.width, datatype=DataType.REGISTERS) for tag in tags]


def _refresh(tags: list[Tag], start: int, current: list[int]) -> None:
    """Write the present values over a table's memory; bits are packed, bit 0 first, from address 0."""
    if tags[0].table in ("coil", "discrete"):
        current[0] = sum(tag.encode()[0] << tag.address for tag in tags)
        return
    for tag in tags:
        offset = tag.address - start
        current[offset : offset + tag.width] = tag.encode()
