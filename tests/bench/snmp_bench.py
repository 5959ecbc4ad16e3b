"""What 1,000 variables cost our session on SNMP agents, in v2c and v3, and beside it a library in Rust.

The library tells values, and neither their types nor why there are none.
50 agents in another process, 20 variables each, all polled at once; CPU of this process. Prints one JSON
line, a list of `Costs`.
"""

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import uvloop

from actors.endpoints.lines import Lines
from actors.endpoints.listener import Nobody
from actors.endpoints.protocols import find

sys.path.insert(1, str(Path(__file__).parent))

from snmp_agents import AUTH_KEY, PRIV_KEY, USER

AGENTS = 50
VARIABLES = 20
ROUNDS = 5
POLLS = 40
POINTS = [
    {"name": f"p{number}", "oid": f"1.3.6.1.4.1.8072.9999.{number}.0", "dataType": "counter32"}
    for number in range(VARIABLES)
]
CONNECTIONS: dict[str, dict[str, Any]] = {
    "v2c": {"version": "v2c"},
    "v3": {"version": "v3", **USER, "authKey": AUTH_KEY, "privKey": PRIV_KEY},
}


class Costs(msgspec.Struct, frozen=True):
    """CPU in ms of 1,000 values, the median of some rounds."""

    version: str
    ours: float
    library: float


Ask = Callable[[], Awaitable[int]]
"""Asks one agent once; returns how many values there were."""


async def _cost(asks: list[Ask]) -> float:
    began, values = process_time(), 0
    for _ in range(POLLS):
        values += sum(await asyncio.gather(*(ask() for ask in asks)))
    return 1e6 * (process_time() - began) / values


@asynccontextmanager
async def _ours(ports: list[int], connection: dict[str, Any]) -> AsyncIterator[list[Ask]]:
    protocol = find("snmp")
    sessions: list[Any] = []
    for port in ports:
        given = {"host": "127.0.0.1", "port": port, **connection}
        sessions.append(protocol.session(protocol.check(given, POINTS), Nobody(), Lines()))
        await sessions[-1].connect()

    async def ask(session: Any) -> int:
        reading = await session.read(1.0)
        assert reading.qualities is None, reading
        return len(reading.values)

    try:
        yield [partial(ask, session) for session in sessions]
    finally:
        for session in sessions:
            await session.close()


@asynccontextmanager
async def _library(ports: list[int], connection: dict[str, Any]) -> AsyncIterator[list[Ask]]:
    from gufo.snmp import Aes128Key, Sha256Key, User
    from gufo.snmp.aio import SnmpSession

    user = None
    if connection["version"] == "v3":
        auth, priv = Sha256Key(AUTH_KEY.encode()), Aes128Key(PRIV_KEY.encode())
        user = User(USER["username"], auth_key=auth, priv_key=priv)
    sessions = [SnmpSession("127.0.0.1", port, user=user) for port in ports]
    for session in sessions:
        await session.refresh()
    names = [point["oid"] for point in POINTS]

    async def ask(session: Any) -> int:
        return len(await session.get_many(names))

    yield [partial(ask, session) for session in sessions]


async def measure(ports: list[int]) -> list[Costs]:
    found = []
    for version, connection in CONNECTIONS.items():
        async with _ours(ports, connection) as ours, _library(ports, connection) as library:
            costs = [(await _cost(ours), await _cost(library)) for _ in range(ROUNDS)]
        found.append(Costs(version, *map(statistics.median, zip(*costs, strict=True))))
    return found


def main() -> None:
    command = [sys.executable, str(Path(__file__).with_name("snmp_agents.py")), str(AGENTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agents:
        assert agents.stdout is not None
        try:
            ports = json.loads(agents.stdout.readline())
            print(msgspec.json.encode(uvloop.run(measure(ports))).decode(), flush=True)
        finally:
            agents.kill()


if __name__ == "__main__":
    main()
