"""What messages of MQTT devices cost: client, payload, batches, one endpoint; without formats and publishing.
And what memory is taken when those behind the endpoint are slower than its devices.

A mosquitto and the publisher of small JSON at QoS 0 are processes of their own. Prints one JSON line
(`Ingest`). To compare two trees, run it from each in turn, several times."""

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import msgspec
import psutil
import uvloop

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `servers` is

from servers.mosquitto import Mosquitto
from thespian.actors import ActorAddress

from actors.endpoints.endpoint import Endpoint, RunEndpoint
from actors.readings.batch import Batch
from actors.readings.messages import ForgetSource
from actors.system.actor import Actor
from actors.system.asyncio_base import AsyncioSystemBase

TOPICS = 200
METRICS = 2
WARM_UP_S = 1.0
SLOW_S = 0.002
"""What a slow receiver takes for a batch."""


class Ingest(msgspec.Struct, frozen=True):
    """`cpu_ms` is CPU in ms for 1,000 messages, the idle loop included; `rss_mb` after the run, `slow_mb`
    what came on top while the receiver was too slow."""

    messages: int
    lost: int
    cpu_ms: float
    batches: float
    rss_mb: float
    slow_mb: float


class Receiver(Actor):
    """Stands for the router."""

    values = batches = 0
    slow = False

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None: ...

    def receiveMsg_Batch(self, message: Batch, sender: ActorAddress) -> None:
        Receiver.values += len(message.values)
        Receiver.batches += 1
        if Receiver.slow:
            until = perf_counter() + SLOW_S
            while perf_counter() < until:
                pass

    def receiveMsg_ForgetSource(self, message: ForgetSource, sender: ActorAddress) -> None: ...


def start(base: AsyncioSystemBase, port: int) -> None:
    connection = {"host": "127.0.0.1", "port": port, "topic": "plant", "qos": 0, "clientId": "agent"}
    run = RunEndpoint(
        uuid="uuid-hall",
        name="hall",
        protocol="mqtt",
        device_uuid="device-hall",
        device="hall",
        connection=msgspec.Raw(msgspec.json.encode({**connection, "cleanSession": True})),
        data_points=msgspec.Raw(b"[]"),
        poll_interval=1000,
        phase=0.1,
        reconnect_min_ms=100,
        reconnect_max_ms=1000,
        router=base.spawn(None, Receiver, "router", "begin"),
    )
    base.spawn(None, Endpoint, "hall", run)


async def published(port: int, rate: int, seconds: float) -> int:
    script = Path(__file__).with_name("mqtt_publisher.py")
    arguments = [str(each) for each in (port, TOPICS, rate, seconds)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), *arguments, stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    return int(said)


async def measure(rate: int, seconds: float) -> Ingest:
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Mosquitto(Path(directory)) as broker:
        base = AsyncioSystemBase()
        start(base, broker.port)
        await asyncio.sleep(WARM_UP_S)
        gc.freeze()  # as the agent has it
        gc.set_threshold(20_000, 20, 50)
        await published(broker.port, rate, WARM_UP_S)
        await asyncio.sleep(0.5)
        values, batches, began = Receiver.values, Receiver.batches, process_time()
        sent = await published(broker.port, rate, seconds)
        await asyncio.sleep(0.5)
        spent = process_time() - began
        came, batches = (Receiver.values - values) // METRICS, Receiver.batches - batches
        rss = process.memory_info().rss / 1e6
        Receiver.slow = True
        await published(broker.port, rate, seconds)
        slow = process.memory_info().rss / 1e6
        Receiver.slow = False
        base.shutdown()
        await base.released()
    return Ingest(
        messages=came,
        lost=sent - came,
        cpu_ms=round(1e6 * spent / came, 3),
        batches=round(batches / came, 3),
        rss_mb=round(rss, 1),
        slow_mb=round(slow - rss, 1),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    print(msgspec.json.encode(uvloop.run(measure(given.rate, given.seconds))).decode())
