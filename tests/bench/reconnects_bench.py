"""What is left of many connections to a broker that are lost one after the other."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

import msgspec
import psutil
import uvloop
from servers.mosquitto import Mosquitto
from servers.relay import Relay

from actors.connections.connection import NoConnection
from actors.mqtt.broker import Login
from actors.publish.destinations import mqtt
from actors.publish.destinations.driver import Nobody
from actors.publish.destinations.mqtt_driver import MqttDriver
from storage.outbox import OutboxRow

WARM_UP = 50


class Left(msgspec.Struct, frozen=True):
    """More than before: resident MB, file descriptors, tasks."""

    mb: float
    descriptors: int
    tasks: int


class Losing(Nobody):
    def __init__(self) -> None:
        self.lost_one = asyncio.Event()
        self.delivered_one = asyncio.Event()

    def delivered(self, seqs: list[int]) -> None:
        self.delivered_one.set()

    def lost(self, error: NoConnection) -> None:
        self.lost_one.set()


async def lose(driver: MqttDriver, owner: Losing, relay: Relay, number: int) -> None:
    owner.lost_one.clear()
    owner.delivered_one.clear()
    await driver.connect()
    driver.send(OutboxRow(number, "bench", b"x" * 1_000, 0))
    await owner.delivered_one.wait()
    if number % 2:
        await relay.cut()
    else:
        driver._end("as if nothing came any more")
    await owner.lost_one.wait()


def state() -> Left:
    resident = psutil.Process().memory_info().rss / 1e6
    return Left(resident, len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()))


async def measure(scheme: str, connections: int, directory: Path) -> Left:
    with Mosquitto(directory, tls=scheme in ("mqtts", "wss"), websocket=scheme in ("ws", "wss")) as broker:
        async with Relay(broker.port) as relay:
            trust = {"ca": broker.ca_pem} if broker.ca_pem else {}
            config = mqtt.check({"brokerUrl": f"{scheme}://127.0.0.1:{relay.port}", **trust})
            owner = Losing()
            driver = MqttDriver(config.broker, lambda: Login("bench"), owner)
            for number in range(WARM_UP):
                await lose(driver, owner, relay, number)
            before = state()
            for number in range(connections):
                await lose(driver, owner, relay, number)
            after = state()
    return Left(after.mb - before.mb, after.descriptors - before.descriptors, after.tasks - before.tasks)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", default="mqtt")
    parser.add_argument("--connections", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        os.chmod(directory, 0o755)
        print(msgspec.json.encode(await measure(given.scheme, given.connections, Path(directory))).decode())


if __name__ == "__main__":
    uvloop.run(main())
