"""What a preview says, and that it changes nothing."""

from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from publishing_system import PublishingSystem, source_of

from actors.publish.messages import AddSubscription, ListSubscriptions, SubscriptionsListed
from actors.publish.preview_messages import (
    PreviewNewSubscription,
    PreviewSubscription,
    SubscriptionPreviewed,
)
from actors.readings.batch import Batch
from actors.readings.messages import LatestReported, ReportLatest
from actors.readings.source_topics import prefixes

MQTT = {"host": "127.0.0.1", "port": 9}
NOW = 1_700_000_000_000


class Rig(PublishingSystem):
    """With a destination that is disabled: nothing is ever sent."""

    destination_id = 0

    async def begin(self, type: str = "mqtt", **config: Any) -> None:
        whole = config if type != "mqtt" else MQTT | config
        self.destination_id = (await self.new_destination("one", type, whole, enabled=False)).id

    def read(self, endpoint: str, *metrics: str, bad: bool = False) -> None:
        """One poll of an endpoint; its values are 0, 1, ..."""
        source = source_of(endpoint, *metrics)
        count = len(source.points)
        values = [None] * count if bad else list(range(count))
        self.base.tell(self.router, Batch(source, NOW, values, ["TIMEOUT"] * count if bad else None))

    async def latest(self) -> list[Batch]:
        reported = await self.base.ask(self.router, ReportLatest(), 5)
        assert isinstance(reported, LatestReported)
        return reported.batches

    async def preview(self, limit: int = 100, **fields: Any) -> SubscriptionPreviewed:
        """Of a subscription that is not stored."""
        body: dict[str, Any] = {"payload_format": "tags", "route_json": {"topic": "plant"}} | fields
        new = AddSubscription(self.destination_id, **body)
        message = PreviewNewSubscription(new, await self.latest(), limit)
        return await self.ask(message, SubscriptionPreviewed)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path) as running:
        yield running


def codes(preview: SubscriptionPreviewed) -> list[str]:
    return [one.code for one in preview.warnings if one.code != "destination-disabled"]


def warning(preview: SubscriptionPreviewed, code: str) -> str:
    [found] = [one.message for one in preview.warnings if one.code == code]
    return found


async def test_a_preview_shows_points_topics_and_a_payload(rig: Rig) -> None:
    await rig.begin(topicTemplate="plant/{name}")
    rig.read("press 4", "oil_temp", "running")
    rig.read("kiln", "heat")
    stored = await rig.add_subscription(rig.destination_id, route_json={"topic": None}, enabled=False)
    found = await rig.ask(PreviewSubscription(stored.id, await rig.latest(), 2), SubscriptionPreviewed)
    assert (found.total, found.endpoints, found.topics_total) == (3, 2, 2)
    assert [(point.endpoint, point.device, point.metric) for point in found.points] == [
        ("kiln", "kiln", "heat"),
        ("press 4", "press 4", "oil_temp"),
    ]
    assert found.points[1].topics == ["modbus/press 4/press 4/oil_temp", "sensors/press 4/oil_temp"]
    assert [(one.topic, one.endpoints) for one in found.topics] == [("plant/kiln", 1), ("plant/press 4", 1)]
    assert found.payload is not None
    assert (found.payload.endpoint, found.payload.topic) == ("press 4", "plant/press 4")
    assert (found.payload.format, found.payload.compression) == ("tags", "json")
    assert (found.payload.messages, found.payload.base64) == (1, None)
    assert found.payload.size == len(found.payload.text or "")
    decoded = msgspec.json.decode(found.payload.text or "")
    assert decoded["tags"] == [{"name": "oil_temp", "value": 0}, {"name": "running", "value": 1}]
    assert [one.code for one in found.warnings] == ["subscription-disabled", "destination-disabled"]


async def test_a_preview_changes_nothing(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4")
    before = await rig.latest()
    await rig.preview()
    assert (await rig.ask(ListSubscriptions(), SubscriptionsListed)).subscriptions == []
    after = await rig.latest()
    assert [batch.encoded for batch in after] == [{}]
    assert after[0] is before[0]


async def test_a_payload_that_is_no_text_is_base64(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4", *(f"metric-{number}" for number in range(300)))
    packed = (await rig.preview(compression="msgpack")).payload
    assert packed is not None
    assert packed.text is None
    shown = msgspec.to_builtins(packed)
    assert msgpack.unpackb(b64decode(shown["base64"]))["node"] == "press-4"
    assert shown["bytes"] == len(b64decode(shown["base64"]))
    deflated = (await rig.preview(compression="json+deflate")).payload
    assert deflated is not None
    assert (deflated.base64 or b"").startswith(b"\x78")


async def test_a_poll_of_many_points_becomes_several_messages(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4", *(f"metric-{number}" for number in range(25)))
    found = (await rig.preview(route_json={"topic": "plant", "maxPointsPerMessage": 10})).payload
    assert found is not None
    assert found.messages == 3


async def test_a_destination_without_topics_shows_what_it_gets(rig: Rig) -> None:
    await rig.begin("influxdb", url="http://127.0.0.1:9", org="o", bucket="b", token="t")
    rig.read("press-4")
    found = (await rig.preview()).payload
    assert found is not None
    assert (found.topic, found.format) == ("plant", "line-protocol")
    assert "seq=0" in (found.text or "")


async def test_the_topic_of_a_node_is_that_of_its_device(rig: Rig) -> None:
    await rig.begin(sparkplug={"groupId": "plant", "edgeNodeId": "edge"})
    rig.read("press/4")
    found = (await rig.preview(payload_format="sparkplug", route_json={})).payload
    assert found is not None
    device = msgspec.json.decode(found.text or "")["device"]
    assert found.topic == f"spBv1.0/plant/DDATA/edge/{device}"


async def test_the_topic_is_that_on_the_wire(rig: Rig) -> None:
    await rig.begin("azure-iot", hostName="hub.example", deviceId="d", auth={"sharedAccessKey": "aGk="})
    rig.read("press-4")
    found = await rig.preview(route_json={"topic": "plant/a"})
    wire = "devices/d/messages/events/?endpoint=plant%2Fa&%24.ct=application%2Fjson&%24.ce=utf-8"
    assert [one.topic for one in found.topics] == [wire]
    assert found.payload is not None
    assert found.payload.topic == wire


# Warnings


async def test_nothing_read_is_said(rig: Rig) -> None:
    await rig.begin()
    assert codes(await rig.preview(topics=["sensors/#"])) == ["nothing-read"]


async def test_each_filter_that_selects_nothing_is_explained(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4", "oil_temp")
    found = await rig.preview(topics=["sensors/#", "el", "modbus/press-4", "events/#"])
    assert found.total == 1
    assert [one.code for one in found.warnings[1:]] == [
        "filter-of-events",
        "filter-selects-nothing",
        "filter-selects-nothing",
    ]
    assert "modbus/press-4 has 2 levels" in found.warnings[3].message
    assert (await rig.preview(topics=["el"])).total == 0


async def test_conditions_that_exclude_each_other_are_said(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4", "oil_temp")
    route = {"topic": "t", "includeDevices": ["press-4", "kiln"], "excludeDevices": ["press-4"]}
    assert codes(await rig.preview(route_json=route)) == ["device-unknown", "nothing-selected"]
    route = {"topic": "t", "includeMetrics": ["oil-temp"]}
    found = await rig.preview(route_json=route, topics=["sensors/#"])
    assert codes(found) == ["metric-unknown", "nothing-selected"]


async def test_readings_of_other_qualities_are_said(rig: Rig) -> None:
    await rig.begin()
    rig.read("press-4", "a", "b", bad=True)
    rig.read("press-5", "a")
    route = {"topic": "t", "qualities": ["GOOD"]}
    found = await rig.preview(route_json=route)
    assert found.payload is not None
    assert found.payload.endpoint == "press-5"
    assert warning(found, "quality-left-out") == "the last readings of 2 of 3 points are not GOOD"
    found = await rig.preview(route_json=route, topics=["sensors/press-4/#"])
    assert (found.payload, codes(found)) == (None, ["quality-left-out"])
    found = await rig.preview(payload_format="ecp", topics=["sensors/press-4/#"])
    assert codes(found) == ["nothing-to-tell"]


async def test_names_that_are_spelled_otherwise_and_share_a_topic_are_said(rig: Rig) -> None:
    await rig.begin(topicTemplate="plant/{name}")
    for name in ("a/b", "a_b", "c"):
        rig.read(name, "m")
    found = await rig.preview(route_json={})
    assert codes(found) == ["name-changed", "topic-shared"]
    assert warning(found, "name-changed") == "in topics 'a/b' is 'a_b'"
    assert warning(found, "topic-shared") == "one topic, plant/a_b, is that of 'a/b', 'a_b'"
    assert [(one.topic, one.endpoints) for one in found.topics] == [("plant/a_b", 2), ("plant/c", 1)]
    assert codes(await rig.preview(topics=["sensors/c/m"])) == []
    assert "topic-shared" not in codes(await rig.preview()), "a topic for all is what was asked for"


def changed(device: str, *indices: int, times: list[int] | None = None) -> Batch:
    """Of a device of the endpoint `cell`."""
    source = msgspec.structs.replace(
        source_of("cell", "a", "b", "c"), device=device, device_uuid=f"uuid-of-{device}", pushed=True
    )
    return Batch(source, NOW, list(indices), indices=indices, times=times)


async def test_what_was_heard_of_devices_is_shown_with_its_own_times(rig: Rig) -> None:
    await rig.begin()
    for batch in (changed("press", 2, 0, times=[NOW - 5, NOW]), changed("pump", 1)):
        rig.base.tell(rig.router, batch)
    found = await rig.preview()
    assert (found.endpoints, [one.endpoints for one in found.topics]) == (1, [1])
    assert found.payload is not None
    assert found.payload.messages == 2
    first = msgspec.json.decode(found.payload.text or "")
    assert (first["timestamp"], first["tags"]) == (NOW - 5, [{"name": "c", "value": 2}])
    route = {"topic": "t", "qualities": ["BAD"]}
    left_out = warning(await rig.preview(route_json=route), "quality-left-out")
    assert left_out == "the last readings of 3 of 3 points are not BAD"


async def test_devices_of_an_endpoint_share_its_topic_but_not_one_of_devices(rig: Rig) -> None:
    await rig.begin(topicTemplate="plant/{name}")
    for device in ("a/b", "a_b"):
        rig.base.tell(rig.router, changed(device, 1))
    assert "topic-shared" not in codes(await rig.preview(route_json={}))
    await rig.change_destination(rig.destination_id, config_json=MQTT | {"topicTemplate": "plant/{device}"})
    told = warning(await rig.preview(route_json={}), "topic-shared")
    assert told == "one topic, plant/a_b, is that of 'cell (a/b)', 'cell (a_b)'"


async def test_names_that_are_too_long_for_the_topic_are_said(rig: Rig) -> None:
    await rig.begin(topicTemplate="plant/{name}/{device}")
    source = msgspec.structs.replace(
        source_of("x" * 70_000), device="d", prefixes=prefixes("modbus", "x" * 70_000, "d")
    )
    rig.base.tell(rig.router, Batch(source, NOW, [1]))
    found = await rig.preview(route_json={})
    assert codes(found) == ["topic-shortened"]
    assert len(found.topics[0].topic) <= 65_535


async def test_a_payload_over_the_limit_is_said(rig: Rig) -> None:
    await rig.begin(maxPayloadBytes=300)
    rig.read("press-4")
    assert codes(await rig.preview()) == []
    several = {"topic": "t", "bufferSize": 10}
    assert codes(await rig.preview(route_json=several, payload_format="custom")) == ["payload-too-large"]
    assert codes(await rig.preview(route_json=several)) == [], "each poll is a message of its own"
    rig.read("kiln", *(f"metric-{number}" for number in range(30)))
    assert "300 is the most allowed" in warning(await rig.preview(), "payload-too-large")


# Refused


async def test_a_preview_is_refused_as_the_subscription_would_be(rig: Rig) -> None:
    await rig.begin()
    for fields, field in (
        ({"topics": ["a#"]}, "topics[0]"),
        ({"route_json": {"topic": "a//b"}}, "route_json.topic"),
        ({"route_json": {"topic": "a", "buffer": 1}}, "route_json.buffer"),
        ({"payload_format": "xml"}, "payload_format"),
    ):
        new = AddSubscription(rig.destination_id, **fields)
        refused = await rig.refused(PreviewNewSubscription(new, [], 10))
        assert (refused.kind, refused.field) == ("invalid", field)
    missing = PreviewNewSubscription(AddSubscription(99, route_json={"topic": "a"}), [], 10)
    assert (await rig.refused(missing)).kind == "not_found"
    assert (await rig.refused(PreviewSubscription(99, [], 10))).kind == "not_found"


async def test_a_fault_in_making_one_is_an_answer_and_no_crash(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.begin()

    def explode(*_: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("actors.publish.preview.warnings", explode)
    new = AddSubscription(rig.destination_id, route_json={"topic": "a"})
    assert (await rig.refused(PreviewNewSubscription(new, [], 10))).kind == "internal"
    assert (await rig.ask(ListSubscriptions(), SubscriptionsListed)).subscriptions == []
