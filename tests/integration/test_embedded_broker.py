import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv311

from actors.simulation import broker as broker_module
from actors.simulation.broker import EmbeddedBroker, Kind, NoBroker


@pytest.fixture(params=["mosquitto", "amqtt"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[tuple[EmbeddedBroker, int]]:
    broker = EmbeddedBroker(request.param)
    port = await broker.start()
    yield broker, port
    await broker.stop()


class Subscriber:
    def __init__(self, name: str) -> None:
        self.messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.subscribed = asyncio.Event()
        self.client = Client(name)
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self.subscribed.set()

    async def _on_message(self, _client: Any, topic: str, payload: bytes, *_: Any) -> int:
        self.messages.put_nowait((topic, payload))
        return 0


async def test_published_message_reaches_a_subscriber(running: tuple[EmbeddedBroker, int]):
    _, port = running
    subscriber, publisher = Subscriber("subscriber"), Client("publisher")
    await subscriber.client.connect("127.0.0.1", port, version=MQTTv311)
    subscriber.client.subscribe("callboard/#", qos=1)
    await asyncio.wait_for(subscriber.subscribed.wait(), 5)
    await publisher.connect("127.0.0.1", port, version=MQTTv311)
    for number in range(20):
        publisher.publish("callboard/modbus", f"{number}".encode(), qos=1)
    got = [await asyncio.wait_for(subscriber.messages.get(), 5) for _ in range(20)]
    assert got == [("callboard/modbus", f"{number}".encode()) for number in range(20)]
    await publisher.disconnect()
    await subscriber.client.disconnect()


async def test_stopped_broker_hangs_up_and_listens_no_more(running: tuple[EmbeddedBroker, int]):
    broker, port = running
    client, lost = Client("left behind"), asyncio.Event()
    client.set_config({"reconnect_retries": 0})
    client.on_disconnect = lambda *_: lost.set()
    await client.connect("127.0.0.1", port, version=MQTTv311)
    await broker.stop()
    await asyncio.wait_for(lost.wait(), 5)
    with pytest.raises(OSError, match=r"Connect|refused"):
        await asyncio.open_connection("127.0.0.1", port)
    await client.disconnect()


async def test_broker_can_be_stopped_twice_and_started_again(running: tuple[EmbeddedBroker, int]):
    broker, _ = running
    await broker.stop()
    await broker.stop()
    port = await broker.start()
    client = Client("after the restart")
    await client.connect("127.0.0.1", port, version=MQTTv311)
    await client.disconnect()


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def test_stopped_mosquitto_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    broker = EmbeddedBroker("mosquitto")
    await broker.start()
    [process] = [child for child in psutil.Process().children() if child.name() == "mosquitto"]
    assert names_in(tmp_path)
    await broker.stop()
    assert not process.is_running()
    assert not names_in(tmp_path)


AGENT = """
import asyncio
from actors.simulation.broker import EmbeddedBroker

async def main():
    broker = EmbeddedBroker("mosquitto")
    await broker.start()
    print(broker._broker._process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_mosquitto_dies_with_an_agent_that_is_killed(tmp_path: Path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert agent.stdout is not None
    mosquitto = psutil.Process(int(await asyncio.wait_for(agent.stdout.readline(), 10)))
    assert mosquitto.is_running()
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    deadline = time.monotonic() + 5
    while mosquitto.is_running() and mosquitto.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "mosquitto outlives its agent"
        await asyncio.sleep(0.02)


async def test_port_taken_in_the_meantime_is_given_up_for_another(
    running: tuple[EmbeddedBroker, int], monkeypatch: pytest.MonkeyPatch
):
    first, taken = running
    free = broker_module._free_port()
    offered = iter([taken, free])
    monkeypatch.setattr(broker_module, "_free_port", lambda: next(offered))
    second = EmbeddedBroker(first.kind)
    try:
        assert await second.start() == free
    finally:
        await second.stop()


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
async def test_broker_that_cannot_listen_says_so(kind: Kind, monkeypatch: pytest.MonkeyPatch):
    blocker = EmbeddedBroker(kind)
    taken = await blocker.start()
    monkeypatch.setattr(broker_module, "_free_port", lambda: taken)
    try:
        with pytest.raises(NoBroker, match=f"{kind} does not listen on 127.0.0.1:{taken}"):
            await EmbeddedBroker(kind).start()
    finally:
        await blocker.stop()


def test_mosquitto_is_preferred():
    assert EmbeddedBroker().kind == "mosquitto"


def test_without_mosquitto_amqtt_serves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module, "_mosquitto", lambda: None)
    assert EmbeddedBroker().kind == "amqtt"


def test_without_any_broker_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(broker_module, "_mosquitto", lambda: None)
    monkeypatch.setattr(broker_module, "find_spec", lambda name: None)
    with pytest.raises(NoBroker, match=r"mosquitto.*callboard\[demo\]"):
        EmbeddedBroker()
