"""What users of other products have reported of names, topics and filters: each rebuilt with a real broker,
with the link of the report."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mqtt_owner import Owner, subscriber, to_port, until
from publishing_system import PublishingSystem, hasten, source_of
from servers.mosquitto import Mosquitto

from actors.publish.messages import AddSubscription, DeadLettersListed, ListDeadLetters
from actors.publish.preview_messages import PreviewNewSubscription, SubscriptionPreviewed
from actors.publish.subscription import Publish
from actors.readings.batch import Batch
from actors.readings.messages import LatestReported, ReportLatest

NOW = 1_700_000_000_000


class Plant(PublishingSystem):
    """With one destination at a broker; `received` are the topics and payloads that it got."""

    def __init__(self, directory: Path, broker: Mosquitto) -> None:
        super().__init__(directory)
        self.broker = broker
        self.messages: list[tuple[str, bytes, int]] = []
        self.id = 0

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.messages]

    async def begin(self, template: str = "plant/{name}", *filters: str) -> None:
        config = {"host": "127.0.0.1", "port": self.broker.port, "topicTemplate": template}
        self.id = (await self.new_destination("one", "mqtt", config)).id
        await self.add_subscription(self.id, topics=list(filters), route_json={"topic": None})
        await self.observed(self.id)

    def read(self, endpoint: str, *metrics: str) -> None:
        source = source_of(endpoint, *metrics)
        self.base.tell(self.router, Batch(source, NOW, list(range(len(source.points)))))

    async def preview(self, *filters: str, **route_json: Any) -> SubscriptionPreviewed:
        latest = await self.base.ask(self.router, ReportLatest(), 5)
        assert isinstance(latest, LatestReported)
        new = AddSubscription(self.id, topics=list(filters), route_json=route_json)
        return await self.ask(PreviewNewSubscription(new, latest.batches, 10), SubscriptionPreviewed)

    async def reason(self, topic_filter: str) -> str:
        """Why the filter selects nothing."""
        found = await self.preview(topic_filter)
        [reason] = [one.message for one in found.warnings if one.code == "filter-selects-nothing"]
        return reason


@pytest.fixture
async def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    hasten(monkeypatch)
    with Mosquitto(tmp_path / "broker") as broker:
        async with Plant(tmp_path, broker) as running:
            client = await subscriber(broker.port, running.messages)
            yield running
            await client.disconnect()


# Names that brokers will not have in a topic


@pytest.mark.parametrize("name", ["SHSW-1#11490B#1", "gu10 dimable white spectrum #1", "Temperature +1"])
async def test_a_wildcard_in_a_name_costs_neither_the_connection_nor_other_readings(
    plant: Plant, name: str
) -> None:
    """https://github.com/ioBroker/ioBroker.mqtt/issues/182, https://github.com/Koenkk/zigbee2mqtt/issues/3175,
    https://github.com/alladdin/node-lox-mqtt-gateway/issues/7 (disconnected over and over, messages lost)"""
    await plant.begin()
    for endpoint in ("before", name, "after"):
        plant.read(endpoint)
    await until(lambda: len(plant.messages) == 3)
    assert plant.topics == [
        "plant/before",
        "plant/" + name.replace("#", "_").replace("+", "_"),
        "plant/after",
    ]
    assert (await plant.report(plant.id)).latest_error is None


async def test_a_stored_payload_with_a_tab_in_its_topic_is_not_sent_again_and_again(plant: Plant) -> None:
    """https://github.com/mqttjs/MQTT.js/issues/1402 (closed, stored, sent, closed, without end),
    https://github.com/Koenkk/zigbee2mqtt/issues/12379"""
    await plant.begin()
    plant.base.tell(plant.destination(plant.id), Publish("junk/topic/blah\t", [b"hello"]))
    plant.read("after")
    await until(lambda: plant.topics == ["plant/after"])
    await plant.reported(plant.id, lambda report: report.rejected == 1)
    [letter] = (await plant.ask(ListDeadLetters(plant.id, 10), DeadLettersListed)).dead_letters
    assert "control characters" in letter.reason


async def test_a_topic_of_more_levels_than_the_broker_has_room_for_is_refused(plant: Plant) -> None:
    """https://github.com/owntracks/recorder/issues/524 (mosquitto ended the connection, again and again)"""
    await plant.begin()
    deep = AddSubscription(plant.id, route_json={"topic": "owntracks" + "/event" * 202})
    assert (await plant.refused(deep)).field == "route_json.topic"
    owner = Owner(to_port(plant.broker.port))
    await owner.driver.connect()
    owner.send(1, "owntracks" + "/event" * 202, b"1")
    owner.send(2, "owntracks" + "/event" * 200, b"2")
    await until(lambda: owner.seqs == [2])
    assert (owner.losses, len(owner.all("rejected"))) == ([], 1)
    await owner.driver.close()


# Topics that are to stay as they are


async def test_a_topic_keeps_the_slash_that_it_begins_with(plant: Plant) -> None:
    """https://github.com/influxdata/telegraf/issues/14583 (it was cut off; a cloud's topics begin so)"""
    await plant.begin("/sys/ProductKey/{name}/thing/event/property/post")
    plant.read("DeviceId")
    await until(lambda: plant.topics == ["/sys/ProductKey/DeviceId/thing/event/property/post"])


async def test_a_name_with_blanks_is_published_and_selected_as_it_is(plant: Plant) -> None:
    """https://github.com/giejay/domoticz-gbridge-plugin/issues/4,
    https://github.com/arendst/Tasmota/issues/10269 (no way to write such a filter)"""
    await plant.begin("home/{name}/onoff", "sensors/Living Room Lamp/#")
    plant.read("Kitchen")
    plant.read("Living Room Lamp")
    await until(lambda: plant.topics == ["home/Living Room Lamp/onoff"])


# Names with slashes


async def test_a_name_with_slashes_is_selected_by_its_beginning_and_as_one_level(plant: Plant) -> None:
    """https://github.com/hobbyquaker/hm2mqtt.js/issues/13 (`Waschkueche/#` had worked),
    https://github.com/Koenkk/zigbee2mqtt/issues/562, https://github.com/jziolkowski/tdm/issues/148 (`+` found
    only names without)"""
    await plant.begin("hm/{name}", "sensors/Waschkueche/#", "modbus/+/+/STATE")
    plant.read("Waschkueche/Heizung/Schaltaktor", "LEVEL")
    plant.read("Kueche/Heizung", "STATE", "LEVEL")
    plant.read("Kueche/Licht", "LEVEL")
    plant.read("Flur", "STATE")
    expected = ["hm/Waschkueche_Heizung_Schaltaktor", "hm/Kueche_Heizung", "hm/Flur"]
    await until(lambda: plant.topics == expected)


async def test_a_metric_with_a_plus_is_selected_as_it_is_spelled(plant: Plant) -> None:
    """https://github.com/fmartinou/teleinfo2mqtt/issues/60 (`PJOURF+1` ended the connection)"""
    await plant.begin("teleinfo/{name}", "sensors/+/PJOURF_1")
    plant.read("linky", "PJOURF+1", "NJOURF")
    await until(lambda: plant.topics == ["teleinfo/linky"])
    assert b"PJOURF+1" in plant.messages[0][1]
    assert b"NJOURF" not in plant.messages[0][1]


async def test_names_that_become_one_topic_are_told_apart_by_the_payload_and_said(plant: Plant) -> None:
    """https://github.com/Koenkk/zigbee2mqtt/issues/1876 (two of one name share a topic, and nobody was told),
    https://github.com/wirenboard/wb-mqtt-serial/pull/59 (numbers to tell them apart change others' topics)"""
    await plant.begin()
    plant.read("a/b")
    plant.read("a_b")
    await until(lambda: plant.topics == ["plant/a_b", "plant/a_b"])
    assert [b'"node":"a/b"' in payload for _, payload, _ in plant.messages] == [True, False]
    assert "topic-shared" in [one.code for one in (await plant.preview()).warnings]


# Filters that select nothing


@pytest.mark.parametrize(
    ("topic_filter", "reason"),
    [
        (
            "sensors",
            "sensors has one level, but the topics that begin so have 3 (sensors/TEST/any); sensors/# ",
        ),
        ("/sensors/+", "level 1 of /sensors/+ is empty: there is a slash too many"),
        (
            "sensors/test/+",
            "there is no test below sensors (level 2 of sensors/test/+), but TEST: upper and lower",
        ),
        (
            "$share/group/sensors/#",
            "there is no $share (level 1 of $share/group/sensors/#), but modbus, sensors",
        ),
    ],
)
async def test_a_filter_that_selects_nothing_is_explained(
    plant: Plant, topic_filter: str, reason: str
) -> None:
    """https://github.com/mqttjs/MQTT.js/issues/577 (`el` for `el/rf`),
    https://github.com/thingsboard/thingsboard-gateway/issues/578 (`/telemetry/+` for `telemetry/+`),
    https://github.com/thingsboard/thingsboard-gateway/issues/335 (upper case),
    https://github.com/emqx/emqx/issues/18765 (a shared subscription, which selects nothing, was taken)"""
    await plant.begin()
    plant.read("TEST", "any")
    assert (await plant.reason(topic_filter)).startswith(reason)
