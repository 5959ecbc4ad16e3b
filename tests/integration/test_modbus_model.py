"""No value is ever that of another register, unit or moment, whatever devices and gateways do: random
troubles in virtual time, the same for a seed. Afterwards everything is read again, and nothing is left."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from servers import virtual_line
from servers.virtual_line import KINDS, WRITABLE, Trouble, VirtualLoop, VirtualWire, World, bit

from actors.connections.connection import NoConnection
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.protocol import WriteRequest
from actors.endpoints.protocols import find
from actors.endpoints.protocols.modbus import learning, link, poll
from actors.system.failure import Refusal

SEEDS = range(12)
TROUBLED, CALM = 30.0, 160.0
"""Seconds of each."""
_SERIAL = {"serial": "rtu", "ascii": "ascii"}
_NETWORK = {"rtu-over-tcp": "rtu-over-tcp", "udp": "udp", "udp-zero": "udp"}


@pytest.fixture(autouse=True)
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "Wire", VirtualWire)
    monkeypatch.setattr(link, "dial", virtual_line.dial)
    for module in (poll, learning):
        monkeypatch.setattr(module, "monotonic", lambda: asyncio.get_running_loop().time())


def troubles(kind: str, seed: int) -> None:
    """A whole scenario; for as many seeds as there is time."""

    async def run() -> None:
        await Scenario(kind, seed).run()

    in_virtual_time(run)


def in_virtual_time(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(scenario())
        assert not asyncio.all_tasks(loop)
    finally:
        loop.close()


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_is_wrong_and_all_is_good_afterwards(kind: str) -> None:
    for seed in SEEDS:
        troubles(kind, seed)


@pytest.mark.parametrize("kind", ["serial", "queue"])
def test_a_poll_can_be_given_up_at_any_moment(kind: str) -> None:
    """Whatever it is waiting for: the next finds the line as it has to be."""

    async def run() -> None:
        scenario = Scenario(kind, 1)
        plc = scenario.plcs[0]
        for moment in range(120):
            scenario.world.trouble = Trouble(lost=0.4, delayed=0.3, late=2.0, exception=0.2, closed=0.1)
            polling = asyncio.ensure_future(plc.poll())
            await asyncio.wait([polling], timeout=0.02 * moment)
            polling.cancel()
            await asyncio.wait([polling])
            if moment % 20 == 19:
                scenario.world.trouble = Trouble()
                await plc.until_good()
        await plc.reader.close()

    in_virtual_time(run)


class Scenario:
    def __init__(self, kind: str, seed: int) -> None:
        self.name = f"{kind}, seed {seed}"
        self.random = random.Random(seed)
        self.kind = kind
        self.timeout = self.random.choice((0.2, 0.5, 1.0))
        self.world = VirtualWire.world = World(kind, self._trouble(), self.timeout, seed)
        units = [self.random.choice((1, 2, 3)) for _ in range(self.random.randrange(1, 5))]
        self.plcs = [Plc(self, unit) for unit in units]
        self.calm = self.over = False

    def _trouble(self) -> Trouble:
        def share(most: float) -> float:
            return self.random.choice((0.0, 0.0, self.random.uniform(0, most)))

        return Trouble(
            lost=share(0.3),
            delayed=share(0.4),
            late=self.random.choice((1.5, 2.5, 3.5)),
            damaged=share(0.2),
            noise=share(0.2) if self.kind in ("serial", "rtu-over-tcp", "ascii") else 0.0,
            exception=share(0.3),
            closed=share(0.1),
            doubled=share(0.2),
            remembers=self.random.choice((0, 1)),
            tells=self.random.random() < 0.6,
            patience=self.random.choice((0.6, 1.5, 2.5)),
        )

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(work) for plc in self.plcs for work in (plc.polls(), plc.writes())]
        try:
            done, _ = await asyncio.wait(tasks, timeout=TROUBLED, return_when=asyncio.FIRST_EXCEPTION)
            self.calm, self.world.trouble = True, Trouble(remembers=self.world.trouble.remembers)
            if not done:
                done, _ = await asyncio.wait(tasks, timeout=CALM, return_when=asyncio.FIRST_EXCEPTION)
            self.over = True
            await asyncio.gather(*tasks)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}\n" + "\n".join(self.world.trace[-40:])) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for plc in self.plcs:
                await plc.reader.close()
        assert all(plc.is_good for plc in self.plcs), f"{self.name}: {[plc.is_good for plc in self.plcs]}"

    def connection(self, unit: int) -> dict[str, Any]:
        if self.kind in _SERIAL:
            place = {"type": _SERIAL[self.kind], "serialPort": "/dev/null", "baudRate": 115200}
        else:
            place = {"type": _NETWORK.get(self.kind, "tcp"), "host": "plc"}
        attempts = self.random.choice((0, 1, 3))
        return {**place, "unitId": unit, "timeout": int(1000 * self.timeout), "retryAttempts": attempts}


class Plc:
    """A reader of registers that are far apart or neighbours, of one table; several may read one unit."""

    def __init__(self, scenario: Scenario, unit: int) -> None:
        self.random = scenario.random
        self.scenario = scenario
        self.unit = unit
        self.table = self.random.choice(("holding", "holding", "input", "coil"))
        groups = self.random.sample(range(0, 800, 20), self.random.choice((1, 2, 3, 5)))
        size = 12 if self.table == "coil" else 2
        self.addresses = [at + index for at in groups for index in range(self.random.choice((1, size)))]
        kind = "" if self.table == "coil" else ":uint16"
        points = [{"name": f"p{at}", "register": f"{self.table}:{at}{kind}"} for at in self.addresses]
        self.endpoint = find("modbus").check(scenario.connection(unit), points)
        self.reader = find("modbus").session(self.endpoint, Nobody(), lines_of("modbus"))
        self.interval = self.random.choice((0.5, 1.0, 3.0))
        self.is_good = False

    async def polls(self) -> None:
        while not self.scenario.over:
            await asyncio.sleep(self.random.uniform(0.5, 1.0) * self.interval)
            polling = asyncio.ensure_future(self.poll())
            if not self.scenario.calm and self.random.random() < 0.05:
                await asyncio.wait([polling], timeout=self.random.uniform(0, self.interval))
                polling.cancel()
                await asyncio.wait([polling])
            if not polling.cancelled():
                self.is_good = await polling

    async def poll(self) -> bool:
        try:
            await self.reader.connect()
            found = await self.reader.read(self.interval)
        except NoConnection:
            return False
        codes = found.qualities or [None] * len(found.values)
        for address, value, code in zip(self.addresses, found.values, codes, strict=True):
            right = bit(self.unit, address) if self.table == "coil" else 1000 * self.unit + address
            assert code is not None or value == right, f"{self.table}:{address} of {self.unit} is {value}"
        return codes.count(None) == len(codes)

    async def until_good(self) -> None:
        for _ in range(int(CALM / self.interval)):
            if await self.poll():
                return
            await asyncio.sleep(self.interval)
        raise AssertionError("it stays BAD")

    async def writes(self) -> None:
        """Each writes a value of its own: one that is said to be written is."""
        written = self.scenario.world.written
        while not self.scenario.over:
            await asyncio.sleep(self.random.uniform(1.0, 5.0))
            value = len(self.scenario.world.trace)
            where, address = self.random.choice(
                ((f"holding:{WRITABLE}", WRITABLE), (f"holding:{WRITABLE + 1}:uint32", WRITABLE + 2))
            )
            try:
                await self.reader.connect()
                await self.reader.write(find("modbus").prepare(self.endpoint, WriteRequest("", where, value)))
            except (NoConnection, Refusal):
                continue
            assert value in written.get((self.unit, address), []), f"{value} was not written to {self.unit}"
