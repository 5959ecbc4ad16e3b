"""What has gone wrong for people who looked for devices at brokers with other products: each rebuilt, with
the link of the report."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import gmqtt
import pytest
from mqtt_owner import subscriber
from probing import search
from servers.mosquitto import Mosquitto
from servers.opcua_directory import talking

from actors.endpoints.protocols.mqtt import PROTOCOL, conventions, grouping, proposing, sampling
from actors.endpoints.protocols.mqtt.grouping import Group


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One for each test: what one has kept at it another would find."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def device(broker: Mosquitto) -> AsyncIterator[gmqtt.Client]:
    client = await subscriber(broker.port, [])
    yield client
    await client.disconnect()


def grouped(*messages: tuple[str, bytes]) -> dict[str, Group]:
    looks = conventions.Looks()
    for topic, payload in messages:
        looks[topic] = proposing.look(sampling.Topic(topic, 1, 1, False, [payload]))
    found = [*conventions.groups(looks), *grouping.groups(looks.values())]
    return {one.base: one for one in found}


async def test_a_broker_that_hangs_up_instead_of_refusing_is_told():
    """mosquitto and RabbitMQ end the connection of who subscribes to what he may not; clients came back for
    ever.

    https://github.com/eclipse-mosquitto/mosquitto/issues/1016
    https://github.com/rabbitmq/rabbitmq-server/pull/15123
    """
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(1000)
        writer.write(b"\x20\x02\x00\x00")
        await reader.read(1000)
        writer.close()

    async with talking(serve) as port:
        given = {"brokerUrl": f"mqtt://127.0.0.1:{port}", "duration": 300, "timeout": 500}
        tried = await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
        assert [reason for _, reason in tried.troubles] == [
            f"127.0.0.1:{port} closed the connection instead of subscribing"
        ]
        assert connections == 1


async def test_two_searches_do_not_end_each_other(broker: Mosquitto):
    """PubSubClient: two clients of one id took the connection from each other, again and again.

    https://github.com/knolleary/pubsubclient/issues/130
    """
    given = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "duration": 500}
    both = await asyncio.gather(*(search(PROTOCOL.discovery, given) for _ in range(2)))  # type: ignore[arg-type]
    assert [tried.troubles for tried in both] == [[], []]


async def test_thousands_of_kept_messages_cost_no_more_than_wanted(broker: Mosquitto, device: gmqtt.Client):
    """EMQX and mosquitto: one subscription to everything brings all that was ever kept.

    https://github.com/emqx/emqx/issues/2620
    https://github.com/eclipse-mosquitto/mosquitto/issues/3096
    """
    for number in range(2000):
        device.publish(f"old/{number}/v", b"1", qos=0, retain=True)
    given = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "duration": 1000, "maxTopics": 50}
    tried = await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
    assert len(tried.devices) == 50


async def test_what_an_access_list_hides_is_not_there(tmp_path: Path):
    """mosquitto grants the subscription, and sends nothing: there is nothing to find, and nothing fails.

    https://github.com/vernemq/vernemq/issues/72
    """
    rules = tmp_path / "acl"
    rules.write_text("topic write #\ntopic read open/#\n")
    rules.chmod(0o644)
    with Mosquitto(tmp_path, options=(f"acl_file {rules}",)) as guarded:
        device = await subscriber(guarded.port, [])
        device.publish("open/a/t", b"1", retain=True)
        device.publish("shut/a/t", b"1", retain=True)
        given = {"brokerUrl": f"mqtt://127.0.0.1:{guarded.port}", "duration": 400}
        tried = await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
        await device.disconnect()
        assert [one.name for one in tried.devices.values()] == ["mqtt_open_a"]


def test_friendly_names_with_slashes_are_one_device():
    """zigbee2mqtt broke for devices with a `/` in their names when subscriptions were made simpler.

    https://github.com/Koenkk/zigbee2mqtt/issues/3102
    """
    found = grouped(
        ("zigbee2mqtt/bridge/state", b"online"),
        ("zigbee2mqtt/hall/lamp/left", b'{"state": "ON"}'),
        ("zigbee2mqtt/hall/lamp/left/set", b'{"state": "OFF"}'),
    )
    assert list(found) == ["zigbee2mqtt/hall/lamp/left"]


def test_a_state_topic_may_be_a_filter():
    """OpenMQTTGateway says `+/+/BTtoMQTT/<id>`; openHAB could make nothing of it.

    https://github.com/1technophile/OpenMQTTGateway/issues/2365
    """
    found = grouped(
        ("homeassistant/sensor/v-t/config", b'{"stat_t": "+/+/BTtoMQTT/7", "val_tpl": "{{ value_json.t }}"}'),
        ("home/gw/BTtoMQTT/7", b'{"t": 20.5}'),
    )
    assert [one.fields[0].topic for one in found.values()] == ["home/gw/BTtoMQTT/7"]


def test_templates_that_compute_are_not_guessed():
    """EMS-ESP: `{{value_json.x if value_json.x is defined else 0}}` is no path.

    https://github.com/home-assistant/core/issues/99566
    """
    template = b"{{value_json.x if value_json.x is defined else 0}}"
    config = b'{"stat_t": "ems/data", "val_tpl": "' + template + b'", "dev": {"ids": ["ems"]}}'
    found = grouped(("homeassistant/sensor/ems/x/config", config), ("ems/data", b'{"x": 1}'))
    assert {one.convention for one in found.values()} == {None}


def test_a_device_without_identifiers_is_one_by_its_topic():
    """Home Assistant: an empty `device` made entities without one.

    https://github.com/home-assistant/core/issues/50099
    """
    found = grouped(
        ("homeassistant/sensor/dhw/config", b'{"state_topic": "dhw/t", "device": {}}'), ("dhw/t", b"41.5")
    )
    assert list(found) == ["homeassistant/sensor/dhw"]


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b"null", b"{", b'{"stat_t": 5}', b"\xff", b'{"device": 1, "state_topic": "a"}'],
)
def test_configurations_of_all_kinds_break_nothing(payload: bytes):
    """Discovery by Home Assistant's topics ended for all devices with the first that was none."""
    found = grouped(("homeassistant/sensor/odd/config", payload), ("plant/p/t", b"1"))
    assert "plant/p" in found


def test_what_gateways_publish_themselves_is_not_found_again():
    """Bridges that subscribe to everything got their own messages, without end.

    https://github.com/eclipse-mosquitto/mosquitto/issues/1263
    """
    number = b"7f3e9a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b-1732800000000-17-a3f"
    assert grouped(("out/line", b'{"timestamp": 1, "msgId": "' + number + b'"}')) == {}
