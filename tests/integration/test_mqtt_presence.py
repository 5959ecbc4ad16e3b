"""Will and birth message of a destination, as a customer's broker tells them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt_owner import subscriber, to_port, until
from publishing_system import PublishingSystem, hasten
from servers.mosquitto import Mosquitto
from servers.relay import Relay

from actors.publish.messages import DestinationTested, TestDestination

STATE = "plant/press/state"
WILL = {"topic": STATE, "payload": '{"online":false}', "retain": True}
BIRTH = {"topic": STATE, "payload": '{"online":true}', "retain": True}
ONLINE = (STATE, b'{"online":true}', 1)
OFFLINE = (STATE, b'{"online":false}', 1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


async def test_a_destination_tells_that_it_is_there_and_that_it_goes(
    tmp_path: Path, broker: Mosquitto
) -> None:
    received: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, received)
    async with PublishingSystem(tmp_path) as rig:
        config = to_port(broker.port, will=WILL, birth=BIRTH)
        destination = await rig.new_destination("one", "mqtt", config)
        await rig.add_subscription(destination.id)
        await rig.observed(destination.id)
        rig.poll(1)
        await until(lambda: len(received) == 2)
        assert [topic for topic, _, _ in received] == [STATE, "plant"]
        await rig.settle(destination.id)
        await rig.stop()
        await until(lambda: len(received) == 3)
    assert [each for each in received if each[0] == STATE] == [ONLINE, OFFLINE]
    await listener.disconnect()
    newcomer: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, newcomer)
    await until(lambda: newcomer)
    assert newcomer == [OFFLINE], "it is retained"
    await listener.disconnect()


async def test_a_connection_that_breaks_off_is_told_by_the_broker(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    received: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, received)
    async with Relay(broker.port) as relay, PublishingSystem(tmp_path) as rig:
        await rig.new_destination("one", "mqtt", to_port(relay.port, will=WILL, birth=BIRTH))
        await until(lambda: received == [ONLINE])
        await relay.cut()
        await until(lambda: received[:3] == [ONLINE, OFFLINE, ONLINE])
    await listener.disconnect()


async def test_a_test_of_the_configuration_says_nothing(tmp_path: Path, broker: Mosquitto) -> None:
    received: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, received)
    async with PublishingSystem(tmp_path) as rig:
        config = to_port(broker.port, will=WILL, birth=BIRTH)
        assert (await rig.ask(TestDestination("mqtt", config), DestinationTested)).ok
        await rig.new_destination("one", "mqtt", config)
        await until(lambda: received)
    assert received[0] == ONLINE
    await listener.disconnect()
