"""What BACnet devices cost: polled, and telling of changes by themselves.

CPU and memory of this process, in which the sessions are and nothing else; the devices, which know bytes
only, are another one. Prints one JSON line, a list of `Cost`s.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import monotonic, process_time
from typing import Any

import msgspec
import psutil
import uvloop

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from servers.udp_relay import free_udp_port

from actors.connections.connection import NoConnection
from actors.endpoints.lines import Lines
from actors.endpoints.listener import Nobody
from actors.endpoints.protocols import find

TESTS = Path(__file__).parents[1]
DEVICES, OBJECTS = 47, 20
POLLS = 40
SECONDS = 10
MANY, EVERY = 500, 10.0
ROUNDS = 3


class Cost(msgspec.Struct, frozen=True):
    run: str
    name: str
    value: float


class Counting(Nobody):
    """Values count up by one: what is lost is seen by that."""

    def __init__(self) -> None:
        self.values = 0
        self.lost = 0
        self._latest: dict[int, float] = {}

    def changed(
        self,
        device: str,
        indices: Sequence[int],
        values: list[Any],
        codes: list[str | None] | None = None,
        times: list[int | None] | None = None,
    ) -> None:
        self.values += len(values)
        for index, value in zip(indices, values, strict=True):
            if value is not None:
                latest = self._latest.get(index)
                if latest is not None and value > latest:
                    self.lost += int(value - latest) - 1
                self._latest[index] = value


class Plant:
    """The process of the devices."""

    def __init__(self, devices: int, rate: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "servers.bacnet_bytes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
            text=True,
        )
        given = {"devices": devices, "objects": OBJECTS, "rate": rate}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        self.ports: list[int] = json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@asynccontextmanager
async def sessions(
    ports: Sequence[int], listeners: Sequence[Any], **options: Any
) -> AsyncIterator[list[Any]]:
    protocol, lines = find("bacnet"), Lines()
    own = {"localAddress": "127.0.0.1", "localPort": free_udp_port(), **options}
    # With a unit of their own: a device is asked for those that are not said once only.
    points = [
        {"name": f"p{number}", "object": f"analog-input:{number}", "unit": "K"} for number in range(OBJECTS)
    ]
    made = []
    for place, (port, listener) in enumerate(zip(ports, listeners, strict=True)):
        connection = {"host": "127.0.0.1", "port": port, "deviceInstance": 1000 + place, **own}
        made.append(protocol.session(protocol.accept(connection, points), listener, lines))
    try:
        for session in made:
            await session.connect()
        yield made
    finally:
        for session in made:
            await session.close()


async def polled(plant: Plant) -> list[Cost]:
    async with sessions(plant.ports, [Nobody()] * DEVICES) as made:
        costs = [await _polled(made) for _ in range(ROUNDS)]
        for session in made:
            session._asked().capability.knows_no_multiple()
        singly = await _polled(made, POLLS // 8)
    return [
        Cost("bacnet read", "CPU ms/1,000 values", median(costs)),
        Cost("bacnet read one by one", "CPU ms/1,000 values", singly),
    ]


async def _polled(made: list[Any], polls: int = POLLS) -> float:
    values, began = 0, process_time()
    for _ in range(polls):
        for reading in await asyncio.gather(*(session.read(1.0) for session in made)):
            assert reading.qualities is None, reading
            values += len(reading.values)
    return 1e6 * (process_time() - began) / values


async def changes(rate: float) -> list[Cost]:
    plant = Plant(DEVICES, rate)
    counting = [Counting() for _ in plant.ports]
    try:
        async with sessions(plant.ports, counting, useCov=True, covConfirmed=False) as made:
            assert made
            await asyncio.sleep(3)
            before = sum(one.values for one in counting)
            lost = sum(one.lost for one in counting)
            began, since = process_time(), monotonic()
            await asyncio.sleep(SECONDS)
            values = sum(one.values for one in counting) - before
            spent, passed = process_time() - began, monotonic() - since
            lost = sum(one.lost for one in counting) - lost
    finally:
        plant.close()
    return [
        Cost("bacnet changes", "changes/s", values / passed),
        Cost("bacnet changes", "CPU ms/1,000 values", 1e6 * spent / max(values, 1)),
        Cost("bacnet changes", "changes lost", lost),
    ]


async def many() -> list[Cost]:
    """As endpoints do it: each in its turn within the interval."""
    before = _rss()
    plant = Plant(MANY)
    try:
        async with sessions(plant.ports, [Nobody()] * MANY) as made:
            pauses = [EVERY * place / MANY for place in range(MANY)]
            running = [asyncio.create_task(_each(*each)) for each in zip(made, pauses, strict=True)]
            await asyncio.sleep(EVERY)
            began, since = process_time(), monotonic()
            await asyncio.sleep(2 * EVERY)
            share = (process_time() - began) / (monotonic() - since)
            grown = _rss() - before
            for task in running:
                task.cancel()
    finally:
        plant.close()
    return [
        Cost("bacnet 500 devices", "CPU % of a core", 100 * share),
        Cost("bacnet 500 devices", "RSS growth MB", grown),
    ]


async def _each(session: Any, after: float) -> None:
    await asyncio.sleep(after)
    while True:
        await session.read(EVERY)
        await asyncio.sleep(EVERY)


async def beside_dead(plant: Plant) -> list[Cost]:
    """The slowest of the others' readings while a tenth of the devices are silent."""
    async with sessions(plant.ports, [Nobody()] * DEVICES, timeout=1000) as made:
        alone = await _slowest(made[DEVICES // 10 :])
        for session in made[: DEVICES // 10]:
            session._reader.station = session._reader.station._replace(port=9)
        dying = [asyncio.create_task(_failing(session)) for session in made[: DEVICES // 10]]
        beside = await _slowest(made[DEVICES // 10 :])
        for task in dying:
            task.cancel()
    return [
        Cost("bacnet beside dead ones", "slowest reading ms alone", alone),
        Cost("bacnet beside dead ones", "slowest reading ms", beside),
    ]


async def _slowest(made: list[Any]) -> float:
    async def timed(session: Any) -> float:
        began = monotonic()
        await session.read(1.0)
        return monotonic() - began

    taken = []
    for _ in range(POLLS):
        taken.append(max(await asyncio.gather(*map(timed, made))))
    return 1000 * sorted(taken)[-2]


async def _failing(session: Any) -> None:
    while True:
        try:
            await session.read(1.0)
        except NoConnection:
            await asyncio.sleep(0)


def _rss() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


async def measure() -> list[Cost]:
    found = await many()  # first, for what the library takes is part of it
    plant = Plant(DEVICES)
    try:
        found += await polled(plant)
        found += await beside_dead(plant)
    finally:
        plant.close()
    return found + await changes(1.0)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(msgspec.json.encode(uvloop.run(measure())).decode(), flush=True)


if __name__ == "__main__":
    main()
