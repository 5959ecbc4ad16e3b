"""An MQTT endpoint that is tried: what waits for the endpoint itself at the broker stays there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import gmqtt
import pytest
from mqtt_owner import subscriber, until
from servers.mosquitto import Mosquitto

from actors.endpoints import trying
from actors.endpoints.lines import lines_of
from actors.endpoints.listener import Nobody
from actors.endpoints.messages import Tried
from actors.endpoints.protocol import CheckedEndpoint
from actors.endpoints.protocols.mqtt import PROTOCOL


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "FIRST_VALUES", 0.4)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def device(broker: Mosquitto) -> AsyncIterator[gmqtt.Client]:
    client = await subscriber(broker.port, [])
    yield client
    await client.disconnect()


class Values(Nobody):
    def __init__(self) -> None:
        self.values: list[Any] = []

    def changed(self, device: str, indices: Any, values: list[Any], *more: Any) -> None:
        self.values += values


def endpoint(broker: Mosquitto, **connection: Any) -> CheckedEndpoint:
    given = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "clientId": "press", "topic": "press"}
    return PROTOCOL.accept(given | connection, [{"topic": "press", "metric": "speed"}])


async def tried(one: CheckedEndpoint) -> Tried:
    return await trying.attempt(PROTOCOL, one, lines_of("mqtt"))


async def test_what_the_broker_keeps_for_the_endpoint_is_for_the_endpoint(
    broker: Mosquitto, device: gmqtt.Client
) -> None:
    one, heard = endpoint(broker), Values()
    lines = lines_of("mqtt")
    session = PROTOCOL.session(one, heard, lines)
    await session.connect()
    await session.close()
    device.publish("press", b"17", qos=1)
    found = await tried(one)
    assert (found.error, found.good) == (None, 0)
    session = PROTOCOL.session(one, heard, lines)
    await session.connect()
    await until(lambda: heard.values == [17])
    await session.close()


async def test_retained_values_are_what_it_reads(broker: Mosquitto, device: gmqtt.Client) -> None:
    device.publish("press", b"18", qos=1, retain=True)
    try:
        found = await tried(endpoint(broker, group="presses"))
        assert [(value.name, value.value) for value in found.values] == [("speed", 18)]
        assert found.duration_ms < 350
    finally:
        device.publish("press", b"", qos=1, retain=True)


async def test_one_that_is_connected_shares_its_client(broker: Mosquitto, device: gmqtt.Client) -> None:
    one, heard = endpoint(broker, clientId="shared"), Values()
    lines = lines_of("mqtt")
    session = PROTOCOL.session(one, heard, lines)
    await session.connect()
    [(key, _)] = lines
    trial = asyncio.ensure_future(tried(one))
    await asyncio.sleep(0.1)
    assert [known for known, _ in lines] == [key]
    device.publish("press", b"19", qos=1)
    assert (await trial).good == 1
    device.publish("press", b"20", qos=1)
    await until(lambda: heard.values == [19, 20])
    await session.close()
    assert len(lines) == 0
