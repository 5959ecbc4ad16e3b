"""The floor: the least that the path from a Modbus device to an MQTT broker costs with these libraries.

Each device is polled in a coroutine of its own, a reading is encoded in format `tags` and published with
QoS 1. No actors, no routing, no outbox: what the agent costs above this is its own. Runs until it is
ended by a signal.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

import msgspec
import uvloop
from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv311
from pymodbus.client import AsyncModbusTcpClient


class Tag(msgspec.Struct, gc=False):
    name: str
    value: int


class Payload(msgspec.Struct, rename="camel", gc=False):
    timestamp: int
    node: str
    group: str
    tags: list[Tag]
    msg_id: str


def payload(node: str, registers: Sequence[int], names: Sequence[str]) -> Payload:
    """Registers 0-1 and 2-3 are the uint32 tags `seq` and `clock`, every other is a tag of its own."""
    now = time.time_ns() // 1_000_000
    tags = [Tag("seq", registers[0] << 16 | registers[1]), Tag("clock", registers[2] << 16 | registers[3])]
    tags += map(Tag, names, registers[4:])
    return Payload(now, node, "modbus", tags, f"{node}-{now}")


async def poll(broker: Client, node: str, port: int, registers: int, start: float, interval: float) -> None:
    """Poll at start, start + interval, ...; a poll that is late skips the times it missed."""
    device = AsyncModbusTcpClient("127.0.0.1", port=port)
    await device.connect()
    names = [f"r{index}" for index in range(4, registers)]
    encoder = msgspec.json.Encoder()
    due = start
    while True:
        await asyncio.sleep(due - time.monotonic())
        reply = await device.read_holding_registers(0, count=registers)
        broker.publish("bench", encoder.encode(payload(node, reply.registers, names)), qos=1)
        due += interval * max(1, (time.monotonic() - due) // interval)


async def run(ports: Sequence[int], registers: int, interval: float, broker_port: int) -> None:
    broker = Client("bench-floor")
    await broker.connect("127.0.0.1", broker_port, version=MQTTv311)
    start = time.monotonic() + 1
    async with asyncio.TaskGroup() as polls:
        for index, port in enumerate(ports):
            phase = start + interval * index / len(ports)
            polls.create_task(poll(broker, f"bench-{index}", port, registers, phase, interval))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ports", type=msgspec.json.decode, required=True, help="of the devices, JSON list")
    parser.add_argument("--registers", type=int, required=True)
    parser.add_argument("--interval-ms", type=int, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    arguments = parser.parse_args()
    uvloop.run(run(arguments.ports, arguments.registers, arguments.interval_ms / 1000, arguments.broker_port))
