"""What 1,000 variables cost our session on SNMP agents, in v2c and v3.

50 agents in another process, 20 variables each, all polled at once; CPU of this process. Prints one JSON
line, a list of `Costs`.
"""

import asyncio
import json
import statistics
import subprocess
import sys
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
    ms: float


async def _cost(sessions: list[Any]) -> float:
    began, values = process_time(), 0
    for _ in range(POLLS):
        for reading in await asyncio.gather(*(session.read(1.0) for session in sessions)):
            assert reading.qualities is None, reading
            values += len(reading.values)
    return 1e6 * (process_time() - began) / values


async def measure(ports: list[int]) -> list[Costs]:
    protocol, found = find("snmp"), []
    for version, connection in CONNECTIONS.items():
        sessions: list[Any] = []
        for port in ports:
            given = {"host": "127.0.0.1", "port": port, **connection}
            sessions.append(protocol.session(protocol.check(given, POINTS), Nobody(), Lines()))
        for session in sessions:
            await session.connect()
        found.append(Costs(version, statistics.median([await _cost(sessions) for _ in range(ROUNDS)])))
        for session in sessions:
            await session.close()
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
