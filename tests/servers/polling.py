"""Polling one device the way an endpoint does, without the actors around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.connections.connection import NoConnection
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import find
from servers.rude_device import RudeDevice

Reading = tuple[Any, str | None]
"""A value and its quality code; None is GOOD."""


class Polling:
    """`points` are data points or registers; a bare number n is the data point `pn`, `holding:n:uint16`."""

    def __init__(self, points: tuple[Any, ...], connection: dict[str, Any], within: float) -> None:
        given = [_point(point) for point in points]
        self.names = [point["name"] for point in given]
        self.endpoint = find("modbus").check(connection, given)
        self.reader = find("modbus").session(self.endpoint, Nobody(), lines_of("modbus"))
        self.within = within

    async def poll(self) -> dict[str, Reading]:
        """Every data point's reading; when the device did not answer, all with the code of that."""
        try:
            await self.reader.connect()
            found = await self.reader.read(self.within)
        except NoConnection as failure:
            return dict.fromkeys(self.names, (None, failure.code))
        codes = found.qualities or [None] * len(found.values)
        return dict(zip(self.names, zip(found.values, codes, strict=True), strict=True))

    async def polls(self, count: int) -> list[dict[str, Reading]]:
        return [await self.poll() for _ in range(count)]

    async def until_good(self, *names: str, seconds: float = 5.0) -> int:
        """Poll until these (all, if none is named) are GOOD; how many polls it took."""
        async with asyncio.timeout(seconds):
            count = 1
            while not all(reading[1] is None for reading in self._of(await self.poll(), names)):
                await asyncio.sleep(0.02)
                count += 1
        return count

    def _of(self, readings: dict[str, Reading], names: tuple[str, ...]) -> list[Reading]:
        return [readings[name] for name in names or self.names]

    async def write(self, register: str, value: Any) -> Any:
        await self.reader.connect()
        return await self.reader.write(
            find("modbus").prepare(self.endpoint, WriteRequest("", register, value))
        )


def _point(point: Any) -> dict[str, Any]:
    if isinstance(point, int):
        return {"name": f"p{point}", "register": f"holding:{point}:uint16"}
    return {"name": point, "register": point} if isinstance(point, str) else point


def good(*registers: int) -> dict[str, Reading]:
    """What is read of `pn` that are GOOD."""
    return {f"p{register}": (register + 100, None) for register in registers}


def never_wrong(readings: list[dict[str, Reading]]) -> None:
    for reading in readings:
        for name, (value, code) in reading.items():
            assert code is not None or value == int(name[1:]) + 100, f"{name} is {value}, GOOD"


@asynccontextmanager
async def polling(
    device: RudeDevice, *points: Any, within: float = 1.0, **connection: Any
) -> AsyncIterator[Polling]:
    """The device's poller, with a time-out of 200 ms."""
    if device.path:
        place: dict[str, Any] = {"type": "rtu", "serialPort": device.path, "baudRate": 115200}
    else:
        place = {"host": "127.0.0.1", "port": device.port}
    found = Polling(points, {"timeout": 200, **place, **connection}, within)
    try:
        yield found
    finally:
        await found.reader.close()
