"""Quality of service and retained messages, as a subscription asks for them."""

from collections.abc import Iterator
from pathlib import Path

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv311
from mqtt_owner import Owner, subscriber, to_port, until
from publishing_system import PublishingSystem, numbers_of
from servers.mosquitto import Mosquitto
from servers.scripted_broker import ScriptedBroker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


async def test_qos_0_is_delivered_when_the_broker_is_known_to_have_read_it() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port))
        await owner.driver.connect()
        for seq in range(5):
            owner.send(seq, "plant", b"x", qos=0)
        await until(lambda: (broker.unacknowledged, broker.pings) == (5, 1))
        assert owner.told == []
        owner.send(5, "plant", b"behind the ping", qos=0)
        await until(lambda: broker.unacknowledged == 6)
        broker.answer_ping()
        await until(lambda: broker.pings == 2)
        assert owner.seqs == [0, 1, 2, 3, 4]
        broker.answer_ping()
        await until(lambda: owner.seqs == [0, 1, 2, 3, 4, 5])
        await owner.driver.close()
        assert owner.losses == []


async def test_qos_0_that_no_ping_proves_is_lost_with_its_connection() -> None:
    async with ScriptedBroker() as broker:
        owner = Owner(to_port(broker.port), acknowledge_seconds=0.3)
        await owner.driver.connect()
        owner.send(1, "plant", b"x", qos=0)
        await until(lambda: owner.losses)
        assert owner.losses == ["no acknowledgement for 0.3 s"]
        assert owner.seqs == []


async def test_both_qualities_share_a_connection(broker: Mosquitto) -> None:
    received: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, received)
    owner = Owner(to_port(broker.port))
    await owner.driver.connect()
    for seq in range(2000):
        owner.send(seq, "plant", b"%d" % seq, qos=seq % 2)
    await until(lambda: sorted(owner.seqs) == list(range(2000)))
    await until(lambda: len(received) == 2000)
    # Between the two the broker keeps no order.
    for qos in (0, 1):
        assert [int(got[1]) for got in received if got[2] == qos] == list(range(qos, 2000, 2))
    await owner.driver.close()
    await listener.disconnect()


async def retained(port: int) -> list[tuple[str, bytes, int]]:
    """What a newcomer is told at once: topic, payload and QoS."""
    found: list[tuple[str, bytes, int]] = []
    client = gmqtt.Client("newcomer")
    client.on_message = lambda _, topic, payload, qos, properties: (
        found.append((topic, payload, qos)) if properties["retain"] else None
    )
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.subscribe("#", qos=1)
    await until(lambda: found)
    await client.disconnect()
    return found


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_subscription_says_how_its_readings_are_sent(
    tmp_path: Path, broker: Mosquitto, qos: int
) -> None:
    received: list[tuple[str, bytes, int]] = []
    listener = await subscriber(broker.port, received)
    async with PublishingSystem(tmp_path) as rig:
        destination = await rig.new_destination("one", "mqtt", to_port(broker.port))
        await rig.add_subscription(destination.id, route_json={"topic": "kept", "qos": qos, "retain": True})
        await rig.add_subscription(destination.id, route_json={"topic": "usual"})
        await rig.observed(destination.id)
        rig.poll(1, 2, 3)
        await until(lambda: len(received) == 6)
        await rig.settle(destination.id)
    await listener.disconnect()
    usual = [(payload, quality) for topic, payload, quality in received if topic == "usual"]
    kept = [(payload, quality) for topic, payload, quality in received if topic == "kept"]
    assert kept == [(payload, qos) for payload, _ in usual], "one payload is shared by both"
    assert [quality for _, quality in usual] == [1, 1, 1]
    [(topic, payload, _)] = await retained(broker.port)
    assert (topic, numbers_of(payload)) == ("kept", [3])


async def test_what_waited_on_disk_is_sent_as_it_was_meant(tmp_path: Path, broker: Mosquitto) -> None:
    async with PublishingSystem(tmp_path) as rig:
        destination = await rig.new_destination("one", "mqtt", to_port(broker.port), enabled=True)
        await rig.add_subscription(destination.id, route_json={"topic": "kept", "qos": 0, "retain": True})
        await rig.observed(destination.id)
        broker.stop()
        await rig.until(lambda: not rig.instance(destination.id).connected)
        rig.poll(1, 2, 3)
        await rig.until(lambda: rig.held(destination.id) == 3)
        await rig.stop()
        broker.start()
        received: list[tuple[str, bytes, int]] = []
        listener = await subscriber(broker.port, received)
        await rig.start()
        await until(lambda: len(received) == 3)
        await rig.settle(destination.id)
        await listener.disconnect()
    assert [quality for _, _, quality in received] == [0, 0, 0]
    [(_, payload, _)] = await retained(broker.port)
    assert numbers_of(payload) == [3]
