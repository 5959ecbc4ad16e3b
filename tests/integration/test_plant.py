import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from actors.simulation.plant import Plant, PlantDevice

READ = {
    "coil": "read_coils",
    "discrete": "read_discrete_inputs",
    "holding": "read_holding_registers",
    "input": "read_input_registers",
}
FORMATS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "float32": ">f"}


class Reader:
    """Reads data points of one device by name over TCP, knowing only what `PlantDevice` says."""

    def __init__(self, device: PlantDevice, client: AsyncModbusTcpClient) -> None:
        self.client = client
        self.unit = device.unit_id
        self.points = {point["name"]: point for point in device.data_points}

    async def __call__(self, name: str) -> Any:
        point = self.points[name]
        table, address = point["register"].split(":")
        count = 2 if point["type"] in ("uint32", "float32") else 1
        reply = await getattr(self.client, READ[table])(int(address), count=count, device_id=self.unit)
        assert not reply.isError(), reply
        if point["type"] == "boolean":
            return reply.bits[0]
        (raw,) = struct.unpack(FORMATS[point["type"]], struct.pack(f">{count}H", *reply.registers))
        return raw * point.get("scale", 1)


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 8.0) -> None:
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.05)


@pytest.fixture
async def plant() -> AsyncIterator[dict[str, Reader]]:
    plant = Plant(speed=40, seed=11)
    clients: list[AsyncModbusTcpClient] = []
    readers: dict[str, Reader] = {}
    try:
        for device in await plant.start():
            client = AsyncModbusTcpClient(device.host, port=device.port)
            clients.append(client)
            assert await client.connect()
            readers[device.name] = Reader(device, client)
        yield readers
    finally:
        for client in clients:
            client.close()
        await plant.stop()


async def test_every_data_point_of_every_device_can_be_read(plant: dict[str, Reader]):
    assert set(plant) == {"conveyor", "motor", "boiler"}
    for read in plant.values():
        for name in read.points:
            assert await read(name) is not None


async def test_types_are_mixed(plant: dict[str, Reader]):
    types = {point["type"] for read in plant.values() for point in read.points.values()}
    assert types == {"uint16", "int16", "uint32", "float32", "boolean"}


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("conveyor", "conveyor_speed"),
        ("conveyor", "item_count"),
        ("motor", "motor_rpm"),
        ("motor", "motor_current"),
        ("motor", "winding_temp"),
        ("motor", "vibration"),
        ("boiler", "water_temp"),
        ("boiler", "pressure"),
        ("boiler", "feed_level"),
        ("boiler", "burner"),
    ],
)
async def test_values_move(plant: dict[str, Reader], device: str, name: str):
    before = await plant[device](name)

    async def moved() -> bool:
        return bool(await plant[device](name) != before)

    await eventually(moved)


async def test_setpoint_written_over_modbus_changes_what_the_boiler_does(plant: dict[str, Reader]):
    boiler = plant["boiler"]
    assert await boiler("boiler_setpoint") == pytest.approx(85.0)
    reply = await boiler.client.write_register(10, 1000, device_id=boiler.unit)
    assert not reply.isError()
    assert await boiler("boiler_setpoint") == pytest.approx(100.0)

    async def hotter() -> bool:
        return bool(await boiler("water_temp") > 96)

    await eventually(hotter)
    reply = await boiler.client.write_registers(10, [500], device_id=boiler.unit)
    assert not reply.isError()

    async def off() -> bool:
        return not await boiler("burner")

    async def cooler() -> bool:
        return bool(await boiler("water_temp") < 80)

    await eventually(off)
    await eventually(cooler)
    assert await boiler("burner_state") == 0


async def test_belt_stops_and_starts_by_its_coil(plant: dict[str, Reader]):
    belt = plant["conveyor"]

    async def moving() -> bool:
        return bool(await belt("conveyor_speed") > 0.5)

    async def standing() -> bool:
        return bool(await belt("conveyor_speed") == 0) and not await belt("belt_running")

    await eventually(moving)
    assert not (await belt.client.write_coil(0, False, device_id=belt.unit)).isError()
    await eventually(standing)
    counted = await belt("item_count")
    assert not (await belt.client.write_coils(0, [True], device_id=belt.unit)).isError()
    await eventually(moving)
    assert await belt("item_count") > counted


@pytest.mark.parametrize(
    ("address", "value", "exception"),
    [
        pytest.param(10, 1300, 3, id="setpoint beyond what the boiler takes"),
        pytest.param(11, 1, 2, id="address beyond the map"),
    ],
)
async def test_write_that_a_real_device_would_refuse_is_refused(
    plant: dict[str, Reader], address: int, value: int, exception: int
):
    boiler = plant["boiler"]
    reply = await boiler.client.write_register(address, value, device_id=boiler.unit)
    assert reply.isError()
    assert reply.exception_code == exception
    assert await boiler("boiler_setpoint") == pytest.approx(85.0)


async def test_measured_values_take_no_write(plant: dict[str, Reader]):
    belt, boiler = plant["conveyor"], plant["boiler"]
    assert (await belt.client.write_register(0, 1, device_id=belt.unit)).exception_code == 2
    assert (await boiler.client.write_coil(0, True, device_id=boiler.unit)).exception_code == 2


async def test_tables_that_a_device_lacks_are_illegal_addresses(plant: dict[str, Reader]):
    motor = plant["motor"]
    assert (await motor.client.read_coils(0, count=1, device_id=motor.unit)).exception_code == 2
    assert (await motor.client.read_holding_registers(0, count=1, device_id=motor.unit)).exception_code == 2


async def test_stopped_plant_hangs_up_and_listens_no_more():
    plant = Plant(speed=1)
    devices = await plant.start()
    reader, writer = await asyncio.open_connection(devices[0].host, devices[0].port)
    await plant.stop()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()
    for device in devices:
        with pytest.raises(OSError, match=r"Connect|refused"):
            await asyncio.open_connection(device.host, device.port)


async def test_plants_side_by_side_use_different_ports():
    one, two = Plant(), Plant()
    try:
        ports = [device.port for device in [*await one.start(), *await two.start()]]
        assert len(set(ports)) == 6
    finally:
        await one.stop()
        await two.stop()
