"""What devices are made of the topics of a broker, which brokers are found, and what a flood costs."""

import asyncio
import errno
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gmqtt
import pytest
from mqtt_owner import subscriber
from probing import SETTINGS, Tried, search
from servers.mosquitto import Mosquitto, free_port
from servers.opcua_directory import talking
from servers.scripted_broker import ScriptedBroker

from actors.endpoints.discovering import At, Configured, Found, Known
from actors.endpoints.protocols.mqtt import PROTOCOL, sampling, scanning

assert PROTOCOL.discovery is not None


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


class Plant:
    """Publishes again and again while a search goes on."""

    def __init__(self, device: gmqtt.Client, live: dict[str, Any], kept: dict[str, Any]) -> None:
        self._device = device
        self._live = live
        self._kept = kept
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        for topic, payload in self._kept.items():
            self._device.publish(topic, _octets(payload), qos=1, retain=True)
        self._task = asyncio.create_task(self._publish())
        await asyncio.sleep(0)

    async def _publish(self) -> None:
        while True:
            for topic, payload in self._live.items():
                self._device.publish(topic, _octets(payload), qos=0)
            await asyncio.sleep(0.1)

    async def __aexit__(self, *_: Any) -> None:
        assert self._task is not None
        self._task.cancel()


def _octets(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


async def found(
    broker: Mosquitto,
    device: gmqtt.Client,
    live: dict[str, Any],
    kept: dict[str, Any] | None = None,
    *configured: Configured,
    **options: Any,
) -> Tried:
    """What is found while these are published."""
    assert PROTOCOL.discovery is not None
    async with Plant(device, live, kept or {}):
        given = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "duration": 500, **options}
        tried = await search(PROTOCOL.discovery, given, *configured, validate=True)
    for one in tried.devices.values():
        PROTOCOL.accept(one.connection, one.data_points)
    return tried


def topics(tried: Tried) -> list[str]:
    return sorted(one.identity.removeprefix("mqtt:").partition("@")[0] for one in tried.devices.values())


def named(tried: Tried, topic: str) -> Found:
    return next(one for one in tried.devices.values() if one.identity.startswith(f"mqtt:{topic}@"))


def metrics(device: Found) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for point in device.data_points:
        for metric in point.get("metrics", [point]):
            found[metric["metric"]] = {"topic": point["topic"], **metric}
    return found


async def test_values_below_one_topic_are_of_one_device(broker: Mosquitto, device: gmqtt.Client):
    live = {
        "plant/press-4/temperature": 21.5,
        "plant/press-4/running": True,
        "plant/press-4/recipe": b"bread",
    }
    tried = await found(broker, device, live)
    assert topics(tried) == ["plant/press-4"]
    one = tried.only
    assert one.name == "mqtt_plant_press-4"
    assert one.connection == {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "topic": "plant/press-4"}
    assert {name: each.get("type") for name, each in metrics(one).items()} == {
        "temperature": "number",
        "running": "boolean",
        "recipe": "string",
    }
    assert (one.confidence, one.validated) == ("high", True)
    assert one.validation_data == {"values": {"temperature": 21.5, "running": True, "recipe": "bread"}}
    assert one.metadata["retainedOnly"] is False
    assert tried.troubles == []


async def test_documents_are_read_by_their_fields(broker: Mosquitto, device: gmqtt.Client):
    document = {
        "motor": {"speed": 1480, "speed_unit": "rpm"},
        "a.b": 1,
        "ts": 1_700_000_000,
        "on": True,
        "x": None,
    }
    tried = await found(
        broker, device, {"plant/a": document, "plant/b/telemetry": {"value": 3, "unit": "bar"}}
    )
    assert topics(tried) == ["plant/a", "plant/b"]
    speed = metrics(named(tried, "plant/a"))["motor.speed"]
    assert (speed["field"], speed["type"], speed["unit"]) == ("motor.speed", "number", "rpm")
    assert named(tried, "plant/a").validation_data == {"values": {"motor.speed": 1480, "a.b": 1, "on": True}}
    assert named(tried, "plant/b").validation_data == {"values": {"telemetry": 3}}


async def test_names_that_two_topics_have_are_told_apart(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {"m/1/state": {"t": 1}, "m/1/data": {"t": 2}})
    assert named(tried, "m/1").validation_data == {"values": {"state.t": 1, "data.t": 2}}


async def test_what_the_broker_has_kept_is_said_to_be_that(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {"n/1/a": 1}, {"n/1/b": 2, "old/device/t": 9.5})
    old = named(tried, "old/device")
    assert (old.confidence, old.validated, old.metadata["retainedOnly"]) == ("low", False, True)
    fresh = named(tried, "n/1")
    assert fresh.validated
    assert fresh.metadata["retainedTopics"] == ["n/1/b"]


async def test_binary_payloads_are_told_and_not_guessed(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {"raw/x": b"\xff\x00\x81\xfe"})
    assert tried.only.data_points == ()
    assert tried.only.metadata["topics"] == {"raw/x": "binary"}
    assert not tried.only.validated


async def test_devices_that_share_a_topic_come_by_themselves(broker: Mosquitto, device: gmqtt.Client):
    async with Plant(device, {"up": {"deviceId": "a", "t": 1}}, {}):
        tried = await found(broker, device, {"up": {"deviceId": "b", "t": 2}})
    assert tried.only.data_points == ()
    assert tried.only.metadata["devices"] == ["a", "b"]


async def test_commands_are_no_values(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {"lamp/1/state": True, "lamp/1/set": False})
    assert list(metrics(tried.only)) == ["state"]


async def test_what_agents_publish_is_of_no_device(broker: Mosquitto, device: gmqtt.Client):
    number = "7f3e9a1b-1c2d-4e5f-8a9b-0c1d2e3f4a5b-1732800000000-17-a3f"
    tried = await found(broker, device, {"line/out": {"timestamp": 1, "messages": [], "msgId": number}})
    assert tried.devices == {}


async def test_a_device_that_an_endpoint_reads_says_so(broker: Mosquitto, device: gmqtt.Client):
    place = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "topic": "plant"}
    tried = await found(broker, device, {"plant/p/t": 1}, {}, Configured("hall", True, place))
    assert tried.only.metadata["endpoint"] == "hall"


# Conventions


async def test_zigbee2mqtt(broker: Mosquitto, device: gmqtt.Client):
    """Its names may hold slashes, and its list of devices says what they are."""
    exposes = [{"property": "temperature", "unit": "°C"}, {"features": [{"property": "power", "unit": "W"}]}]
    known = [
        {"friendly_name": "hall/north", "definition": {"vendor": "Aqara", "model": "W1", "exposes": exposes}}
    ]
    tried = await found(
        broker,
        device,
        {
            "zigbee2mqtt/hall/north": {"temperature": 20.5, "power": 3},
            "zigbee2mqtt/hall/north/availability": b"online",
        },
        {"zigbee2mqtt/bridge/devices": known, "zigbee2mqtt/bridge/state": {"state": "online"}},
    )
    assert topics(tried) == ["zigbee2mqtt/hall/north"]
    assert tried.only.metadata["vendor"] == "Aqara"
    assert metrics(tried.only)["temperature"]["unit"] == "°C"
    assert metrics(tried.only)["power"]["unit"] == "W"
    assert tried.only.connection["statusTopic"] == "zigbee2mqtt/hall/north/availability"
    assert tried.only.validated


async def test_home_assistants_discovery(broker: Mosquitto, device: gmqtt.Client):
    about = {"ids": ["meter-7"], "name": "Meter", "mf": "Acme"}
    configs = {
        "homeassistant/sensor/m7/power/config": {
            "~": "meters/7",
            "stat_t": "~/state",
            "val_tpl": "{{ value_json.power['total'] }}",
            "unit_of_meas": "W",
            "dev": about,
        },
        "homeassistant/sensor/m7/odd/config": {
            "stat_t": "meters/7/state",
            "val_tpl": "{{ value_json.x | float / 10 }}",
            "dev": about,
        },
    }
    tried = await found(broker, device, {"meters/7/state": {"power": {"total": 230.5}, "x": 5}}, configs)
    assert topics(tried) == ["homeassistant/meter-7"]
    assert tried.only.metadata["manufacturer"] == "Acme"
    assert metrics(tried.only) == {
        "power": {
            "topic": "meters/7/state",
            "metric": "power",
            "field": "power.total",
            "type": "number",
            "unit": "W",
        }
    }
    assert tried.only.validation_data == {"values": {"power": 230.5}}


async def test_tasmota(broker: Mosquitto, device: gmqtt.Client):
    live = {
        "tele/plug/SENSOR": {"Time": "2026-11-28T10:00:00", "AM2301": {"Temperature": 70.2}, "TempUnit": "F"}
    }
    tried = await found(broker, device, live, {"tele/plug/LWT": b"Online"})
    assert topics(tried) == ["tele/plug"]
    assert list(metrics(tried.only)) == ["AM2301.Temperature"]
    assert metrics(tried.only)["AM2301.Temperature"]["unit"] == "°F"
    assert tried.only.connection["statusTopic"] == "tele/plug/LWT"


async def test_shelly(broker: Mosquitto, device: gmqtt.Client):
    live = {
        "shellies/shellyem-B9F3/emeter/0/power": 12.5,
        "shellyplus1-a8032ab1c2d3/status/switch:0": {"output": True, "temperature": {"tC": 40.1}},
        "shellyplus1-a8032ab1c2d3/events/rpc": {"src": "x", "params": {"a": 1}},
    }
    tried = await found(broker, device, live)
    assert topics(tried) == ["shellies/shellyem-B9F3", "shellyplus1-a8032ab1c2d3"]
    assert list(metrics(named(tried, "shellies/shellyem-B9F3"))) == ["emeter.0.power"]
    assert "status.switch:0.temperature.tC" in metrics(named(tried, "shellyplus1-a8032ab1c2d3"))


async def test_homie(broker: Mosquitto, device: gmqtt.Client):
    kept = {
        "homie/boiler/$homie": b"4.0",
        "homie/boiler/$state": b"ready",
        "homie/boiler/tank/level/$unit": b"%",
        "homie/boiler/tank/level": b"55.5",
    }
    tried = await found(broker, device, {"homie/boiler/tank/level": 56.5}, kept)
    assert topics(tried) == ["homie/boiler"]
    assert metrics(tried.only)["tank.level"]["unit"] == "%"
    assert tried.only.connection["statusTopic"] == "homie/boiler/$state"


async def test_sparkplug(broker: Mosquitto, device: gmqtt.Client):
    live = {"spBv1.0/plant/NDATA/gw": b"\x08\x01", "spBv1.0/plant/DDATA/gw/press": b"\x08\x01"}
    tried = await found(broker, device, live, {"spBv1.0/STATE/host": {"online": True, "timestamp": 1}})
    assert topics(tried) == ["spBv1.0/plant/gw"]
    assert tried.only.connection["format"] == "sparkplug"
    assert tried.only.connection["topic"] == "spBv1.0/plant/+/gw/#"
    assert tried.only.metadata["devices"] == ["press"]


# Bounds


async def test_no_more_topics_are_looked_at_than_wanted(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {f"many/{n}/v": n for n in range(30)}, maxTopics=10)
    assert len(tried.devices) == 10
    assert "more than 10 topics" in tried.troubles[0][1]


async def test_a_flood_ends_early(broker: Mosquitto, device: gmqtt.Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "MOST_MESSAGES", 300)
    live = {f"flood/{n % 20}/v{n}": n for n in range(100)}
    began = time.monotonic()
    tried = await found(broker, device, live, duration=20_000)
    assert time.monotonic() - began < 10
    assert "more came than is listened to" in tried.troubles[0][1]
    assert len(tried.devices) == 20


def test_a_flood_is_counted_and_not_kept():
    from actors.mqtt.packets import Received

    sampler = sampling.Sampler(1000)
    payload = bytes(10_000)
    began = time.process_time()
    for turn in range(1000):
        sampler.received([Received(f"t/{turn % 1500}/{n}", payload) for n in range(100)])
    assert time.process_time() - began < 2
    assert len(sampler.topics) == 1000
    assert (
        sum(len(each) for topic in sampler.topics.values() for each in topic.samples) <= sampling.KEPT_BYTES
    )
    assert sampler.is_flooded


async def test_a_large_payload_is_left_out(broker: Mosquitto, device: gmqtt.Client):
    tried = await found(broker, device, {"cam/image": b"\xff" * 100_000, "cam/1/t": 5})
    assert topics(tried) == ["cam/1"]


async def test_a_subscription_that_is_refused_is_told(device: gmqtt.Client):
    async with ScriptedBroker() as scripted:
        scripted.granted = 0x80
        given = {"brokerUrl": f"mqtt://127.0.0.1:{scripted.port}", "duration": 300, "topics": "a/#"}
        tried = await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
        assert len(tried.troubles) == 1
        assert "a/#" in tried.troubles[0][1]
        assert scripted.client_ids[0].startswith("callboard-search-")


async def test_a_wrong_password_is_told(tmp_path: Path):
    with Mosquitto(tmp_path, username="u", password="right") as guarded:
        given = {"brokerUrl": f"mqtt://u:wrong@127.0.0.1:{guarded.port}", "duration": 300}
        tried = await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
        assert len(tried.troubles) == 1
        assert "wrong" not in str(tried.troubles)


async def test_nothing_is_left_at_the_broker():
    async with ScriptedBroker() as scripted:
        scripted.granted = 0
        given = {"brokerUrl": f"mqtt://127.0.0.1:{scripted.port}", "duration": 200}
        for _ in range(2):
            await search(PROTOCOL.discovery, given)  # type: ignore[arg-type]
        assert len(set(scripted.client_ids)) == 2


async def test_what_was_heard_counts_when_the_search_is_cut_short(broker: Mosquitto, device: gmqtt.Client):
    assert PROTOCOL.discovery is not None
    given = {"brokerUrl": f"mqtt://127.0.0.1:{broker.port}", "duration": 60_000}
    plan = PROTOCOL.discovery.plan(given, Known(SETTINGS), "")
    tried = Tried()
    async with Plant(device, {"cut/short/t": 1}, {}):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await PROTOCOL.discovery.scanner()(plan, tried)
    assert topics(tried) == ["cut/short"]


# Brokers


async def brokers(*ports: int, **options: Any) -> Tried:
    return await search(PROTOCOL.discovery, {"port": list(ports), "timeout": 500, **options})  # type: ignore[arg-type]


async def test_brokers_are_found_whether_they_let_anybody_in_or_not(broker: Mosquitto, tmp_path: Path):
    with Mosquitto(tmp_path, username="u", password="p") as guarded:
        tried = await brokers(broker.port, guarded.port, free_port(), network="127.0.0.1/32")
        told = {one.connection["port"]: one.metadata["loginRequired"] for one in tried.devices.values()}
        assert told == {broker.port: False, guarded.port: True}
        assert tried.troubles == []


async def test_who_is_no_broker_is_told_as_such():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(60)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with talking(serve) as web, talking(silent) as tarpit:
        tried = await brokers(web, tarpit, host="127.0.0.1")
        assert tried.devices == {}
        assert len(tried.troubles) == 2
        assert tried.nobody == []
        assert set(tried.places) == {At("127.0.0.1", web), At("127.0.0.1", tarpit)}


async def test_where_nobody_is_is_told_of_hosts_that_were_named():
    port = free_port()
    assert (await brokers(port, network="127.0.0.1/32")).troubles == []
    assert (await brokers(port, host="127.0.0.1")).nobody == [f"127.0.0.1:{port}"]
    named = await brokers(port, host="localhost")
    assert (len(named.troubles), named.nobody) == (1, [])  # the name may lead elsewhere today


@pytest.mark.parametrize("network", [True, False])
async def test_what_fails_here_is_not_taken_for_nobody(monkeypatch: pytest.MonkeyPatch, network: bool):
    async def dial(host: str, port: int) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(scanning, "dial", dial)
    tried = await brokers(1883, **({"network": "127.0.0.1/32"} if network else {"host": "127.0.0.1"}))
    assert (len(tried.troubles), tried.nobody) == (1, [])


def test_without_anything_to_listen_to_there_is_no_plan():
    assert PROTOCOL.discovery is not None
    assert PROTOCOL.discovery.plan({}, Known(SETTINGS), "") is None


async def test_messages_are_waited_for_no_longer_than_wanted(broker: Mosquitto, device: gmqtt.Client):
    began = time.monotonic()
    await found(broker, device, {}, duration=200)
    assert time.monotonic() - began < 5
